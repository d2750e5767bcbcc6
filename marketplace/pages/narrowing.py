"""The search page's ways to narrow: each facet's values as links that add or take away one filter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from catalog import taxonomy
from catalog.search import FACETS, FacetValue, Sort
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages.rendering import device_title

SHOWN = 7  # values of a facet before the rest is folded away
TITLES = {
    "kind": _("Kind"),
    "task": _("Task"),
    "vertical": _("Vertical"),
    "terms": _("Business use"),
    "licence": _("Licence"),
    "language": _("Language"),
    "device": _("Runs on"),
    "memory": _("Memory that it takes"),
    "price": _("Price"),
    "size": _("Download size"),
    "latency": _("Latency, measured here"),
    "rating": _("Rating"),
}
WORDS = {
    "kind": {"model": _("Model"), "agent": _("Agent")},
    "terms": {
        "commercial": _("allowed"),
        "conditions": _("allowed, with conditions"),
        "noncommercial": _("not allowed"),
        "unknown": _("not known"),
    },
    "memory": {
        "500MB": _("up to 500 MB"),
        "1GB": _("500 MB to 1 GB"),
        "2GB": _("1 to 2 GB"),
        "8GB": _("2 to 8 GB"),
        "more": _("more than 8 GB"),
    },
    "price": {"free": _("free"), "per_call": _("by the call"), "monthly": _("by the month")},
    "size": {
        "10MB": _("up to 10 MB"),
        "50MB": _("10 to 50 MB"),
        "200MB": _("50 to 200 MB"),
        "1GB": _("200 MB to 1 GB"),
        "more": _("more than 1 GB"),
    },
    "latency": {
        "5ms": _("up to 5 ms"),
        "20ms": _("5 to 20 ms"),
        "100ms": _("20 to 100 ms"),
        "1s": _("100 ms to 1 s"),
        "more": _("more than 1 s"),
        "none": _("not measured"),
    },
    "rating": {"4": _("4 stars and more"), "3": _("3 stars and more")},
    "licence": {"LicenseRef-not-stated": _("not stated")},
}
SORTS = {
    Sort.fit: _("Best match"),
    Sort.newest: _("Newest"),
    Sort.size: _("Smallest"),
    Sort.latency: _("Fastest"),
}


@dataclass(frozen=True)
class Asked:
    """What the page was asked for; addresses are made from it."""

    q: str
    filters: Mapping[str, Sequence[str]]
    sort: Sort

    def link(self, *, offset: int = 0, sort: Sort | None = None, filters: object = None) -> str:
        """The address of the same search with something changed."""
        given = self.filters if filters is None else filters
        assert isinstance(given, Mapping)
        pairs = [("q", self.q)] if self.q else []
        pairs += [(name, value) for name, values in given.items() for value in values]
        order = sort or self.sort
        if order != Sort.fit:
            pairs.append(("sort", str(order)))
        if offset:
            pairs.append(("offset", str(offset)))
        return f"/search?{urlencode(pairs)}" if pairs else "/search"

    def toggled(self, name: str, value: str) -> str:
        """The address with one filter more, or without it."""
        had = list(self.filters.get(name, ()))
        now = [each for each in had if each != value] if value in had else [*had, value]
        rest = {other: values for other, values in self.filters.items() if other != name}
        return self.link(filters=rest | ({name: now} if now else {}))


@dataclass(frozen=True)
class Choice:
    """One value as a link; the address takes it away when it is chosen."""

    label: str
    count: str
    chosen: bool
    href: str


@dataclass(frozen=True)
class Group:
    """One facet: the values that are shown and those folded away."""

    name: str
    title: str
    first: list[Choice]
    rest: list[Choice]
    open: bool


def groups(asked: Asked, facets: Mapping[str, Sequence[FacetValue]], lang: str) -> list[Group]:
    """The facets that can narrow what was found."""
    made = []
    for name in FACETS:
        values = [each for each in facets.get(name, ()) if each.count or each.chosen]
        chosen = any(each.chosen for each in values)
        if len(values) < 2 and not chosen:
            continue
        choices = [_choice(asked, name, each, lang) for each in values]
        made.append(
            Group(
                name,
                gettext(lang, TITLES[name]),
                choices[:SHOWN],
                choices[SHOWN:],
                chosen or name in ("task", "vertical", "terms"),
            )
        )
    return made


def active(asked: Asked, facets: Mapping[str, Sequence[FacetValue]], lang: str) -> list[Choice]:
    """The filters in force, each with the address without it."""
    return [
        Choice(
            f"{gettext(lang, TITLES[name])}: {label(name, each.value, lang)}",
            "",
            True,
            asked.toggled(name, each.value),
        )
        for name in FACETS
        for each in facets.get(name, ())
        if each.chosen
    ]


def _choice(asked: Asked, name: str, value: FacetValue, lang: str) -> Choice:
    count = f"{'≥ ' if value.at_least else ''}{value.count:,}"
    return Choice(label(name, value.value, lang), count, value.chosen, asked.toggled(name, value.value))


def label(name: str, value: str, lang: str) -> str:
    """A value as people read it."""
    terms = {"task": taxonomy.TASKS, "vertical": taxonomy.VERTICALS, "language": taxonomy.LANGUAGES}
    if name in terms:
        return terms[name][value].title(lang) if value in terms[name] else value
    if name == "device":
        return device_title(value, lang)
    word = WORDS.get(name, {}).get(value)
    return gettext(lang, word) if word else value
