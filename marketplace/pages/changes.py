"""What a version changes against the one on the shelf, as reviewers read it: words, files, licences, size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from catalog import listings
from catalog.errors import UnknownListing, UnknownVersion
from catalog.models import Listing, Version
from marketplace.i18n import gettext, ngettext
from marketplace.i18n import mark as _
from marketplace.pages.rendering import size, task_title

GROWN = 1.5  # times the size from which on it is worth a look
WORDS = (
    ("title_zh", _("Title in Chinese")),
    ("title_en", _("Title in English")),
    ("summary_zh", _("Summary in Chinese")),
    ("summary_en", _("Summary in English")),
    ("card_zh", _("Card in Chinese")),
    ("card_en", _("Card in English")),
)
LICENCES = (
    ("license_weights", _("Licence of the weights")),
    ("license_package", _("Licence of the package")),
    ("license_base", _("Licence of the base model")),
)


@dataclass(frozen=True)
class Change:
    """One thing that is another; `grave` ones are what a reviewer must not miss."""

    title: str
    before: str
    after: str
    grave: bool = False


def listed_before(db: Session, listing: Listing, version: Version) -> Version | None:
    """The version on the shelf, if there is one and it is not this."""
    try:
        found = listings.current_version(db, listing)
    except (UnknownListing, UnknownVersion):
        return None
    return found if found.id != version.id else None


def changes(listing: Listing, version: Version, before: Version | None, lang: str) -> list[Change]:
    """All that is another; against nothing, what there is."""
    if before is None:
        return _first(version, lang)
    found = [
        *_licences(version, before, lang),
        *_files(version, before, lang),
        *_use(version, before, lang),
        *_words(listing, version, lang),
    ]
    return [change for change in found if change.before != change.after]


def _first(version: Version, lang: str) -> list[Change]:
    paths = ", ".join(str(a["path"]) for a in version.manifest["artifacts"][:12])
    return [
        Change(gettext(lang, _("Files")), "", paths),
        Change(gettext(lang, _("Size")), "", size(version.size)),
        Change(gettext(lang, _("Licence of the weights")), "", version.license_weights),
        Change(gettext(lang, _("Price")), "", price_text(version.offer.get("price") or {}, lang)),
    ]


def _licences(version: Version, before: Version, lang: str) -> list[Change]:
    return [
        Change(gettext(lang, title), getattr(before, name), getattr(version, name), grave=True)
        for name, title in LICENCES
    ]


def _files(version: Version, before: Version, lang: str) -> list[Change]:
    """Files by digest: new, gone, and of another content."""
    old = {str(a["path"]): a for a in before.manifest["artifacts"]}
    new = {str(a["path"]): a for a in version.manifest["artifacts"]}
    other = sorted(p for p in old.keys() & new.keys() if old[p]["sha256"] != new[p]["sha256"])

    def say(title: str) -> str:
        return gettext(lang, title)

    return [
        Change(say(_("New files")), "", _listed(sorted(new.keys() - old.keys())), grave=True),
        Change(say(_("Files that are gone")), _listed(sorted(old.keys() - new.keys())), ""),
        Change(
            say(_("Files with another content")),
            ", ".join(f"{p} {size(int(old[p]['size']))}" for p in other[:12]),
            ", ".join(f"{p} {size(int(new[p]['size']))} ({new[p]['sha256'][:8]}…)" for p in other[:12]),
        ),
        Change(
            say(_("Size")), size(before.size), size(version.size), grave=version.size > GROWN * before.size
        ),
    ]


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:12]) + (" …" if len(paths) > 12 else "")


def _use(version: Version, before: Version, lang: str) -> list[Change]:
    """How it is used, what it needs and costs."""
    old, new = before.manifest, version.manifest

    def say(title: str) -> str:
        return gettext(lang, title)

    def told(found: Version, read: Callable[[dict[str, Any]], str]) -> str:
        return read(found.offer)

    return [
        Change(say(_("Task")), task_title(old["task"], lang), task_title(new["task"], lang), grave=True),
        Change(say(_("Settings")), _short(old.get("options")), _short(new.get("options"))),
        Change(say(_("Examples")), _count(old, lang), _count(new, lang)),
        Change(say(_("Needs")), told(before, _needs), told(version, _needs)),
        Change(
            say(_("Price")),
            price_text(before.offer.get("price") or {}, lang),
            price_text(version.offer.get("price") or {}, lang),
            grave=True,
        ),
        Change(say(_("Claims")), _short(before.claims), _short(version.claims)),
        Change(say(_("Source")), before.source, version.source),
    ]


def _words(listing: Listing, version: Version, lang: str) -> list[Change]:
    return [
        Change(gettext(lang, title), str(getattr(listing, name)), str(version.offer[name]))
        for name, title in WORDS
        if name in version.offer
    ]


def _short(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    return ", ".join(f"{key}: {value[key]}" for key in sorted(value))[:400]


def _count(manifest: dict[str, Any], lang: str) -> str:
    n = len(manifest.get("examples", []))
    return ngettext(lang, _("{n} example"), "{n} examples", n) if n else ""


def _needs(offer: dict[str, Any]) -> str:
    needs = offer.get("needs") or {}
    memory = needs.get("memory")
    devices = ", ".join(map(str, needs.get("devices") or []))
    return " · ".join(filter(None, (size(memory) if isinstance(memory, int) else "", devices)))


def price_text(price: dict[str, Any], lang: str) -> str:
    """A price plan in a few words; free where none is told."""
    fen = price.get("fen", 0)
    yuan = f"¥{fen / 100:.2f}" if isinstance(fen, int | float) else ""
    texts = {"per_call": _("{price} a call"), "monthly": _("{price} a month")}
    plan = texts.get(str(price.get("plan", "free")))
    return gettext(lang, plan, price=yuan) if plan else gettext(lang, _("free"))
