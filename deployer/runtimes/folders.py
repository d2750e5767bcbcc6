"""Where a replica's socket lies, short enough for every system's limit on socket paths."""

import hashlib
import re
from pathlib import Path

from deployer.errors import RuntimeUnavailable

LONGEST = 99  # bytes of a socket path; macOS allows 103, Linux 107
SOCKET = "server.sock"
PLAIN_ID = re.compile(r"[a-z0-9][a-z0-9-]*")


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
