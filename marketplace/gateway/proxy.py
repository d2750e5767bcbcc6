"""The gateway itself: read the path, check the key, find the upstream, relay both ways, count."""

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from marketplace.gateway import files
from marketplace.gateway.client import Client, ClientGone
from marketplace.gateway.heads import Request
from marketplace.gateway.problems import Refusal, language_of, starting_page
from marketplace.gateway.proxies import networks, origin
from marketplace.gateway.routes import Key, Path, Table, Target, read_path
from marketplace.gateway.upstream import Pools, Response, Upstream, UpstreamGone
from marketplace.gateway.usage import Usage
from marketplace.gateway.wire import Headers, Limits, encode_head, end_to_end, find, log

_SAFE = (b"GET", b"HEAD", b"OPTIONS")
_MODEL_FIELD = re.compile(rb'(?i)content-disposition:[^\r\n]*[;\s]name="?model"?(?:[;\s]|$)')
MOST_PARTS, LONGEST_NAME = 64, 200  # of a form; bytes
_FORWARDED = frozenset(
    {
        b"host",
        b"content-length",
        b"expect",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-server",
        b"x-real-ip",
        files.FIELD,
    }
)
# A model server is not trusted with what belongs to the shop, which lives on the same origin:
# it sees neither keys nor cookies, and may set nothing that outlives its answer.
_KEPT_FROM_REPLICAS = _FORWARDED | {b"authorization", b"cookie"}
_KEPT_FROM_CLIENTS = frozenset(
    {
        b"set-cookie",
        b"clear-site-data",
        b"service-worker-allowed",
        b"strict-transport-security",
        b"alt-svc",
        b"content-security-policy",
        b"x-content-type-options",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        files.FIELD,
    }
)
_KEPT_OF_THE_SHOP = frozenset({files.FIELD})
_REPLICA_HEADERS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
]


@dataclass(slots=True)
class Relay:
    """One exchange to be passed on: where to, with what, and what became of it."""

    address: str
    path: bytes
    headers: Headers
    repeatable: bool
    max_body: int | None = None
    target: Target | None = None
    body: bytes | None = None
    status: int = 0
    tokens: int = 0
    bytes_out: int = 0


