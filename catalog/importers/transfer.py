"""One file of a source over HTTP: in pieces to the disk, gone on with after a break or a kill, and checked.

What has come lies in `<target>.part`, and in `<target>.mark` the ETag that it came with: it is gone on with
only under the same ETag, or where the source told the whole file's digest beforehand. Nothing is ever held
in memory but one piece, however large the file is.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import httpx
import requests

from catalog.errors import DigestMismatch, SourceMissing, SourceUnreachable
from catalog.importers.download import Patience, why_of
from catalog.importers.errors import SourceDenied, SourceTooLarge
from catalog.importers.pace import LONGEST, Pace
from catalog.importers.reach import Reach
from catalog.importers.web import open_web
from catalog.progress import Progress, silent
from catalog.storage import CHUNK, require_room, storage_errors, sync

PIECE = 1 << 16
LARGEST = 64 << 30  # bytes of one file
_LOOK = 64 << 20  # bytes between two looks at the disk, for a file of unknown size
_ABSENT = {404, 410, 451}
_DENIED = {401, 403}
_LATER = {408, 425, 429, 500, 502, 503, 504}


class Head(Protocol):
    """An answer's status and headers, names in lower case, with its body still to come."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""

    def pieces(self) -> Iterator[bytes]:
        """The body; raises SourceUnreachable when it breaks."""


Opener = Callable[[str, Mapping[str, str]], AbstractContextManager[Head]]
"""How a source is asked: address and headers to an answer."""


@dataclass(frozen=True)
class Remote:
    """A file of a source, and what is known of it before it is fetched."""

    path: str  # below the folder that the import is fetched into
    url: str
    size: int | None = None
    digest: str = ""  # sha256:…, sha512:… or git-sha1:… in hex; "" where the source tells none
    headers: Mapping[str, str] = field(default_factory=dict)
    variable: str = ""  # the environment's variable that holds the source's token
    source: str = ""  # for people


class _Broken(Exception):
    """The line broke or the source asks to come back: try again."""

    def __init__(self, why: str, retry_after: str | None = None) -> None:
        super().__init__(why)
        self.why, self.retry_after = why, retry_after


class _Refused(SourceUnreachable):
    """The source answered, and another try would be answered alike."""


def bring(
    opener: Opener,
    remote: Remote,
    target: Path,
    progress: Progress = silent,
    patience: Patience | None = None,
) -> Path:
    """Bring a file to `target`, or find it there from an earlier run; its digest is right when this returns.

    Raises SourceUnreachable, SourceMissing, SourceDenied, SourceTooLarge, DigestMismatch and StorageFull.
    """
    patience = patience or Patience()
    target.parent.mkdir(parents=True, exist_ok=True)
    part, mark = _beside(target)
    if target.exists():
        progress(target.stat().st_size, remote.size or 0, remote.path)
        return target
    failures, resumed = 0, part.exists()
    while True:
        before = _size(part)
        try:
            _fetch(opener, remote, part, mark, progress)
        except _Refused:
            raise
        except (_Broken, SourceUnreachable) as broken:
            why = broken.why if isinstance(broken, _Broken) else str(broken.facts["why"])
            failures = 1 if _size(part) > before else failures + 1
            if failures >= patience.attempts or "certificate" in why:
                raise SourceUnreachable(source=remote.source, why=why) from None
            patience.wait(failures, broken.retry_after if isinstance(broken, _Broken) else None)
            continue
        got = _digest_of(part, remote.digest)
        if remote.digest in ("", got):
            mark.unlink(missing_ok=True)
            part.replace(target)
            return target
        part.unlink()
        if not resumed:
            facts = {"source": remote.source, "file": remote.path, "expected": remote.digest, "got": got}
            raise DigestMismatch(**facts)
        resumed = False  # the old beginning may have been at fault: once more, from the start


def in_time(progress: Progress, source: str) -> Progress:
    """The same progress, which raises SourceUnreachable once it has gone on for longer than anything may."""
    until = time.monotonic() + LONGEST

    def moved(done: int, total: int, note: str = "") -> None:
        if time.monotonic() > until:
            raise _Refused(source=source, why=f"not all of it came within {round(LONGEST / 3600)} h")
        progress(done, total, note)

    return moved


def forget(target: Path) -> None:
    """Remove what an earlier run left of a file."""
    for path in (target, *_beside(target)):
        path.unlink(missing_ok=True)


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(target.name + ".part"), target.with_name(target.name + ".mark")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(opener: Opener, remote: Remote, part: Path, mark: Path, progress: Progress) -> None:
    """One request for all that is still lacking."""
    offset, etag = _size(part), mark.read_text() if mark.exists() else ""
    if remote.size is not None and offset == remote.size and (remote.digest or etag):
        return
    if not (etag or remote.digest) or (remote.size is not None and offset > remote.size):
        offset = 0  # nothing says that the rest would fit to it
    headers = {**remote.headers, "accept-encoding": "identity"}
    if offset:
        headers["range"] = f"bytes={offset}-"
        if etag:
            headers["if-range"] = etag
    with opener(remote.url, headers) as answer:
        offset = _start(answer, offset, etag, remote, part)
        whole = remote.size if remote.size is not None else _whole(answer, offset)
        if not offset:
            told = answer.headers.get("etag", "")
            mark.write_text("" if told.startswith("W/") else told)
        _copy(answer, part, offset, whole, remote, progress)


