"""What a check and a target need to know of an ONNX file, without its weights being loaded."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx

from deployer.optimizer.targets.errors import TargetRefused


def load(device: str, graph: Path) -> onnx.ModelProto:
    """The model without weights that lie in files of their own; raises TargetRefused for what is no ONNX."""
    try:
        model = onnx.load(str(graph), load_external_data=False)
    except Exception as error:  # protobuf raises types of its own
        raise TargetRefused(device=device, stage="open", why=f"no ONNX file: {error}", log="") from error
    if not model.graph.node and not model.graph.output:
        raise TargetRefused(device=device, stage="open", why="no ONNX file: it has no graph", log="")
    return model


def subgraphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node or inner.output:
                    yield from subgraphs(inner)


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs and of local functions too."""
    for graph in subgraphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def weights(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All initialisers, those of subgraphs too."""
    for graph in subgraphs(model.graph):
        yield from graph.initializer


def external_files(graph: Path, model: onnx.ModelProto | None = None) -> list[str]:
    """Names of the files beside a graph that hold its weights; refuses paths out of its folder."""
    model = model or load("", graph)
    found: set[str] = set()
    for tensor in weights(model):
        for entry in tensor.external_data:
            if tensor.data_location == onnx.TensorProto.EXTERNAL and entry.key == "location":
                found.add(entry.value)
    for name in found:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise TargetRefused(device="", stage="open", why=f"weights outside its folder: {name}", log="")
    return sorted(found)


def inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What has to be fed; older files list their weights among the inputs."""
    known = {tensor.name for tensor in model.graph.initializer}
    return [each for each in model.graph.input if each.name not in known]


def size(graph: Path, model: onnx.ModelProto) -> int:
    """Bytes of the file and of the files of weights beside it."""
    beside = [graph.parent / name for name in external_files(graph, model)]
    return sum(path.stat().st_size for path in [graph, *beside] if path.is_file())
