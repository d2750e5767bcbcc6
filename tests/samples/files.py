"""Files of many types: what lies in the standard library and in the installed packages, by its ending."""

import random
import sysconfig
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.samples.writing import Made

ENDINGS = {
    "bat": "batch",
    "bmp": "bmp",
    "bz2": "bzip",
    "c": "c",
    "cc": "cpp",
    "cpp": "cpp",
    "css": "css",
    "csv": "csv",
    "exe": "pebin",
    "f90": "fortran",
    "gif": "gif",
    "gz": "gzip",
    "html": "html",
    "js": "javascript",
    "json": "json",
    "md": "markdown",
    "mjs": "javascript",
    "npy": "npy",
    "npz": "npz",
    "onnx": "onnx",
    "pem": "pem",
    "pkl": "pickle",
    "png": "png",
    "proto": "proto",
    "ps1": "powershell",
    "py": "python",
    "pyc": "pythonbytecode",
    "pyi": "python",
    "rst": "rst",
    "sh": "shell",
    "so": "elf",
    "svg": "svg",
    "toml": "toml",
    "ts": "typescript",
    "xml": "xml",
    "xz": "xz",
    "zip": "zip",
}
"""Magika's label by a name's ending; endings that say too little (txt, h, dat) or
lie (the broken wav of tests) are left out."""
_END = 4096  # bytes of each end that are kept: all that the model looks at
_SMALLEST = 64


def typed(rows: int, seed: int) -> list[Made]:
    """{"file", "label"}: the types by turns, as long as there are files of each; both ends of long files."""
    chance = random.Random(seed)
    waiting = {label: chance.sample(paths, len(paths)) for label, paths in sorted(_files().items())}
    made: list[Made] = []
    seen: set[bytes] = set()
    while waiting and len(made) < rows:
        for label in [*waiting]:
            data = _ends(waiting[label].pop())
            if not waiting[label]:
                del waiting[label]
            if len(data) >= _SMALLEST and data not in seen and len(made) < rows:
                seen.add(data)
                made.append(Made({"label": label}, {"file": (data, "bin")}))
    chance.shuffle(made)
    return made


def _ends(path: Path) -> bytes:
    data = path.read_bytes()
    return data if len(data) <= 2 * _END else data[:_END] + data[-_END:]


@cache
def _files() -> dict[str, list[Path]]:
    found = defaultdict(list)
    library = Path(sysconfig.get_path("stdlib"))
    packages = Path(sysconfig.get_path("purelib"))
    for root in (library, packages):
        for path in sorted(root.rglob("*")):
            inside = root == packages or "site-packages" not in path.parts
            label = ENDINGS.get(path.suffix.removeprefix("."))
            if label and inside and path.is_file() and not path.is_symlink():
                found[label].append(path)
    return found
