"""What listings can be narrowed by: each listing's facets as short codes such as `t:image-to-text`.

A code is a token of the index as well, so that a filter is part of the question; the codes of the found
entries are what facets are counted from.
"""

import functools
import math
import re
from dataclasses import dataclass
from typing import Any

from catalog.models import Listing, Version

MB, GB = 10**6, 10**9
SIZES = ((10 * MB, "10MB"), (50 * MB, "50MB"), (200 * MB, "200MB"), (GB, "1GB"), (math.inf, "more"))
LATENCIES = ((5.0, "5ms"), (20.0, "20ms"), (100.0, "100ms"), (1000.0, "1s"), (math.inf, "more"))
MEMORIES = ((500 * MB, "500MB"), (GB, "1GB"), (2 * GB, "2GB"), (8 * GB, "8GB"), (math.inf, "more"))
NOT_MEASURED = "none"
PLANS = ("free", "per_call", "monthly")
TERMS = ("commercial", "conditions", "noncommercial", "unknown")
_FOREIGN = re.compile(r"[^\w.:+()/-]", re.ASCII)


@dataclass(frozen=True)
class Facet:
    """One thing to narrow a search by."""

    name: str  # in addresses and the API
    code: str  # before the colon
    title: str  # English, marked for translation where it is shown
    values: tuple[str, ...] = ()  # in their own order; () orders them by how many there are


FACETS = {
    facet.name: facet
    for facet in (
        Facet("kind", "k", "Kind"),
        Facet("task", "t", "Task"),
        Facet("vertical", "v", "Vertical"),
        Facet("terms", "g", "Business use", TERMS),
        Facet("licence", "l", "Licence"),
        Facet("language", "h", "Language"),
        Facet("device", "d", "Device"),
        Facet("memory", "m", "Memory", tuple(name for _, name in MEMORIES)),
        Facet("price", "p", "Price", PLANS),
        Facet("size", "s", "Size", tuple(name for _, name in SIZES)),
        Facet("latency", "y", "Latency", (*(name for _, name in LATENCIES), NOT_MEASURED)),
        Facet("rating", "r", "Rating", ("4", "3")),
    )
}


def code(name: str, value: str) -> str:
    """A facet's value as its code; two values that differ in a foreign sign only are one."""
    return f"{FACETS[name].code}:{plain(value)}"


def plain(value: str) -> str:
    """A value with no sign that could mean something to a database."""
    return _FOREIGN.sub("_", value)[:100]


def token(code: str) -> str:
    """A code as a token of the index."""
    return code.casefold()


@functools.lru_cache(maxsize=4096)
def value_of(code: str) -> str:
    """The value of a code, with the spaces of a licence's expression."""
    return re.sub(r"_(AND|OR|WITH)_", r" \1 ", code.partition(":")[2])


def codes_of(listing: Listing, version: Version, stars: tuple[float, int]) -> list[str]:
    """All codes of a listing with its listed version, and the mean and number of its ratings."""
    needs = version.offer.get("needs") or {}
    several: list[tuple[str, Any]] = [
        ("kind", [listing.kind]),
        ("task", [listing.task]),
        ("vertical", listing.verticals),
        ("terms", [terms_of(version.license_package, version.license_weights, version.license_base)]),
        ("licence", [version.license_weights]),
        ("language", listing.languages),
        ("device", needs.get("devices") or ["cpu"]),
        ("price", [listing.price.get("plan", "free")]),
        ("size", [bucket(SIZES, version.size)]),
    ]
    memory = memory_of(version)
    if memory is not None:
        several.append(("memory", [bucket(MEMORIES, memory)]))
    latency = latency_of(version)
    several.append(("latency", [NOT_MEASURED if latency is None else bucket(LATENCIES, latency)]))
    mean, count = stars
    if count:
        several.append(("rating", [least for least in ("4", "3") if mean >= int(least)]))
    return list(dict.fromkeys(code(name, str(value)) for name, values in several for value in values))


def bucket(limits: tuple[tuple[float, str], ...], value: float) -> str:
    """The first of the buckets that a value fits into."""
    return next(name for limit, name in limits if value <= limit)


def latency_of(version: Version) -> float | None:
    """Milliseconds of one answer, the median, as it was measured here; None when it was not."""
    found = version.measured.get("latency_ms")
    return _number(found.get("p50") if isinstance(found, dict) else found)


def memory_of(version: Version) -> float | None:
    """Bytes that it takes while it serves: measured here, else what its vendor says that it needs."""
    return _number(version.measured.get("memory")) or _number(
        (version.offer.get("needs") or {}).get("memory")
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


@functools.lru_cache(maxsize=4096)
def terms_of(package: str, weights: str, base: str) -> str:
    """Whether a business may use it: commercial, conditions, noncommercial, or unknown."""
    # Imported late: the table of SPDX takes a third of a second, and only changes of listings need it.
    from catalog import licences

    found: set[licences.Term] = set()
    try:
        for expression in filter(None, (package, weights, base)):
            found |= licences.read(expression).terms
    except licences.UnknownLicence:
        return "unknown"
    if found & {licences.Term.non_commercial, licences.Term.research_only}:
        return "noncommercial"
    if licences.Term.not_stated in found:
        return "unknown"
    return "conditions" if licences.Term.conditions in found else "commercial"
