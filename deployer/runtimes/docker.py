"""Servers in containers of a local Docker engine, over one shared image with the model mounted read-only.

Nothing of this runtime is kept in the shop: containers carry labels, so a shop that comes back finds its
own. A container has no network where unix sockets cross (see `crossing`), no capability, no root, a
read-only root file system, and hard limits. The engine never restarts it: the reconciler does, and says.
"""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from deployer.errors import RuntimeUnavailable, StartFailed
from deployer.packager.runtime_image import ensure_runtime_image
from deployer.runtimes import Availability, crossing, prepared
from deployer.runtimes.engines import KNOCK, brief, connect, engine_errors
from deployer.runtimes.folders import SOCKET, last_lines, replica_folder
from deployer.spec import Progress, Replica, ReplicaSpec, ReplicaState, Sandbox, Stats, silent

if TYPE_CHECKING:
    import docker

NONROOT = 65532
PORT = 8000
KEY = "MARKET_SERVER_KEY"
RUN, MODEL, PREPARED_GRAPHS = "/run/market", "/model", "/prepared"
HOME_LABEL, DEPLOYMENT_LABEL, REPLICA_LABEL = "market.home", "market.deployment", "market.replica"
TRANSPORT_LABEL = "market.transport"
RUNNING = {"created", "running", "restarting", "paused"}
CONFLICT = 409  # the engine's answer when the name is taken, or a removal is under way
FRESH = 5.0  # seconds for which an engine's sign of life, or its lack, is believed
SLOW = 0.5  # seconds; a refusal that took longer is remembered
PREPARED = 60.0  # seconds for which a start believes that the image is still there


def _owner() -> int:
    """The uid of the containers: the shop's own, or a fixed one when the shop is root."""
    return os.getuid() or NONROOT


def _let_read(model_dir: Path) -> None:
    """Let the container's user enter the model's folder; the folders above keep others on the host out."""
    for path, _, _ in os.walk(model_dir, followlinks=False):
        mode = os.lstat(path).st_mode
        if mode & 0o055 != 0o055:
            Path(path).chmod(mode | 0o055)


def _close(client: "docker.DockerClient | None") -> None:
    """Close a client, whatever state it is in."""
    if client is not None:
        with contextlib.suppress(Exception):
            client.close()


