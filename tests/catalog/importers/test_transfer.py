import hashlib
from pathlib import Path

import httpx
import pytest

from catalog import storage
from catalog.errors import DigestMismatch, SourceMissing, SourceUnreachable, StorageFull
from catalog.importers import pace, transfer, web
from catalog.importers.errors import ImportTooLarge, SourceDenied
from catalog.importers.plans import Plan, fetch, require_place
from catalog.importers.reach import read_reach
from catalog.importers.transfer import Remote, bring, forget, hub_client, hub_opener, web_opener
from tests.catalog.importers.servers import Answer, dripping, little
from tests.catalog.sources import QUICK, Fault, FileServer

CONTENT = bytes(range(256)) * 8000
OPENER = web_opener(read_reach("127.0.0.1"))


def _remote(url: str, **facts: object) -> Remote:
    return Remote("a.bin", url, source="it", **facts)  # type: ignore[arg-type]


def _sha256(content: bytes = CONTENT) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def ranged(content: bytes, etag: str) -> object:
    """Answers as servers do that know Range, If-Range and ETags."""

    def answer(path: str, headers: dict[str, str]) -> Answer:
        start = int(headers.get("range", "bytes=0-")[6:].partition("-")[0])
        if headers.get("if-range", etag) != etag:
            start = 0
        if not start:
            return 200, {"ETag": etag}, content
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206, {"ETag": etag, "Content-Range": span}, content[start:]

    return answer


@pytest.mark.parametrize(
    "digest",
    [
        "",
        _sha256(),
        f"sha512:{hashlib.sha512(CONTENT).hexdigest()}",
        f"git-sha1:{hashlib.sha1(b'blob %d' % len(CONTENT) + bytes(1) + CONTENT).hexdigest()}",
    ],
)
def test_each_form_of_digest_is_held_against_what_came(tmp_path: Path, digest: str) -> None:
    with little(ranged(CONTENT, '"1"')) as server:  # type: ignore[arg-type]
        path = bring(OPENER, _remote(server.url, digest=digest), tmp_path / "a.bin", patience=QUICK)
        assert path.read_bytes() == CONTENT
        assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
        if digest:
            kind = digest.partition(":")[0]
            wrong = _remote(server.url, digest=f"{kind}:{'0' * len(digest.partition(':')[2])}")
            with pytest.raises(DigestMismatch):
                bring(OPENER, wrong, tmp_path / "b.bin", patience=QUICK)
            assert not list(tmp_path.glob("b.bin*.part"))


def test_a_killed_fetch_goes_on_under_the_same_etag(tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    (tmp_path / "a.bin.mark").write_text('"1"')
    with little(ranged(CONTENT, '"1"')) as server:  # type: ignore[arg-type]
        assert bring(OPENER, _remote(server.url), tmp_path / "a.bin").read_bytes() == CONTENT
        assert server.asked[0][1]["range"] == "bytes=1000-"
        assert server.asked[0][1]["if-range"] == '"1"'


def test_a_source_that_changed_meanwhile_is_read_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"old" * 500)
    (tmp_path / "a.bin.mark").write_text('"1"')
    with little(ranged(CONTENT, '"2"')) as server:  # type: ignore[arg-type]
        assert bring(OPENER, _remote(server.url), tmp_path / "a.bin").read_bytes() == CONTENT


def test_without_etag_and_digest_nothing_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"of something else")
    with little(lambda p, h: (200, {}, CONTENT)) as server:
        assert bring(OPENER, _remote(server.url), tmp_path / "a.bin").read_bytes() == CONTENT
        assert "range" not in server.asked[0][1]


def test_breaks_are_gone_on_with(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    server.faults.append(Fault(times=3, cut_after=500_000))
    remote = _remote(f"{server.url}/files/a.bin", size=len(CONTENT), digest=_sha256())
    assert bring(OPENER, remote, tmp_path / "a.bin", patience=QUICK).read_bytes() == CONTENT
    assert len(server.asked("a.bin")) > 1


def test_a_damaged_beginning_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    (tmp_path / "a.bin.part").write_bytes(b"x" * 1000)
    remote = _remote(f"{server.url}/files/a.bin", size=len(CONTENT), digest=_sha256())
    assert bring(OPENER, remote, tmp_path / "a.bin", patience=QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "variable", "error"),
    [
        (404, "", SourceMissing),
        (401, "HF_TOKEN", SourceDenied),
        (403, "", SourceUnreachable),
        (503, "", SourceUnreachable),
    ],
)
def test_refusals_have_names(tmp_path: Path, status: int, variable: str, error: type[Exception]) -> None:
    with little(lambda p, h: (status, {}, b"")) as server, pytest.raises(error):
        bring(OPENER, _remote(server.url, variable=variable), tmp_path / "a.bin", patience=QUICK)


def test_no_more_is_written_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with little(lambda p, h: (200, {}, CONTENT)) as server:
        plan = Plan("it", "", (_remote(server.url, size=1 << 60),), OPENER)
        with pytest.raises(ImportTooLarge) as refusal:
            require_place(plan, tmp_path)
        assert refusal.value.facts["needed"] >= 1 << 60  # type: ignore[operator]
        assert refusal.value.facts["free"] < 1 << 60  # type: ignore[operator]
        monkeypatch.setattr(storage, "MARGIN", 1 << 60)
        with pytest.raises(StorageFull):
            bring(OPENER, _remote(server.url), tmp_path / "a.bin", patience=QUICK)


def test_what_was_left_is_forgotten(tmp_path: Path) -> None:
    for name in ("a.bin", "a.bin.part", "a.bin.mark"):
        (tmp_path / name).write_bytes(b"x")
    forget(tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize("kind", ["web", "hub"])
def test_a_download_that_crawls_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(pace, "OVER", 0.3)
    with dripping(LONG) as url, hub_client() as client:
        opener = OPENER if kind == "web" else hub_opener(client, "it")
        with pytest.raises(SourceUnreachable, match="bytes a second"):
            bring(opener, _remote(url), tmp_path / "a.bin", patience=QUICK)


def test_all_of_an_import_comes_within_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LONGEST", 0.3)
    with dripping(LONG) as url:
        plan = Plan(f"{url}/x?key=SECRET", "", (_remote(url),), OPENER)
        with pytest.raises(SourceUnreachable, match="not all of it came within 0 h") as ended:
            fetch(plan, tmp_path, patience=QUICK)
    assert ended.value.facts["source"] == f"{url}/x"


def test_a_head_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and the whole does not."""
    monkeypatch.setattr(web, "HEAD", 0.3)
    with (
        dripping(b"HTTP/1.1 200 OK\r\nX: ") as url,
        pytest.raises(SourceUnreachable, match="no answer in time"),
        OPENER(url, {}),
    ):
        raise AssertionError("it has no head")


@pytest.mark.parametrize(
    ("head", "seconds", "over"),
    [(b"HTTP/1.1 200 OK\r\nX: ", 0.3, 120.0), (LONG, 0.3, 120.0), (LONG, 60.0, 0.3)],
)
def test_a_registry_that_crawls_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, head: bytes, seconds: float, over: float
) -> None:
    monkeypatch.setattr(pace, "OVER", over)
    with (
        dripping(head) as url,
        web.PinnedTransport(read_reach("127.0.0.1"), "it", seconds) as transport,
        httpx.Client(transport=transport) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(url)
