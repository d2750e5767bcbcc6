"""Files in whole and in part, as the gateway sends them from the disk and as the shop does without one."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import blobs
from marketplace import sending
from marketplace.settings import load
from tests.marketplace.hubs import put
from tests.shop import Shop

NAME = "acme/files"
ODD = 'say "hi" 你好.bin'
BIG = bytes(range(256)) * (128 << 10)  # 32 MiB, more than sockets hold
FILES = {
    "model.onnx": b"0123456789" * 10,
    "big.bin": BIG,
    "empty.bin": b"",
    "notes/read.md": b"# words\n",
    ODD: b"odd",
}
GATEWAY, SOCKET = "gateway", "socket"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("sending")
    with Shop.start(folder / "home", MARKET_SHELF="none") as started:
        put(started, folder, FILES, NAME, signed=False)
        yield started


def client_of(shop: Shop, way: str) -> httpx.Client:
    """A client of the shop's files: through the gateway, or on the shop's own socket."""
    transport = httpx.HTTPTransport(uds=str(load(shop.env).shop_socket)) if way == SOCKET else None
    return httpx.Client(base_url=f"{shop.url}/hf/{NAME}/resolve/1.0.0/", transport=transport, timeout=20)


@pytest.fixture(params=[GATEWAY, SOCKET])
def client(shop: Shop, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with client_of(shop, request.param) as made:
        yield made


@pytest.fixture(params=["model.onnx", "README.md"])
def path(request: pytest.FixtureRequest) -> str:
    """A file on the disk, and one that the shop has just written."""
    return str(request.param)


# Whole


def test_a_whole_file_says_what_it_is(client: httpx.Client, path: str) -> None:
    answer, head = client.get(path), client.head(path)
    assert (answer.status_code, head.status_code, head.content) == (200, 200, b"")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["accept-ranges"] == "bytes" and "content-range" not in answer.headers
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["content-disposition"] == f'attachment; filename="{path}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert {k: v for k, v in answer.headers.items() if k != "date"} == {
        k: v for k, v in head.headers.items() if k != "date"
    }


def test_a_large_file_and_an_empty_one(client: httpx.Client) -> None:
    assert client.get("big.bin").content == BIG
    empty = client.get("empty.bin")
    assert (empty.status_code, empty.headers["content-length"], empty.content) == (200, "0", b"")
    for part in ("bytes=0-", "bytes=-1", "bytes=0-0"):
        refused = client.get("empty.bin", headers={"Range": part})
        assert (refused.status_code, refused.headers["content-range"]) == (416, "bytes */0")


def test_what_people_read_is_text_and_all_else_bytes(client: httpx.Client) -> None:
    assert client.head("notes/read.md").headers["content-type"] == "text/plain; charset=utf-8"
    assert client.head("model.onnx").headers["content-type"] == "application/octet-stream"
    assert [sending.media_type_of(name) for name in ("a.svg", "a.html", "A.JSON", "json")] == [
        "application/octet-stream",
        "application/octet-stream",
        "text/plain; charset=utf-8",
        "application/octet-stream",
    ]


def test_an_odd_name_arrives_without_breaking_the_field(client: httpx.Client) -> None:
    told = client.head("say%20%22hi%22%20%E4%BD%A0%E5%A5%BD.bin").headers["content-disposition"]
    assert told == (
        "attachment; filename=\"say _hi_ __.bin\"; filename*=UTF-8''say%20%22hi%22%20%E4%BD%A0%E5%A5%BD.bin"
    )


# In part

PARTS = {
    "the first byte": ("bytes=0-0", 0, 1),
    "some from the middle": ("bytes=10-19", 10, 20),
    "to the end": ("bytes=42-", 42, None),
    "all of it": ("bytes=0-", 0, None),
    "past the end": ("bytes=90-999999", 90, None),
    "the last ones": ("bytes=-7", -7, None),
    "more than there are": ("bytes=-100000", 0, None),
    "in capitals, with spaces": ("Bytes= 3 - 5", 3, 6),
}


@pytest.mark.parametrize(("asked", "start", "stop"), PARTS.values(), ids=PARTS)
def test_a_part_of_a_file(client: httpx.Client, path: str, asked: str, start: int, stop: int | None) -> None:
    whole = client.get(path)
    answer = client.get(path, headers={"Range": asked})
    begin, end, _ = slice(start, stop).indices(len(whole.content))
    assert answer.status_code == 206
    assert answer.content == whole.content[begin:end]
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(whole.content)}"
    assert answer.headers["content-length"] == str(end - begin)
    for name in ("etag", "content-type", "content-disposition", "x-content-type-options"):
        assert answer.headers[name] == whole.headers[name]


UNTOLD = {
    "several at once": "bytes=0-1,5-6",
    "the same twice": "bytes=0-0,0-0",
    "another unit": "lines=1-2",
    "backwards": "bytes=9-3",
    "nonsense": "bytes=a-b",
}


@pytest.mark.parametrize("asked", UNTOLD.values(), ids=UNTOLD)
def test_what_is_no_single_range_gets_the_whole(client: httpx.Client, path: str, asked: str) -> None:
    answer = client.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, client.get(path).content)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=999999-1000000", "bytes=-0"])
def test_a_part_that_there_is_not(client: httpx.Client, path: str, asked: str) -> None:
    whole = client.get(path)
    refused = client.get(path, headers={"Range": asked})
    assert (refused.status_code, refused.content) == (416, b"")
    assert refused.headers["content-range"] == f"bytes */{len(whole.content)}"
    assert refused.headers["etag"] == whole.headers["etag"]
    assert "content-disposition" not in refused.headers


def test_a_head_is_of_the_whole_file(client: httpx.Client, path: str) -> None:
    head = client.head(path, headers={"Range": "bytes=3-5"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(client.get(path).content)))
    assert client.head(path, headers={"Range": "bytes=999999-"}).status_code == 200


def _told(field: str) -> list[int]:
    """First and last byte, and the size, out of a Content-Range."""
    span, _, size = field.removeprefix("bytes ").partition("/")
    return [*map(int, span.split("-")), int(size)]


@given(
    content=st.binary(min_size=1, max_size=40), first=st.integers(0, 50), more=st.none() | st.integers(0, 50)
)
def test_spans_are_slices(content: bytes, first: int, more: int | None) -> None:
    """From a byte on, or up to another one, is what Python's own slices are; so are the last ones."""
    last = "" if more is None else str(first + more)
    stop = None if more is None else first + more + 1
    size = len(content)
    for asked, wanted in (
        (f"bytes={first}-{last}", content[first:stop]),
        (f"bytes=-{first}", content[-first:] if first else b""),
    ):
        try:
            span = sending.span_of(asked, size)
        except sending.Unsatisfiable:
            assert wanted == b""
            continue
        assert span is not None and span.length > 0
        assert content[span.offset : span.offset + span.length] == wanted
        assert _told(span.told(size)) == [span.offset, span.offset + len(wanted) - 1, size]


