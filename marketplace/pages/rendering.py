"""Turns templates and values into pages and into the fragments that live pages are updated with."""

import hashlib
import json
import math
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.template import TemplateConfig
from markupsafe import Markup
from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from catalog import taxonomy
from catalog.models import Version, VersionState
from deployer.devices import DEVICES
from marketplace import i18n
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.pages import reports, words
from marketplace.pages.static import TEMPLATES, has_asset, static_url
from marketplace.permissions import Permission

# Nothing but our own files: no inline script or style, no frame around us, no form that leads away.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data:; "
    "style-src 'self'; script-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def size(count: float) -> str:
    """Bytes as people read them: 21.0 MB, in powers of ten as shops do, never broken over lines."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f}\u00a0{unit}" if unit == "B" else f"{count:.1f}\u00a0{unit}"
        count /= 1000
    return ""


def seconds(value: float | None) -> str:
    """A duration: 0.04 s, 1.8 s, 2 min 05 s."""
    if value is None:
        return ""
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60):02d} s"


def percent(value: float) -> str:
    """A share in whole percent, but never a rounded-up 100 or a rounded-down 0."""
    if not math.isfinite(value):
        return "–"
    shown = f"{value:.1%}"
    if shown == "100.0%" and value < 1:
        return "99.9%"
    return shown if value == 0 or shown != "0.0%" else "<0.1%"


def when(moment: datetime | None) -> Markup:
    """A moment as a <time> element, in UTC."""
    if moment is None:
        return Markup("–")
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    utc = aware.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(utc.isoformat(), f"{utc:%Y-%m-%d %H:%M} UTC")


def code_json(value: object) -> str:
    """JSON on one line, as it stands in code for people."""
    return json.dumps(value, ensure_ascii=False)


def shell_json(value: object) -> str:
    """JSON as one quoted word of a shell."""
    return shlex.quote(code_json(value))


def to_json(value: object) -> str:
    """JSON for people."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def markdown(text: str) -> Markup:
    """A card's Markdown as HTML that can do no harm."""
    from catalog.cards import render  # a late import: only a listing's card needs it

    return Markup(render(text))  # noqa: S704 (cleaned by an allow list)


def _title(terms: Mapping[str, taxonomy.Term], id: str, lang: str) -> str:
    return terms[id].title(lang) if id in terms else id


def task_title(id: str, lang: str) -> str:
    """A task's title."""
    return _title(taxonomy.TASKS, id, lang)


def vertical_title(id: str, lang: str) -> str:
    """A vertical's title."""
    return _title(taxonomy.VERTICALS, id, lang)


def device_title(id: str, lang: str) -> str:
    """A device's title."""
    known = next((each for each in DEVICES if each.id == id), None)
    return id if known is None else known.title_zh if lang == "zh" else known.title_en


def serves(device: str) -> bool:
    """Whether this version deploys to a device."""
    return any(each.id == device and each.serves for each in DEVICES)


def query(path: str, **values: object) -> str:
    """A path with the values that there are as its query."""
    given = {name: value for name, value in values.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def short_id(text: str) -> str:
    """A stable name for an element's id, whatever the text holds."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@lru_cache
def environment() -> Environment:
    """The template environment; names that are not there are errors."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "size": size,
        "seconds": seconds,
        "percent": percent,
        "when": when,
        "markdown": markdown,
        "to_json": to_json,
        "code_json": code_json,
        "shell_json": shell_json,
        "short_id": short_id,
        "times": reports.times,
        "points": reports.points,
        "amount": reports.amount,
        "relative": reports.relative,
        "share": reports.share_text,
    }
    env.globals |= {
        "static": static_url,
        "query": query,
        "has_asset": has_asset,
        "task_title": task_title,
        "vertical_title": vertical_title,
        "device_title": device_title,
        "serves": serves,
        "words": words,
    }
    return env


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """The environment as litestar takes it."""
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment()))


def language_context(lang: str) -> dict[str, Any]:
    """What every template needs to speak."""

    def plural(singular: str, plural: str, n: int, **facts: object) -> str:
        return i18n.ngettext(lang, singular, plural, n, **facts)

    return {
        "_": i18n.translator(lang),
        "ngettext": plural,
        "lang": lang,
        "html_lang": i18n.HTML_LANG[lang],
    }


def page(
    request: AnyRequest, viewer: Viewer, template: str, *, status: int = 200, **context: Any
) -> Template:
    """A whole page for this viewer; it is told apart by language, so caches keep both."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return Template(
        template,
        context={
            **language_context(viewer.lang),
            "viewer": viewer,
            "here": quote(here, safe="/"),
            "waiting": _waiting(request, viewer),
            **context,
        },
        status_code=status,
        headers={"Vary": "Accept-Language, Cookie", "Cache-Control": "no-store", **SECURITY_HEADERS},
    )


def _waiting(request: AnyRequest, viewer: Viewer) -> int:
    """How many versions wait for a decision, for those who decide."""
    if not viewer.may(Permission.decide_reviews):
        return 0
    found = select(func.count()).select_from(Version).where(Version.state == VersionState.submitted)
    try:
        with read_session(request.app.state.services.engine) as db:
            return int(db.exec(found).one())
    except SQLAlchemyError:  # the page about a broken database must not need the database
        return 0


def fragment(lang: str, template: str, **context: Any) -> str:
    """A part of a page as text, for an update."""
    return environment().get_template(template).render(**language_context(lang), **context)


def is_partial(request: AnyRequest) -> bool:
    """Whether the browser's script asks for a part, not for a whole page."""
    return request.headers.get("hx-request") == "true"
