"""Where a replica's socket lies, short enough for every system's limit on socket paths, and out of reach."""

import contextlib
import hashlib
import os
import re
import stat
from pathlib import Path

from deployer.errors import RuntimeUnavailable

LONGEST = 99  # bytes of a socket path; macOS allows 103, Linux 107
SOCKET = "server.sock"
PLAIN_ID = re.compile(r"[a-z0-9][a-z0-9-]*")


def private_folder(path: Path) -> Path:
    """Make the folder for us alone; PermissionError where something else lies there or it is another user's.

    A long home's run folder lies beside everybody's files, where others may have taken its name.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{path} is not a folder but a link or a file")
    if found.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to user {found.st_uid}, not to user {os.getuid()}")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def replica_folder(run_dir: Path, id: str) -> Path:
    """RUN/<id>, or RUN/<hash of the id> where that would be too long; refuses a run folder that is."""
    plain = run_dir / id
    if PLAIN_ID.fullmatch(id) and len(bytes(plain / SOCKET)) <= LONGEST:
        return plain
    short = run_dir / hashlib.sha256(id.encode()).hexdigest()[:16]
    if len(bytes(short / SOCKET)) > LONGEST:
        raise RuntimeUnavailable(runtime="sockets", why=f"the run folder's path is too long: {run_dir}")
    return short


def last_lines(text: str, count: int) -> str:
    """The last lines of a log, with the final line break."""
    return "".join(text.splitlines(keepends=True)[-count:]) if count > 0 else ""
