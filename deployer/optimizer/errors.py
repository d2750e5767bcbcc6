"""Named refusals of the optimiser; the tree of deployer.errors goes on here.

DeployerError
└── OptimizationError
    ├── ObjectiveRefused
    ├── NothingToOptimize
    ├── ModelRefused
    ├── BaselineFailed
    ├── WorkerFailed
    ├── OptimizationCancelled
    └── CertificateRefused
"""

from deployer.errors import DeployerError


class OptimizationError(DeployerError):
    """Root of what an optimisation refuses."""

    code = "optimization-error"


class ObjectiveRefused(OptimizationError):
    """A bound is out of its range, or contradicts another. Facts: bound, value, expected."""

    code = "objective-refused"


class NothingToOptimize(OptimizationError):
    """The model has no ONNX graph. Facts: model."""

    code = "nothing-to-optimize"


class ModelRefused(OptimizationError):
    """No runtime would load or serve the model as it is. Facts: where, finding, why, why_zh."""

    code = "model-refused"


class BaselineFailed(OptimizationError):
    """The model as it is does not answer the rows. Facts: row, why."""

    code = "baseline-failed"


class WorkerFailed(OptimizationError):
    """A step's process ended early. Facts: step, how, log (last lines)."""

    code = "worker-failed"


class OptimizationCancelled(OptimizationError):
    """Somebody asked to stop. Facts: job."""

    code = "optimization-cancelled"


class CertificateRefused(OptimizationError):
    """A certificate does not hold. Facts: subject, why, why_zh."""

    code = "certificate-refused"
