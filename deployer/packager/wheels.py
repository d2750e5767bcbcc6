"""The packages that a server imports, as wheels for the image's Python and architecture.

The versions are those of our own environment, so that an answer is the same in both runtimes. pip
fetches them through whatever index the machine has set; only wheels are taken, so nothing is built.
"""

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

from deployer.errors import PackagingFailed

PACKAGES = (
    "httptools",
    "lameenc",
    "msgspec",
    "numpy",
    "onnxruntime",
    "orjson",
    "pillow",
    "tokenizers",
    "uvloop",
)
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# pip takes the tags as they are and adds no older ones by itself.
GLIBC_TAGS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014")


def versions() -> dict[str, str]:
    """The packages with the versions that this environment has."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _command(wanted: dict[str, str], folder: Path, python: str, arch: str) -> list[str]:
    tag = f"cp{python.replace('.', '')}"
    platforms = [part for base in GLIBC_TAGS for part in ("--platform", f"{base}_{MACHINES[arch]}")]
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--no-input", "--dest", str(folder)),
        *("--python-version", python, "--implementation", "cp"),
        *("--abi", tag, "--abi", "abi3", "--abi", "none"),
        *platforms,
        *(f"{name}=={version}" for name, version in wanted.items()),
    ]


def fetch(cache: Path, python: str, arch: str) -> list[Path]:
    """The wheels for a Python such as 3.11 and an architecture; refuses when the index lacks one."""
    wanted = versions()
    folder = cache / f"cp{python.replace('.', '')}-{arch}"
    folder.mkdir(parents=True, exist_ok=True)
    missing = {name: version for name, version in wanted.items() if _find(folder, name, version) is None}
    if missing:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as partial:
            command = _command(missing, Path(partial), python, arch)
            done = subprocess.run(  # noqa: S603 (pip of our own environment)
                command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
            if done.returncode:
                why = done.stderr.strip().splitlines()[-1:] or ["pip failed"]
                raise PackagingFailed(image="packages", why=why[0])
            for wheel in Path(partial).glob("*.whl"):
                wheel.replace(folder / wheel.name)
    found = [_find(folder, name, version) for name, version in wanted.items()]
    return [wheel for wheel in found if wheel]


def _find(folder: Path, name: str, version: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"{name}-{version}-*.whl"))), None)
