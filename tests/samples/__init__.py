"""Labelled rows for every model of the starter shelf: what a person would bring to have a model optimised.

Each is a data file whose columns are the inputs of `/predict` and, where the truth is known, `label`: JSONL,
or a zip with data.jsonl and the pictures, sounds or files that it names. They are made here, from packages
that the tests fetch or that are installed in any case, from drawn pages and from synthetic speech; nothing is
kept in the repository. The same seed gives the same rows on a machine with the same packages.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from catalog.storage import only_one
from tests.samples import files, pages, photos, pictures, sounds, texts
from tests.samples.writing import Made, Missing, write
from tests.shelf_files import cache_dir

__all__ = ["MAKERS", "ROWS", "Missing", "cached", "make"]

Maker = Callable[[int, int], list[Made]]
"""(rows, seed) → that many rows, or fewer where the source has no more."""

MAKERS: dict[str, Maker] = {
    "asr-whisper-base": sounds.sayings,
    "doc-layout-cdla": pages.reports,
    "doc-orientation": pictures.turned,
    "en-minilm-l6-fp32": texts.docstrings,
    "en-minilm-l6-int8": texts.docstrings,
    "filetype-magika": files.typed,
    "img-efficientnet-lite0": photos.scenes,
    "nsfw-open": photos.crops,
    "ocr-ppocrv6-small": pictures.lines,
    "selfie-segmentation": photos.people,
    "tts-kokoro-82m-int8": texts.announcements,
    "vad-silero-6": sounds.clips,
    "zh-lac-ner": texts.news,
    "zh-sentiment": texts.reviews,
}

ROWS: dict[str, int] = {
    "asr-whisper-base": 80,
    "doc-layout-cdla": 120,
    "doc-orientation": 600,
    "en-minilm-l6-fp32": 800,
    "en-minilm-l6-int8": 800,
    "filetype-magika": 1000,
    "img-efficientnet-lite0": 300,
    "nsfw-open": 300,
    "ocr-ppocrv6-small": 240,
    "selfie-segmentation": 200,
    "tts-kokoro-82m-int8": 100,
    "vad-silero-6": 120,
    "zh-lac-ner": 800,
    "zh-sentiment": 1500,
}

_KEPT = 86_400  # seconds that rows of an older maker stay: somebody may still read them


def make(listing: str, folder: Path, *, rows: int = 0, seed: int = 0) -> Path:
    """Write the rows of a listing's model below `folder`; 0 rows is as many as are usual.

    Raises Missing when a font or program is not on this machine.
    """
    made = MAKERS[listing](rows or ROWS[listing], seed)
    folder.mkdir(parents=True, exist_ok=True)
    return write(made, folder / f"{listing}-{seed}")


def cached(listing: str, *, rows: int = 0, seed: int = 0) -> Path:
    """The same, kept in the folder of the tests' downloads until its maker changes."""
    home = cache_dir() / "samples"
    home.mkdir(parents=True, exist_ok=True)
    mark = _mark()
    folder = home / f"{listing}-{rows or ROWS[listing]}-{seed}-{mark}"
    with only_one(home / f".{listing}.lock"):
        if not folder.exists():
            for old in home.glob(f"{listing}-*-*-*"):
                if not old.name.endswith(mark) and time.time() - old.stat().st_mtime > _KEPT:
                    shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=home) as work:
                out = Path(work) / "out"
                make(listing, out, rows=rows, seed=seed)
                out.replace(folder)
    return next(folder.iterdir())


@cache
def _mark() -> str:
    """Changes with the code of the makers."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.name.startswith("test_"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
