"""Peers of the gateway for its tests: a shop that speaks the internal contract, and model servers.

They are real servers on real sockets: uvicorn where good manners are wanted, bare sockets where bad ones are.
"""

import asyncio
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from marketplace.gateway.proxy import Gateway
from marketplace.gateway.routes import follow
from marketplace.gateway.wire import Limits

KEY = "mk_" + "k" * 43
OTHER_KEY = "mk_" + "o" * 43
DEADLINE = 20.0


def wait_for(condition: Callable[[], Any], what: str = "condition", seconds: float = DEADLINE) -> Any:
    """Poll until the condition holds; the value that it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what} not seen within {seconds} s")


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self, kind: str = "asyncio") -> None:
        self.loop = uvloop.new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    def start(self, coroutine: Any) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self) -> None:
        async def cancel_all() -> None:
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)

        self.run(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def read_body(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def answer(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    fields = [(b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def echo(scope: Any, body: bytes, **more: Any) -> bytes:
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]],
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "body": body[:1000].decode("latin-1"),
    }
    return json.dumps(seen | more).encode()


class Server:
    """An ASGI application under uvicorn on a unix socket or a port."""

    def __init__(self, loop: Loop, app: Any, uds: Path | None = None) -> None:
        self._loop = loop
        config = uvicorn.Config(
            app, uds=str(uds) if uds else None, port=0, ws="none", lifespan="off", log_config=None
        )
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        self._done = loop.start(self._server.serve())
        wait_for(lambda: self._server.started, "server")
        if uds:
            self.address = f"unix:{uds}"
        else:
            self.address = f"tcp:127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._done.result(DEADLINE)


class Shop:
    """The shop's side of the contract; every other path is echoed."""

    def __init__(self, loop: Loop, socket_path: Path) -> None:
        self.loop, self.path = loop, socket_path
        self.version = 1
        self.routes: dict[str, Any] = {}
        self.keys: dict[str, Any] = {}
        self.max_body = 1 << 20
        self.asked: list[int] = []
        self.batches: dict[str, Any] = {}
        self.deliveries: list[str] = []
        self.refuse_usage = 0
        self.posts = 0
        self.disconnects = 0
        self.stopping = False
        self.told: dict[str, tuple[int, list[tuple[bytes, bytes]]]] = {}
        self.server: Server | None = None

    def start(self) -> None:
        self.stopping = False
        self.server = Server(self.loop, self, self.path)

    def stop(self) -> None:
        if self.server is not None:
            self.stopping = True
            self.server.stop()
            self.server = None

    def put(self, name: str, address: str, state: str = "live", key: str = "") -> None:
        self.routes[name] = {"address": address, "state": state, "key": key}
        self.version += 1

    def allow(self, key: str, *deployments: str, key_id: str = "key-1") -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()
        self.keys[digest] = {"id": key_id, "deployments": list(deployments)}
        self.version += 1

    def usage(self) -> dict[tuple[str, str], dict[str, float]]:
        """Totals over the batches that were taken, each once."""
        totals: dict[tuple[str, str], dict[str, float]] = {}
        for batch in list(self.batches.values()):
            for item in batch:
                total = totals.setdefault((item["deployment"], item["key_id"]), {})
                for name, value in item.items():
                    if name not in ("deployment", "key_id"):
                        total[name] = total.get(name, 0) + value
        return totals

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/internal/routes":
            await self._routes(scope, send)
        elif scope["path"] == "/internal/usage":
            await self._usage(await read_body(receive), send)
        elif scope["path"] == "/events":
            await self._events(receive, send)
        elif scope["path"] in self.told:
            status, headers = self.told[scope["path"]]
            await answer(send, status, b"", *headers)
        else:
            body = await read_body(receive)
            self.posts += scope["method"] == "POST"
            await answer(send, 200, echo(scope, body, server="shop"), (b"set-cookie", b"session=1"))

    async def _routes(self, scope: Any, send: Any) -> None:
        asked = dict(part.split("=") for part in scope["query_string"].decode().split("&"))
        self.asked.append(int(asked["after"]))
        end = time.monotonic() + float(asked["wait"])
        while self.version <= int(asked["after"]) and time.monotonic() < end and not self.stopping:
            await asyncio.sleep(0.01)
        told = {
            "version": self.version,
            "routes": self.routes,
            "keys": self.keys,
            "max_body": self.max_body,
        }
        await answer(send, 200, json.dumps(told).encode())

    async def _usage(self, body: bytes, send: Any) -> None:
        batch = json.loads(body)
        self.deliveries.append(batch["batch"])
        self.batches[batch["batch"]] = batch["items"]
        if self.refuse_usage:
            self.refuse_usage -= 1
            await answer(send, 503, b"")
        else:
            await answer(send, 204, b"")

    async def _events(self, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: hello\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnects += 1


class Replica:
    """A model server with good manners: echoes, streams, and counts who leaves early."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.received = 0
        self.sent = 0
        self.disconnects = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        handler: Callable[..., Awaitable[None]] = {
            "/sse": self._sse,
            "/big": self._big,
            "/slow-reader": self._slow_reader,
            "/early": self._early,
            "/status": self._status,
            "/v1/embeddings": self._embeddings,
            "/v1/chat/completions": self._chat,
        }.get(path, self._echo)
        await handler(scope, receive, send)

    async def _echo(self, scope: Any, receive: Any, send: Any) -> None:
        body = await read_body(receive)
        await answer(
            send,
            200,
            echo(scope, body),
            (b"x-usage-tokens", b"3"),
            (b"set-cookie", b"session=stolen"),
            (b"connection", b"x-private"),
            (b"x-private", b"1"),
        )

    async def _status(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(
            send, int(scope["query_string"]), b"" if scope["query_string"] in (b"204", b"304") else b"x"
        )

    async def _sse(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
        gone = asyncio.ensure_future(self._until_gone(receive))
        while not self.gate.is_set() and not gone.done():
            await asyncio.sleep(0.01)
        if gone.done():
            self.disconnects += 1
            return
        gone.cancel()
        await send({"type": "http.response.body", "body": b"data: second\n\n", "more_body": False})

    async def _until_gone(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _big(self, scope: Any, receive: Any, send: Any) -> None:
        count, self.sent = int(scope["query_string"]), 0
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(count):
            await send({"type": "http.response.body", "body": b"b" * 65536, "more_body": True})
            self.sent += 65536
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _slow_reader(self, scope: Any, receive: Any, send: Any) -> None:
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        await answer(send, 200, echo(scope, await read_body(receive)))

    async def _early(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 422, b"no thanks")

    async def _embeddings(self, scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads(await read_body(receive))
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, float(len(asked["input"]))]}]
        told = {"object": "list", "model": asked["model"], "data": data}
        told["usage"] = {"prompt_tokens": 7, "total_tokens": 7}
        fields = [(b"content-type", b"application/json"), (b"x-usage-tokens", b"7")]
        await answer(send, 200, json.dumps(told).encode(), *fields)

    async def _chat(self, scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads(await read_body(receive))
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for word in ("one", "two"):
            chunk = {
                "id": "1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": asked["model"],
                "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
            }
            line = b"data: " + json.dumps(chunk).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": line, "more_body": True})
            while word == "one" and not self.gate.is_set():
                await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


class Raw:
    """A bare socket server: `script` is given each connection with its number, in a thread."""

    def __init__(self, script: Callable[[socket.socket, int], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.address = f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(DEADLINE)
            self._sockets.append(connection)
            thread = threading.Thread(target=self._talk, args=(connection, self.connections))
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        with connection:
            try:
                self._script(connection, number)
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for connection in self._sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()


def read_head(connection: socket.socket) -> bytes:
    """Bytes up to the end of a message head."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    return data


class Wire:
    """A client's bare connection to the gateway."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.buffer = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> "Wire":
        self.socket.sendall(data)
        return self

    def until(self, mark: bytes) -> bytes:
        """Bytes up to and with the mark."""
        while mark not in self.buffer:
            piece = self.socket.recv(65536)
            if not piece:
                raise AssertionError(f"closed before {mark!r}: {self.buffer!r}")
            self.buffer += piece
        end = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken

    def skip_to(self, mark: bytes) -> None:
        """Throw away what comes, up to and with the mark at its end."""
        tail = self.buffer[-len(mark) :]
        self.buffer = b""
        while not tail.endswith(mark):
            piece = self.socket.recv(1 << 20)
            assert piece, "closed before the mark"
            tail = (tail + piece)[-len(mark) :]

    def rest(self) -> bytes:
        """Everything until the gateway closes."""
        try:
            while piece := self.socket.recv(65536):
                self.buffer += piece
        except ConnectionResetError:
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """One answer with a Content-Length."""
        head = self.until(b"\r\n\r\n").decode("latin-1")
        lines = head.split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
        length = int(headers["content-length"])
        while len(self.buffer) < length:
            piece = self.socket.recv(65536)
            if not piece:
                break
            self.buffer += piece
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return int(lines[0].split()[1]), headers, body


class House:
    """A gateway with its shop and one replica, all on real sockets."""

    def __init__(
        self, folder: Path, limits: Limits | None = None, loop: str = "uvloop", home: Path | None = None
    ) -> None:
        self.peers, self.own = Loop(), Loop(loop)
        self.folder = folder
        self.shop = Shop(self.peers, folder / "shop.sock")
        self.replica = Replica()
        self._servers: list[Server] = []
        self._raws: list[Raw] = []
        self.shop.start()
        self.shop.allow(KEY, "*")
        self.shop.put("echo", self.serve(self.replica, folder / "echo.sock"))
        self.gateway = Gateway(f"unix:{self.shop.path}", limits or Limits(), home=home)
        self.gateway.usage._interval = 0.05
        self.port: int = self.own.run(self._listen())
        self.settle()

    async def _listen(self) -> int:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self.gateway.connect, "127.0.0.1", 0)
        gateway = self.gateway
        self._jobs = [
            loop.create_task(job)
            for job in (
                follow(gateway.pools, gateway.shop, gateway.swap),
                gateway.usage.deliver(),
                gateway.sweep(),
            )
        ]
        return int(self._listener.sockets[0].getsockname()[1])

    def serve(self, app: Any, uds: Path | None = None) -> str:
        """Serve an application; its address."""
        server = Server(self.peers, app, uds)
        self._servers.append(server)
        return server.address

    def raw(self, script: Callable[[socket.socket, int], None], name: str = "raw") -> Raw:
        """Put a bare socket server behind the gateway as deployment `name`."""
        server = Raw(script)
        self._raws.append(server)
        self.shop.put(name, server.address)
        self.settle()
        return server

    def settle(self) -> None:
        """Wait until the gateway has the shop's newest routes."""
        wait_for(lambda: self.gateway.table.version == self.shop.version, "routes in force")

    def wire(self) -> Wire:
        return Wire(self.port)

    def call(
        self, method: str, path: str, body: Any = None, key: str = KEY, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request over a connection of its own; headers' underscores become hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            fields["Authorization"] = f"Bearer {key}"
        try:
            connection.request(method, path, body=body, headers=fields)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def close(self) -> None:
        self.own.run(self._close())
        for raw in self._raws:
            raw.close()
        self.shop.stop()
        for server in self._servers:
            server.stop()
        self.own.close()
        self.peers.close()

    async def _close(self) -> None:
        self._listener.close()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self.gateway.drain(0.5)
        self.gateway.pools.keep_only(())
        await asyncio.sleep(0.01)


@contextmanager
def house(
    folder: Path, limits: Limits | None = None, loop: str = "uvloop", home: Path | None = None
) -> Iterator[House]:
    """A House that is closed at the end."""
    built = House(folder, limits, loop, home)
    try:
        yield built
    finally:
        built.close()
