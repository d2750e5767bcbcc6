"""Makes the two ONNX graphs of a Whisper model straight from CTranslate2's model.bin, without torch.

- encoder.onnx: `mel` float32 [batch, mels, 2 × frames] → for each layer N of the decoder `cross_key_N`
  [batch, heads, width / heads, frames] and `cross_value_N` [batch, heads, frames, width / heads].
- decoder.onnx: `ids` int64 [batch, n], for each layer `past_key_N` and `past_value_N` [batch, past, width]
  and the encoder's two → `logits` float32 [batch, tokens] behind the last id, and `key_N` and `value_N`
  [batch, n, width], which the caller appends to the past: a step hands over only what is new. The metadata
  `context` is how many ids there may be in all.

Weights that are kept as float16 stay so in the files, which halves them; ONNX Runtime makes them float32
when it loads. Opset 17. Same input, same bytes.
"""

import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from deployer.optimizer.convert import join, worker
from deployer.optimizer.convert.ctranslate2 import Variables
from deployer.optimizer.convert.weights import refuse
from deployer.spec import Progress, silent

OPSET = 17
_EPSILON = 1e-5  # of every norm; model.bin does not say it
_GELU = 3  # the number of the exact GELU among CTranslate2's activations
_PROTOBUF_LIMIT = (1 << 31) - (1 << 20)  # one ONNX file is one protobuf message, and that ends at 2 GB
_PLAIN = {  # what makes the decoder another one if it differs
    "decoder/activation": _GELU,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
    "decoder/alibi": 0,
}


def build(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Do `convert` in a process of its own."""
    worker.run(__name__, inputs, out, options, progress)


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write encoder.onnx and decoder.onnx into `out`; raises ConversionFailed.

    `inputs` are `weights` (model.bin), or its parts as `weights-1`, `weights-2` and so on with the sha256
    of the whole as an option.
    """
    parts = {name: path for name, path in inputs.items() if name.startswith("weights")}
    if set(options) != ({"sha256"} if len(parts) > 1 else set()) or not parts:
        en = f"needs weights, or its parts and the sha256 of the whole, not {sorted(options)}"
        raise refuse("options", en, "需要 weights，或其各部分与整体的 sha256")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".whisper-") as folder:
        path = next(iter(parts.values()))
        if len(parts) > 1:
            join.convert(parts, Path(folder), {"path": "model.bin", **options}, silent)
            path = Path(folder) / "model.bin"
        shape = Shape.read(Variables.open(path))
        made = {}
        for number, (name, assemble) in enumerate({"encoder": encoder, "decoder": decoder}.items()):
            progress(1 + 2 * number, 5)
            made[name] = Path(folder) / f"{name}.onnx"
            made[name].write_bytes(assemble(shape).SerializeToString(deterministic=True))
            progress(2 + 2 * number, 5)
        for name, written in made.items():
            written.replace(out / f"{name}.onnx")
    progress(5, 5)


@dataclass(frozen=True)
class Shape:
    """The weights, and the sizes that they and the numbers beside them give the graphs."""

    weights: Variables
    mels: int
    frames: int
    context: int
    tokens: int
    width: int
    heads: tuple[int, int]  # of the encoder and the decoder
    layers: tuple[int, int]

    @classmethod
    def read(cls, weights: Variables) -> "Shape":
        """Read and check; raises ConversionFailed for what is not a Whisper model as known here."""
        _require(weights, "specification", weights.specification, "WhisperSpec")
        for name, value in _PLAIN.items():
            _require(weights, name, weights.integer(name, value), value)
        sizes = {}
        for name, rank in (
            ("encoder/conv1/weight", 3),
            ("encoder/position_encodings/encodings", 2),
            ("decoder/position_encodings/encodings", 2),
            ("decoder/embeddings/weight", 2),
        ):
            sizes[name] = weights.shape(name)
            _require(weights, f"rank of {name}", len(sizes[name]), rank)
        (_, mels, _), (frames, width), (context, _), (tokens, _) = sizes.values()
        heads = tuple(weights.integer(f"{side}/num_heads") for side in ("encoder", "decoder"))
        for count in heads:
            fits = count > 0 and width > 0 and width % count == 0
            _require(weights, f"{width} divided among {count} heads", fits, True)
        layers = (_layers(weights, "encoder"), _layers(weights, "decoder"))
        return cls(weights, mels, frames, context, tokens, width, (heads[0], heads[1]), layers)


