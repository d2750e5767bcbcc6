import hashlib
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from catalog.errors import DigestMismatch, SourceMissing, SourceUnreachable, StorageFull
from catalog.importers.download import Patience, Wanted, download
from tests.catalog.sources import QUICK, Fault, FileServer

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several pieces


def _wanted(content: bytes = CONTENT, **other: object) -> Wanted:
    values = {"source": "pypi://thing==1", "file": "thing.bin", "size": len(content)}
    values["sha256"] = hashlib.sha256(content).hexdigest()
    return Wanted(**{**values, **other})  # type: ignore[arg-type]


def _fetch(server: FileServer, target: Path, wanted: Wanted | None = None, name: str = "thing.bin") -> Path:
    with requests.Session() as session:
        url = f"{server.url}/files/{name}"
        return download(session, url, target, wanted or _wanted(), patience=QUICK)


def test_fetches_and_reports_bytes(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    seen: list[tuple[int, int]] = []
    with requests.Session() as session:
        url = f"{server.url}/files/thing.bin"
        target = download(
            session, url, tmp_path / "thing.bin", _wanted(), lambda d, t, note="": seen.append((d, t))
        )
    assert target.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert [p.name for p in tmp_path.iterdir()] == ["thing.bin"]


def test_goes_on_where_the_line_broke(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    server.faults.append(Fault(cut_after=3_000_000))
    assert _fetch(server, tmp_path / "thing.bin").read_bytes() == CONTENT
    first, second = server.asked("thing.bin")
    assert first == ""
    assert second.startswith("bytes=") and 0 < int(second[6:-1]) <= 3_000_000


def test_goes_on_after_a_kill(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    (tmp_path / "thing.bin.part").write_bytes(CONTENT[:1234])
    assert _fetch(server, tmp_path / "thing.bin").read_bytes() == CONTENT
    assert server.asked("thing.bin") == ["bytes=1234-"]


def test_many_breaks_are_no_failure_while_bytes_come(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    server.faults.append(Fault(times=6, cut_after=700_000))
    assert _fetch(server, tmp_path / "thing.bin").read_bytes() == CONTENT


def test_server_without_ranges_is_read_from_the_start(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    server.ranges = False
    (tmp_path / "thing.bin.part").write_bytes(b"x" * 1234)
    assert _fetch(server, tmp_path / "thing.bin").read_bytes() == CONTENT


def test_server_that_sends_another_range_is_not_trusted(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    server.lie_about_range = True
    (tmp_path / "thing.bin.part").write_bytes(CONTENT[:1234])
    assert _fetch(server, tmp_path / "thing.bin").read_bytes() == CONTENT
    assert server.asked("thing.bin") == ["bytes=1234-", ""]


@pytest.mark.parametrize("rest", [b"y" * 1234, b"y" * (len(CONTENT) + 5), b"y" * len(CONTENT)])
def test_damaged_beginning_is_fetched_anew(server: FileServer, tmp_path: Path, rest: bytes) -> None:
    server.files["thing.bin"] = CONTENT
    (tmp_path / "thing.bin.part").write_bytes(rest)
    assert _fetch(server, tmp_path / "thing.bin").read_bytes() == CONTENT


def test_wrong_content_is_refused_and_not_kept(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT[:-1] + b"!"
    with pytest.raises(DigestMismatch) as refusal:
        _fetch(server, tmp_path / "thing.bin")
    assert refusal.value.facts["expected"] == hashlib.sha256(CONTENT).hexdigest()
    assert list(tmp_path.iterdir()) == []


def test_endless_content_is_cut_off(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    with pytest.raises(DigestMismatch):
        _fetch(server, tmp_path / "thing.bin", _wanted(CONTENT[:1000]))
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) == 0


def test_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    server.faults.append(Fault(times=2, status=503))
    assert _fetch(server, tmp_path / "thing.bin").read_bytes() == CONTENT


def test_server_that_stays_busy_is_named(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    server.faults.append(Fault(times=99, status=503))
    with pytest.raises(SourceUnreachable) as refusal:
        _fetch(server, tmp_path / "thing.bin")
    assert refusal.value.facts == {"source": "pypi://thing==1", "why": "HTTP 503", "why_zh": "HTTP 503"}
    assert len(server.asked("thing.bin")) == QUICK.attempts


def test_absent_file_is_missing_at_once(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceMissing) as refusal:
        _fetch(server, tmp_path / "thing.bin")
    assert refusal.value.facts["file"] == "thing.bin"
    assert len(server.asked("thing.bin")) == 1


def test_forbidden_file_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    server.faults.append(Fault(times=99, status=403))
    with pytest.raises(SourceUnreachable, match="HTTP 403"):
        _fetch(server, tmp_path / "thing.bin")
    assert len(server.asked("thing.bin")) == 1


def test_nobody_there(tmp_path: Path) -> None:
    with FileServer() as gone:
        url = f"{gone.url}/files/thing.bin"
    with requests.Session() as session, pytest.raises(SourceUnreachable) as refusal:
        download(session, url, tmp_path / "thing.bin", _wanted(), patience=QUICK)
    assert "127.0.0.1" not in str(refusal.value.facts["why"])


def test_no_room_is_refused_before_the_first_byte(server: FileServer, tmp_path: Path) -> None:
    server.files["thing.bin"] = CONTENT
    with pytest.raises(StorageFull) as refusal:
        _fetch(server, tmp_path / "thing.bin", _wanted(size=1 << 60))
    assert refusal.value.facts["needed"] == 1 << 60
    assert server.requests == []


def test_disk_that_fills_up_meanwhile(server: FileServer, tmp_path: Path) -> None:
    """A limit of file size on a child process makes its write fail as a full disk does."""
    server.files["thing.bin"] = CONTENT
    wanted = _wanted()
    code = f"""
import requests
from pathlib import Path
from catalog.errors import StorageFull
from catalog.importers.download import Wanted, download
wanted = Wanted({wanted.source!r}, {wanted.file!r}, {wanted.size}, {wanted.sha256!r})
with requests.Session() as session:
    try:
        download(session, {server.url + "/files/thing.bin"!r}, Path({str(tmp_path / "thing.bin")!r}), wanted)
    except StorageFull as full:
        print("full", full.facts["needed"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)),
    )
    assert done.stdout.strip() == f"full {len(CONTENT)}", done.stderr
    assert not (tmp_path / "thing.bin").exists()
    assert _fetch(server, tmp_path / "thing.bin").read_bytes() == CONTENT


def test_pause_grows_and_heeds_the_server() -> None:
    patience = Patience(pause=0.01)
    start = time.monotonic()
    patience.wait(3)
    assert 0.03 <= time.monotonic() - start < 1
