"""An emulator of arm64 that can run onnxruntime: Debian 13's qemu-user, unpacked beside the tests' downloads.

Debian 12's qemu 7.2 crashes on it. Fetched by apt-get with lists of its own, from this machine's own
mirror with another suite, and verified with the keys of Debian's archive as usual; nothing is installed,
and the kernel is told nothing: the program is mounted into the one container that needs it.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from tests.shop import CACHE

SUITE, PACKAGE, PROGRAM = "trixie", "qemu-user", "usr/bin/qemu-aarch64"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FORMAT = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
SETTINGS = """\
Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "-";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def qemu_aarch64() -> Path:
    """The emulator, fetched once: one static program."""
    folder = CACHE / "emulators" / SUITE
    program = folder / PROGRAM
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not program.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                _fetch(Path(work)).replace(folder)
    return program


def _fetch(root: Path) -> Path:
    for part in ("lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True)
    (root / "status").touch()
    (root / "apt.conf").write_text(SETTINGS.format(root=root))
    (root / "sources.list").write_text(f"deb [signed-by={KEYS}] {_mirror()} {SUITE} main\n")
    environment = {**os.environ, "APT_CONFIG": str(root / "apt.conf"), "LC_ALL": "C"}
    _run(["apt-get", "-q", "update"], root, environment)
    _run(["apt-get", "-q", "download", PACKAGE], root, environment)
    (package,) = root.glob(f"{PACKAGE}_*.deb")
    out = root / "unpacked"
    _run(["dpkg-deb", "-x", str(package), str(out)], root, environment)
    kept = root / "kept" / PROGRAM
    kept.parent.mkdir(parents=True)
    (out / PROGRAM).replace(kept)
    return root / "kept"


def _mirror() -> str:
    """Where this machine gets its own Debian from: the archive that is neither updates nor security."""
    listed = _run(["apt-get", "indextargets", "--format", FORMAT, "Created-By: Packages"])
    for line in listed.splitlines():
        address, suite, component = line.rsplit(" ", 2)
        if component == "main" and "-" not in suite and "/" not in suite:
            return address
    raise LookupError("no Debian archive among this machine's package sources")


def _run(command: list[str], cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout
