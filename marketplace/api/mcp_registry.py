"""/v0.1/servers: the MCP Registry's API over this shelf."""

from litestar import Router

router = Router("/v0.1", route_handlers=[], tags=["mcp-registry"])