# Under a condition


def test_a_part_is_only_of_the_state_that_was_meant(client: httpx.Client, path: str) -> None:
    etag = client.head(path).headers["etag"]
    part = {"Range": "bytes=1-2"}
    same = client.get(path, headers={**part, "If-Range": etag})
    assert (same.status_code, len(same.content)) == (206, 2)
    whole = client.get(path).content
    for other in ('"0"', f"W/{etag}", etag.strip('"'), "Wed, 25 Nov 2026 12:00:00 GMT", ""):
        answer = client.get(path, headers={**part, "If-Range": other})
        assert (answer.status_code, answer.content) == (200, whole), other
    # A part that there is not is no matter where the whole is sent.
    beyond = {"Range": "bytes=999999-", "If-Range": '"0"'}
    assert client.get(path, headers=beyond).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_known_is_not_sent_again(client: httpx.Client, path: str, method: str) -> None:
    etag = client.head(path).headers["etag"]
    for known in (etag, f"W/{etag}", f'"0", {etag}', "*"):
        for more in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=999999-"}):
            answer = client.request(method, path, headers={"If-None-Match": known, **more})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
            assert answer.headers["cache-control"] == "private, no-cache"
            assert not {"content-range", "content-length", "content-type"} & set(answer.headers)
    for other in ('"0"', etag.strip('"'), etag[:-2] + '"'):
        assert client.request(method, path, headers={"If-None-Match": other}).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_another_state_than_was_meant_is_not_sent(client: httpx.Client, path: str, method: str) -> None:
    etag = client.head(path).headers["etag"]
    for meant in (etag, f'"0", {etag}', "*"):
        assert client.request(method, path, headers={"If-Match": meant}).status_code == 200
    for other in ('"0"', f"W/{etag}", etag.strip('"')):
        answer = client.request(method, path, headers={"If-Match": other, "Range": "bytes=0-1"})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (412, b"", etag)


