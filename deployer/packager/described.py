"""What a release's server will say of it, found out once and kept by the release's digest.

A model may come from anybody, so it is loaded in a child that is shut in as servers are: it may read the
model and write one file. Here it is only ever read as JSON of a fair size.

`python -m deployer.packager.described POLICY MODEL NAME OUT` is that child.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from deployer.errors import PackagingFailed
from deployer.packager import runtime_image
from deployer.packager.layout import Layout, canonical
from deployer.packager.release import Release
from deployer.runtimes import sandbox
from deployer.runtimes.launch import child_environment
from deployer.runtimes.policies import policy

FORM = 1  # counts up when what is kept changes
SECONDS = 120
LONGEST = 2 << 20  # bytes of a description
LONGEST_WORD = 500  # bytes of the child's last word
LEAST_MEMORY = 2 << 30  # bytes; a child may have these, and some times what the model weighs
FILES = 1024


def described(layout: Layout, release: Release) -> dict[str, Any]:
    """{"signature": …, "openapi": …} of a release; PackagingFailed says why it cannot be served."""
    sources = runtime_image.digests(runtime_image.server_sources())
    key = ["described", FORM, release.digest, release.slug, sources]
    known = layout.recall(key)
    if known is None:
        known = _in_a_child(release)
        layout.remember(key, known)
    return known


def _in_a_child(release: Release) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="described-") as folder, tempfile.TemporaryFile() as log:
        out = Path(folder) / "description.json"
        memory = LEAST_MEMORY + 4 * release.size
        wanted = policy((release.folder,), (Path(folder),), memory=memory, files=FILES, enabled=True)
        command = [sys.executable, "-P", "-s", "-m", "deployer.packager.described"]
        command += [wanted.to_json(), str(release.folder.resolve()), release.slug, str(out)]
        try:
            done = subprocess.run(  # noqa: S603 (our own interpreter and module)
                command,
                cwd=folder,
                env=child_environment(Path(folder), 1),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                timeout=SECONDS,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise PackagingFailed(
                image=release.name, why=f"the model did not load within {SECONDS} s"
            ) from error
        if done.returncode:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LONGEST_WORD))
            said = log.read().decode(errors="replace").strip().splitlines()[-1:]
            why = said[0] if said else f"exit {done.returncode}"
            raise PackagingFailed(image=release.name, why=f"its server cannot load it: {why}")
        return _read(out, release)


def _read(out: Path, release: Release) -> dict[str, Any]:
    """What the child wrote, taken for nothing but JSON of the expected form."""
    try:
        handle = os.open(out, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            told = json.loads(file.read(LONGEST))
        found = {"signature": dict(told["signature"]), "openapi": dict(told["openapi"])}
        canonical(found).decode()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackagingFailed(image=release.name, why="its server did not describe it") from error
    return found


def main(arguments: list[str]) -> None:
    """Enter the sandbox, load the model, write what it offers."""
    # Before anything that may import onnxruntime, whose wheels report usage by default.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # Ends it whatever it hangs in, also when nobody waits for it any more.
    signal.alarm(SECONDS)
    wanted, folder, name, out = arguments
    sandbox.apply(sandbox.Policy.from_json(wanted))
    from deployer.server.describe import describe
    from deployer.server.errors import BadModel

    try:
        told = describe(Path(folder), name)
    except BadModel as error:
        sys.exit(str(error))
    Path(out).write_bytes(canonical(told))


if __name__ == "__main__":
    main(sys.argv[1:])
