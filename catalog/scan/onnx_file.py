"""An ONNX file from its first byte to its last; neither onnx nor ONNX Runtime gets to see it before."""

from catalog.scan.findings import Refused, Report, shown
from catalog.scan.onnx_graph import Key, Walk
from catalog.scan.onnx_operators import NEWEST_IR, NEWEST_OPSET, OPERATORS
from catalog.scan.onnx_wire import Graph, Model, Wire
from catalog.scan.source import Source

LARGEST_METADATA = 4 << 20
MOST_FUNCTIONS = 4096
_HANDED_ON = {"ort_config"}
"""Metadata that ONNX Runtime takes for settings of its session."""


def check(source: Source, report: Report) -> None:
    """Refuse a file that is not sound ONNX of known operators; notes what an operator should know."""
    wire = Wire(source)
    model = wire.model()
    _check_head(source, model)
    functions = _functions(wire, model)
    assert model.graph is not None
    main = wire.graph(*model.graph)
    if not main.outputs:
        raise Refused("onnx-malformed", place=model.graph[0])
    walk = Walk(wire, report, functions)
    walk.run(main)
    report.facts |= {
        "ir": model.ir,
        "opset": model.opsets.get("", model.opsets.get("ai.onnx", 0)),
        "nodes": walk.sizes["", "", ""],
        "tensors": walk.tensors,
        "producer": shown(model.producer, 40),
    }


def _check_head(source: Source, model: Model) -> None:
    if model.graph is None or not model.opsets:
        raise Refused("onnx-malformed", place=0)
    if not 3 <= model.ir <= NEWEST_IR:
        raise Refused("onnx-version", what="IR", version=model.ir, newest=NEWEST_IR)
    opset = model.opsets.get("", model.opsets.get("ai.onnx"))
    if opset is not None and not 1 <= opset <= NEWEST_OPSET:
        raise Refused("onnx-version", what="opset", version=opset, newest=NEWEST_OPSET)
    for key in model.metadata:
        if key in _HANDED_ON:
            raise Refused("onnx-settings", key=key)
    if sum(model.metadata.values()) > LARGEST_METADATA:
        raise Refused("onnx-text-large", field="metadata_props")


def _functions(wire: Wire, model: Model) -> dict[Key, Graph]:
    if len(model.functions) > MOST_FUNCTIONS:
        raise Refused("onnx-functions", limit=MOST_FUNCTIONS)
    functions: dict[Key, Graph] = {}
    for extent in model.functions:
        graph = wire.graph(*extent, "Function")
        key = ("" if graph.domain == "ai.onnx" else graph.domain, graph.name, graph.overload)
        if key in functions:
            raise Refused("onnx-name-twice", name=shown(graph.name))
        if graph.name in OPERATORS.get(key[0], ()):
            raise Refused("onnx-functions", limit=MOST_FUNCTIONS)
        functions[key] = graph
    return functions
