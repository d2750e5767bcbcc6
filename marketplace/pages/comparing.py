"""Up to four listings side by side by measured numbers."""

from dataclasses import dataclass

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Template
from sqlmodel import Session

from marketplace import comparing
from marketplace.auth import AnyRequest, Viewer
from marketplace.pages import narrowing
from marketplace.pages.rendering import page
from marketplace.permissions import Permission


@dataclass(frozen=True)
class Swap:
    """A listing that found no room, and what stands beside each other with it in the last one's place."""

    name: str
    names: list[str]


@get("/compare", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def compare(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromQuery[list[str] | None] = None,
) -> Template:
    """The table; with fewer than two listings it says how to choose some, of too many it takes the first."""
    names = list(dict.fromkeys(each.strip() for each in name or [] if each.strip()))
    found = comparing.compare(db, names[: comparing.MOST])
    return page(
        request,
        viewer,
        "compare.html",
        found=found,
        items=found.items,
        most=comparing.MOST,
        left_out=[Swap(each, [*names[: comparing.MOST - 1], each]) for each in names[comparing.MOST :][:20]],
        label=lambda facet, value: narrowing.label(facet, value, viewer.lang),
    )


handlers = [compare]
