"""What a model server may read and write: the interpreter, its packages, its model, its run folder."""

import contextlib
import site
import sys
import sysconfig
from pathlib import Path

from deployer.runtimes.sandbox import LARGEST_FILE, Policy

SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
# What the C library, numpy and onnxruntime look up about the machine.
MACHINE_FACTS = (
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm",
    "/sys/devices/system",
    "/sys/devices/virtual/dmi/id",
    "/sys/bus/pci/devices",
    "/sys/class/drm",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/etc/localtime",
    "/usr/share/zoneinfo",
)


def interpreter_paths() -> tuple[str, ...]:
    """Folders that the running interpreter needs: its libraries, packages, and our server."""
    paths = sysconfig.get_paths()
    found = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    found.update(entry for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"})
    with contextlib.suppress(AttributeError):
        found.update(site.getsitepackages())
    for prefix in {sys.base_prefix, sys.base_exec_prefix} - {"/usr", "/"}:
        found.add(str(Path(prefix, "lib")))
    found.add(str(Path(sys.prefix, "pyvenv.cfg")))
    package = Path(__file__).parents[1]
    found.update(str(package / name) for name in ("__init__.py", "server", "runtimes"))
    return tuple(sorted(path for path in found if Path(path).exists()))


def policy(
    read: tuple[Path, ...],
    write: tuple[Path, ...],
    *,
    memory: int,
    files: int,
    enabled: bool,
    largest_file: int = LARGEST_FILE,
) -> Policy:
    """The policy of a server that reads its model and writes its run folder."""
    readable = (*interpreter_paths(), *SYSTEM_LIBRARIES, *MACHINE_FACTS, *(str(p.resolve()) for p in read))
    writable = ("/dev/null", *(str(p.resolve()) for p in write))
    return Policy(readable, writable, memory, files, enabled, largest_file)
