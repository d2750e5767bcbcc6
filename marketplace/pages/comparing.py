"""Up to four listings side by side by measured numbers."""

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


@get("/compare", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def compare(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromQuery[list[str] | None] = None,
) -> Template:
    """The table; with fewer than two listings it says how to choose some."""
    names = [each.strip() for each in name or [] if each.strip()]
    found = comparing.compare(db, names)
    return page(
        request,
        viewer,
        "compare.html",
        found=found,
        items=found.items,
        most=comparing.MOST,
        label=lambda facet, value: narrowing.label(facet, value, viewer.lang),
    )


handlers = [compare]
