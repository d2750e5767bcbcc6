"""Files that the shop has the gateway send: whole and in order, to slow and rude clients, and no others."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from marketplace.gateway.files import FIELD, NotSendable, Piece, open_piece
from marketplace.gateway.wire import Limits
from tests.marketplace.peers import DEADLINE, House, answer, house, wait_for

BIG = 24 << 20
HEAD = b"GET /told HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with files to send, and traps."""
    home = tmp_path_factory.mktemp("home")
    (home / "blobs" / "sha256").mkdir(parents=True)
    (home / "packages" / "key").mkdir(parents=True)
    (home / "blobs" / "sha256" / "big").write_bytes(os.urandom(BIG))
    (home / "blobs" / "sha256" / "small").write_bytes(bytes(range(256)))
    (home / "blobs" / "sha256" / "empty").write_bytes(b"")
    (home / "packages" / "key" / "模 型.tar").write_bytes(b"package")
    (home / "secret").write_bytes(b"never")
    (home / "blobs" / "sha256" / "link").symlink_to(home / "secret")
    (home / "blobs" / "linked").symlink_to(home)
    os.mkfifo(home / "blobs" / "sha256" / "pipe")
    return home


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def place(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, home: Path
) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("files"), loop=request.param, home=home) as built:
        yield built


@pytest.fixture
def hasty(tmp_path: Path, home: Path) -> Iterator[House]:
    """A gateway with little patience for readers."""
    with house(tmp_path, Limits(write_seconds=0.4, idle_seconds=0.8), home=home) as built:
        yield built


def tell(place: House, path: str, offset: int, length: int, status: int = 200, at: str = "/told") -> None:
    """Let the shop answer with a piece of a file."""
    told = f"{offset} {length} {path}".encode()
    place.shop.told[at] = status, [(FIELD, told), (b"x-kept", b"yes")]


def small(place: House) -> None:
    tell(place, "blobs/sha256/small", 0, 256)


def test_a_file_arrives_as_it_is(place: House, home: Path) -> None:
    tell(place, "blobs/sha256/big", 0, BIG)
    status, headers, body = place.call("GET", "/told")
    assert (status, headers["content-length"], headers["x-kept"]) == (200, str(BIG), "yes")
    assert FIELD.decode() not in headers
    assert body == (home / "blobs" / "sha256" / "big").read_bytes()


def test_a_part_and_a_name_that_needs_quoting(place: House) -> None:
    tell(place, "blobs/sha256/small", 16, 32, 206)
    status, headers, body = place.call("GET", "/told")
    assert (status, headers["content-length"], body) == (206, "32", bytes(range(16, 48)))
    tell(place, "packages/key/%E6%A8%A1%20%E5%9E%8B.tar", 0, 7)
    assert place.call("GET", "/told")[2] == b"package"


def test_an_empty_file(place: House) -> None:
    tell(place, "blobs/sha256/empty", 0, 0)
    with place.wire() as wire:
        for _ in range(2):
            status, headers, body = wire.send(HEAD).response()
            assert (status, headers["content-length"], body) == (200, "0", b"")


def test_the_connection_goes_on_and_pipelined_requests_are_answered_in_order(place: House) -> None:
    tell(place, "blobs/sha256/big", 0, BIG)
    tell(place, "blobs/sha256/small", 1, 3, 206, at="/part")
    part = HEAD.replace(b"/told", b"/part")
    with place.wire() as wire:
        wire.send(HEAD + part + HEAD.replace(b"/told", b"/api/x") + part)
        status, _headers, body = wire.response()
        assert (status, len(body)) == (200, BIG)
        assert wire.response()[2] == b"\x01\x02\x03"
        assert b'"path": "/api/x"' in wire.response()[2]
        assert wire.response()[2] == b"\x01\x02\x03"


def test_an_answer_that_waits_in_the_buffer_goes_out_before_a_file(place: House) -> None:
    small(place)
    place.shop.told["/head"] = 200, [(b"x-padding", b"p" * 8000)]
    with place.wire() as wire:
        wire.send(HEAD.replace(b"/told", b"/head") * 20 + HEAD)
        for _ in range(20):
            assert wire.response()[0] == 200
        assert wire.response()[2] == bytes(range(256))


def test_old_clients_get_the_file_and_the_end(place: House) -> None:
    small(place)
    with place.wire() as wire:
        wire.send(b"GET /told HTTP/1.0\r\n\r\n")
        answered = wire.rest()
    assert answered.endswith(bytes(range(256)))
    assert b"connection: close" in answered.lower()


def test_a_slow_reader_gets_everything_and_holds_up_nobody(place: House, home: Path) -> None:
    tell(place, "blobs/sha256/big", 0, BIG)
    small_buffer = socket.socket()
    small_buffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small_buffer.settimeout(DEADLINE)
    small_buffer.connect(("127.0.0.1", place.port))
    with small_buffer as slow:
        slow.sendall(HEAD)
        taken = bytearray(slow.recv(1000))
        small_at = "/small"
        tell(place, "blobs/sha256/small", 0, 256, at=small_at)
        for _ in range(20):
            assert place.call("GET", small_at)[2] == bytes(range(256))
            taken += slow.recv(4096)
        while len(taken) < BIG:
            taken += slow.recv(1 << 20)
        body = taken[taken.index(b"\r\n\r\n") + 4 :]
        while len(body) < BIG:
            body += slow.recv(1 << 20)
    assert hashlib.sha256(body).digest() == hashlib.sha256((home / "blobs/sha256/big").read_bytes()).digest()


def test_a_reader_that_stops_is_cut_off(hasty: House) -> None:
    tell(hasty, "blobs/sha256/big", 0, BIG)
    with hasty.wire() as wire:
        wire.send(HEAD)
        wire.until(b"\r\n\r\n")
        wait_for(lambda: not hasty.gateway.clients, "the reader is cut off")
        assert len(wire.rest()) < BIG
    assert hasty.call("GET", "/api/x")[0] == 200


