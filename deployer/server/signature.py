"""The signature of a graph in the words of the Open Inference Protocol."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from deployer.server.errors import BadModel

Array = npt.NDArray[Any]

DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{f"tensor(int{bits})": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": f"UINT{bits}" for bits in (8, 16, 32, 64)},
}


class TensorSpec(NamedTuple):
    """A named tensor of the signature: dtype in the protocol's words, shape with -1 for a free axis."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """As in `ids INT64 [-1, 128]`."""
        return f"{self.name} {self.datatype} [{', '.join(map(str, self.shape))}]"


def specs(nodes: Sequence[Any]) -> list[TensorSpec]:
    """The signature of a session's inputs or outputs; refuses sequences, maps and sub-byte types."""
    found = []
    for node in nodes:
        datatype = DATATYPES.get(node.type)
        if datatype is None:
            raise BadModel(f"{node.name} has type {node.type}, which the protocol cannot carry")
        shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in node.shape)
        found.append(TensorSpec(node.name, datatype, shape))
    return found


def signature(tensors: Iterable[TensorSpec]) -> str:
    """The expected tensors in one line."""
    return "; ".join(map(str, tensors))
