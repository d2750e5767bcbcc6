"""Bytes that nobody sends in good faith: smuggling, endless heads, slow clients, hidden paths."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from marketplace.gateway.problems import Refusal
from marketplace.gateway.routes import Path as RequestPath
from marketplace.gateway.routes import read_path
from marketplace.gateway.wire import Limits
from tests.marketplace.peers import KEY, House, Wire, house, wait_for

AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
GOOD = b"GET /d/echo/ok HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n"


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("hostile"), loop=request.param) as built:
        yield built


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway with little patience."""
    limits = Limits(
        header_seconds=0.3,
        idle_seconds=0.5,
        body_seconds=0.3,
        write_seconds=0.5,
        answer_seconds=0.4,
        linger_seconds=0.3,
        connections=6,
    )
    with house(tmp_path_factory.mktemp("hasty"), limits) as built:
        yield built


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sends, the gateway answers the next request."""
    yield
    for name in {"place", "hasty"} & set(request.fixturenames):
        assert request.getfixturevalue(name).call("GET", "/d/echo/ok")[0] == 200


SMUGGLING = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "both lengths, other order": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n",
    "two equal lengths": b"Content-Length: 4\r\nContent-Length: 4\r\n",
    "length list": b"Content-Length: 4, 4\r\n",
    "signed length": b"Content-Length: +4\r\n",
    "negative length": b"Content-Length: -4\r\n",
    "hex length": b"Content-Length: 0x4\r\n",
    "huge length": b"Content-Length: 99999999999999999999999\r\n",
    "empty length": b"Content-Length:\r\n",
    "coding we do not know": b"Transfer-Encoding: xchunked\r\n",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "coding with a tab": b"Transfer-Encoding:\tchunked, chunked\r\n",
    "space before colon": b"Transfer-Encoding : chunked\r\n",
    "folded line": b"X: a\r\n b: c\r\n",
    "folded coding": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n",
    "bare line feed": b"X: a\nContent-Length: 4\r\n",
    "bare carriage return": b"X: a\rContent-Length: 4\r\n",
    "NUL in a value": b"X: a\x00b\r\n",
    "NUL in a name": b"X\x00: ab\r\n",
    "no colon": b"nonsense\r\n",
    "empty name": b": a\r\n",
    "second host": b"Host: evil\r\n",
    "same host twice": b"Host: x\r\n",
}


@pytest.mark.parametrize("header", SMUGGLING.values(), ids=SMUGGLING.keys())
@pytest.mark.parametrize("path", [b"/d/echo/x", b"/shop"])
def test_what_two_servers_could_read_in_two_ways_is_refused(place: House, header: bytes, path: bytes) -> None:
    with place.wire() as wire:
        wire.send(
            b"POST "
            + path
            + b" HTTP/1.1\r\nHost: x\r\n"
            + AUTH
            + header
            + b"\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        )
        status, headers, body = wire.response()
        assert status == 400
        assert json.loads(body)["code"] == "bad-request"
        assert headers["connection"] == "close"
        assert wire.rest() == b""


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 405),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /a\\..\\internal HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%0d%0aX:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_heads_that_are_refused(place: House, request_head: bytes, status: int) -> None:
    with place.wire() as wire:
        wire.send(request_head)
        got, headers, body = wire.response()
        assert got == status, body
        assert json.loads(body)["title"]
        if status != 400 or b"%" not in request_head:
            assert headers.get("connection") == "close" or b" * " in request_head or status == 400


def test_a_head_without_end_is_cut_off(place: House) -> None:
    for start in (b"GET / HTTP/1.1\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\n"):
        with place.wire() as wire:
            wire.send(start)
            try:
                for _ in range(200):
                    wire.send(b"x" * 16384)
            except OSError:
                pass  # closed in our face, which is the point
            seen = wire.rest()
            assert seen == b"" or b" 431 " in seen or b" 400 " in seen


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"5;" + b"x" * 10, b"3\r\nabcX", b"fffffffffffffffff\r\n"]
)
@pytest.mark.parametrize("path", [b"/d/echo/x", b"/shop", b"/v1/embeddings"])
def test_broken_chunks(place: House, chunk: bytes, path: bytes) -> None:
    with place.wire() as wire:
        wire.send(
            b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + AUTH + b"\r\n"
        )
        wire.send(b"3\r\nabc\r\n" + chunk)
        if chunk.startswith(b"5;"):
            return  # may still become right
        assert wire.response()[0] == 400
        assert wire.rest() == b""


def test_what_follows_a_closing_request_is_ignored(place: House) -> None:
    with place.wire() as wire:
        wire.send(
            b"GET /d/echo/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            + AUTH
            + b"\r\n"
            + GOOD
            + b"\x00junk"
        )
        assert wire.response()[0] == 200
        assert wire.rest() == b""


def test_good_requests_before_a_bad_one_are_answered(place: House) -> None:
    with place.wire() as wire:
        wire.send(GOOD + GOOD + b"GET nonsense\r\n\r\n")
        assert [wire.response()[0] for _ in range(3)] == [200, 200, 400]
        assert wire.rest() == b""


def test_a_flood_of_pipelined_requests_is_bounded(place: House) -> None:
    with place.wire() as wire:
        wire.send(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        seen = wire.rest()
        assert 1 <= seen.count(b" 200 OK") <= 1000


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_upgrades_other_than_websocket_are_ignored(place: House, body: bytes) -> None:
    head = b"POST /d/echo/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    with place.wire() as wire:
        for _ in range(2):
            wire.send(
                head + AUTH + b"HTTP2-Settings: AAMA\r\nContent-Length: %d\r\n\r\n" % len(body) + body + GOOD
            )
            status, _, answer = wire.response()
            seen = json.loads(answer)
            assert (status, seen["body"]) == (200, body.decode())
            assert not {"upgrade", "http2-settings", "connection"} & {k for k, _ in seen["headers"]}
            assert json.loads(wire.response()[2])["path"] == "/ok"


INTERNAL = [
    "/internal/routes",
    "/internal",
    "//internal/routes",
    "/./internal/routes",
    "/x/../internal/routes",
    "/d/echo/../../internal/routes",
    "/INTERNAL/routes",
    "/%69nternal/routes",
    "/%2569nternal/routes",
    "/%252569nternal/routes",
    "/x/%2e%2e/internal/routes",
    "/x%2f..%2finternal%2froutes",
    "/x/%252e%252e/internal/routes",
    "/%2finternal/routes",
    "/%2e/internal",
    "/internal%2froutes",
    "/internal;x/routes",
    "/internal%20/routes",
    "/d/%252e%252e/internal/routes",
    "/static/..%2F..%2Finternal/usage",
    "/internal?x",
    "/internal#x",
    "http://x/internal/routes",
]


@pytest.mark.parametrize("path", INTERNAL)
def test_internal_routes_are_not_there_in_any_spelling(place: House, path: str) -> None:
    asked = len(place.shop.asked)
    with place.wire() as wire:
        wire.send(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, body = wire.response()
    assert (status, json.loads(body)["code"]) == (404, "not-found")
    assert len(place.shop.asked) == asked


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/a//b", "/a/b"),
        ("/a/./b/", "/a/b/"),
        ("/a/../b", "/b"),
        ("/../../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a%2Fb", "/a/b"),
        ("/a/..", "/"),
        ("/a%25b", "/a%b"),
        ("/%E4%B8%AD%20%e6%96%87", "/中 文"),
        ("/a%3Fb", "/a?b"),
        ("/.well-known/x", "/.well-known/x"),
        ("http://x/abs", "/abs"),
        ("http://x", "/"),
        ("http://x/", "/"),
    ],
)
def test_upstream_and_gateway_read_the_same_path(place: House, sent: str, seen: str) -> None:
    with place.wire() as wire:
        wire.send(b"GET " + sent.encode() + b"?q=%2e HTTP/1.1\r\nHost: x\r\n\r\n")
        told = json.loads(wire.response()[2])
    assert (told["path"], told["query"]) == (seen, "q=%2e")


@given(st.text(alphabet=st.sampled_from("/.%2eEfF5iInternal;a"), max_size=40))
@hypothesis_settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
def test_reading_a_path_twice_changes_nothing(tail: str) -> None:
    try:
        path = read_path(b"/" + tail.encode())
    except Refusal:
        return
    again = read_path(path.encoded(path.path))
    assert again == RequestPath(path.path, path.query)
    assert "//" not in path.path and "/../" not in f"{path.path}/"


@given(st.binary(max_size=300))
@hypothesis_settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
def test_any_bytes_at_all(place: House, noise: bytes) -> None:
    with Wire(place.port) as wire:
        wire.send(noise)
        wire.socket.shutdown(1)
        wire.rest()
    assert threading.active_count() < 100


def test_keys_never_reach_the_log(place: House, capfd: pytest.CaptureFixture[str]) -> None:
    place.call("GET", "/d/none/x")
    place.call("GET", "/d/echo/x", key="mk_wrong_secret")
    place.shop.version += 1
    place.settle()
    shown = capfd.readouterr()
    assert KEY not in shown.err + shown.out
    assert "mk_wrong" not in shown.err + shown.out


def test_a_head_that_comes_too_slowly(hasty: House) -> None:
    with hasty.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost:")
        status, headers, body = wire.response()
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["code"] == "request-timeout"


@pytest.mark.parametrize("path", [b"/d/echo/x", b"/shop", b"/v1/embeddings"])
@pytest.mark.parametrize(
    "length", [b"Content-Length: 900000", b"Content-Length: 10", b"Transfer-Encoding: chunked"]
)
def test_a_body_that_does_not_come(hasty: House, path: bytes, length: bytes) -> None:
    with hasty.wire() as wire:
        wire.send(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + AUTH + length + b"\r\n\r\n")
        status, headers, _ = wire.response()
        assert (status, headers["connection"]) == (408, "close")


def test_idle_connections_are_closed(hasty: House) -> None:
    with hasty.wire() as fresh, hasty.wire() as used:
        used.send(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert used.response()[0] == 200
        assert used.rest() == b""
        assert fresh.rest() == b""


def test_a_client_that_does_not_read_is_left(hasty: House) -> None:
    with hasty.wire() as wire:
        wire.send(b"GET /d/echo/big?3000 HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n").until(b"\r\n\r\n")
        wait_for(lambda: not hasty.gateway.clients, "the end of the connection")


def test_a_server_that_does_not_answer_in_time(hasty: House) -> None:
    hasty.replica.gate.clear()
    status, _, body = hasty.call("GET", "/d/echo/slow-reader")
    assert (status, json.loads(body)["code"]) == (504, "upstream-timeout")
    hasty.replica.gate.set()


def test_more_connections_than_the_gateway_can_hold(hasty: House) -> None:
    wait_for(lambda: not hasty.gateway.clients, "a quiet gateway")
    crowd = [hasty.wire() for _ in range(6)]
    try:
        wait_for(lambda: len(hasty.gateway.clients) == 6, "the crowd")
        with hasty.wire() as late:
            status, _, body = late.response()
            assert (status, json.loads(body)["code"]) == (503, "too-many-connections")
    finally:
        for wire in crowd:
            wire.socket.close()
    wait_for(lambda: not hasty.gateway.clients, "a quiet gateway")
    assert hasty.call("GET", "/d/echo/x")[0] == 200


def test_stopping_finishes_answers_and_ends_event_streams(tmp_path: Path) -> None:
    with house(tmp_path) as own:
        own.replica.gate.clear()
        with own.wire() as events, own.wire() as slow:
            events.send(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").until(b"hello\n\n")
            slow.send(b"GET /d/echo/slow-reader HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n")
            wait_for(lambda: len(own.gateway.clients) == 2, "both clients")
            began = time.monotonic()
            drained = own.own.start(own.gateway.drain(10))
            events.rest()
            own.replica.gate.set()
            assert slow.response()[0] == 200
            drained.result(10)
            assert time.monotonic() - began < 9