def _require(weights: Variables, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        en, zh = f"{what} is {found}, not {wanted}", f"{what} 是 {found}，不是 {wanted}"
        raise refuse(weights.path, en, zh, key=what, found=str(found))


def _layers(weights: Variables, side: str) -> int:
    count = 0
    while f"{side}/layer_{count}/ffn/linear_0/weight" in weights:
        count += 1
    _require(weights, f"{side} with layers", count > 0, True)
    return count


@dataclass
class _Graph:
    """Collects nodes and initializers; every value is named after the node or weight it comes from."""

    shape: Shape
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    bytes: int = 0

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add a node and name its only output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initializer once; later calls of the same name mean the same value."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def integers(self, name: str, *values: int) -> str:
        """An int64 constant [n]."""
        return self.constant(name, np.array(values, np.int64))

    def scalar(self, name: str, value: float) -> str:
        """A float32 constant."""
        return self.constant(name, np.array(value, np.float32))

    def kept(self, name: str, *shape: int, turned: bool = False) -> str:
        """A weight as it is kept, its shape checked, its two axes changed over if asked for."""
        weights = self.shape.weights
        _require(weights, f"shape of {name}", weights.shape(name), shape)
        values = weights.floats(name)
        if name not in self.initializers:
            self.bytes += values.nbytes
            _require(weights, "size that fits one ONNX file", self.bytes <= _PROTOBUF_LIMIT, True)
        return self.constant(name, values.T if turned else values)

    def weight(self, name: str, *shape: int, turned: bool = False) -> str:
        """A weight as float32."""
        kept = self.kept(name, *shape, turned=turned)
        if self.initializers[kept].data_type == TensorProto.FLOAT:
            return kept
        if any(node.name == f"{kept}.float" for node in self.nodes):
            return f"{kept}.float"
        return self.op("Cast", kept, name=f"{kept}.float", to=TensorProto.FLOAT)

    def model(self, name: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> onnx.ModelProto:
        """All of it, checked; inputs and outputs are shapes by name."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [_value(key, shape) for key, shape in inputs.items()],
            [_value(key, shape) for key, shape in outputs.items()],
            list(self.initializers.values()),
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="opc-market")
        onnx.checker.check_model(model, full_check=True)
        return model


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    kind = TensorProto.INT64 if name == "ids" else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape)


def encoder(shape: Shape) -> onnx.ModelProto:
    """From the spectrogram of a window to what the decoder's layers look at."""
    graph, width, heads = _Graph(shape), shape.width, shape.heads[0]
    hidden = _convolution(graph, "encoder/conv1", "mel", shape.mels, 1)
    hidden = _convolution(graph, "encoder/conv2", hidden, width, 2)
    hidden = graph.op("Transpose", hidden, name="encoder/frames", perm=[0, 2, 1])
    places = graph.weight("encoder/position_encodings/encodings", shape.frames, width)
    hidden = graph.op("Add", hidden, places, name="encoder/placed")
    for layer in range(shape.layers[0]):
        name = f"encoder/layer_{layer}/self_attention"
        query, key, value = _projected(graph, f"{name}/linear_0", _norm(graph, name, hidden), 3)
        key, value = _keys(graph, key, heads), _split(graph, value, heads)
        context = _attend(graph, name, _split(graph, query, heads), key, value)
        hidden = _added(graph, f"{name}/linear_1", context, hidden)
        hidden = _feed_forward(graph, f"encoder/layer_{layer}/ffn", hidden)
    hidden = _norm(graph, "encoder", hidden)
    outputs: dict[str, Any] = {}
    for layer in range(shape.layers[1]):
        key, value = _projected(graph, f"decoder/layer_{layer}/attention/linear_1", hidden, 2)
        _keys(graph, key, shape.heads[1], f"cross_key_{layer}")
        _split(graph, value, shape.heads[1], f"cross_value_{layer}")
        outputs |= _crossed(shape, layer)
    return graph.model("encoder", {"mel": ["batch", shape.mels, 2 * shape.frames]}, outputs)


def decoder(shape: Shape) -> onnx.ModelProto:
    """From ids behind a past to the likelihoods of the next id."""
    graph, heads = _Graph(shape), shape.heads[1]
    table = graph.kept("decoder/embeddings/weight", shape.tokens, shape.width)
    hidden = graph.op("Gather", table, "ids", name="decoder/embedded")
    if graph.initializers[table].data_type != TensorProto.FLOAT:  # only these rows, not the whole table
        hidden = graph.op("Cast", hidden, name="decoder/embedded.float", to=TensorProto.FLOAT)
    places, mask = _places(graph)
    hidden = graph.op("Add", hidden, places, name="decoder/placed")
    inputs: dict[str, Any] = {"ids": ["batch", "n"]}
    outputs: dict[str, Any] = {"logits": ["batch", shape.tokens]}
    for layer in range(shape.layers[1]):
        name = f"decoder/layer_{layer}/self_attention"
        query, *fresh = _projected(
            graph, f"{name}/linear_0", _norm(graph, name, hidden), 3, ("", f"key_{layer}", f"value_{layer}")
        )
        whole = []
        for part in fresh:
            inputs[f"past_{part}"] = ["batch", "past", shape.width]
            outputs[part] = ["batch", "n", shape.width]
            whole.append(graph.op("Concat", f"past_{part}", part, name=f"{name}/{part}", axis=1))
        key, value = _keys(graph, whole[0], heads), _split(graph, whole[1], heads)
        context = _attend(graph, name, _split(graph, query, heads), key, value, mask)
        hidden = _added(graph, f"{name}/linear_1", context, hidden)
        name = f"decoder/layer_{layer}/attention"
        (query,) = _projected(graph, f"{name}/linear_0", _norm(graph, name, hidden), 1)
        inputs |= _crossed(shape, layer)
        crossed = f"cross_key_{layer}", f"cross_value_{layer}"
        context = _attend(graph, name, _split(graph, query, heads), *crossed)
        hidden = _added(graph, f"{name}/linear_2", context, hidden)
        hidden = _feed_forward(graph, f"decoder/layer_{layer}/ffn", hidden)
    last = graph.constant("last", np.array(-1, np.int64))
    hidden = graph.op("Gather", hidden, last, name="decoder/last", axis=1)
    hidden = _norm(graph, "decoder", hidden)
    name = "decoder/projection/weight"
    table = name if name in shape.weights else "decoder/embeddings/weight"
    same = shape.weights.entries[table] == shape.weights.entries["decoder/embeddings/weight"]
    table = "decoder/embeddings/weight" if same else table
    graph.op("Gemm", hidden, graph.weight(table, shape.tokens, shape.width), name="logits", transB=1)
    model = graph.model("decoder", inputs, outputs)
    helper.set_model_props(model, {"context": str(shape.context)})
    return model


def _crossed(shape: Shape, layer: int) -> dict[str, Any]:
    """What the encoder gives and a layer of the decoder takes."""
    heads, frames = shape.heads[1], shape.frames
    each = shape.width // heads
    return {
        f"cross_key_{layer}": ["batch", heads, each, frames],
        f"cross_value_{layer}": ["batch", heads, frames, each],
    }


def _places(graph: _Graph) -> tuple[str, str]:
    """Rows of the position table for ids behind the past, and the mask that hides what comes later."""
    zero, one = graph.constant("zero", np.array(0, np.int64)), graph.constant("one", np.array(1, np.int64))
    before = graph.op("Shape", "past_key_0", name="past/size", start=1, end=2)
    count = graph.op("Shape", "ids", name="ids/size", start=1, end=2)
    whole = graph.op("Add", before, count, name="whole/size")
    name = "decoder/position_encodings/encodings"
    table = graph.weight(name, graph.shape.context, graph.shape.width)
    axis = graph.integers("first_axis", 0)
    places = graph.op("Slice", table, before, whole, axis, name="decoder/places")
    end = graph.op("Squeeze", whole, name="whole")
    rows = graph.op("Range", graph.op("Squeeze", before, name="past"), end, one, name="mask/rows")
    rows = graph.op("Unsqueeze", rows, graph.integers("second_axis", 1), name="mask/own")
    columns = graph.op("Range", zero, end, one, name="mask/columns")
    later = graph.op("Greater", columns, rows, name="mask/later")
    lowest, nought = graph.scalar("lowest", float(np.finfo(np.float32).min)), graph.scalar("nought", 0.0)
    return places, graph.op("Where", later, lowest, nought, name="mask")


def _convolution(graph: _Graph, name: str, hidden: str, width: int, stride: int) -> str:
    kernel = graph.weight(f"{name}/weight", graph.shape.width, width, 3)
    bias = graph.weight(f"{name}/bias", graph.shape.width)
    hidden = graph.op("Conv", hidden, kernel, bias, name=name, pads=[1, 1], strides=[stride])
    return _gelu(graph, name, hidden)


def _projected(graph: _Graph, name: str, hidden: str, count: int, names: tuple[str, ...] = ()) -> list[str]:
    """`count` projections of the model's width out of one product, called `names` where they have one."""
    flat = _dense(graph, name, hidden, count * graph.shape.width, graph.shape.width)
    if count == 1:
        return [flat]
    parts = [given or f"{name}/{part}" for part, given in enumerate(names or ("",) * count)]
    sizes = graph.integers(f"{count}_widths", *[graph.shape.width] * count)
    graph.nodes.append(helper.make_node("Split", [flat, sizes], parts, f"{name}/split", axis=-1))
    return parts


def _split(graph: _Graph, flat: str, heads: int, name: str = "") -> str:
    """[batch, n, width] as [batch, heads, n, width / heads]."""
    return _turned(graph, flat, heads, [0, 2, 1, 3], name)


def _keys(graph: _Graph, flat: str, heads: int, name: str = "") -> str:
    """[batch, n, width] as [batch, heads, width / heads, n]."""
    return _turned(graph, flat, heads, [0, 2, 3, 1], name)


def _turned(graph: _Graph, flat: str, heads: int, order: list[int], name: str) -> str:
    form = graph.integers(f"{heads}_heads", 0, 0, heads, graph.shape.width // heads)
    shaped = graph.op("Reshape", flat, form, name=f"{flat}/heads")
    return graph.op("Transpose", shaped, name=name or f"{flat}/turned", perm=order)


def _attend(graph: _Graph, name: str, query: str, key: str, value: str, mask: str = "") -> str:
    """Each query's mean of the values, weighted by how well the keys fit: [batch, n, width]."""
    heads = graph.shape.heads[name.startswith("decoder")]
    scale = graph.scalar(f"{heads}_scale", (graph.shape.width // heads) ** -0.5)
    query = graph.op("Mul", query, scale, name=f"{name}/scaled")
    scores = graph.op("MatMul", query, key, name=f"{name}/scores")
    if mask:
        scores = graph.op("Add", scores, mask, name=f"{name}/masked")
    shares = graph.op("Softmax", scores, name=f"{name}/shares", axis=-1)
    context = graph.op("MatMul", shares, value, name=f"{name}/context")
    context = graph.op("Transpose", context, name=f"{name}/context/turned", perm=[0, 2, 1, 3])
    form = graph.integers("joined", 0, 0, graph.shape.width)
    return graph.op("Reshape", context, form, name=f"{name}/context/joined")


def _feed_forward(graph: _Graph, name: str, hidden: str) -> str:
    width = graph.shape.width
    inner = math.prod(graph.shape.weights.shape(f"{name}/linear_0/bias"))
    wide = _dense(graph, f"{name}/linear_0", _norm(graph, name, hidden), inner, width)
    return _added(graph, f"{name}/linear_1", _gelu(graph, name, wide), hidden, inner)


def _added(graph: _Graph, name: str, context: str, hidden: str, inner: int = 0) -> str:
    """A projection back to the model's width, added to what came in."""
    width = graph.shape.width
    return graph.op("Add", _dense(graph, name, context, width, inner or width), hidden, name=f"{name}/added")


def _dense(graph: _Graph, name: str, hidden: str, out: int, inner: int) -> str:
    """x·Wᵀ + b; model.bin keeps W as [out, in], MatMul wants [in, out]."""
    weight = graph.weight(f"{name}/weight", out, inner, turned=True)
    product = graph.op("MatMul", hidden, weight, name=f"{name}/product")
    return graph.op("Add", product, graph.weight(f"{name}/bias", out), name=name)


def _norm(graph: _Graph, name: str, hidden: str) -> str:
    learnt = [graph.weight(f"{name}/layer_norm/{part}", graph.shape.width) for part in ("gamma", "beta")]
    return graph.op(
        "LayerNormalization", hidden, *learnt, name=f"{name}/layer_norm", axis=-1, epsilon=_EPSILON
    )


def _gelu(graph: _Graph, name: str, x: str) -> str:
    """x/2 · (1 + erf(x/√2)), in the pattern that ONNX Runtime fuses."""
    y = graph.op("Div", x, graph.scalar("gelu/root2", math.sqrt(2)), name=f"{name}/gelu/div")
    y = graph.op("Erf", y, name=f"{name}/gelu/erf")
    y = graph.op("Add", y, graph.scalar("gelu/one", 1.0), name=f"{name}/gelu/add")
    y = graph.op("Mul", x, y, name=f"{name}/gelu/mul")
    return graph.op("Mul", y, graph.scalar("gelu/half", 0.5), name=f"{name}/gelu")
