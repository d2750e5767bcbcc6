"""What a recipe is: a pure function ONNX → ONNX with its name, and how it says no."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from deployer.errors import DeployerError

Feeds = dict[str, NDArray[Any]]


class Refused(Exception):
    """Why a recipe makes no sense for a graph, in words for people; `reason` is a kebab-case id."""

    def __init__(self, reason: str, why: str, why_zh: str) -> None:
        self.reason = reason
        self.why = why
        self.why_zh = why_zh
        super().__init__(why)


class RecipeRefused(DeployerError):
    """A recipe gives no usable graph here. Facts: recipe, reason (kebab-case id), why, why_zh."""

    code = "recipe-refused"


@dataclass(frozen=True)
class Calibration:
    """What a recipe may know of a graph beyond the graph itself."""

    feeds: Sequence[Feeds] = ()
    """Real inputs of the graph."""
    keep: tuple[str, ...] = ()
    """Names of nodes that stay in float."""
    folder: Path | None = None
    """A folder for files that are needed for a moment."""


EXTERNAL = 1_900_000_000
"""Bytes above which weights are put beside the graph: a protobuf holds no more than 2 GiB."""

Function = Callable[[onnx.ModelProto, Calibration], onnx.ModelProto]
Look = Callable[[onnx.ModelProto], Refused | None]


def save(model: onnx.ModelProto, out: Path, limit: int = EXTERNAL) -> None:
    """Write a model; weights go to <name>.data beside it when a protobuf could not hold them."""
    beside = out.with_name(f"{out.name}.data")
    beside.unlink(missing_ok=True)
    if model.ByteSize() > limit:
        onnx.save_model(model, str(out), save_as_external_data=True, location=beside.name)
    else:
        out.write_bytes(model.SerializeToString())


def _fits(_: onnx.ModelProto) -> Refused | None:
    return None


@dataclass(frozen=True)
class Recipe:
    """One way to make another graph out of a graph."""

    id: str
    title_zh: str
    title_en: str
    precision: str
    """fp32, fp16, mixed, int8 or int4."""
    function: Function
    lossless: bool = False
    """The same outputs up to the order of additions."""
    calibrates: bool = False
    """Needs real inputs."""
    portable: bool = True
    """False: runs only on the machine and with the runtime that made it."""
    opset: int = 0
    """The graph is converted to this opset first, if its own is lower and the conversion succeeds."""
    least: int = 0
    """Refused below this opset."""
    folds: bool = False
    """The graph comes with constants folded and batch normalisation gone into the convolutions."""
    shrinks: bool = False
    """Refused when the file does not become smaller."""
    fuses: bool = False
    """The graph comes with operators fused by our own rewrites too."""
    activations: str = ""
    """How activations are quantised: not at all, "dynamic", or by the calibration method of this name."""
    touches: tuple[str, ...] = ()
    """Operators whose weights it quantises."""
    look: Look = field(default=_fits, repr=False)
    saves: Callable[[onnx.ModelProto, Path], None] = field(default=save, repr=False)
    """Writes the result; weights may go to <stem>.bin beside the graph."""

    def refusal(self, model: onnx.ModelProto) -> Refused | None:
        """Why the recipe makes no sense for this graph, by a look at its operators; None if it may."""
        return self.look(model)