def _start(answer: Head, offset: int, etag: str, remote: Remote, part: Path) -> int:
    """Where the answer's bytes begin; refuses an answer that has none for us."""
    status, headers = answer.status, answer.headers
    if status == 200:
        return 0
    if status == 206:
        span = re.match(r"bytes (\d+)-", headers.get("content-range", ""))
        if span is None or int(span[1]) != offset or (headers.get("etag", etag) != etag and etag):
            part.unlink(missing_ok=True)
            raise _Broken("the source answered with another part of the file")
        return offset
    if status == 416:
        part.unlink(missing_ok=True)
        raise _Broken("the source has no such part of the file")
    if status in _ABSENT:
        raise SourceMissing(source=remote.source, file=remote.path)
    if status in _DENIED and remote.variable:
        raise SourceDenied(source=remote.source, variable=remote.variable)
    if status in _LATER:
        raise _Broken(f"HTTP {status}", headers.get("retry-after"))
    raise _Refused(source=remote.source, why=f"HTTP {status}")


def _whole(answer: Head, offset: int) -> int | None:
    """Bytes of the whole file as the answer tells them."""
    told = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("content-range", ""))
    if told:
        return int(told[1])
    length = answer.headers.get("content-length", "")
    return offset + int(length) if length.isascii() and length.isdigit() else None


def _copy(answer: Head, part: Path, done: int, whole: int | None, remote: Remote, progress: Progress) -> None:
    """Append the answer to the part file, never past its size, and never to a disk that runs full."""
    require_room(part.parent, max(0, (whole or 0) - done))
    looked, pace = done, Pace(done)
    with storage_errors(part.parent, whole or 0), part.open("ab" if done else "wb") as file:
        progress(done, whole or 0, remote.path)
        try:
            for piece in answer.pieces():
                done += len(piece)
                if why := pace.complaint(done):
                    raise _Refused(source=remote.source, why=why)
                if done > (LARGEST if whole is None else whole):
                    file.truncate(0)
                    raise SourceTooLarge(source=remote.source, limit=whole or LARGEST)
                file.write(piece)
                progress(done, whole or 0, remote.path)
                if done - looked >= _LOOK:
                    looked = done
                    require_room(part.parent, max(0, (whole or 0) - done))
        finally:
            sync(file)
    if whole is not None and done < whole:
        raise _Broken("the connection broke before the end")


def _digest_of(path: Path, like: str) -> str:
    """The file's digest in the form of another; sha256 where that is empty."""
    kind = like.partition(":")[0] or "sha256"
    with path.open("rb") as file:
        if kind == "git-sha1":
            digest = hashlib.sha1(f"blob {_size(path)}\0".encode(), usedforsecurity=False)
            return f"{kind}:{_hashed(file, digest)}"
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def _hashed(file: BinaryIO, digest: Any) -> str:
    while piece := file.read(CHUNK):
        digest.update(piece)
    return str(digest.hexdigest())


# How sources are asked


def web_opener(reach: Reach) -> Opener:
    """For addresses that people named: every hop is judged."""

    @contextmanager
    def opened(url: str, headers: Mapping[str, str]) -> Iterator[Head]:
        with open_web(url, reach=reach, headers=headers, limit=LARGEST) as answer:
            yield answer

    return opened


@dataclass
class _Plain:
    status: int
    headers: Mapping[str, str]
    source: str
    body: Iterator[bytes]

    def pieces(self) -> Iterator[bytes]:
        """The body; a broken line has a name."""
        with _named(self.source):
            yield from self.body


@contextmanager
def _named(source: str) -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        raise SourceUnreachable(source=source, why=why_of(error)) from error
    except httpx.HTTPError as error:
        raise SourceUnreachable(source=source, why=_why(error)) from error


def _why(error: httpx.HTTPError) -> str:
    text = repr(error)
    if "CERTIFICATE" in text:
        return "the certificate was not accepted"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if "Name or service" in text or "getaddrinfo" in text or "name resolution" in text:
        return "its name was not found on the network"
    return "the connection was refused or broke"


def index_opener(session: requests.Session, source: str) -> Opener:
    """For package indexes, which the operator has set up: with their proxies and certificates."""

    @contextmanager
    def opened(url: str, headers: Mapping[str, str]) -> Iterator[Head]:
        with (
            _named(source),
            session.get(url, headers=dict(headers), stream=True, timeout=(15.0, 60.0)) as answer,
        ):
            named = {name.lower(): value for name, value in answer.headers.items()}
            yield _Plain(answer.status_code, named, source, answer.iter_content(PIECE))

    return opened


def hub_opener(client: httpx.Client, source: str) -> Opener:
    """For hubs, which the operator has named; a token stays with the hub's own origin."""

    @contextmanager
    def opened(url: str, headers: Mapping[str, str]) -> Iterator[Head]:
        with _named(source), client.stream("GET", url, headers=dict(headers)) as answer:
            named = {name.lower(): value for name, value in answer.headers.items()}
            yield _Plain(answer.status_code, named, source, answer.iter_raw())

    return opened


def hub_client() -> httpx.Client:
    """HTTP to a hub: follows it to its store, through the environment's proxy where there is one."""
    return httpx.Client(
        follow_redirects=True, max_redirects=5, timeout=httpx.Timeout(60.0, connect=15.0), headers=_AGENT
    )


_AGENT = {"user-agent": "opc-market", "accept-encoding": "identity"}
