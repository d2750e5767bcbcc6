"""Python and onnxruntime for arm64 in a folder, to be run below qemu-user: nothing is installed, as anybody.

Python comes as Debian packages, onnxruntime and numpy as wheels; both are unpacked by the packager's own
readers, as for an image of another architecture.
"""

import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from deployer.errors import PackagingFailed
from deployer.optimizer.targets import environments
from deployer.packager import debian, layers, wheels

ARCHITECTURE = "arm64"


def build(folder: Path, fetch: environments.Fetch) -> None:
    """Fill a folder with `root` (Python) and `packages`; raises TargetUnavailable."""
    from deployer.optimizer.targets.players import ARM64

    with TemporaryDirectory(dir=folder.parent, prefix="fetched-") as fetched:
        try:
            fetch.progress(fetch.done, fetch.steps, "apt: python3 for arm64")
            packages = debian.fetch(Path(fetched) / "debs", ARCHITECTURE)
            write(debian.root_tree(packages), folder / "root")
        except (PackagingFailed, OSError) as error:
            raise fetch.failed("apt", str(error), "") from error
        fetch.done += 1
        version = debian.python_version(packages)
        fetch.run("pip: onnxruntime for arm64", _download(ARM64, Path(fetched), version), folder)
        with ExitStack() as stack:
            write(layers.from_wheels(Path(fetched).glob("*.whl"), "packages", stack), folder)


def _download(packages: dict[str, str], folder: Path, python: str) -> list[str]:
    tag = f"cp{python.replace('.', '')}"
    machine = wheels.MACHINES[ARCHITECTURE]
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--no-input", "--dest", str(folder)),
        *("--python-version", python, "--implementation", "cp"),
        *("--abi", tag, "--abi", "abi3", "--abi", "none"),
        *(part for base in wheels.GLIBC_TAGS for part in ("--platform", f"{base}_{machine}")),
        *(f"{name}=={version}" for name, version in packages.items()),
    ]


def write(tree: layers.Tree, folder: Path) -> None:
    """Write a tree of files and links below a folder."""
    for name, entry in sorted(layers.with_parents(tree).items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.link:
            path.symlink_to(entry.link)
        elif entry.read is not None:
            path.write_bytes(entry.read())
            path.chmod(entry.mode | 0o600)
        else:
            path.mkdir(exist_ok=True)
