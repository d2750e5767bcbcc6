"""Compiled modules for an image, so that a server in a read-only container does not compile at each start.

Only an interpreter of the image's own Python can make them; where none is at hand the image goes without.
Sources are not consulted at run time (unchecked hashes), hash seeds are fixed, and one process compiles
in sorted order, so the bytes are the same each time.

The server's own modules keep their sources; of others the compiled form alone is enough, which an
interpreter loads as fast. Tracebacks still name file and line, only the line's text is missing.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from deployer.errors import PackagingFailed
from deployer.packager.layers import Tree, file
from deployer.packager.layout import NO_ROOM, refuse_full

# What is no Python is passed over; a full disk is not, or the layer would lack modules from then on. The
# standard library does not look whether all bytes were written, so each module is read back.
COMPILE = """
import errno, importlib.util, marshal, pathlib, py_compile, sys
root, alone = pathlib.Path(sys.argv[1]), sys.argv[2] == "alone"
for source in sorted(root.rglob("*.py")):
    target = f"{source}c" if alone else importlib.util.cache_from_source(str(source))
    try:
        py_compile.compile(
            str(source),
            cfile=target,
            dfile=f"/{source.relative_to(root)}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        marshal.loads(pathlib.Path(target).read_bytes()[16:])
    except py_compile.PyCompileError:
        pass
    except (EOFError, ValueError, TypeError):
        sys.exit(errno.ENOSPC)
    except OSError as error:
        sys.exit(error.errno)
"""


@functools.cache
def interpreter(python: str) -> str | None:
    """An interpreter of this version (such as 3.11) on this machine; None when there is none."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return sys.executable if python == own else shutil.which(f"python{python}")


def identity(python: str) -> str:
    """What of the interpreter decides the bytes; empty when nothing can be compiled."""
    found = interpreter(python)
    if not found:
        return ""
    ask = "import importlib.util, sys; print(importlib.util.MAGIC_NUMBER.hex(), sys.version.split()[0])"
    done = subprocess.run(  # noqa: S603 (an interpreter found by its name)
        [found, "-I", "-S", "-c", ask], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def compiled(tree: Tree, python: str) -> Tree:
    """The compiled modules of a tree's Python files, at their places beside them."""
    return _compile(tree, python, "beside")


def sourceless(tree: Tree, python: str) -> Tree:
    """The tree with compiled modules in place of its Python files; what cannot be compiled stays a source."""
    modules = _compile(tree, python, "alone")
    return {path: entry for path, entry in tree.items() if f"{path}c" not in modules} | modules


def _compile(tree: Tree, python: str, place: str) -> Tree:
    found = interpreter(python)
    if not found:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, entry in tree.items():
            if entry.read and path.endswith(".py"):
                target = root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(entry.read())
        done = subprocess.run(  # noqa: S603 (an interpreter found by its name)
            [found, "-S", "-c", COMPILE, folder, place],
            env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            _refuse(root, done)
        return {str(path.relative_to(root)): file(path.read_bytes()) for path in sorted(root.rglob("*.pyc"))}


def _refuse(folder: Path, done: "subprocess.CompletedProcess[bytes]") -> NoReturn:
    """Half the modules are none: raises DiskFull, or PackagingFailed with the compiler's last words."""
    if done.returncode in NO_ROOM:
        refuse_full(folder, OSError(done.returncode, os.strerror(done.returncode)))
    said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit {done.returncode}"]
    raise PackagingFailed(image="packages", why=f"modules cannot be compiled: {said[-1][:200]}")
