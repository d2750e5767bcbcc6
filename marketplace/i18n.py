"""The two languages of the shop: which one a visitor reads, and the words in it.

Texts are marked in plain English; the Chinese ones stand in web/locale/zh_CN/LC_MESSAGES/*.po, a file for
each part of the shop, which are read when they are first needed. Facts go into a text as {name}.
"""

import gettext as gettext_module
import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = ("zh", "en")
DEFAULT = "zh"
COOKIE = "lang"
HTML_LANG = {"zh": "zh-CN", "en": "en"}
LOCALES = {"zh": "zh_CN", "en": "en"}
LOCALE_DIR = Path(__file__).resolve().parent.parent / "web" / "locale"


class Asks(Protocol):
    """What of a request tells the language: its cookies and headers."""

    @property
    def cookies(self) -> Mapping[str, str]:
        """Cookies by name."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by name in small letters."""


def mark(msgid: str) -> str:
    """Mark a text for translation that is translated later; imported as `_`."""
    return msgid


def negotiate(request: Asks, default: str = DEFAULT) -> str:
    """The language for a request: the one chosen by the switch, else the browser's, else `default`."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return accepted(request.headers.get("accept-language", ""), default)


def accepted(header: str, default: str = DEFAULT) -> str:
    """The best of our languages in an Accept-Language header; a q that cannot be read counts as 0."""
    best, best_quality = default, 0.0
    for part in header.split(","):
        tag, _, parameters = part.strip().partition(";")
        language = tag.strip().partition("-")[0].lower()
        quality = _quality(parameters)
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


@lru_cache
def catalogue(lang: str) -> gettext_module.NullTranslations:
    """The texts of a language, compiled in memory; English is its own catalogue."""
    files = sorted((LOCALE_DIR / LOCALES.get(lang, lang) / "LC_MESSAGES").glob("*.po"))
    if not files:
        return gettext_module.NullTranslations()
    texts = Catalog(locale=LOCALES[lang])
    for path in files:
        with path.open("rb") as file:
            for message in read_po(file, locale=LOCALES[lang]):
                if message.id:
                    texts[message.id] = message
    compiled = io.BytesIO()
    write_mo(compiled, texts)
    compiled.seek(0)
    return gettext_module.GNUTranslations(compiled)


def gettext(lang: str, msgid: str, **facts: object) -> str:
    """The text in `lang`, with {facts} filled in when there are any."""
    text = catalogue(lang).gettext(msgid)
    return text.format(**facts) if facts else text


def ngettext(lang: str, singular: str, plural: str, n: int, **facts: object) -> str:
    """The text for a count; {n} is the count."""
    return catalogue(lang).ngettext(singular, plural, n).format(n=n, **facts)


def translator(lang: str) -> Callable[..., str]:
    """`_` for one language: `_("Stop")`, `_("{n} files", n=3)`."""

    def translate(msgid: str, **facts: object) -> str:
        return gettext(lang, msgid, **facts)

    return translate
