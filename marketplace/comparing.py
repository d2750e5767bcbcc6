"""Up to four listings side by side, by what was measured here; what was not measured stays empty."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlmodel import Session, select

from catalog import listings, search_facets
from catalog.models import Listing, Rating, Vendor, Version
from marketplace.errors import MarketError

MOST = 4


class TooManyToCompare(MarketError):
    """More listings than stand side by side. Facts: most, given."""

    code: ClassVar[str] = "compare-too-many"


@dataclass(frozen=True)
class Measured:
    """What was measured of one version; None was not."""

    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    requests: int | None = None  # that the latency is of
    memory: float | None = None  # bytes while it serves
    cold_start_ms: float | None = None
    examples_right: int | None = None
    examples: int | None = None
    accuracy: float | None = None
    metric: str = ""
    device: str = ""
    at: str = ""


@dataclass(frozen=True)
class Compared:
    """One listing among those compared."""

    name: str
    version: str
    title_zh: str
    title_en: str
    vendor: str
    vendor_zh: str
    vendor_en: str
    kind: str
    task: str
    languages: list[str]
    license_weights: str
    terms: str  # commercial, conditions, noncommercial or unknown
    price: dict[str, Any]
    devices: list[str]
    size: int
    stars: float | None
    ratings: int
    measured: Measured


@dataclass(frozen=True)
class Comparison:
    """The listings in the order asked for; `best` names the columns that lead in a number."""

    items: list[Compared]
    best: dict[str, list[str]] = field(default_factory=dict)


def compare(db: Session, names: Sequence[str]) -> Comparison:
    """The listings with these names beside each other; raises UnknownListing and TooManyToCompare."""
    wanted = list(dict.fromkeys(names))
    if len(wanted) > MOST:
        raise TooManyToCompare(most=MOST, given=len(wanted))
    items = [_column(db, *listings.get_version(db, name.partition("@")[0])) for name in wanted]
    return Comparison(items, _best(items))


def _column(db: Session, listing: Listing, version: Version) -> Compared:
    vendor = db.get(Vendor, listing.vendor_id)
    assert vendor is not None, "the database holds no listing without its vendor"
    stars = _stars(db, listing)
    return Compared(
        name=listing.name,
        version=version.number,
        title_zh=listing.title_zh,
        title_en=listing.title_en,
        vendor=vendor.name,
        vendor_zh=vendor.title_zh,
        vendor_en=vendor.title_en,
        kind=listing.kind,
        task=listing.task,
        languages=listing.languages,
        license_weights=version.license_weights,
        terms=search_facets.terms_of(version.license_package, version.license_weights, version.license_base),
        price=listing.price,
        devices=list((version.offer.get("needs") or {}).get("devices") or ["cpu"]),
        size=version.size,
        stars=sum(stars) / len(stars) if stars else None,
        ratings=len(stars),
        measured=measured(version.measured),
    )


def _stars(db: Session, listing: Listing) -> list[int]:
    shown = select(Rating.stars).where(Rating.listing_id == listing.id, Rating.hidden == False)  # noqa: E712
    return list(db.exec(shown))


def measured(found: dict[str, Any]) -> Measured:
    """What a version's measurements say, whatever of them there is."""
    latency = _part(found, "latency_ms")
    examples = _part(found, "examples")
    accuracy = _part(found, "accuracy")
    return Measured(
        latency_p50_ms=_number(latency.get("p50")),
        latency_p95_ms=_number(latency.get("p95")),
        requests=latency.get("n"),
        memory=_number(found.get("memory")),
        cold_start_ms=_number(found.get("cold_start_ms")),
        examples_right=examples.get("right") if examples.get("of") else None,
        examples=examples.get("of") or None,
        accuracy=_number(accuracy.get("value")),
        metric=str(accuracy.get("metric", "")),
        device=str(found.get("device", "")),
        at=str(found.get("at", "")),
    )


def _part(found: dict[str, Any], name: str) -> dict[str, Any]:
    part = found.get(name)
    return part if isinstance(part, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


_LOWEST: dict[str, Callable[[Compared], float | None]] = {
    "latency_p50_ms": lambda each: each.measured.latency_p50_ms,
    "latency_p95_ms": lambda each: each.measured.latency_p95_ms,
    "memory": lambda each: each.measured.memory,
    "cold_start_ms": lambda each: each.measured.cold_start_ms,
    "size": lambda each: float(each.size),
}


def _best(items: list[Compared]) -> dict[str, list[str]]:
    """Who leads in what: only where at least two have the number, and they were measured on one device."""
    found = {}
    alike = len({each.measured.device for each in items if each.measured.device}) < 2
    for name, read in _LOWEST.items():
        values = {each.name: value for each in items if (value := read(each)) is not None}
        if len(values) > 1 and len(set(values.values())) > 1 and (alike or name == "size"):
            found[name] = [who for who, value in values.items() if value == min(values.values())]
    if (better := _most_accurate(items)) is not None:
        found["accuracy"] = better
    return found


def _most_accurate(items: list[Compared]) -> list[str] | None:
    """Only between numbers of one metric, and where more is better: not for error rates."""
    of = [each for each in items if each.measured.accuracy is not None]
    metrics = {each.measured.metric for each in of}
    if len(of) < 2 or len(metrics) != 1 or metrics & {"wer", "cer", "mae", "mse", "rmse"}:
        return None
    most = max(each.measured.accuracy or 0 for each in of)
    return [each.name for each in of if each.measured.accuracy == most]
