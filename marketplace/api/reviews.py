"""Checks and operators' decisions."""

from litestar import Router

router = Router("/api", route_handlers=[], tags=["reviews"])
