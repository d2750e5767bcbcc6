"""Passports, ratings and analytics of listings."""

from litestar import Router

router = Router("/api", route_handlers=[], tags=["passports"])
