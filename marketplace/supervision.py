"""Keeps what is wanted running: looks at the runtimes every second and acts on the reconciler's plan."""

import logging
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from catalog import shelf
from catalog.models import utcnow
from deployer import deployments, reconciler
from deployer.errors import DeployerError
from deployer.models import Deployment, DeploymentState
from deployer.spec import Replica
from marketplace import checking, collecting, provisioning, publishing, workflows
from marketplace.db import read_session, transaction
from marketplace.services import Services

log = logging.getLogger(__name__)

PERIOD = 1.0  # seconds between two looks
SELDOM = 30.0  # seconds between two looks at a runtime that no deployment uses
SHELF_RETRY = 60.0  # seconds until entries of the shelf that failed are tried again, doubled each time
TIDY = 3600.0  # seconds between two looks for uploads that were given up
COLLECT = 86400.0  # seconds between two looks for files that nobody names any more
QUIET = 20.0  # seconds without anything that moves, before the shelf is checked and measured
MOST_RESTARTS = 5  # in a row; a replica that then lived CALM seconds starts the count anew
CALM = 60.0
MOVING = frozenset({DeploymentState.pending, DeploymentState.building, DeploymentState.starting})


class Watcher:
    """The thread that looks and acts."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._end = threading.Event()
        self._not_before: dict[str, float] = {}  # back-off by deployment
        self._asked: dict[str, float] = {}  # when a runtime was last asked
        self._shelf_pause = SHELF_RETRY
        self._shelf_next = time.monotonic() + SHELF_RETRY
        self._quiet_since: float | None = None
        self._shelf_checked = not services.settings.shelf_check
        self._tidy_next = self._collect_next = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Look once, so that nobody is told of what an earlier life ran, then go on in the background."""
        self._look_safely(first=True)
        self._thread.start()

    def stop(self) -> None:
        """End, after the look under way."""
        self._end.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        for heavy in ("httpx", "docker"):  # what a first click needs, while nobody waits
            import_module(heavy)
        while not self._end.wait(PERIOD):
            self._look_safely()
            self._try_shelf_again()
            self._check_shelf()
            self._tidy_up()

    def _tidy_up(self) -> None:
        """Remove what people began to send and never finished, and what nobody names any more."""
        now = time.monotonic()
        if now < self._tidy_next:
            return
        self._tidy_next = now + TIDY
        try:
            publishing.tidy(self._services)
            if now >= self._collect_next:
                self._collect_next = now + COLLECT
                collecting.collect(self._services)
        except Exception:
            log.exception("tidying up")

    def _look_safely(self, *, first: bool = False) -> None:
        try:
            self.look(first=first)
        except Exception:
            log.exception("reconciler")

    def look(self, *, first: bool = False) -> None:
        """Compare once and act; at the first look after a start, ended processes are nobody's fault."""
        services = self._services
        with read_session(services.engine) as db:
            rows = deployments.list_deployments(db)
            seen = self._seen({row.runtime for row in rows})
            plan = reconciler.plan(rows, seen)
        for runtime, replica in plan.stop:
            self._stop_if_unwanted(runtime, replica)
        for row in plan.stopped:
            provisioning.call_stopped(self._services, row.name)
        for row in plan.resume:
            self._resume(row)
        for row, _ in plan.restart:
            self._restart(row, blame=not first)

    def _seen(self, used: set[str]) -> dict[str, list[Replica]]:
        """Replicas by runtime; one that nobody uses is asked seldom, for what an earlier life left."""
        seen = {}
        for name, runtime in self._services.runtimes.items():
            if name not in used and time.monotonic() - self._asked.get(name, -SELDOM) < SELDOM:
                continue
            self._asked[name] = time.monotonic()
            try:
                if runtime.available().ok:
                    seen[name] = runtime.list()
            except DeployerError as error:
                log.warning("runtime does not answer", extra={"runtime": name, "why": str(error)})
        return seen

    def _stop_if_unwanted(self, runtime: str, replica: str) -> None:
        # A deployment may have been made since the plan's rows were read.
        with read_session(self._services.engine) as db:
            rows = deployments.list_deployments(db)
        wanted = {deployments.replica_id(r) for r in rows if r.desired == DeploymentState.live}
        if replica not in wanted:
            log.info("stopping a replica that nobody wants", extra={"replica": replica, "runtime": runtime})
            workflows.stop_replica(self._services, runtime, replica)

    def _resume(self, row: Deployment) -> None:
        if workflows.is_broken(row):
            workflows.give_up(self._services, row)
        else:
            workflows.start_deploy(row)  # does nothing where it runs already

    def _try_shelf_again(self) -> None:
        """Fetch again what failed: the network may be back."""
        if time.monotonic() < self._shelf_next:
            return
        self._shelf_pause = min(self._shelf_pause * 2, 1800.0)
        self._shelf_next = time.monotonic() + self._shelf_pause
        with transaction(self._services.engine) as db:
            failed = shelf.wait_again(db)
        if failed:
            log.info("trying shelf entries again", extra={"entries": failed})
            self._services.hub.notify("shelf")
            workflows.start_shelf(secrets.token_hex(4), failed)

    def _check_shelf(self) -> None:
        """Once nobody waits for the machine, have the market's own versions checked and measured in turn."""
        if self._shelf_checked:
            return
        with read_session(self._services.engine) as db:
            moving = any(row.state in MOVING for row in deployments.list_deployments(db))
            moving = moving or bool(shelf.waiting(db))
            found = [] if moving else checking.unchecked(db)
        if moving or self._quiet_since is None:
            self._quiet_since = None if moving else time.monotonic()
            return
        if time.monotonic() - self._quiet_since < QUIET:
            return
        self._shelf_checked = True
        for version in found:
            with transaction(self._services.engine) as db:
                checking.recheck(self._services, db, db.merge(version))

    def _show_degraded(self, row: Deployment) -> None:
        """While the back-off lasts, say that it does not serve."""
        if row.state == DeploymentState.degraded:
            return
        with transaction(self._services.engine) as db:
            fresh = deployments.get_deployment(db, row.name)
            if fresh.revision == row.revision and fresh.state == DeploymentState.live:
                deployments.set_state(db, fresh, DeploymentState.degraded)
        self._services.routes.publish()
        provisioning.notify(self._services, row.name)

    def _restart(self, row: Deployment, *, blame: bool) -> None:
        """Start a replica that ended again, slower each time, and give up after MOST_RESTARTS."""
        if time.monotonic() < self._not_before.get(row.name, 0.0):
            self._show_degraded(row)
            return
        services = self._services
        runtime = services.runtime(row.runtime)
        replica = runtime.inspect(deployments.replica_id(row))
        cause = replica.exit if replica else "gone"
        tail = runtime.logs(deployments.replica_id(row), 12) if blame else ""
        workflows.stop_replica(services, row.runtime, deployments.replica_id(row))  # what is left of it
        with transaction(services.engine) as db:
            fresh = deployments.get_deployment(db, row.name)
            if fresh.revision != row.revision or fresh.desired != DeploymentState.live:
                return
            calm = (utcnow() - fresh.updated).total_seconds() > CALM
            fresh.restarts = (0 if calm else fresh.restarts) + int(blame)
            facts = {"exit": cause, "restarts": fresh.restarts, "log": tail, "replica": row.name}
            log.warning(
                "replica ended",
                extra={"deployment": row.name, "cause": cause, "restarts": fresh.restarts},
            )
            if fresh.restarts > MOST_RESTARTS:
                deployments.set_failed(db, fresh, "crash-loop", facts, DeploymentState.failed)
                again = False
            else:
                deployments.begin_again(db, fresh)
                again = True
        services.routes.publish()
        provisioning.notify(services, row.name)
        if again:
            self._not_before[row.name] = time.monotonic() + min(30.0, 2.0 ** (fresh.restarts - 1))
            workflows.start_deploy(fresh)


def clear_leftovers(services: Services) -> None:
    """End the processes that a killed shop of this home left; before workflows look for their replicas."""
    services.runtime("process").list()


def stop_all(services: Services) -> None:
    """Stop every replica of this home at once: whoever ends the shop wants its memory back.

    The deployments stay wanted, so the next start brings them up again.
    """
    with read_session(services.engine) as db:
        ran = [row for row in deployments.list_deployments(db) if row.address]
    with ThreadPoolExecutor(max_workers=8) as pool:
        for row in ran:
            pool.submit(workflows.stop_replica, services, row.runtime, deployments.replica_id(row), 5.0)
    for runtime in (*services.runtimes.values(), *services.trial_runtimes.values()):
        runtime.close()