class Gateway:
    """Answers client connections from the shop's routes; `shop` is the address of the shop's socket.

    Where `home` is given, files below it are sent from here as the shop tells. `proxies` are networks of
    those that are believed when they say who asks.
    """

    def __init__(
        self,
        shop: str,
        limits: Limits | None = None,
        language: str = "zh",
        home: FilePath | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        self.limits = limits or Limits()
        self.proxies = networks(proxies)
        self.home = home
        self.shop, self.language = shop, language
        self.table = Table()
        self._known = asyncio.Event()
        self._swapped = asyncio.Event()
        self.pools = Pools(self.limits)
        self.usage = Usage(self.pools, shop)
        self.clients: set[Client] = set()
        self._jobs: set[asyncio.Task[None]] = set()

    def connect(self) -> Client:
        """A protocol for one new client connection."""
        return Client(self.limits, self.handle, self.clients)

    def swap(self, table: Table) -> None:
        """Put a new table in force; exchanges under way go on where they are."""
        self.table = table
        self._known.set()
        self._swapped.set()
        self._swapped = asyncio.Event()
        self.pools.keep_only({t.address for t in table.targets.values()} | {self.shop})

    async def sweep(self) -> None:
        """Look after slow clients and idle connections for ever."""
        loop = asyncio.get_running_loop()
        pause = min(1.0, self.limits.header_seconds / 4, self.limits.body_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            self.pools.sweep(now)
            for client in list(self.clients):
                client.sweep(now)

    async def drain(self, seconds: float) -> None:
        """Let answers under way finish, for so long; event streams and idle connections end at once."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.clients and loop.time() < end:
            for client in list(self.clients):
                if not client.busy or client.streaming_events:
                    client.close()
            await asyncio.sleep(0.02)
        for client in list(self.clients):
            client.abort()
        await self.usage.flush()

    async def handle(self, client: Client, request: Request) -> None:
        """Answer one request; raises only ClientGone and cancellation."""
        shape = request.target.decode("latin-1")
        try:
            if request.refusal is not None:
                raise request.refusal
            if request.upgrade == b"websocket":
                raise Refusal(501, "upgrade-unsupported", close=True)
            path = read_path(request.target)
            shape = path.path
            await self._route(client, request, path)
        except Refusal as refusal:
            await self._refuse(client, request, refusal, shape)
        except ClientGone:
            raise
        except Exception as error:
            log("internal-error", "error", error=type(error).__name__, where=_where(error))
            await self._refuse(client, request, Refusal(500, "internal-error", close=True), shape)

    async def _refuse(self, client: Client, request: Request, refusal: Refusal, path: str) -> None:
        if client.answered:
            client.abort()  # half an answer is out: the client must not take it for a whole one
            raise ClientGone("cut short")
        await client.refuse(refusal, path, self._language(request))

    async def _route(self, client: Client, request: Request, path: Path) -> None:
        first, _, rest = path.path[1:].partition("/")
        if path.hidden:
            raise Refusal(404, "not-found", path=path.path)
        if first in ("d", "v1", "v2") and not path.path.startswith("/v2/health"):
            await self._first_table()
        if first == "d" and rest:
            await self._by_path(client, request, path, rest)
        elif first == "v1":
            await self._openai(client, request, path, rest)
        elif first == "v2":
            await self._inference(client, request, path, rest)
        else:
            await self._to_shop(client, request, path)

    async def _first_table(self) -> None:
        """Hold what needs the table until the shop has told it once: no key is known before."""
        try:
            await asyncio.wait_for(self._known.wait(), self.limits.first_table_seconds)
        except TimeoutError:
            raise Refusal(503, "shop-starting", headers=[(b"retry-after", b"1")]) from None

    async def _target(self, deployment: str, key: Key) -> Target:
        """The target of a deployment; one that is just starting is given a moment to become live.

        The shop says "live" an instant before this gateway has the table that says so.
        """
        target = self.table.targets.get(deployment)
        if target is not None and target.state == "starting" and key.opens(deployment):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._swapped.wait(), self.limits.going_live_seconds)
        return self.table.target_for(deployment, key)

    async def _by_path(self, client: Client, request: Request, path: Path, rest: str) -> None:
        """/d/{deployment}/{rest}: every route of one server."""
        deployment, _, inner = rest.partition("/")
        await self._to_replica(client, request, deployment, path.encoded("/" + inner))

    async def _inference(self, client: Client, request: Request, path: Path, rest: str) -> None:
        """/v2: the Open Inference Protocol, deployments by the name of the model."""
        parts = rest.rstrip("/").split("/")
        if parts == [""]:
            answer: object = {"name": "opc-market", "version": "1", "extensions": ["binary_tensor_data"]}
        elif parts == ["health", "live"]:
            answer = {"live": True}
        elif parts == ["health", "ready"]:
            answer = {"ready": self._known.is_set()}
        elif parts[0] == "models" and len(parts) > 1 and parts[1]:
            await self._to_replica(client, request, parts[1], path.encoded(path.path))
            return
        else:
            raise Refusal(404, "not-found", path=path.path)
        await _send_json(client, request, answer)

    async def _openai(self, client: Client, request: Request, path: Path, rest: str) -> None:
        """/v1: OpenAI's routes, deployments by the body's `model`."""
        key = self.table.key_of(find(request.headers, b"authorization"))
        parts = rest.rstrip("/").split("/")
        if parts[0] == "models":
            live = [_model(t) for t in self.table.targets.values() if t.serving and key.opens(t.name)]
            if len(parts) == 1:
                await _send_json(client, request, {"object": "list", "data": live})
                return
            name = "/".join(parts[1:])
            self.table.target_for(name, key)
            await _send_json(client, request, next(m for m in live if m["id"] == name))
            return
        if parts == [""]:
            raise Refusal(404, "not-found", path=path.path)
        if request.method != b"POST":
            raise Refusal(
                405,
                "method-not-allowed",
                headers=[(b"allow", b"POST")],
                method=request.method.decode(),
                allow="POST",
            )
        body = await self._collect(client, request, self.table.max_body)
        form = find(request.headers, b"content-type")
        name = _form_model(body, form) if form.lower().startswith(b"multipart/") else _model_named(body)
        await self._to_replica(client, request, name, path.encoded(path.path), body)

    async def _to_replica(
        self, client: Client, request: Request, deployment: str, path: bytes, body: bytes | None = None
    ) -> None:
        key = self.table.key_of(find(request.headers, b"authorization"))
        target = await self._target(deployment, key)
        headers = end_to_end(request.headers, _KEPT_FROM_REPLICAS) + self._forwarded(client, request)
        if target.key:
            headers.append((b"authorization", b"Bearer " + target.key.encode()))
        limit = self.table.max_body
        if request.length is not None and request.length > limit:
            raise _too_large(limit)
        if body is None and request.length is not None and request.length <= self.limits.replay_bytes:
            body = await self._collect(client, request, limit)
        relay = Relay(target.address, path, headers, body is not None, limit, target, body)
        began = time.monotonic()
        try:
            await self._relay(client, request, relay)
        except UpstreamGone as gone:
            relay.status = 502
            raise _gone(gone, deployment) from None
        except TimeoutError:
            relay.status = 504
            raise Refusal(
                504, "upstream-timeout", deployment=deployment, seconds=self.limits.answer_seconds
            ) from None
        except Refusal as refusal:
            relay.status = refusal.status
            raise
        finally:
            self.usage.add(
                deployment,
                key.id,
                status=relay.status,
                tokens=relay.tokens,
                bytes_in=request.body.size,
                bytes_out=relay.bytes_out,
                seconds=time.monotonic() - began,
            )

    async def _to_shop(self, client: Client, request: Request, path: Path) -> None:
        headers = end_to_end(request.headers, _FORWARDED) + self._forwarded(client, request)
        if self.home is not None:
            headers.append(files.OFFER)
        body = None if request.has_body else b""
        # Only what may safely happen twice is sent over a connection that could be stale.
        repeatable = request.method in _SAFE and body is not None
        relay = Relay(self.shop, path.encoded(path.path), headers, repeatable, body=body)
        try:
            await self._relay(client, request, relay)
        except (UpstreamGone, TimeoutError):
            if client.answered:
                raise ClientGone("cut short") from None
            wants_page = request.method == b"GET" and b"text/html" in find(request.headers, b"accept")
            if not wants_page:
                raise Refusal(503, "shop-starting", headers=[(b"retry-after", b"1")]) from None
            page, fields = starting_page(self._language(request))
            await client.send(503, fields, page)

    def _forwarded(self, client: Client, request: Request) -> Headers:
        """Who asks, where and how, in the place of what the client says of it."""
        host = find(request.headers, b"host")
        address, scheme = origin(client.peer, request.headers, self.proxies)
        return [
            (b"host", host),
            (b"x-forwarded-for", address.encode()),
            (b"x-forwarded-host", host),
            (b"x-forwarded-proto", scheme.encode()),
        ]

    def _language(self, request: Request) -> str:
        return language_of(find(request.headers, b"accept-language"), self.language)

    async def _relay(self, client: Client, request: Request, relay: Relay) -> None:
        """Pass a request on and its answer back; tried once more where a used connection turns out stale."""
        for attempt in (1, 2):
            fresh = attempt == 2 or not relay.repeatable
            connection, used = await self.pools.connect(relay.address, fresh=fresh)
            try:
                await self._exchange(client, request, relay, connection)
                return
            except UpstreamGone as gone:
                if not used or gone.begun:
                    raise
            finally:
                self.pools.put_back(relay.address, connection)

    async def _exchange(self, client: Client, request: Request, relay: Relay, connection: Upstream) -> None:
        connection.begin(request.method, _request_head(request, relay) + (relay.body or b""))
        pump = self._spawn(self._pump(client, request, connection, relay)) if relay.body is None else None
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                response = await connection.answer()
            await self._send_back(client, relay, response)
        except BaseException:
            connection.close()
            raise
        finally:
            if pump is not None and not pump.done():
                pump.cancel()
                connection.close()  # the server has answered half a request, and still waits for the rest

    async def _send_back(self, client: Client, relay: Relay, response: Response) -> None:
        relay.status = response.status
        headers = end_to_end(response.headers, _KEPT_FROM_CLIENTS if relay.target else _KEPT_OF_THE_SHOP)
        told = find(response.headers, files.FIELD)
        if told and relay.target is None and client.answering is not None:
            await self._send_file(client, relay, response, headers, told)
            return
        if relay.target is not None:
            headers += _REPLICA_HEADERS
            tokens = find(headers, b"x-usage-tokens")
            relay.tokens = int(tokens) if tokens.isdigit() and len(tokens) < 12 else 0
        client.streaming_events = find(headers, b"content-type").startswith(b"text/event-stream")
        piece = client.start_answer(response.status, headers, length=response.length)
        body, done = response.body, response.body.ended
        data = body.take() if done or body.waiting else b""
        while True:
            relay.bytes_out += len(data)
            await client.write(piece, data, last=done)
            if done:
                return
            piece, data = b"", await body.read()
            done = body.ended and not body.waiting

    async def _send_file(
        self, client: Client, relay: Relay, response: Response, headers: Headers, told: bytes
    ) -> None:
        """Send the file that the shop told, under the head that it gave."""
        while await response.body.read():
            pass  # the shop sends none; its connection is free for the next request
        try:
            if self.home is None:
                raise files.NotSendable("no home")
            piece = files.Piece.parse(told)
            file = files.open_piece(self.home, piece)
        except files.NotSendable as why:
            log("file-not-sendable", "error", why=str(why))
            raise Refusal(500, "internal-error") from None
        try:
            fields = [field for field in headers if field[0] != b"content-length"]
            fields.append((b"content-length", b"%d" % piece.length))
            head = client.start_answer(response.status, fields, length=piece.length)
            relay.bytes_out += await client.send_file(head, file, piece.offset, piece.length)
        finally:
            os.close(file)

    async def _pump(self, client: Client, request: Request, connection: Upstream, relay: Relay) -> None:
        """Pass a request's body on as it comes."""
        chunked = request.length is None
        try:
            client.send_continue(request)
            while data := await request.body.read():
                if relay.max_body is not None and request.body.size > relay.max_body:
                    raise _too_large(relay.max_body)
                await connection.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            if chunked:
                await connection.send(b"0\r\n\r\n")
        except UpstreamGone:
            pass  # whoever waits for the answer learns it from the connection
        except (Refusal, ClientGone) as error:
            connection.fail(error)

    async def _collect(self, client: Client, request: Request, limit: int) -> bytes:
        """The whole body of a request."""
        if request.length is not None and request.length > limit:
            raise _too_large(limit)
        if not request.body.ended:
            client.send_continue(request)
        parts = []
        while chunk := await request.body.read():
            parts.append(chunk)
            if request.body.size > limit:
                raise _too_large(limit)
        return b"".join(parts)

    def _spawn(self, job: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task


def _request_head(request: Request, relay: Relay) -> bytes:
    headers = relay.headers
    if relay.body is None and request.length is None:
        headers = [*headers, (b"transfer-encoding", b"chunked")]
    elif relay.body is None:
        headers = [*headers, (b"content-length", b"%d" % (request.length or 0))]
    elif relay.body or request.method not in _SAFE:
        headers = [*headers, (b"content-length", b"%d" % len(relay.body))]
    return encode_head(b"%b %b HTTP/1.1" % (request.method, relay.path), headers)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body-too-large", limit=limit)


def _gone(gone: UpstreamGone, deployment: str) -> Refusal:
    return Refusal(
        502, "upstream-gone", headers=[(b"retry-after", b"1")], deployment=deployment, why=str(gone)
    )


def _model(target: Target) -> dict[str, object]:
    return {"id": target.name, "object": "model", "created": 0, "owned_by": "opc-market"}


def _model_named(body: bytes) -> str:
    """The string `model` of a JSON body; refuses a body without one."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "body-not-json", why=str(error)) from None
    if not isinstance(message, dict):
        raise Refusal(400, "body-not-json", why=f"it is of type {type(message).__name__}")
    name = message.get("model")
    if not isinstance(name, str) or not name:
        raise Refusal(400, "model-missing")
    return name


def _form_model(body: bytes, content_type: bytes) -> str:
    """The field `model` of a multipart form, as recordings are sent; refuses a form without one."""
    boundary = re.search(rb'boundary="?([^";\s]{1,70})', content_type)
    if boundary:
        for part in body.split(b"--" + boundary[1])[1:MOST_PARTS]:
            head, _, value = part.partition(b"\r\n\r\n")
            if _MODEL_FIELD.search(head[:1000]):
                name = value.removesuffix(b"\r\n")
                if 0 < len(name) <= LONGEST_NAME:
                    return name.decode("utf-8", "replace")
    raise Refusal(400, "model-missing")


async def _send_json(client: Client, request: Request, answer: object) -> None:
    if request.method not in (b"GET", b"HEAD"):
        raise Refusal(
            405,
            "method-not-allowed",
            headers=[(b"allow", b"GET, HEAD")],
            method=request.method.decode(),
            allow="GET, HEAD",
        )
    await client.send(200, [(b"content-type", b"application/json")], json.dumps(answer).encode())


def _where(error: BaseException) -> str:
    """File and line of an error, without its text, which may hold what a client sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
