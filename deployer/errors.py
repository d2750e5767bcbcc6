"""Named refusals of the deployer.

DeployerError
├── UnknownDeployment
├── DeploymentExists
├── InvalidName
├── InvalidState
├── UnknownRuntime
├── UnknownDevice
├── DeviceNotServed
├── RuntimeUnavailable
├── ConversionFailed
├── PackagingFailed
│   ├── DiskFull
│   ├── PackagesUnavailable
│   ├── ContentCorrupted
│   └── PlatformNotSupported
├── TerminalNotSupported
├── RegistryError
│   ├── InvalidReference
│   ├── RegistryUnavailable
│   └── RegistryRefused
├── VerificationFailed
├── BundleRefused
└── ReplicaError
    ├── StartFailed
    ├── NotReady
    ├── MemoryExceeded
    └── ReplicaUnreachable

Each error carries the facts that a page needs as keyword arguments; the words for people,
in both languages, are in marketplace.problems.
"""

from typing import ClassVar


class DeployerError(Exception):
    """Root of all refusals of the deployer; `facts` are the values for the message."""

    code: ClassVar[str] = "deployer-error"

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(", ".join(f"{k}={v}" for k, v in facts.items()))


class UnknownDeployment(DeployerError):
    """No deployment has this name. Facts: name."""

    code = "unknown-deployment"


class DeploymentExists(DeployerError):
    """The name is taken by a running deployment. Facts: name, state."""

    code = "deployment-exists"


class InvalidName(DeployerError):
    """A deployment's name must match [a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?. Facts: name."""

    code = "invalid-name"


class InvalidState(DeployerError):
    """The deployment's state does not allow this. Facts: name, state, wanted."""

    code = "invalid-state"


class UnknownRuntime(DeployerError):
    """No such runtime. Facts: runtime, known."""

    code = "unknown-runtime"


class UnknownDevice(DeployerError):
    """No such device. Facts: device, known."""

    code = "unknown-device"


class DeviceNotServed(DeployerError):
    """A model can be optimised for the device, but not be deployed to it. Facts: device, known."""

    code = "device-not-served"


class RuntimeUnavailable(DeployerError):
    """The runtime exists but does not answer here. Facts: runtime, why."""

    code = "runtime-unavailable"


class ConversionFailed(DeployerError):
    """A source could not be turned into ONNX. Facts: source, why."""

    code = "conversion-failed"


class PackagingFailed(DeployerError):
    """A runtime image could not be made or loaded. Facts: image, why."""

    code = "packaging-failed"


class DiskFull(PackagingFailed):
    """There is no room for what is being made. Facts: path, needed, free (bytes; 0 when not known)."""

    code = "packaging-disk-full"


class PackagesUnavailable(PackagingFailed):
    """The package index does not answer. Facts: image, why, why_zh."""

    code = "packages-unavailable"


class ContentCorrupted(PackagingFailed):
    """A blob is not what its digest says. Facts: what, expected, got."""

    code = "content-corrupted"


class PlatformNotSupported(PackagingFailed):
    """Nothing can be made for this platform. Facts: platform, known, why."""

    code = "platform-not-supported"


class TerminalNotSupported(DeployerError):
    """This model cannot be packaged for the terminal. Facts: terminal, task, why, why_zh."""

    code = "terminal-not-supported"


class RegistryError(DeployerError):
    """Root of what goes wrong with a registry. Facts: reference (without any secret)."""

    code = "registry-error"


class InvalidReference(RegistryError):
    """This is no reference as registries know it. Facts: reference."""

    code = "invalid-reference"


class RegistryUnavailable(RegistryError):
    """The registry does not answer. Facts: reference, why."""

    code = "registry-unavailable"


class RegistryRefused(RegistryError):
    """The registry answered with a refusal. Facts: reference, status, why."""

    code = "registry-refused"


class VerificationFailed(DeployerError):
    """A package is not what it says. Facts: subject, step, why, why_zh."""

    code = "verification-failed"


class BundleRefused(DeployerError):
    """A bundle cannot be made or installed. Facts: file, why, why_zh."""

    code = "bundle-refused"


class ReplicaError(DeployerError):
    """Something is wrong with a running server. Facts: replica."""

    code = "replica-error"


class StartFailed(ReplicaError):
    """The server ended before it was ready. Facts: replica, exit, log (last lines)."""

    code = "start-failed"


class NotReady(ReplicaError):
    """The server was not ready in time. Facts: replica, seconds, log (last lines)."""

    code = "not-ready"


class MemoryExceeded(ReplicaError):
    """The server was stopped at its memory limit. Facts: replica, used, limit (bytes)."""

    code = "memory-exceeded"


class ReplicaUnreachable(ReplicaError):
    """The server did not answer a request. Facts: replica, why."""

    code = "replica-unreachable"
