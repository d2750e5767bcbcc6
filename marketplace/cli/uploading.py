"""Sending files to a shop in pieces: with a bar, and going on where it broke off, also over restarts."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from marketplace.client import Refused, Shop, Unreachable, locate
from marketplace.terminal import language, say

T = TypeVar("T")
PATIENCE = 90.0  # seconds that a shop may be away
AWAY = (401, 502, 503, 504)
"""Of a shop that starts again: its own key is a new one afterwards, and stands in server.json."""


class Lasting:
    """A shop that may go away and come back; whatever is asked of it may be asked twice."""

    def __init__(self) -> None:
        self.shop = Shop(*locate())
        self._answered = False

    def close(self) -> None:
        """Close the connections."""
        self.shop.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer; waits for a shop that is away. Raises Refused and Unreachable."""
        return self.steadily(lambda shop: shop.call(method, path, **options))

    def steadily(self, ask: Callable[[Shop], T]) -> T:
        """What `ask` gives; asked again while a shop is away that answered before."""
        end, pause = 0.0, 0.2
        while True:
            try:
                found = ask(self.shop)
            except (Refused, Unreachable) as error:
                if not self._answered or not _is_away(error):
                    raise
                end = end or time.monotonic() + PATIENCE
                if time.monotonic() > end:
                    raise
            else:
                self._answered = True
                return found
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
            self._again()

    def _again(self) -> None:
        try:
            url, key = locate()
        except Unreachable:
            return
        self.shop.close()
        self.shop = Shop(url, key)


def _is_away(error: Refused | Unreachable) -> bool:
    return isinstance(error, Unreachable) or error.status in AWAY


@contextmanager
def lasting() -> Iterator[Lasting]:
    """The shop to talk to."""
    found = Lasting()
    try:
        yield found
    finally:
        found.close()


Report = Callable[[int, int, str], None]


@contextmanager
def bar(title: str, total: int) -> Iterator[Report]:
    """A bar with speed and time left where a terminal is there; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, size, note: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=total or None, note="")

        def report(done: int, size: int, note: str) -> None:
            bars.update(task, completed=done, total=size or None, note=note[-40:])

        yield report


def send_files(shop: Lasting, folder: Path, files: Sequence[dict[str, Any]]) -> int:
    """Send files (path, sha256, size) of a folder; returns the bytes that had to be sent."""
    total, done, sent = sum(int(f["size"]) for f in files), 0, 0
    with bar(say("上传", "Upload"), total) as report:
        for file in files:
            begun = done

            def tell(offset: int, path: str = str(file["path"]), begun: int = begun) -> None:
                report(begun + offset, total, path)

            sent += _send(shop, folder / file["path"], file, tell)
            done += int(file["size"])
    return sent


def _send(shop: Lasting, path: Path, file: dict[str, Any], tell: Callable[[int], None]) -> int:
    """Send one file from where it broke off; one that the shop found damaged is sent once more."""
    announced = {"sha256": file["sha256"], "size": file["size"]}
    sent = 0
    for attempt in (1, 2):
        upload = shop.call("POST", "/api/uploads", json=announced)
        with path.open("rb") as source:
            try:
                while not upload["complete"]:
                    tell(upload["offset"])
                    source.seek(upload["offset"])
                    piece = source.read(min(upload["chunk"], upload["size"] - upload["offset"]))
                    upload = _send_piece(shop, upload, piece)
                    sent += len(piece)
            except Refused as refused:
                # Damaged on its way; or a draft has taken it that was published beside this one.
                if refused.problem.get("code") not in ("upload-corrupted", "unknown-upload") or attempt == 2:
                    raise
                _require_unchanged(path, file)
                continue
        tell(upload["size"])
        return sent
    return sent


def _send_piece(shop: Lasting, upload: dict[str, Any], piece: bytes) -> dict[str, Any]:
    """Where the upload stands afterwards; a piece that arrived although its answer got lost counts."""
    path = f"/api/uploads/{upload['id']}"
    headers = {"Upload-Offset": str(upload["offset"]), "Content-Type": "application/octet-stream"}
    try:
        found: dict[str, Any] = shop.call("PATCH", path, content=piece, headers=headers)
    except Refused as refused:
        if refused.problem.get("code") != "upload-offset-wrong":
            raise
        found = shop.call("GET", path)
    return found


def _require_unchanged(path: Path, file: dict[str, Any]) -> None:
    """A file that is another than its sheet says, or was changed meanwhile, is no accident of the line."""
    from marketplace.problems import problem

    with path.open("rb") as source:
        now = hashlib.file_digest(source, "sha256").hexdigest()
    if now != file["sha256"]:
        found = problem("file-digest-wrong", language(), path=file["path"], digest=now)
        raise Refused(found.status, found.to_dict())
