"""/v0.1/servers: the MCP Registry's API over this shelf: its agents in the form of server.json."""

from datetime import datetime
from typing import Any

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlmodel import Session

from marketplace import mcp_registry
from marketplace.errors import InvalidRequest
from marketplace.hub import moment_of
from marketplace.hub_files import words_of
from marketplace.mcp_registry import LARGEST_PAGE, PAGE, Server, Wanted
from marketplace.permissions import Permission
from marketplace.services import Services

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
OFFICIAL = "io.modelcontextprotocol.registry/official"
OWN = "io.modelcontextprotocol.registry/publisher-provided"
_LONGEST = 100  # characters of a description or a title


@get("/servers", permission=Permission.browse, sync_to_thread=True)
def servers(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    cursor: FromQuery[str] = "",
    limit: FromQuery[int] = PAGE,
    search: FromQuery[str] = "",
    updated_since: FromQuery[str] = "",
    version: FromQuery[str] = "",
    include_deleted: FromQuery[bool] = False,
) -> dict[str, Any]:
    """Servers by name; `version` is latest or a number, `updated_since` a time as in RFC 3339."""
    limit = max(1, min(limit, LARGEST_PAGE))
    wanted = Wanted(search, version, _moment(updated_since), include_deleted)
    found = mcp_registry.list_servers(db, wanted, cursor=cursor, limit=limit)
    listed = _listed(services, found[:limit])
    if len(found) > limit:
        listed["metadata"]["nextCursor"] = found[limit - 1].cursor
    return listed


@get("/servers/{vendor:str}/{name:str}/versions", permission=Permission.browse, sync_to_thread=True)
def versions(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    vendor: FromPath[str],
    name: FromPath[str],
    include_deleted: FromQuery[bool] = False,
) -> dict[str, Any]:
    """All versions of a server, the newest first."""
    found = mcp_registry.versions_of(db, f"{vendor}/{name}", deleted=include_deleted)
    return _listed(services, found)


@get(
    "/servers/{vendor:str}/{name:str}/versions/{number:str}",
    permission=Permission.browse,
    sync_to_thread=True,
)
def version_of(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
    include_deleted: FromQuery[bool] = False,
) -> dict[str, Any]:
    """One version of a server, or its latest."""
    found = mcp_registry.get_server(db, f"{vendor}/{name}", number, deleted=include_deleted)
    return described(services, found)


@get("/servers/{vendor:str}/{name:str}", permission=Permission.browse, sync_to_thread=True)
def server(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    vendor: FromPath[str],
    name: FromPath[str],
) -> dict[str, Any]:
    """The latest version of a server."""
    return described(services, mcp_registry.get_server(db, f"{vendor}/{name}", mcp_registry.LATEST))


def described(services: Services, found: Server) -> dict[str, Any]:
    """A server with what the registry knows about it.

    Nothing listed here speaks MCP by itself: it is deployed first. So no entry has `packages` or `remotes`,
    which a client would try to start or to call, and each says how it is had.
    """
    listing, version = found.listing, found.version
    words = words_of(listing, version)
    return {
        "server": {
            "$schema": SCHEMA,
            "name": listing.name,
            "title": words["title_en"][:_LONGEST],
            "description": (words["summary_en"] or words["title_en"])[:_LONGEST],
            "version": version.number,
            "websiteUrl": f"{services.settings.url}/listings/{listing.name}",
            "_meta": {
                OWN: {
                    "digest": version.digest,
                    "title_zh": words["title_zh"],
                    "summary_zh": words["summary_zh"],
                    "task": version.manifest["task"],
                    "license": version.license_package,
                    "deploy": f"market deploy {listing.name}@{version.number}",
                }
            },
        },
        "_meta": {
            OFFICIAL: {
                "status": found.status,
                "statusChangedAt": moment_of(found.changed),
                "publishedAt": moment_of(found.published),
                "updatedAt": moment_of(found.changed),
                "isLatest": found.latest,
            }
        },
    }


def _listed(services: Services, found: list[Server]) -> dict[str, Any]:
    return {"servers": [described(services, one) for one in found], "metadata": {"count": len(found)}}


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.replace(" ", "+"))  # a plus that was not encoded
    except ValueError:
        raise InvalidRequest(why="updated_since") from None


router = Router("/v0.1", route_handlers=[servers, versions, version_of, server], tags=["mcp-registry"])
