from uuid import UUID, uuid4

from deployer.models import Deployment, DeploymentState
from deployer.reconciler import plan
from deployer.spec import Replica, ReplicaState, Sandbox

ID = UUID("0123456789abcdef0123456789abcdef")
MINE = "reader-01234567-3"


def wanted(state: DeploymentState, desired: DeploymentState = DeploymentState.live) -> Deployment:
    return Deployment(
        id=ID,
        name="reader",
        listing="opc-market/x",
        version="1.0.0",
        version_digest="sha256:0",
        task="tensors",
        runtime="process",
        owner=uuid4(),
        state=state,
        desired=desired,
        revision=3,
    )


def seen(replica: str = MINE, state: ReplicaState = ReplicaState.starting) -> Replica:
    return Replica(replica, "reader", state, "unix:/x", "unix", Sandbox.full)


def test_what_runs_as_wanted_is_left_alone() -> None:
    done = plan([wanted(DeploymentState.live)], {"process": [seen()]})
    assert not (done.stop or done.restart or done.resume or done.stopped)


def test_a_live_deployment_without_its_replica_is_restarted() -> None:
    done = plan([wanted(DeploymentState.live)], {"process": []})
    assert [row.name for row, _ in done.restart] == ["reader"]


def test_replicas_of_other_revisions_and_of_nobody_are_stopped() -> None:
    ghosts = [seen(), seen("reader-01234567-2"), seen("ghost-1")]
    done = plan([wanted(DeploymentState.live)], {"process": ghosts})
    assert done.stop == [("process", "reader-01234567-2"), ("process", "ghost-1")]


def test_a_deployment_on_its_way_is_resumed_and_its_replica_kept() -> None:
    done = plan([wanted(DeploymentState.starting)], {"process": [seen()]})
    assert [row.name for row in done.resume] == ["reader"]
    assert not done.stop


def test_a_stopping_deployment_is_stopped_once_nothing_runs() -> None:
    row = wanted(DeploymentState.stopping, DeploymentState.stopped)
    assert plan([row], {"process": [seen()]}).stop == [("process", MINE)]
    assert plan([row], {"process": [seen()]}).stopped == []
    assert plan([row], {"process": []}).stopped == [row]


def test_a_failed_deployment_keeps_no_replica() -> None:
    done = plan([wanted(DeploymentState.failed)], {"process": [seen()]})
    assert done.stop == [("process", MINE)]
    assert not done.restart


def test_nothing_is_decided_about_a_runtime_that_did_not_answer() -> None:
    done = plan([wanted(DeploymentState.live)], {})
    assert not (done.stop or done.restart or done.resume or done.stopped)
