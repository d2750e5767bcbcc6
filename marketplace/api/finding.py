"""Comparing and relating listings by measured numbers."""

from litestar import Router

router = Router("/api", route_handlers=[], tags=["catalogue"])
