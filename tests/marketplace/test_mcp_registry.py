"""/v0.1/servers of a real shop with agents on its shelf, in the shapes of the MCP Registry's API."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from jsonschema import Draft202012Validator
from sqlmodel import select

from catalog import review
from catalog.models import CheckState, ListingKind, VersionEvent, VersionState
from tests.marketplace.hubs import database, put, version_of
from tests.shop import Shop

CLERK, SCOUT, TAKEN, MODEL = "acme/clerk", "acme/scout", "acme/taken-back", "acme/reader"
OFFICIAL = "io.modelcontextprotocol.registry/official"
OWN = "io.modelcontextprotocol.registry/publisher-provided"
TIME = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
TRANSPORT = {
    "type": "object",
    "required": ["type", "url"],
    "properties": {"type": {"enum": ["streamable-http", "sse"]}, "url": {"pattern": r"^https?://\S+$"}},
}
PACKAGE = {
    "type": "object",
    "required": ["registryType", "identifier", "transport"],
    "properties": {"transport": {"type": "object", "required": ["type"]}},
}
SERVER = {
    "type": "object",
    "required": ["$schema", "name", "description", "version"],
    "properties": {
        "$schema": {"pattern": r"^https://static\.modelcontextprotocol\.io/schemas/.*/server\.schema\.json$"},
        "name": {"pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", "minLength": 3, "maxLength": 200},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": {"type": "string", "maxLength": 255, "pattern": r"^\d+\.\d+\.\d+$"},
        "websiteUrl": {"type": "string", "pattern": "^https?://"},
        "packages": {"type": "array", "items": PACKAGE},
        "remotes": {"type": "array", "items": TRANSPORT},
        "_meta": {"type": "object", "additionalProperties": False, "properties": {OWN: {"type": "object"}}},
    },
    "additionalProperties": False,
}
META = {
    "type": "object",
    "required": ["status", "publishedAt", "updatedAt", "isLatest"],
    "properties": {
        "status": {"enum": ["active", "deprecated", "deleted"]},
        "statusChangedAt": TIME,
        "publishedAt": TIME,
        "updatedAt": TIME,
        "isLatest": {"type": "boolean"},
    },
    "additionalProperties": False,
}
ENTRY = {
    "type": "object",
    "required": ["server", "_meta"],
    "properties": {
        "server": SERVER,
        "_meta": {"type": "object", "required": [OFFICIAL], "properties": {OFFICIAL: META}},
    },
    "additionalProperties": False,
}
LIST = {
    "type": "object",
    "required": ["servers", "metadata"],
    "properties": {
        "servers": {"type": "array", "items": ENTRY},
        "metadata": {
            "type": "object",
            "required": ["count"],
            "properties": {"count": {"type": "integer"}, "nextCursor": {"type": "string", "minLength": 1}},
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with agents: several versions, one that is deprecated, one that was taken back, a draft."""
    folder = tmp_path_factory.mktemp("registry")
    with Shop.start(folder / "home", MARKET_SHELF="none") as shop:

        def agent(name: str, number: str = "1.0.0", state: str = VersionState.listed) -> None:
            content = f"{name} {number}".encode()
            put(shop, folder, {"model.onnx": content}, name, number, kind=ListingKind.agent, state=state)

        for number in ("1.0.0", "1.9.0", "1.10.0"):
            agent(CLERK, number)
        agent(CLERK, "2.0.0", VersionState.draft)
        agent(SCOUT)
        agent(TAKEN)
        agent("acme/draft", state=VersionState.draft)
        put(shop, folder, {"model.onnx": b"model"}, MODEL)
        with database(shop) as db:
            review.change(db, version_of(db, CLERK, "1.9.0"), VersionState.deprecated, by=None, why="old")
            review.change(db, version_of(db, TAKEN, "1.0.0"), VersionState.yanked, by=None, why="broken")
        yield shop


def ask(shop: Shop, path: str = "", **query: Any) -> Any:
    answer = httpx.get(f"{shop.url}/v0.1/servers{path}", params=query)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    Draft202012Validator(LIST if "servers" in told else ENTRY).validate(told)
    return told


def shown(told: Any) -> list[tuple[str, str]]:
    return [(entry["server"]["name"], entry["server"]["version"]) for entry in told["servers"]]


def refusal(shop: Shop, path: str = "", **query: Any) -> tuple[int, str]:
    answer = httpx.get(f"{shop.url}/v0.1/servers{path}", params=query)
    return answer.status_code, answer.json()["code"]


CLERKS = [(CLERK, "1.10.0"), (CLERK, "1.9.0"), (CLERK, "1.0.0")]


def test_agents_are_listed_by_name_with_all_their_versions_the_newest_first(registry: Shop) -> None:
    told = ask(registry)
    assert shown(told) == [*CLERKS, (SCOUT, "1.0.0")]
    assert told["metadata"] == {"count": 4}
    states = [entry["_meta"][OFFICIAL]["status"] for entry in told["servers"]]
    assert states == ["active", "deprecated", "active", "active"]
    assert [entry["_meta"][OFFICIAL]["isLatest"] for entry in told["servers"]] == [True, False, False, True]


