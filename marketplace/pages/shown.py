"""What several pages show of the same rows: listings with their vendor, variants with what they say."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, func, select

from catalog import listings
from catalog.errors import CatalogError
from catalog.models import Listing, Vendor
from deployer import optimizations
from deployer.models import Variant
from marketplace.api.schemas import ListingOut, listing_out
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages import reports, words
from marketplace.pages.rendering import size


@dataclass(frozen=True)
class OfferedVariant:
    """A variant that can be deployed, and what its certificate says."""

    digest: str
    title: str
    said: reports.Statement


def listing_shown(db: Session, row: Listing, lang: str) -> ListingOut:
    """A listing as its tag shows it."""
    vendor = db.get(Vendor, row.vendor_id)
    assert vendor is not None, "the database holds no listing without its vendor"
    return listing_out(row, listings.current_version(db, row), vendor, lang)


def listing_title(db: Session, name: str, lang: str) -> str:
    """The title of a listing, or its name when the shelf has it no more."""
    try:
        row = listings.get_listing(db, name)
    except CatalogError:
        return name
    return row.title_zh if lang == "zh" else row.title_en


def offers_of(db: Session, listing: str, version_digest: str, lang: str) -> list[OfferedVariant]:
    """The variants of a version whose certificate can be read, the newest first."""
    return [
        OfferedVariant(row.digest, reports.recipes_title(said.graphs, lang), said)
        for row in optimizations.list_variants(db, listing)
        if row.version_digest == version_digest and (said := reports.statement(row.certificate))
    ]


def certified(db: Session) -> dict[str, int]:
    """How many certified variants a listing has, by its name."""
    query = select(Variant.listing, func.count()).group_by(Variant.listing)
    return dict(db.exec(query).all())


def said_of(db: Session, digest: str) -> reports.Statement | None:
    """What the certificate of a deployment's variant says; None for a version as it came."""
    if not digest:
        return None
    try:
        return reports.statement(optimizations.get_variant(db, digest).certificate)
    except optimizations.UnknownVariant:
        return None


def looked_at(home: Path, version_digest: str) -> dict[str, Any]:
    """What `optimizing.look` found of a version when it was asked before; empty until then."""
    kept = home / "reports" / f"{version_digest.removeprefix('sha256:')}.json"
    try:
        found = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Fact:
    """A term and what is to be said of it."""

    title: str
    text: str


def architecture_facts(look: dict[str, Any], lang: str) -> list[Fact]:
    """What a look at a model found, in words: weights, arithmetic, memory, and where it fits."""
    seen = look.get("summary", {})
    if not seen:
        return []
    floor = "≥ " if seen.get("at_least") else ""
    facts = [Fact(gettext(lang, _("Parameters")), counted(seen["parameters"]))]
    if seen.get("flops"):
        text = gettext(lang, _("{n} for one request"), n=f"{floor}{counted(seen['flops'], 'FLOP')}")
        facts.append(Fact(gettext(lang, _("Arithmetic")), text))
    if seen.get("activations"):
        facts.append(Fact(gettext(lang, _("Working memory")), f"{floor}{size(seen['activations'])}"))
    shares = [share for share in seen.get("quantisable", {}).values() if share is not None]
    if shares:
        most = max(shares)
        text = gettext(lang, _("{share} of the arithmetic"), share=f"{most:.0%}") if most else "–"
        facts.append(Fact(gettext(lang, _("Can be quantised")), text))
    if memory := look.get("memory"):
        text = gettext(lang, _("about {size} while it serves"), size=size(memory["resident"]))
        facts.append(Fact(gettext(lang, _("Memory")), text))
    if verdict := words.FITS.get(look.get("fit", {}).get("verdict", "")):
        facts.append(Fact(gettext(lang, _("This machine")), gettext(lang, verdict)))
    if seen.get("quantised"):
        text = gettext(lang, _("already, so there is less to gain"))
        facts.append(Fact(gettext(lang, _("Quantised")), text))
    if seen.get("opset"):
        facts.append(Fact("opset", str(seen["opset"])))
    return facts


def counted(n: float, what: str = "") -> str:
    """A large number in short: 22.7 M, 1.3 GFLOP."""
    for unit in ("", "K", "M", "G", "T"):
        if n < 1000 or unit == "T":
            return f"{n:.3g} {unit}{what}".rstrip()
        n /= 1000
    return ""
