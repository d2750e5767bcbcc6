"""One blob to or from a repository: streamed, resumed where the connection broke, and checked."""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from deployer.errors import ContentCorrupted, RegistryRefused
from deployer.packager.layout import PART, BlobWriter, Descriptor, Layout
from deployer.packager.registry.connection import Answer, Broken, Connection

Count = Callable[[int], None]
"""Told how many bytes have just been moved."""

_OCTETS = "application/octet-stream"
_NO_CHUNKS = {400, 404, 405, 411, 413, 415, 416, 501}  # what registries say that take a blob only whole
_FORGOTTEN = {404, 416}


class _Place(NamedTuple):
    """Where an upload goes on: the address for the next piece, and how many bytes the registry has."""

    url: httpx.URL
    offset: int
    smallest: int = 0
    """Bytes that a piece must have unless it is the last."""


def exists(connection: Connection, descriptor: Descriptor) -> bool:
    """Whether the repository has the blob; a registry that died while it wrote it may not know."""
    try:
        answer = connection.ask("HEAD", f"blobs/{descriptor.digest}", expected=(200, 404))
    except RegistryRefused as refused:
        if refused.facts["status"] == 500:
            return False
        raise
    return answer.status == 200


def send(connection: Connection, path: Path, descriptor: Descriptor, mount: str, count: Count) -> None:
    """Upload a file, or have it mounted from another repository of the registry, named by `mount`.

    A broken upload goes on where the registry says that it stands; what it forgot begins anew. Raises
    ContentCorrupted when the file is not what its digest says.
    """
    place = _begin(connection, descriptor, mount)
    chunk, tried, furthest = connection.pace.chunk, 0, 0
    while place is not None:
        reached = place
        try:
            place = _piece(connection, path, descriptor, reached, chunk, count)
            if place and place.offset > furthest:
                tried, furthest = 0, place.offset
        except Broken as broken:
            tried += 1
            connection.rest(broken, tried)
            place = _resumed(connection, descriptor, reached)
        except RegistryRefused as refused:
            if descriptor.size > chunk and not furthest and refused.facts["status"] in _NO_CHUNKS:
                chunk = descriptor.size
            elif _lost(path, descriptor, refused):
                tried += 1
                connection.rest(Broken(refused), tried)
            else:
                raise
            place = _begin(connection, descriptor, "")


def fetch(connection: Connection, layout: Layout, descriptor: Descriptor, count: Count) -> None:
    """Download a blob into the layout; nothing is kept of one that differs from its digest or size."""
    tried, furthest = 0, 0
    with layout.writing(descriptor) as writer:
        while True:
            try:
                _more(connection, descriptor, writer, count)
                return
            except Broken as broken:
                tried = tried + 1 if writer.size <= furthest else 1
                furthest = writer.size
                connection.rest(broken, tried)


def _begin(connection: Connection, descriptor: Descriptor, mount: str) -> _Place | None:
    """Open an upload; None when the blob was mounted instead."""
    if mount:
        query = str(httpx.QueryParams({"mount": descriptor.digest, "from": mount}))
        try:
            answer = connection.ask("POST", f"blobs/uploads/?{query}", expected=(201, 202))
            return None if answer.status == 201 else _place(connection, answer, 0)
        except RegistryRefused:
            pass  # it may not be read there; then it is sent
    return _place(connection, connection.ask("POST", "blobs/uploads/", expected=(202,)), 0)


def _place(connection: Connection, answer: Answer, offset: int) -> _Place:
    if answer.location is None:
        raise connection.refused(answer.status, "it does not say where to send the blob")
    smallest = answer.headers.get("OCI-Chunk-Min-Length", "")
    return _Place(answer.location, offset, int(smallest[:12]) if smallest.isdecimal() else 0)


def _piece(
    connection: Connection,
    path: Path,
    descriptor: Descriptor,
    place: _Place,
    chunk: int,
    count: Count,
) -> _Place | None:
    """Send the next piece; None when it was the last and the registry keeps the blob."""
    end = min(descriptor.size, place.offset + max(chunk, place.smallest))
    headers = {"Content-Type": _OCTETS, "Content-Length": str(end - place.offset)}
    if place.offset or end < descriptor.size:
        headers["Content-Range"] = f"{place.offset}-{end - 1}"
    body = functools.partial(_read, path, place.offset, end, count)
    if end == descriptor.size:
        url = place.url.copy_merge_params({"digest": descriptor.digest})
        connection.ask_once("PUT", url, headers=headers, body=body, expected=(201, 204))
        return None
    answer = connection.ask_once("PATCH", place.url, headers=headers, body=body, expected=(202,))
    following = _place(connection, answer, _stored(answer, end))
    return following._replace(smallest=max(place.smallest, following.smallest))


def _read(path: Path, start: int, end: int, count: Count) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (part := file.read(min(PART, end - start))):
            yield part
            start += len(part)
            count(len(part))


def _stored(answer: Answer, otherwise: int) -> int:
    """Bytes that the registry says it has; 0-0 is what some say for none."""
    told = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", answer.headers.get("Range", ""))
    if told is None:
        return otherwise
    return int(told[1]) + 1 if int(told[1]) else 0


def _resumed(connection: Connection, descriptor: Descriptor, place: _Place) -> _Place | None:
    """Where a broken upload goes on; None when only the answer was lost and the blob is there."""
    if exists(connection, descriptor):
        return None
    try:
        answer = connection.ask("GET", place.url, expected=(200, 202, 204))
        found = _place(connection, answer, _stored(answer, 0))
    except RegistryRefused:
        return _begin(connection, descriptor, "")
    if found.offset >= descriptor.size:  # all but the closing word; the last byte goes once more in a new one
        return _begin(connection, descriptor, "")
    return found._replace(smallest=place.smallest)


def _lost(path: Path, descriptor: Descriptor, refused: RegistryRefused) -> bool:
    """Whether the registry forgot the upload, or got another digest although the file is right.

    The latter happens when it was still writing a piece that was given up and sent again. A damaged file
    is ContentCorrupted.
    """
    if "DIGEST" not in str(refused.facts["why"]):
        return refused.facts["status"] in _FORGOTTEN
    with path.open("rb") as file:
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found != descriptor.digest:
        raise ContentCorrupted(what=str(path), expected=descriptor.digest, got=found) from refused
    return True


def _more(connection: Connection, descriptor: Descriptor, writer: BlobWriter, count: Count) -> None:
    """Read on from where the writer stands, to the end."""
    start = writer.size
    headers = {"Range": f"bytes={start}-"} if start else {}
    with connection.opened(
        "GET", f"blobs/{descriptor.digest}", headers=headers, expected=(200, 206) if start else (200,)
    ) as response:
        skip = start
        if response.status_code == 206:
            skip = 0
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise connection.refused(206, "it sends another part than was asked for")
        for part in response.iter_raw(PART):
            fresh, skip = part[skip:], max(0, skip - len(part))
            if writer.size + len(fresh) > descriptor.size:
                raise ContentCorrupted(
                    what=descriptor.digest, expected=f"{descriptor.size} bytes", got="more bytes"
                )
            writer.write(fresh)
            count(len(fresh))