def test_an_entry_says_what_it_is_and_promises_no_server_that_nobody_runs(registry: Shop) -> None:
    entry = ask(registry, f"/{CLERK}/versions/1.10.0")
    server, own = entry["server"], entry["server"]["_meta"][OWN]
    assert (server["title"], server["description"]) == ("Invoice reader", "Reads what is on an invoice.")
    assert server["websiteUrl"] == f"{registry.url}/listings/{CLERK}"
    assert httpx.get(server["websiteUrl"]).status_code == 200
    assert (own["title_zh"], own["license"], own["deploy"]) == (
        "读票",
        "MIT",
        f"market deploy {CLERK}@1.10.0",
    )
    assert own["digest"].startswith("sha256:")
    assert not {"packages", "remotes"} & server.keys()


def test_pages_follow_each_other_by_their_cursors(registry: Shop) -> None:
    found, cursor = [], ""
    for _ in range(4):
        told = ask(registry, limit=1, cursor=cursor)
        found += shown(told)
        cursor = told["metadata"].get("nextCursor", "")
    assert found == [*CLERKS, (SCOUT, "1.0.0")]
    assert cursor == ""
    assert refusal(registry, cursor="clerk") == (400, "invalid-request")
    assert refusal(registry, cursor=f"{CLERK}:newest") == (400, "invalid-request")
    assert len(ask(registry, limit=-3)["servers"]) == 1


def test_a_list_is_narrowed_by_name_version_and_time(registry: Shop) -> None:
    assert shown(ask(registry, search="SCOU")) == [(SCOUT, "1.0.0")]
    assert shown(ask(registry, search="%")) == []
    assert shown(ask(registry, version="latest")) == [(CLERK, "1.10.0"), (SCOUT, "1.0.0")]
    assert shown(ask(registry, version="1.0.0")) == [(CLERK, "1.0.0"), (SCOUT, "1.0.0")]
    now = datetime.now(UTC)
    assert shown(ask(registry, updated_since=(now + timedelta(hours=1)).isoformat())) == []
    assert refusal(registry, updated_since="yesterday") == (400, "invalid-request")


def test_who_follows_changes_is_told_what_was_taken_back(registry: Shop) -> None:
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert (TAKEN, "1.0.0") in shown(ask(registry, updated_since=since))
    assert (TAKEN, "1.0.0") in shown(ask(registry, include_deleted=True))
    assert refusal(registry, f"/{TAKEN}/versions") == (404, "mcp-server-unknown")
    entry = ask(registry, f"/{TAKEN}/versions/1.0.0", include_deleted=True)
    assert entry["_meta"][OFFICIAL]["status"] == "deleted"


def test_versions_of_one_server(registry: Shop) -> None:
    for path in (f"/{CLERK}/versions", f"/{quote(CLERK, safe='')}/versions"):
        told = ask(registry, path)
        assert (shown(told), told["metadata"]) == (CLERKS, {"count": 3})
    assert refusal(registry, "/acme/nothing/versions") == (404, "mcp-server-unknown")
    assert refusal(registry, f"/{MODEL}/versions") == (404, "mcp-server-unknown")
    assert refusal(registry, "/acme/draft/versions") == (404, "mcp-server-unknown")


def test_one_version_and_the_latest(registry: Shop) -> None:
    newest = ask(registry, f"/{CLERK}/versions/1.10.0")
    assert ask(registry, f"/{CLERK}/versions/latest") == newest
    assert ask(registry, f"/{quote(CLERK, safe='')}/versions/latest") == newest
    assert ask(registry, f"/{CLERK}") == newest
    assert ask(registry, f"/{CLERK}/versions/1.9.0")["_meta"][OFFICIAL]["isLatest"] is False
    assert refusal(registry, f"/{CLERK}/versions/2.0.0") == (404, "mcp-server-unknown")
    assert refusal(registry, "/acme/nothing") == (404, "mcp-server-unknown")


def test_it_is_published_when_it_was_listed_and_updated_when_its_state_changed(registry: Shop) -> None:
    began, listed = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC)
    taken, back = datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)
    with database(registry) as db:
        version = version_of(db, SCOUT, "1.0.0")
        version.created = began
        db.add(version)
        event = db.exec(select(VersionEvent).where(VersionEvent.version_id == version.id)).one()
        event.at = listed
        db.add(event)
        for before, after, at in (("listed", "deprecated", taken), ("deprecated", "listed", back)):
            db.add(VersionEvent(version_id=version.id, before=before, after=after, at=at))
    told = ask(registry, f"/{SCOUT}")["_meta"][OFFICIAL]
    assert told["publishedAt"] == "2026-03-05T00:00:00.000Z"
    assert told["updatedAt"] == "2026-03-09T00:00:00.000Z"
    assert (SCOUT, "1.0.0") in shown(ask(registry, updated_since="2026-03-09T00:00:00Z"))
    assert (SCOUT, "1.0.0") not in shown(ask(registry, updated_since="2026-03-09T00:00:01Z"))


def test_what_newer_rules_refuse_is_not_offered(registry: Shop) -> None:
    with database(registry) as db:
        version = version_of(db, CLERK, "1.10.0")
        version.check_state = CheckState.failed
        db.add(version)
    try:
        assert refusal(registry, f"/{CLERK}/versions/1.10.0") == (404, "mcp-server-unknown")
        assert ask(registry, f"/{CLERK}")["server"]["version"] == "1.0.0"
    finally:
        with database(registry) as db:
            version = version_of(db, CLERK, "1.10.0")
            version.check_state = CheckState.passed
            db.add(version)