def test_clients_that_leave_take_their_files_with_them(place: House) -> None:
    tell(place, "blobs/sha256/big", 0, BIG)
    process = psutil.Process()
    wait_for(lambda: not place.gateway.clients, "nobody is there")
    before = process.num_fds()
    for _ in range(20):
        with place.wire() as wire:
            wire.send(HEAD)
            wire.until(b"\r\n\r\n")
    wait_for(lambda: not place.gateway.clients, "all are gone")
    wait_for(lambda: process.num_fds() <= before + 4, "descriptors are given back")
    assert place.call("GET", "/api/x")[0] == 200


def test_a_file_that_shrinks_meanwhile_ends_the_connection(place: House, home: Path) -> None:
    shrinking = home / "blobs" / "sha256" / "shrinking"
    shrinking.write_bytes(bytes(BIG))
    tell(place, "blobs/sha256/shrinking", 0, BIG)
    with place.wire() as wire:
        wire.send(HEAD)
        wire.until(b"\r\n\r\n")
        os.truncate(shrinking, 10)
        assert len(wire.rest()) < BIG


REFUSED = {
    "outside": "secret",
    "the home itself": "blobs",
    "dots": "blobs/../secret",
    "dots inside": "blobs/sha256/../../secret",
    "quoted dots": "blobs/%2e%2e/secret",
    "absolute": "/etc/hostname",
    "absolute inside": "blobs//etc/hostname",
    "a link": "blobs/sha256/link",
    "a link to a folder": "blobs/linked/secret",
    "a folder": "blobs/sha256",
    "a pipe": "blobs/sha256/pipe",
    "nothing": "blobs/sha256/none",
    "a zero byte": "blobs/sha256/small%00",
}


@pytest.mark.parametrize("path", REFUSED.values(), ids=REFUSED)
def test_nothing_else_is_sent(place: House, path: str) -> None:
    tell(place, path, 0, 5)
    status, headers, body = place.call("GET", "/told")
    assert status == 500
    assert b"never" not in body
    assert FIELD.decode() not in headers
    assert place.call("GET", "/api/x")[0] == 200


@pytest.mark.parametrize(
    "told",
    ["", "x", "0 5", "0 5 blobs/sha256/small extra", "-1 5 blobs/sha256/small", "0 999 blobs/sha256/small"],
)
def test_a_field_that_makes_no_sense_is_an_error(place: House, told: str) -> None:
    place.shop.told["/told"] = 200, [(FIELD, told.encode())]
    status, headers, _ = place.call("GET", "/told")
    assert status == (500 if told else 200)  # an empty field tells nothing
    assert FIELD.decode() not in headers


def test_a_client_cannot_tell_the_shop_that_files_are_sent(place: House) -> None:
    _, _, body = place.call("GET", "/api/x", X_Market_File="7 7 blobs/sha256/small")
    assert body.count(b"x-market-file") == 1
    assert b'["x-market-file", "1"]' in body


def test_a_shop_of_a_gateway_without_a_home_is_not_asked_for_files(tmp_path: Path) -> None:
    with house(tmp_path) as built:
        _, _, body = built.call("GET", "/api/x", X_Market_File="1")
        assert b"x-market-file" not in body
        tell(built, "blobs/sha256/small", 0, 256)
        assert built.call("GET", "/told")[0] == 500


def test_a_model_server_can_neither_send_files_nor_see_the_field(place: House) -> None:
    async def rude(scope: Any, receive: Any, send: Any) -> None:
        seen = b"seen" if FIELD in dict(scope["headers"]) else b"clean"
        await answer(send, 200, seen, (FIELD, b"0 5 blobs/sha256/small"))

    place.shop.put("rude", place.serve(rude))
    place.settle()
    status, headers, body = place.call("GET", "/d/rude/x", X_Market_File="1")
    assert (status, body) == (200, b"clean")
    assert FIELD.decode() not in headers


def test_what_is_under_way_is_sent_to_its_end_before_the_gateway_stops(tmp_path: Path, home: Path) -> None:
    with house(tmp_path, home=home) as built:
        tell(built, "blobs/sha256/big", 0, BIG)
        with built.wire() as wire:
            wire.send(HEAD)
            wire.until(b"\r\n\r\n")
            draining = built.own.start(built.gateway.drain(DEADLINE))
            taken = len(wire.buffer)
            while taken < BIG:
                piece = wire.socket.recv(1 << 20)
                assert piece
                taken += len(piece)
            draining.result(DEADLINE)
        assert taken == BIG


def test_many_at_once_each_get_their_own(place: House, home: Path) -> None:
    tell(place, "blobs/sha256/big", 0, BIG)
    right = hashlib.sha256((home / "blobs/sha256/big").read_bytes()).digest()
    got: list[bytes] = []

    def fetch() -> None:
        got.append(hashlib.sha256(place.call("GET", "/told")[2]).digest())

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [right] * 8


def test_the_first_folder_may_lie_on_another_disk(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"there")
    (tmp_path / "blobs").symlink_to(tmp_path / "elsewhere")
    file = open_piece(tmp_path, Piece("blobs/file", 0, 5))
    with os.fdopen(file, "rb") as opened:
        assert opened.read() == b"there"
    with pytest.raises(NotSendable):
        open_piece(tmp_path, Piece("elsewhere/file", 0, 5))


def test_a_file_system_that_cannot_hand_over_is_read(
    place: House, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    tell(place, "blobs/sha256/big", 0, BIG)
    assert place.call("GET", "/told")[2] == (home / "blobs/sha256/big").read_bytes()
