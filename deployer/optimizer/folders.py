"""Model folders of variants: everything as it came, but for some graphs and options."""

import errno
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from deployer.optimizer.errors import NothingToOptimize

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder; a folder without a readable one is refused."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NothingToOptimize(model=folder.name, why=str(error)) from error
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise NothingToOptimize(model=folder.name, why=f"{MANIFEST} names no files")
    return found


def graphs_of(folder: Path) -> dict[str, Path]:
    """The ONNX graphs of a model folder by role; a folder without any is refused."""
    files = read_manifest(folder)["files"]
    graphs = {role: folder / str(name) for role, name in files.items() if str(name).endswith(".onnx")}
    missing = [path.name for path in graphs.values() if not path.is_file()]
    if missing or not graphs:
        raise NothingToOptimize(model=folder.name, why=f"missing: {missing}" if missing else "no ONNX graph")
    return graphs


def parts_of(graph: Path) -> list[Path]:
    """A graph that a recipe made, with its weights, which lie beside it under its name."""
    return sorted(p for p in graph.parent.glob(f"{graph.name}*") if p.is_file())


def size_of(graph: Path) -> int:
    """Bytes of a graph with its external weights."""
    return sum(path.stat().st_size for path in parts_of(graph))


def lay_out(
    base: Path,
    out: Path,
    graphs: Mapping[str, Path],
    options: Mapping[str, Any],
    without: Collection[str] = (),
) -> Path:
    """A folder like `base` with other graphs and options; files are links where the disk can.

    `without` names files that only the graphs as they came needed: their weights.
    """
    manifest = read_manifest(base)
    dropped = {base / str(manifest["files"][role]) for role in graphs} | {base / name for name in without}
    shutil.rmtree(out, ignore_errors=True)
    for path in sorted(p for p in base.rglob("*") if p.is_file() and p.name != MANIFEST):
        if path not in dropped:
            link(path, out / path.relative_to(base))
    for role, graph in graphs.items():
        for part in parts_of(graph):
            link(part, out / part.name)
        manifest["files"][role] = graph.name
    manifest["options"] = {**(manifest.get("options") or {}), **options}
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
    return out


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy of it where it cannot be linked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            raise
        shutil.copyfile(source, target)
