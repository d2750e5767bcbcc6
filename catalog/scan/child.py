"""What a shut-in child calls: JSON in, JSON out.

The caller gives the child the catalogue's package and the folder to read, and a bound of memory and time;
a child that dies leaves every file of the folder unread, and so refused.
"""

from pathlib import Path
from typing import Any

from catalog.progress import Progress, silent
from catalog.scan import folder as folders
from catalog.scan import pictures
from catalog.scan.findings import Refused


def scan(
    folder: str,
    artifacts: list[dict[str, Any]],
    progress: Progress = silent,
    linked: bool = False,
    seconds: float = 0,
) -> list[dict[str, Any]]:
    """Rows of `catalog.scan.folder.scan` as JSON."""
    rows = folders.scan(Path(folder), artifacts, progress, linked=linked, seconds=seconds)
    return [row.to_json() for row in rows]


def reencode(source: str, target: str, progress: Progress = silent, width: int = 0) -> dict[str, Any]:
    """Write a picture anew, so that only its pixels stay; gives its form, width, height and size in bytes.

    With `width`, small: no side has more pixels than that.

    A picture that cannot be drawn gives code and facts instead. The child may write only where `target` lies.
    """
    try:
        return pictures.reencode(Path(source), Path(target), width)
    except Refused as refused:
        return {"code": refused.code, "facts": refused.facts}
