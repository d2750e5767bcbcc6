"""Which deployment lies where, which key opens it, and how a request path is read.

The table is what the shop last said. Keys are known by their SHA-256 only: a look-up by digest
takes the same time for a near miss as for any other, so nothing is learned from timing.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from marketplace.gateway.problems import Refusal
from marketplace.gateway.upstream import Pools, UpstreamGone
from marketplace.gateway.wire import log


@dataclass(frozen=True, slots=True)
class Target:
    """Where one deployment is served; address is unix:/path or tcp:host:port."""

    name: str
    address: str
    state: str
    key: str

    @property
    def serving(self) -> bool:
        """True if requests may be sent there: a degraded or updating deployment still has a server."""
        return self.state in ("live", "degraded", "updating") and bool(self.address)


@dataclass(frozen=True, slots=True)
class Key:
    """What one key opens, and until when (seconds of the clock); deployments holds names, or * for all."""

    id: str
    deployments: frozenset[str]
    expires: float | None = None

    def opens(self, deployment: str) -> bool:
        """True if the key may call this deployment."""
        return "*" in self.deployments or deployment in self.deployments


@dataclass(frozen=True)
class Table:
    """One version of the routes, swapped as a whole."""

    version: int = 0
    targets: Mapping[str, Target] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    max_body: int = 33_554_432

    @classmethod
    def parse(cls, answer: Any) -> "Table":
        """Read the shop's answer; raises KeyError, TypeError or ValueError where it is not one."""
        targets = {
            name: Target(name, str(r.get("address") or ""), str(r["state"]), str(r.get("key") or ""))
            for name, r in answer["routes"].items()
        }
        keys = {
            digest: Key(str(k["id"]), frozenset(map(str, k["deployments"])), k.get("expires"))
            for digest, k in answer["keys"].items()
        }
        return cls(int(answer["version"]), targets, keys, int(answer.get("max_body") or cls.max_body))

    def key_of(self, authorization: bytes) -> Key:
        """The key of an Authorization header; refuses a missing or unknown one."""
        challenge = [(b"www-authenticate", b'Bearer realm="opc-market"')]
        scheme, _, token = authorization.strip().partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            raise Refusal(401, "key-missing", headers=challenge)
        key = self.keys.get(hashlib.sha256(token.strip()).hexdigest())
        if key is None or (key.expires is not None and key.expires <= time.time()):
            raise Refusal(401, "key-invalid", headers=challenge)
        return key

    def target_for(self, deployment: str, key: Key) -> Target:
        """The live target of a deployment that this key opens; refuses all else."""
        target = self.targets.get(deployment)
        if target is None:
            raise Refusal(404, "unknown-deployment", deployment=deployment)
        if not key.opens(deployment):
            raise Refusal(403, "key-not-for-deployment", deployment=deployment)
        if not target.serving:
            raise Refusal(
                503,
                "deployment-not-live",
                headers=[(b"retry-after", b"2")],
                deployment=deployment,
                state=target.state,
            )
        return target


@dataclass(frozen=True, slots=True)
class Path:
    """A request target, read: the path normalised (for routing and for passing on) and the raw query."""

    path: str
    query: bytes

    def encoded(self, path: str) -> bytes:
        """`path` with this query, as it goes on the wire."""
        raw = quote(path, safe="/:@!$&'()*+,;=~-._").encode()
        return raw + b"?" + self.query if self.query else raw

    @property
    def hidden(self) -> bool:
        """True for what only the gateway may ask of the shop, however often it is percent-encoded."""
        path = self.path
        for _ in range(8):
            first = path.replace("\\", "/").casefold().lstrip("/").split("/", 1)[0]
            if first.split(";", 1)[0].strip() == "internal":
                return True
            decoded = _resolve(unquote_to_bytes(path).decode("utf-8", "replace"))
            if decoded == path:
                return False
            path = decoded
        return True  # nobody encodes a path eight times over in good faith


def read_path(target: bytes) -> Path:
    """Decode a request target once, resolve dots, merge slashes; refuses what has no single meaning."""
    if not target.startswith(b"/"):
        target = _origin_form(target)
    raw, _, query = target.partition(b"?")
    query = query.partition(b"#")[0]
    try:
        path = unquote_to_bytes(raw.partition(b"#")[0]).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, "bad-request", why="the path is not UTF-8") from None
    if any(ord(c) < 32 or ord(c) == 127 for c in path) or "\\" in path:
        raise Refusal(400, "bad-request", why="control characters or backslashes in the path")
    if "//" in path or "/." in path:
        path = _resolve(path)
    return Path(path, query)


def _origin_form(target: bytes) -> bytes:
    """The path of an absolute URI, which a client that takes us for its proxy sends."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        raise Refusal(400, "bad-request", why="the request target is not a path")
    begin = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
    return b"/" + rest[begin:].removeprefix(b"/")


def _resolve(path: str) -> str:
    segments: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            if segments:
                segments.pop()
        elif part not in ("", "."):
            segments.append(part)
    tail = "/" if parts[-1] in ("", ".", "..") and segments else ""
    return "/" + "/".join(segments) + tail


async def follow(pools: Pools, shop: str, swap: Callable[[Table], None]) -> None:
    """Keep the table as the shop says: long polls, and a read in full whenever the shop was away.

    Asking after version N tells the shop that N is in force here. A shop that comes back counts
    from its own number, so after any failure the table is read anew whatever our version is.
    """
    version, pause, told = -1, 0.05, False
    while True:
        ask = b"/internal/routes?after=%d&wait=%d" % (max(version, 0), 25 if version >= 0 else 0)
        try:
            status, body = await pools.ask(shop, b"GET", ask, seconds=40)
            if status != 200:
                raise UpstreamGone(f"status {status}")
            table = Table.parse(json.loads(body))
        except (UpstreamGone, KeyError, TypeError, ValueError, AttributeError) as error:
            if version >= 0 and not told:
                log("routes-lost", "warning", why=str(error))
                told = True
            version = -1
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
            continue
        pause, told = 0.05, False
        if table.version != version:
            swap(table)
            log("routes", version=table.version, deployments=len(table.targets), keys=len(table.keys))
        version = table.version
