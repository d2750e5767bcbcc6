"""Pictures of examples as they are shown: drawn anew, small, by a shut-in child, and kept by their content.

A vendor's picture is never decoded in the shop. What cannot be drawn is remembered as an empty file, so that
nobody makes the shop start a child at every look.
"""

import tempfile
from hashlib import sha256
from pathlib import Path

import catalog
from catalog.storage import only_one
from deployer.optimizer import worker
from deployer.optimizer.errors import WorkerFailed

WIDTH = 320
_MEMORY, _SECONDS = 512 << 20, 10.0


def small(home: Path, content: bytes) -> bytes | None:
    """A WebP of at most WIDTH pixels a side, or None when this is no picture."""
    folder = home / "cache" / "pictures"
    kept = folder / f"{sha256(content).hexdigest()}-{WIDTH}.webp"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder / ".lock"):  # one child at a time, however many look
            if not kept.exists():
                _draw(content, kept)
    return kept.read_bytes() or None


def _draw(content: bytes, kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kept.parent) as room:
        source, work = Path(room, "in"), Path(room, "out")
        source.mkdir()
        work.mkdir()
        (source / "picture").write_bytes(content)
        drawn = work / kept.name
        try:
            worker.run(
                "catalog.scan.child:reencode",
                {"source": source / "picture", "target": drawn, "width": WIDTH},
                read=(Path(catalog.__file__).parent, source),
                write=(work,),
                memory=_MEMORY,
                seconds=_SECONDS,
            )
        except WorkerFailed:
            drawn.unlink(missing_ok=True)
        if not drawn.exists():
            drawn.touch()
        drawn.replace(kept)
