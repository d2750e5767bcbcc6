"""One file over HTTP: resumed by Range, tried again with back-off, checked by its sha256.

What has come lies in `<target>.part` and is gone on with after a broken line or a killed process; the
target appears only when its digest is right. A server that does not do Range is read from the start.
"""

import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from catalog.errors import DigestMismatch, SourceMissing, SourceUnreachable
from catalog.progress import Progress, silent
from catalog.storage import require_room, sha256_of, storage_errors, sync

TIMEOUT = (15.0, 60.0)  # seconds: to connect, and between two pieces
PIECE = 1 << 16  # small, because a piece that a break cuts short is lost
_ABSENT = {404, 410, 451}
_LATER = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How often to try without any progress, and the first pause in seconds (doubled each time)."""

    attempts: int = 4
    pause: float = 0.5

    def wait(self, failures: int, retry_after: str | None = None) -> None:
        """Sleep before the next attempt; a server's own Retry-After counts up to half a minute."""
        asked = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
        # Spread by chance, so that many shops do not come back in the same moment.
        own = self.pause * 2 ** (failures - 1) * random.uniform(0.8, 1.2)  # noqa: S311
        time.sleep(min(max(asked, own), 30.0))


@dataclass(frozen=True)
class Wanted:
    """What a download must turn out to be, and its name for people (`source`, `file`)."""

    source: str
    file: str
    size: int
    sha256: str


class _Broken(Exception):
    """The line broke or the server asks to come back; try again. Carries why and Retry-After."""

    def __init__(self, why: str, retry_after: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after


def why_of(error: Exception) -> str:
    """A few words for a failed request, without addresses or traces in them."""
    text = repr(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate was not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not answer"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if "NameResolution" in text or "getaddrinfo" in text:
        return "its name was not found on the network"
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return "the connection was refused or broke"
    return type(error).__name__


def download(
    session: requests.Session,
    url: str,
    target: Path,
    wanted: Wanted,
    progress: Progress = silent,
    patience: Patience | None = None,
) -> Path:
    """Bring a file to `target`; raises SourceUnreachable, SourceMissing, DigestMismatch or StorageFull."""
    patience = patience or Patience()
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    failures, resumed = 0, _size(part) > 0
    while True:
        before = _size(part)
        try:
            require_room(part.parent, max(0, wanted.size - before))
            _fetch(session, url, part, wanted, progress)
        except _Broken as broken:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= patience.attempts:
                raise SourceUnreachable(source=wanted.source, why=broken.why) from None
            patience.wait(failures, broken.retry_after)
            continue
        got = sha256_of(part)
        if got == wanted.sha256:
            part.replace(target)
            return target
        part.unlink()
        if not resumed:
            raise DigestMismatch(source=wanted.source, file=wanted.file, expected=wanted.sha256, got=got)
        resumed = False  # the old beginning may have been at fault: once more, from the start


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(session: requests.Session, url: str, part: Path, wanted: Wanted, progress: Progress) -> None:
    """Fill the part file up to the wanted size with one request."""
    offset = _size(part)
    if offset > wanted.size:
        part.unlink()
        offset = 0
    if offset == wanted.size:
        return
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            offset = _start(answer, offset, wanted, part)
            _copy(answer, part, offset, wanted, progress)
    except requests.RequestException as error:
        raise _Broken(why_of(error)) from error


def _start(answer: requests.Response, offset: int, wanted: Wanted, part: Path) -> int:
    """Where the answer's bytes begin; refuses an answer that has no bytes for us."""
    status = answer.status_code
    if status == 206:
        span = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != offset:
            part.unlink(missing_ok=True)
            raise _Broken("the source answered with another part of the file")
        return offset
    if status == 200:
        return 0
    if status == 416:
        part.unlink(missing_ok=True)
        raise _Broken("the source has no such part of the file")
    if status in _ABSENT:
        raise SourceMissing(source=wanted.source, file=wanted.file)
    if status in _LATER:
        raise _Broken(f"HTTP {status}", answer.headers.get("Retry-After"))
    raise SourceUnreachable(source=wanted.source, why=f"HTTP {status}")


def _copy(answer: requests.Response, part: Path, done: int, wanted: Wanted, progress: Progress) -> None:
    """Append the answer to the part file, never past the wanted size."""
    pieces: Any = answer.iter_content(PIECE)
    with storage_errors(part.parent, wanted.size), part.open("ab" if done else "wb") as file:
        progress(done, wanted.size, wanted.file)
        for piece in pieces:
            if done + len(piece) > wanted.size:
                got = f"more than {wanted.size} bytes"
                file.truncate(0)
                raise DigestMismatch(source=wanted.source, file=wanted.file, expected=wanted.sha256, got=got)
            file.write(piece)
            done += len(piece)
            progress(done, wanted.size, wanted.file)
        sync(file)
    if done < wanted.size:
        raise _Broken("the connection broke before the end")