class DockerRuntime:
    """Runs servers as containers labelled with this home; `base` is the runtime image's base."""

    name = "docker"

    def __init__(
        self,
        home: Path,
        run_dir: Path | None = None,
        base: str = "auto",
        home_id: str = "",
        transport: str = "",
    ) -> None:
        self.home = home
        self.run_dir = run_dir or home / "run"
        self.base = base
        self.home_id = home_id or hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]
        self._transport = transport
        self._image = ""
        self._prepared = 0.0
        self._client: docker.DockerClient | None = None
        self._lock = threading.Lock()
        self._prober: docker.DockerClient | None = None
        self._known: tuple[float, str] | None = None  # until when, and why it is not available
        self._probing = threading.Lock()

    def available(self) -> Availability:
        """Whether an engine answers; asked anew every few seconds, and a hung one is not waited for."""
        if os.name != "posix":
            return Availability(False, "needs Linux, macOS or WSL")
        with self._probing:
            known = self._known
            if known is None or time.monotonic() >= known[0]:
                began = time.monotonic()
                why = self._probe()
                # A refusal that came at once costs nothing to ask for again, and ends at once as well.
                cheap = why and time.monotonic() - began < SLOW
                known = self._known = (time.monotonic() + (0 if cheap else FRESH), why)
        if known[1]:
            return Availability(False, known[1])
        return Availability(True, "", {"transport": self._transport} if self._transport else {})

    def _probe(self) -> str:
        """Why no engine answers within KNOCK seconds; empty when one does. Calls hold `_probing`."""
        try:
            if self._prober is None:
                self._prober = connect(KNOCK)
            else:
                with engine_errors():
                    self._prober.ping()
        except RuntimeUnavailable as error:
            _close(self._prober)
            self._prober = None
            self._forget_engine()
            return str(error.facts["why"])
        return ""

    def prepare(self, spec: ReplicaSpec, progress: Progress) -> None:
        """Have the runtime image in the engine, and know how to reach a container."""
        client = self._engine()
        with self._calls():
            self._image = ensure_runtime_image(client, self.home, self.base, progress)
            if not self._transport:
                options = self._confinement(spec) | {"network_mode": "none"}
                self._transport = crossing.transport(
                    client, self.home, self.run_dir, self._image, options, _owner()
                )
            prepared.ensure(spec, progress, lambda folder: self._prepare_graphs(client, spec, folder))
        self._prepared = time.monotonic()

    def _prepare_graphs(self, client: "docker.DockerClient", spec: ReplicaSpec, folder: Path) -> str:
        """Prepare in a container that may write this folder and nothing else; why it failed, or nothing."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        owner = _owner()
        crossing.make_folder(folder, owner)
        if os.getuid() != owner:
            _let_read(spec.model_dir)
        volumes = {
            str(spec.model_dir.resolve()): {"bind": MODEL, "mode": "ro"},
            str(folder.resolve()): {"bind": PREPARED_GRAPHS, "mode": "rw"},
        }
        options = self._confinement(spec) | {"network_mode": "none", "volumes": volumes}
        name = f"market-{self.home_id}-prepare-{spec.model_dir.name[:16]}"
        with contextlib.suppress(DockerException):
            client.api.remove_container(name, force=True)  # of a shop that was killed
        made = client.containers.run(
            self._image, [MODEL, "--prepare", PREPARED_GRAPHS], detach=True, name=name, **options
        )
        try:
            code = made.wait(timeout=prepared.SECONDS)["StatusCode"]
            return made.logs(tail=5).decode(errors="replace") or f"exit {code}" if code else ""
        except RequestException as error:
            return f"no end within {prepared.SECONDS:.0f} s: {type(error).__name__}"
        finally:
            with contextlib.suppress(DockerException):
                made.remove(force=True)

    def start(self, spec: ReplicaSpec) -> Replica:
        """Start a container and return at once; a running one of this id is returned as it is."""
        facts = self._facts(spec.id)
        if facts and facts["State"]["Status"] in RUNNING:
            made_only = facts["State"]["Status"] == "created"  # and left so when a shop ended
            return self._let_run(spec.id, facts) if made_only else self._replica(facts)
        if facts:
            self._remove(spec.id, grace=0)
        if not self._image or time.monotonic() - self._prepared > PREPARED:
            self.prepare(spec, silent)
        folder = replica_folder(self.run_dir, spec.id)
        self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        crossing.make_folder(folder, _owner())
        if os.getuid() != _owner():
            _let_read(spec.model_dir)
        try:
            facts = self._create(spec, folder)
        except RuntimeUnavailable as error:
            raced = self._raced(spec.id, error)
            if raced:
                return raced
            self._refuse(spec.id, error)
        return self._let_run(spec.id, facts)

    def _create(self, spec: ReplicaSpec, folder: Path) -> dict[str, Any]:
        """Make the container, and the image again should somebody have removed it; the engine's facts."""
        client = self._engine()
        from docker.errors import ImageNotFound

        with self._calls():
            try:
                made = client.containers.create(**self._container(client, spec, folder))
            except ImageNotFound:
                self.prepare(spec, silent)
                made = client.containers.create(**self._container(client, spec, folder))
        facts: dict[str, Any] = made.attrs
        return facts

    def _let_run(self, id: str, facts: dict[str, Any]) -> Replica:
        """Start the container that these facts are of."""
        client = self._engine()
        try:
            with self._calls():
                client.api.start(self._name(id))
        except RuntimeUnavailable as error:
            self._refuse(id, error)
        if facts["Config"]["Labels"].get(TRANSPORT_LABEL) == crossing.UNIX:
            return self._replica(facts)
        started = self.inspect(id)  # now that the engine has chosen the port
        if started is None:
            raise StartFailed(replica=id, exit="the container was removed", log="")
        return started

    def _refuse(self, id: str, error: RuntimeUnavailable) -> NoReturn:
        """End a failed start: with the engine's reason where it refused, as unavailable where it is gone."""
        from docker.errors import APIError

        if not isinstance(error.__cause__, APIError):
            raise error
        self._remove(id, grace=0)
        raise StartFailed(replica=id, exit=brief(error.__cause__), log="") from error

    def inspect(self, id: str) -> Replica | None:
        """The container now; an ended one with its cause until it is stopped or started again."""
        facts = self._facts(id)
        return self._replica(facts) if facts else None

    def list(self) -> list[Replica]:
        """The running containers with this home's label, whoever started them."""
        client = self._engine()
        with self._calls():
            # Not by the home alone: the container that tries the transport is no replica.
            labels = [f"{HOME_LABEL}={self.home_id}", REPLICA_LABEL]
            rows = client.api.containers(filters={"label": labels})
        ids = (row["Labels"].get(REPLICA_LABEL, "") for row in rows)
        # One may end and be removed between the two questions.
        found = [self._replica(facts) for id in ids if id and (facts := self._facts(id))]
        return [replica for replica in found if replica.state is not ReplicaState.gone]

    def stop(self, id: str, grace: float = 10.0) -> None:
        """Let it finish, end it, remove it, ended or not, with its socket; its log goes to the home."""
        facts = self._facts(id)
        if facts:
            self._keep_log(id)
            # Before it listens, a server may not have its signal handlers yet, and nothing is in flight.
            over_tcp = facts["Config"]["Labels"].get(TRANSPORT_LABEL) == crossing.TCP
            listens = over_tcp or (replica_folder(self.run_dir, id) / SOCKET).exists()
            grace = grace if listens else 0
        self._remove(id, grace)

    def logs(self, id: str, tail: int = 200) -> str:
        """The last lines, from the engine or, when the container is removed, from the home."""
        client = self._engine()
        from docker.errors import NotFound

        with self._calls():
            try:
                said: bytes = client.api.logs(self._name(id), stdout=True, stderr=True, tail=tail)
            except NotFound:
                path = self._log_path(id)
                return last_lines(path.read_text(errors="replace"), tail) if path.exists() else ""
        return said.decode(errors="replace")

    def stats(self, id: str) -> Stats | None:
        """Memory without the page cache, and processor seconds, as the engine counts them."""
        client = self._engine()
        from docker.errors import NotFound

        with self._calls():
            try:
                said = client.api.stats(self._name(id), stream=False, one_shot=True)
            except NotFound:
                return None
        memory = said.get("memory_stats", {})
        if "usage" not in memory:
            return None
        detail = memory.get("stats", {})
        cached = detail.get("total_inactive_file", detail.get("inactive_file", 0))
        cpu = said.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)
        return Stats(memory=max(0, memory["usage"] - cached), cpu=cpu / 1e9)

    def close(self) -> None:
        """Let go of the engine; containers run on, and the next shop of this home finds them."""
        self._forget_engine()
        with self._probing:
            _close(self._prober)
            self._known = self._prober = None

    @contextlib.contextmanager
    def _calls(self) -> Iterator[None]:
        """The engine's refusals in our words; after one, `available` asks the engine again."""
        try:
            with engine_errors():
                yield
        except RuntimeUnavailable:
            self._known = None
            raise

    def _engine(self) -> "docker.DockerClient":
        with self._lock:
            if self._client is None:
                self._known = None
                self._client = connect()
            return self._client

    def _forget_engine(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        _close(client)

    def _name(self, id: str) -> str:
        """The container's name, one per home and replica, which makes starting twice harmless."""
        return f"market-{self.home_id}-{id}"

    def _log_path(self, id: str) -> Path:
        return self.home / "logs" / f"{replica_folder(self.run_dir, id).name}.log"

    def _confinement(self, spec: ReplicaSpec) -> dict[str, Any]:
        """What holds for every container of ours, in the SDK's words."""
        from docker.types import LogConfig, Ulimit

        limits = spec.limits
        owner = _owner()
        return {
            "user": f"{owner}:{owner}",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "tmpfs": {"/tmp": "rw,size=16m,mode=1777,noexec,nosuid,nodev"},  # noqa: S108 (in the container)
            "mem_limit": limits.memory,
            "memswap_limit": limits.memory,
            "nano_cpus": int(limits.cpus * 1e9),
            "pids_limit": limits.pids,
            "ulimits": [
                Ulimit(name="nofile", soft=limits.files, hard=limits.files),
                Ulimit(name="core", soft=0, hard=0),
            ],
            "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "5m", "max-file": "2"}),
            "restart_policy": {"Name": "no"},
            "labels": {HOME_LABEL: self.home_id},
        }

    def _container(self, client: "docker.DockerClient", spec: ReplicaSpec, folder: Path) -> dict[str, Any]:
        options = self._confinement(spec)
        threads = str(spec.limits.threads)
        command = [MODEL, "--name", spec.deployment, "--threads", threads]
        environment = {
            "ORT_DISABLE_TELEMETRY": "1",
            **{f"{library}_NUM_THREADS": threads for library in ("OMP", "OPENBLAS", "RAYON")},
        }
        volumes = {str(spec.model_dir.resolve()): {"bind": MODEL, "mode": "ro"}}
        if spec.prepared and spec.prepared.is_dir():
            _let_read(spec.prepared)
            volumes[str(spec.prepared.resolve())] = {"bind": PREPARED_GRAPHS, "mode": "ro"}
            command += ["--prepared", PREPARED_GRAPHS]
        if self._transport == crossing.UNIX:
            volumes[str(folder.resolve())] = {"bind": RUN, "mode": "rw"}
            command += ["--uds", f"{RUN}/{SOCKET}"]
            options["network_mode"] = "none"
        else:
            if not spec.key:
                raise RuntimeUnavailable(runtime=self.name, why="a server that listens on TCP needs a key")
            command += ["--host", "0.0.0.0", "--port", str(PORT), "--key-env", KEY]  # noqa: S104 (in the container)
            environment[KEY] = spec.key
            options["network"] = self._network(client)
            options["ports"] = {f"{PORT}/tcp": ("127.0.0.1", None)}
        labels = {
            **spec.labels,
            HOME_LABEL: self.home_id,
            DEPLOYMENT_LABEL: spec.deployment,
            REPLICA_LABEL: spec.id,
            TRANSPORT_LABEL: self._transport,
        }
        return options | {
            "image": self._image,
            "command": command,
            "name": self._name(spec.id),
            "environment": environment,
            "volumes": volumes,
            "labels": labels,
        }

    def _network(self, client: "docker.DockerClient") -> str:
        """A bridge without address translation: ports are published, but nothing outside answers."""
        from docker.errors import NotFound

        name = f"market-{self.home_id}"
        try:
            client.api.inspect_network(name)
        except NotFound:
            client.networks.create(
                name,
                driver="bridge",
                labels={HOME_LABEL: self.home_id},
                options={
                    "com.docker.network.bridge.enable_ip_masquerade": "false",
                    "com.docker.network.bridge.enable_icc": "false",
                },
            )
        return name

    def _raced(self, id: str, error: RuntimeUnavailable) -> Replica | None:
        """The container that another call made in the meantime, when that is why this one failed."""
        status = getattr(error.__cause__, "status_code", 0)
        return self.inspect(id) if status == CONFLICT else None

    def _facts(self, id: str) -> dict[str, Any] | None:
        client = self._engine()
        from docker.errors import NotFound

        with self._calls():
            try:
                facts: dict[str, Any] = client.api.inspect_container(self._name(id))
            except NotFound:
                return None
        return facts

    def _replica(self, facts: dict[str, Any]) -> Replica:
        labels, state = facts["Config"]["Labels"], facts["State"]
        id = labels[REPLICA_LABEL]
        transport = labels.get(TRANSPORT_LABEL, crossing.UNIX)
        gone = state["Status"] not in RUNNING
        address = self._address(id, transport, facts)
        return Replica(
            id=id,
            deployment=labels[DEPLOYMENT_LABEL],
            state=ReplicaState.gone if gone else ReplicaState.starting,
            address=address,
            transport=transport,
            sandbox=Sandbox.full,
            exit=_exit_text(facts) if gone else "",
        )

    def _address(self, id: str, transport: str, facts: dict[str, Any]) -> str:
        if transport == crossing.UNIX:
            return f"unix:{replica_folder(self.run_dir, id) / SOCKET}"
        published = (facts["NetworkSettings"].get("Ports") or {}).get(f"{PORT}/tcp") or [{}]
        return f"tcp:127.0.0.1:{published[0].get('HostPort', 0)}"

    def _keep_log(self, id: str) -> None:
        """Save a container's last lines, which go with it."""
        with contextlib.suppress(RuntimeUnavailable, OSError):
            text = self.logs(id, 2000)
            path = self._log_path(id)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(text)

    def _remove(self, id: str, grace: float) -> None:
        client = self._engine()
        from docker.errors import APIError, NotFound

        with self._calls(), contextlib.suppress(NotFound):
            if grace > 0:
                client.api.stop(self._name(id), timeout=max(1, round(grace)))
            try:
                client.api.remove_container(self._name(id), force=True, v=True)
            except APIError as error:
                if error.status_code != CONFLICT:  # another call removes it
                    raise
        shutil.rmtree(replica_folder(self.run_dir, id), ignore_errors=True)


def _exit_text(facts: dict[str, Any]) -> str:
    """Why a container ended, in words."""
    state = facts["State"]
    if state.get("OOMKilled"):
        limit = facts["HostConfig"].get("Memory", 0)
        return f"memory over {limit / 1e9:.2f} GB"
    if state.get("Error"):
        return str(state["Error"])
    code = int(state.get("ExitCode", 0))
    return f"signal {code - 128}" if code > 128 else f"exit {code}"
