"""Publishing: manifests, uploads, states, vendors."""

from litestar import Router

router = Router("/api", route_handlers=[], tags=["publishing"])