# What happens to files meanwhile


@contextmanager
def restored(shop: Shop) -> Iterator[Path]:
    """The place of the big file, which is there again as it was in the end."""
    blob = blobs.blob_path(shop.home, hashlib.sha256(BIG).hexdigest())
    try:
        yield blob
    finally:
        blob.unlink(missing_ok=True)
        blob.write_bytes(BIG)


def test_a_file_that_is_removed_under_way_is_sent_to_its_end(shop: Shop, client: httpx.Client) -> None:
    with restored(shop) as blob:
        with client.stream("GET", "big.bin") as answer:
            pieces = answer.iter_raw()
            taken = bytearray(next(pieces))
            blob.unlink()
            for piece in pieces:
                taken += piece
        assert taken == BIG
        for gone in (client.get("big.bin"), client.get("big.bin", headers={"Range": "bytes=0-1"})):
            assert (gone.status_code, gone.json()["code"]) == (409, "blob-missing")
            assert "etag" not in gone.headers and "content-range" not in gone.headers
    assert client.get("big.bin", headers={"Range": "bytes=-3"}).content == b"\xfd\xfe\xff"


def test_a_file_that_shrinks_under_way_is_not_taken_for_whole(shop: Shop) -> None:
    """The shop's own sending; the gateway's is held against this in test_gateway_files."""
    with restored(shop) as blob, client_of(shop, SOCKET) as client:
        with client.stream("GET", "big.bin") as answer:
            pieces = answer.iter_raw()
            next(pieces)
            blob.chmod(0o600)
            os.truncate(blob, 1000)
            with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
                list(pieces)
        assert client.get("model.onnx").content == FILES["model.onnx"]


# What the gateway is told

ASKED = {sending.OFFER: "1"}


@pytest.fixture
def inner(shop: Shop) -> Iterator[httpx.Client]:
    """The gateway's place: a client on the socket that offers to send files itself."""
    with client_of(shop, SOCKET) as made:
        yield made


def test_the_gateway_is_told_which_piece_to_send(inner: httpx.Client) -> None:
    at = f"blobs/sha256/{hashlib.sha256(FILES['model.onnx']).hexdigest()}"
    whole = inner.get("model.onnx", headers=ASKED)
    assert (whole.status_code, whole.content, whole.headers[sending.OFFER]) == (200, b"", f"0 100 {at}")
    part = inner.get("model.onnx", headers={**ASKED, "Range": "bytes=-30"})
    assert (part.status_code, part.content, part.headers[sending.OFFER]) == (206, b"", f"70 30 {at}")
    assert part.headers["content-range"] == "bytes 70-99/100"
    assert part.headers["etag"] == whole.headers["etag"]


def test_the_gateway_is_told_nothing_where_nothing_is_to_be_sent(inner: httpx.Client) -> None:
    etag = inner.head("model.onnx").headers["etag"]
    answers = {
        "a head": inner.head("model.onnx", headers=ASKED),
        "an empty file": inner.get("empty.bin", headers=ASKED),
        "what is known": inner.get("model.onnx", headers={**ASKED, "If-None-Match": etag}),
        "another state": inner.get("model.onnx", headers={**ASKED, "If-Match": '"0"'}),
        "a part beyond": inner.get("model.onnx", headers={**ASKED, "Range": "bytes=500-"}),
        "what was just written": inner.get("README.md", headers=ASKED),
        "no such file": inner.get("none.bin", headers=ASKED),
    }
    assert [what for what, answer in answers.items() if sending.OFFER in answer.headers] == []
    assert answers["what was just written"].content.startswith(b"---")


@pytest.mark.parametrize("value", ["", "0", "yes", "1, 1", "0 5 blobs/sha256/x"])
def test_only_the_gateways_own_word_is_an_offer(inner: httpx.Client, value: str) -> None:
    answer = inner.get("model.onnx", headers={sending.OFFER: value})
    assert answer.content == FILES["model.onnx"] and sending.OFFER not in answer.headers
