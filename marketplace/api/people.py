"""Accounts, tokens, sessions and the audit log."""

from litestar import Router

router = Router("/api", route_handlers=[], tags=["people"])
