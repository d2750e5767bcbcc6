"""Closes the gap between what is wanted and what is seen to run.

It only looks and decides; the marketplace acts on what it returns, so that every start goes through
the same steps, whether a person or a crash asked for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from deployer.deployments import ON_THE_WAY, RESTING, replica_id
from deployer.models import Deployment, DeploymentState
from deployer.spec import Replica, ReplicaState

RUNNING = frozenset({DeploymentState.live, DeploymentState.degraded, DeploymentState.updating})


@dataclass(frozen=True)
class Plan:
    """What is to be done: replicas to stop, deployments to start again, to resume, or to call stopped."""

    stop: list[tuple[str, str]] = field(default_factory=list)  # (runtime, replica id)
    restart: list[tuple[Deployment, str]] = field(default_factory=list)  # with why the replica ended
    resume: list[Deployment] = field(default_factory=list)  # on the way: their workflow must be running
    stopped: list[Deployment] = field(default_factory=list)


def plan(deployments: Iterable[Deployment], seen: Mapping[str, list[Replica]]) -> Plan:
    """Compare the deployments with the replicas seen by runtime name.

    A runtime that did not answer must be left out of `seen`: nothing is decided about what it runs.
    """
    result = Plan()
    wanted: set[tuple[str, str]] = set()
    for deployment in deployments:
        if deployment.desired == DeploymentState.live and deployment.state != DeploymentState.failed:
            wanted.add((deployment.runtime, replica_id(deployment)))
        if deployment.runtime in seen:
            _judge(deployment, {r.id: r for r in seen[deployment.runtime]}, result)
    for runtime, replicas in seen.items():
        result.stop.extend((runtime, r.id) for r in replicas if (runtime, r.id) not in wanted)
    return result


def _judge(deployment: Deployment, replicas: dict[str, Replica], result: Plan) -> None:
    mine = replicas.get(replica_id(deployment))
    runs = mine is not None and mine.state != ReplicaState.gone
    if deployment.desired == DeploymentState.stopped:
        if not runs and deployment.state not in RESTING:
            result.stopped.append(deployment)
    elif deployment.state in ON_THE_WAY:
        result.resume.append(deployment)
    elif deployment.state in RUNNING and not runs:
        result.restart.append((deployment, mine.exit if mine else ""))
