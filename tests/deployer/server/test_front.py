"""The HTTP front over real sockets: order, framing, bounds and waits, and callers who leave."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.server import front as fronts
from deployer.server.app import App
from deployer.server.front import MAX_BODY, MAX_HEAD, Front
from deployer.server.predictor import load
from tests.deployer.server.conftest import RunningServer, Serve, identity, write_model
from tests.deployer.server.test_app import in_flight, until

BODY = b'{"rows": [[1, 2]]}'
ANSWER = {"outputs": {"y": [[1.0, 2.0]]}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("m"), identity())


@pytest.fixture(scope="module")
def server(serve_module: Serve, model: Path) -> RunningServer:
    return serve_module(model)


def request(
    body: bytes = BODY, head: bytes = b"", version: bytes = b"1.1", path: bytes = b"/predict"
) -> bytes:
    length = b"" if b"ransfer-" in head else b"Content-Length: %d\r\n" % len(body)
    return b"POST %b HTTP/%b\r\nHost: x\r\n%b%b\r\n%b" % (path, version, length, head, body)


GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(server.uds))
        yield raw


def read_answer(stream: Any) -> tuple[int, dict[str, str], bytes]:
    """One whole answer of a buffered socket."""
    status = int(stream.readline().split()[1])
    headers = {}
    while (line := stream.readline().strip()) and line != b"":
        name, _, value = line.decode("latin-1").partition(": ")
        headers[name] = value
    if status == 100:
        return read_answer(stream)
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def unread(raw: socket.socket) -> int:
    """Bytes that the server has not taken yet."""
    return int.from_bytes(fcntl.ioctl(raw, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def ask(server: RunningServer, sent: bytes, count: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(sent)
        return [read_answer(stream) for _ in range(count)]


# Framing.


def test_requests_sent_ahead_are_answered_in_their_order(server: RunningServer) -> None:
    sent = (
        request()
        + GET
        + request(b'{"rows": [[3]]}')
        + request(path=b"/nothing")
        + request(b'{"rows": [[5, 6]]}')
    )
    answers = ask(server, sent, 5)
    assert [status for status, _, _ in answers] == [200, 200, 400, 404, 200]
    assert json.loads(answers[0][2]) == ANSWER
    assert json.loads(answers[4][2])["outputs"]["y"] == [[5.0, 6.0]]


def test_many_requests_sent_ahead_are_all_answered(server: RunningServer) -> None:
    count = 200
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(b"".join(request(b'{"rows": [[%d, 0]]}' % n) for n in range(count)))
        for number in range(count):
            assert json.loads(read_answer(stream)[2])["outputs"]["y"] == [[number, 0]]


def test_bytes_may_come_one_by_one(server: RunningServer) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        for byte in request():
            raw.sendall(bytes([byte]))
        assert json.loads(read_answer(stream)[2]) == ANSWER


def test_bodies_in_chunks(server: RunningServer) -> None:
    body = b"".join(b"1\r\n%b\r\n" % bytes([byte]) for byte in BODY) + b"0\r\n\r\n"
    (answer,) = ask(server, request(body, b"Transfer-Encoding: chunked\r\n"))
    assert json.loads(answer[2]) == ANSWER


@pytest.mark.parametrize(
    ("version", "head", "closes"),
    [
        (b"1.1", b"", False),
        (b"1.1", b"Connection: close\r\n", True),
        (b"1.0", b"", True),
        (b"1.0", b"Connection: keep-alive\r\n", False),
    ],
)
def test_when_connections_are_kept(server: RunningServer, version: bytes, head: bytes, closes: bool) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(request(head=head, version=version))
        status, headers, _ = read_answer(stream)
        assert status == 200
        assert headers.get("connection") == (
            "close" if closes else "keep-alive" if version == b"1.0" else None
        )
        if closes:
            assert stream.read() == b""
        else:
            raw.sendall(GET)
            assert read_answer(stream)[0] == 200


def test_a_caller_who_waits_to_be_told_is_told_to_go_on(server: RunningServer) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(request(head=b"Expect: 100-continue\r\n")[: -len(BODY)])
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        raw.sendall(BODY)
        stream.readline()
        assert read_answer(stream)[0] == 200


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


def test_who_would_upgrade_is_answered_in_http_1(server: RunningServer) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n"
    assert [status for status, _, _ in ask(server, asked + request(), 2)] == [200, 200]
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    for sent in (request(head=UPGRADE), request(chunks, UPGRADE + b"Transfer-Encoding: chunked\r\n")):
        for cut in (len(sent) - 3, len(sent) - len(BODY), sent.index(b"\r\n\r\n") + 4):
            with connected(server) as raw, raw.makefile("rb") as stream:
                raw.sendall(sent[:cut])
                until(lambda raw=raw: unread(raw) == 0)
                raw.sendall(sent[cut:])
                status, headers, body = read_answer(stream)
                assert (status, headers["connection"], json.loads(body)) == (200, "close", ANSWER)


def test_a_wish_without_the_connection_s_word_is_no_upgrade(server: RunningServer) -> None:
    chunks = b"%x\r\n%b\r\n0\r\nUpgrade: x\r\nX-Checksum: 1\r\n\r\n" % (len(BODY), BODY)
    for sent in (request(head=b"Upgrade: h2c\r\n"), request(chunks, b"Transfer-Encoding: chunked\r\n")):
        answers = ask(server, sent + request(), 2)
        assert [json.loads(body) for _, _, body in answers] == [ANSWER, ANSWER]


def test_trailers_are_bounded(server: RunningServer) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(request(b"0\r\n", b"Transfer-Encoding: chunked\r\n"))
        with contextlib.suppress(OSError):
            for _ in range(MAX_HEAD // 50):
                raw.sendall(b"x: " + b"y" * 100 + b"\r\n")
        assert read_answer(stream)[0] == 400


def test_nothing_behind_a_tunnel_is_a_request(server: RunningServer) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(b"CONNECT /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        status, headers, _ = read_answer(stream)
        assert (status, headers["connection"]) == (405, "close")
        assert stream.read() == b""


def test_a_stop_lets_a_long_answer_out(serve: Serve, model: Path) -> None:
    server = serve(model)
    rows = json.dumps({"rows": [[0.123456, 0.654321]] * 300_000}).encode()
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(request(rows))
        status_line = stream.readline()  # the answer is on its way, and far longer than any buffer
        server.process.send_signal(signal.SIGTERM)
        until(lambda: any(line["event"] == "stopped" for line in server.lines()) or unread_by_us(raw))
        length = 0
        while (line := stream.readline()) != b"\r\n":
            if line.startswith(b"content-length: "):
                length = int(line[16:])
        assert status_line.startswith(b"HTTP/1.1 200")
        assert len(stream.read(length)) == length > 4 << 20
    assert server.process.wait(timeout=20) == 0


def unread_by_us(raw: socket.socket) -> bool:
    """Whether the server has sent more than was read here."""
    return int.from_bytes(fcntl.ioctl(raw, termios.FIONREAD, bytes(4)), sys.byteorder) > 0


def test_who_asks_and_never_reads_costs_little(serve: Serve, model: Path) -> None:
    server = serve(model)
    before = memory(server)
    with connected(server) as raw:
        raw.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(20_000):
                raw.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert memory(server) - before < 30 << 20
    assert server.client.get("/healthz").status_code == 200


def test_a_head_has_no_body_in_its_answer(server: RunningServer) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(GET.replace(b"GET", b"HEAD") + GET)
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        while stream.readline() != b"\r\n":
            pass
        assert read_answer(stream)[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        request(head=b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        request(head=b"Content-Length: 3\r\n"),
        b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: +4\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"a" * (MAX_HEAD + 1),
        b"GET / HTTP/1.1\r\nx: " + b"a" * (MAX_HEAD + 1),
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_HEAD // 4),
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_ends(server: RunningServer, sent: bytes) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(sent)
        status, headers, body = read_answer(stream)
        assert (status, headers["connection"]) == (400, "close")
        assert json.loads(body)["code"] == "bad-request"
        assert stream.read() == b""
    assert server.client.get("/healthz").status_code == 200


@given(sent=st.binary(max_size=300), before=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_any_bytes_leave_the_server_alive(server: RunningServer, sent: bytes, before: bool) -> None:
    with connected(server) as raw, contextlib.suppress(OSError):
        raw.sendall((b"POST /predict HTTP/1.1\r\n" if before else b"") + sent)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass
    assert ask(server, GET)[0][0] == 200


# Bounds.


def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(server: RunningServer) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        status, headers, body = read_answer(stream)
        assert (status, headers["connection"], json.loads(body)["code"]) == (413, "close", "too-large")


def test_endless_chunks_are_refused_and_let_go_of(server: RunningServer) -> None:
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(request(b"", b"Transfer-Encoding: chunked\r\n"))
        with contextlib.suppress(OSError):
            for _ in range(3 * MAX_BODY >> 20):
                raw.sendall(chunk)
        assert read_answer(stream)[0] == 413
    until(lambda: memory(server) < 400 << 20)


def memory(server: RunningServer) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_refusals_that_need_no_body_do_not_wait_for_it(server: RunningServer) -> None:
    with connected(server) as raw, raw.makefile("rb") as stream:
        raw.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (1 << 20))
        status, headers, _ = read_answer(stream)
        assert (status, headers["connection"]) == (404, "close")


def test_a_small_refused_body_costs_no_connection(server: RunningServer) -> None:
    answers = ask(server, request(path=b"/nothing") + request(), 2)
    assert [status for status, _, _ in answers] == [404, 200]


def test_a_caller_who_leaves_is_worked_for_no_more(serve: Serve, slow_dir: Path) -> None:
    server = serve(slow_dir)
    with connected(server) as raw:
        raw.sendall(request(b'{"rows": [1000000000]}'))
        until(lambda: in_flight(server) == 1)
    until(lambda: in_flight(server) == 0)
    assert server.predict({"rows": [2]}) == {"outputs": {"done": [2]}}
    assert server.stop() == 0


def test_an_answer_has_its_deadline(serve: Serve, slow_dir: Path) -> None:
    server = serve(slow_dir, arguments=("--deadline", "0.5"))
    answer = server.client.post("/predict", json={"rows": [1_000_000_000]})
    assert (answer.status_code, answer.json()["code"]) == (504, "timed-out")
    assert server.predict({"rows": [2]}) == {"outputs": {"done": [2]}}


# Waits and totals, with the front in this process so that they can be made short.


@contextlib.asynccontextmanager
async def served(model: Path) -> AsyncIterator[tuple[Front, str]]:
    loop = asyncio.get_running_loop()
    app = App(load(model), "demo")
    app.start(loop)
    front = Front(app, loop)
    with tempfile.TemporaryDirectory(prefix="opc-") as folder:
        path = f"{folder}/s"
        listening = await loop.create_unix_server(front.connect, path)
        sweeping = asyncio.create_task(sweep(front))
        try:
            yield front, path
        finally:
            sweeping.cancel()
            listening.close()
            front.close()
            while front.connections:
                await asyncio.sleep(0.005)
            app.close()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return int(head.split()[1]), await reader.readexactly(length)


async def closed(reader: asyncio.StreamReader) -> None:
    """Return once the server has closed."""
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(65536), 20):
            pass


async def sweep(front: Front) -> None:
    while True:
        front.sweep()
        await asyncio.sleep(0.005)


def in_process(model: Path, scenario: Callable[[Front, str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with served(model) as (front, path):
            await scenario(front, path)

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"POST /predict HT", request()[:-3]])
def test_a_request_that_does_not_come_whole_is_given_up(
    model: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(fronts, "REQUEST_SECONDS", 0.05)

    async def scenario(front: Front, path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(sent)
        status, body = await answer_of(reader)
        assert (status, json.loads(body)["code"]) == (408, "slow-body")
        await closed(reader)
        writer.close()

    in_process(model, scenario)


def test_an_idle_connection_is_closed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "IDLE_SECONDS", 0.05)

    async def scenario(front: Front, path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request())
        assert (await answer_of(reader))[0] == 200
        await closed(reader)
        writer.close()

    in_process(model, scenario)


def test_a_caller_who_does_not_read_is_given_up(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "WRITE_SECONDS", 0.05)
    rows = json.dumps({"rows": [[0.123456, 0.654321]] * 100_000}).encode()

    async def scenario(front: Front, path: str) -> None:
        _, writer = await asyncio.open_unix_connection(path, limit=1)
        writer.write(request(rows))
        async with asyncio.timeout(20):
            while not any(connection.congested for connection in front.connections):
                await asyncio.sleep(0.005)
            while front.connections:
                await asyncio.sleep(0.005)
        writer.close()

    in_process(model, scenario)


def test_all_bodies_together_are_bounded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "HELD", 5000)

    async def scenario(front: Front, path: str) -> None:
        first, others = await asyncio.open_unix_connection(path), await asyncio.open_unix_connection(path)
        part = request(b" " * 4000 + BODY)
        first[1].write(part[:-5])
        async with asyncio.timeout(20):
            while front.held < 4000:
                await asyncio.sleep(0.005)
        others[1].write(part)
        status, body = await answer_of(others[0])
        assert (status, json.loads(body)["code"]) == (429, "overloaded")
        first[1].write(part[-5:])
        assert (await answer_of(first[0]))[0] == 200
        assert front.held == 0
        first[1].close()
        others[1].close()

    in_process(model, scenario)


def test_connections_are_bounded(model: Path) -> None:
    async def scenario(front: Front, path: str) -> None:
        front.most = 1
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request())
        assert (await answer_of(reader))[0] == 200
        more, closing = await asyncio.open_unix_connection(path)
        status, body = await answer_of(more)
        assert (status, json.loads(body)["code"]) == (429, "overloaded")
        closing.close()
        writer.write(request())
        assert (await answer_of(reader))[0] == 200
        writer.close()

    in_process(model, scenario)


def test_nothing_is_held_of_callers_who_left_half_way(model: Path) -> None:
    async def scenario(front: Front, path: str) -> None:
        for cut in range(1, len(request()), 7):
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(request()[:cut])
            await writer.drain()
            writer.close()
        async with asyncio.timeout(20):
            while front.connections:
                await asyncio.sleep(0.005)
        assert front.held == 0

    in_process(model, scenario)
