"""The packages that a server imports, as wheels for the image's Python and architecture.

The versions are those of our own environment, so that an answer is the same in both runtimes. pip
fetches them through whatever index the machine has set; only wheels are taken, so nothing is built.
What only some tasks import is in groups, each of which becomes a layer of its own.
"""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from deployer.errors import DiskFull, PackagesUnavailable, PackagingFailed

CORE = "core"
GROUPS: Mapping[str, tuple[str, ...]] = {
    CORE: ("httptools", "msgspec", "numpy", "onnxruntime", "orjson", "uvloop"),
    "pictures": ("pillow",),
    "sound": ("lameenc",),
    "text": ("tokenizers",),
}
# What the pipelines of the tasks import beside the core; other tasks are served as tensors.
TASKS: Mapping[str, tuple[str, ...]] = {
    "automatic-speech-recognition": ("text",),
    "document-layout": ("pictures",),
    "feature-extraction": ("text",),
    "image-classification": ("pictures",),
    "image-segmentation": ("pictures",),
    "image-to-text": ("pictures",),
    "object-detection": ("pictures",),
    "sentence-similarity": ("text",),
    "text-classification": ("text",),
    "text-to-speech": ("sound",),
    "token-classification": ("text",),
}
RUNTIME = "onnxruntime"  # the package that a device may replace by builds of its own
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# pip takes the tags as they are and adds no older ones by itself.
GLIBC_TAGS = (
    *("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014"),
    *("manylinux_2_34", "manylinux_2_31"),  # some vendors' builds; the base's glibc is 2.36 or newer
)
SILENT_INDEX = re.compile(
    r"connection|retrying|timed? ?out|resolve|unreachable|proxy|certificate", re.IGNORECASE
)
CAUSE = re.compile(r"\[Errno [^\]]+\] ([^'\")]+)")
NO_ROOM = re.compile(r"Errno 28|No space left on device")


def versions() -> dict[str, str]:
    """All packages with the versions that this environment has."""
    return {name: importlib.metadata.version(name) for group in GROUPS.values() for name in group}


def groups(tasks: frozenset[str] | None = None) -> tuple[str, ...]:
    """The groups that these tasks need, the core first; None needs all."""
    needed = set(GROUPS) if tasks is None else {group for task in tasks for group in TASKS.get(task, ())}
    return (CORE, *sorted(needed - {CORE}))


def wanted(
    tasks: frozenset[str] | None = None, runtime: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Packages with their versions, by group; `runtime` stands in for onnxruntime where it is given."""
    known = versions()
    chosen = {group: {name: known[name] for name in GROUPS[group]} for group in groups(tasks)}
    if runtime is not None:
        del chosen[CORE][RUNTIME]
        chosen[CORE].update(runtime)
    return chosen


def _command(missing: Mapping[str, str], folder: Path, python: str, arch: str) -> list[str]:
    tag = f"cp{python.replace('.', '')}"
    platforms = [part for base in GLIBC_TAGS for part in ("--platform", f"{base}_{MACHINES[arch]}")]
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--no-input", "--no-color", "--retries", "2"),
        *("--python-version", python, "--implementation", "cp", "--dest", str(folder)),
        *("--abi", tag, "--abi", "abi3", "--abi", "none"),
        *platforms,
        *(f"{name}=={version}" for name, version in missing.items()),
    ]


def fetch(cache: Path, python: str, arch: str, packages: Mapping[str, str] | None = None) -> list[Path]:
    """The wheels of packages (all of ours by default), in their order, for a Python such as 3.11.

    Raises PackagingFailed when the index does not answer or lacks one, DiskFull when there is no room.
    """
    chosen = versions() if packages is None else packages
    folder = cache / f"cp{python.replace('.', '')}-{arch}"
    folder.mkdir(parents=True, exist_ok=True)
    missing = {name: version for name, version in chosen.items() if _find(folder, name, version) is None}
    if missing:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as partial:
            done = subprocess.run(  # noqa: S603 (pip of our own environment)
                _command(missing, Path(partial), python, arch),
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode:
                raise _refused(folder, missing, done.stderr)
            for wheel in Path(partial).glob("*.whl"):
                wheel.replace(folder / wheel.name)
    found = {name: _find(folder, name, version) for name, version in chosen.items()}
    lost = [f"{name} {chosen[name]}" for name, wheel in found.items() if wheel is None]
    if lost:
        raise PackagingFailed(image="packages", why=f"pip fetched other wheels than {', '.join(lost)}")
    return [wheel for wheel in found.values() if wheel]


def _refused(folder: Path, missing: Mapping[str, str], said: str) -> PackagingFailed:
    """Why pip failed: its first word about the way to the index when it did not get there, else its last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["pip failed"]
    if any(NO_ROOM.search(line) for line in lines):
        return DiskFull(path=str(folder), needed=0, free=shutil.disk_usage(folder).free)
    names = ", ".join(f"{name} {version}" for name, version in missing.items())
    silent = next((line for line in lines if SILENT_INDEX.search(line)), "")
    if silent:
        told = silent.rpartition("broken by ")[2][:300]
        cause = found[1] if (found := CAUSE.search(told)) else told
        return PackagesUnavailable(
            image="packages",
            why=f"the package index does not answer for {names}: {cause}",
            why_zh=f"软件源没有应答，取不到 {names}：{cause}",
        )
    return PackagingFailed(image="packages", why=f"{names}: {lines[-1].removeprefix('ERROR: ')}")


def _plain(name: str) -> str:
    """A package's name as files spell it."""
    return re.sub(r"[-_.]+", "_", name).lower()


def _find(folder: Path, name: str, version: str) -> Path | None:
    for wheel in sorted(folder.glob("*.whl")):
        told, has, *_ = wheel.name.split("-")
        # One that a fall of the power left empty or short is fetched again.
        if _plain(told) == _plain(name) and has == version and zipfile.is_zipfile(wheel):
            return wheel
    return None
