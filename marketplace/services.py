"""What the running shop holds: settings, database, runtimes, and who is told about changes."""

import contextlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from deployer.errors import UnknownRuntime
from deployer.runtimes import Runtime
from marketplace.analytics import Views
from marketplace.events import Hub
from marketplace.routes import RouteTable
from marketplace.settings import Settings


@dataclass(frozen=True)
class StepProgress:
    """How far the running step of a deployment is; kept in memory only, it is old in a second."""

    step: str
    done: int
    total: int
    note: str


@dataclass
class Services:
    """Passed to whatever acts for the shop; one for each process."""

    settings: Settings
    engine: Engine
    runtimes: Mapping[str, Runtime]
    hub: Hub
    routes: RouteTable
    secret: bytes
    progress: dict[str, StepProgress] = field(default_factory=dict)
    views: Views = field(default_factory=Views)
    # Runtimes of their own for servers that nobody deployed: the reconciler stops what it does not know.
    trial_runtimes: Mapping[str, Runtime] = field(default_factory=dict)

    def runtime(self, name: str) -> Runtime:
        """The runtime of this name; raises UnknownRuntime."""
        if name not in self.runtimes:
            raise UnknownRuntime(runtime=name, known=sorted(self.runtimes))
        return self.runtimes[name]

    def trial_runtime(self) -> Runtime | None:
        """Where candidates are tried in real servers: as deployments run unless told otherwise."""
        for name in (self.settings.runtime, "process"):
            runtime = self.trial_runtimes.get(name)
            if runtime is not None and runtime.available().ok:
                return runtime
        return None

    def replica_key(self, replica: str) -> str:
        """The key that a replica on TCP asks for; the same after a restart, and kept nowhere."""
        return hmac.new(self.secret, replica.encode(), "sha256").hexdigest()


def home_secret(home: Path) -> bytes:
    """32 random bytes of this home, made at the first start and readable by its owner alone."""
    path = home / "secret"
    if not path.exists():
        descriptor, whole = tempfile.mkstemp(dir=home, prefix=".secret-")  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(whole, path)  # appears whole or not at all, and never replaces another
        Path(whole).unlink()
    return path.read_bytes()
