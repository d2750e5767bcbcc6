"""The pages that a browser sees, rendered on the server; they show the same values as the API."""

from litestar import Router

from marketplace.pages import (
    account,
    comparing,
    deployments,
    design,
    importing,
    offered,
    optimizing,
    packaging,
    passport,
    people,
    reviewing,
    settings,
    storefront,
    vendor,
)
from marketplace.pages.account import problem_page
from marketplace.pages.rendering import template_config
from marketplace.pages.static import static_router

__all__ = ["problem_page", "routers", "static_router", "template_config"]


def routers() -> list[Router]:
    """Everything to mount: the pages and their static files."""
    handlers = [
        *storefront.handlers,
        *offered.handlers,
        *deployments.handlers,
        *optimizing.handlers,
        *packaging.handlers,
        *comparing.handlers,
        *vendor.handlers,
        *importing.handlers,
        *reviewing.handlers,
        *passport.handlers,
        *people.handlers,
        *account.handlers,
        *settings.handlers,
        *design.handlers,
    ]
    return [Router("/", route_handlers=handlers), static_router()]
