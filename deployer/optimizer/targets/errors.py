"""Named refusals of the targets.

DeployerError
├── TargetUnavailable
└── TargetRefused
"""

from deployer.errors import DeployerError


class TargetUnavailable(DeployerError):
    """This machine cannot play the device. Facts: device, why, why_zh, next, next_zh."""

    code = "target-unavailable"


class TargetRefused(DeployerError):
    """A device's runtime did not take or run a graph. Facts: device, stage (start, open or run), why, log."""

    code = "target-refused"
