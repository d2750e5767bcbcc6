"""Makes an ONNX graph of a BERT-family encoder straight from its weights, without torch.

Covers BERT, RoBERTa, XLM-R, ELECTRA and DistilBERT with learnt absolute positions, and so MiniLM, BGE, E5 and
their like, from safetensors or a state dict; alone, or with the head of a classifier of texts or tokens.
The graph is written in the node patterns that ONNX Runtime's own transformer fusions look for
(attention, skip layer norm, bias with GELU), in opset 17. Same input, same bytes.

Inputs are int64 [batch, sequence]: input_ids, attention_mask and, where the model tells kinds of tokens
apart, token_type_ids; output is last_hidden_state, float32 [batch, sequence, hidden], without the pooler.
Where config.json names a classifier, it is logits, [batch, labels] or [batch, sequence, labels].
"""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from deployer.optimizer.convert import worker
from deployer.optimizer.convert.statedict import open_weights
from deployer.optimizer.convert.weights import Float, Tensors, refuse
from deployer.spec import Progress

OPSET = 17
SUPPORTED = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
_AFTER_PADDING = frozenset({"camembert", "roberta", "xlm-roberta"})  # positions count on from the padding id
_HEADS = {"ForSequenceClassification": "texts", "ForTokenClassification": "tokens"}
_DISTIL = {
    **{"encoder.layer.": "transformer.layer.", ".attention.self.query": ".attention.q_lin"},
    **{".attention.self.key": ".attention.k_lin", ".attention.self.value": ".attention.v_lin"},
    **{".attention.output.dense": ".attention.out_lin", ".attention.output.LayerNorm": ".sa_layer_norm"},
    **{".intermediate.dense": ".ffn.lin1", ".output.dense": ".ffn.lin2"},
    **{".output.LayerNorm": ".output_layer_norm"},
}
_DISTIL_CONFIG = {
    "hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers",
    "hidden_act": "activation",
}  # fmt: skip
_WORDS = "embeddings.word_embeddings.weight"
_PROTOBUF_LIMIT = (1 << 31) - (1 << 20)  # one ONNX file is one protobuf message, and that ends at 2 GB


def build(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Do `convert` in a process of its own."""
    worker.run(__name__, inputs, out, options, progress)


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write model.onnx, and tokenizer.json where one is given, into `out`; raises ConversionFailed.

    `inputs` are `weights` (model.safetensors or pytorch_model.bin), `config` (config.json) and `tokenizer`
    (tokenizer.json, may be missing); others do not matter. No options are known.
    """
    if options:
        known = "this converter has no options"
        raise refuse(inputs["config"], f"{known}: {sorted(options)}", f"此转换器没有选项：{sorted(options)}")
    config = Config.read(inputs["config"])
    weights = open_weights(inputs["weights"])
    tokenizer = inputs.get("tokenizer")
    if tokenizer:
        _check_tokenizer(tokenizer, weights)
    model = encoder(config, weights, progress)
    out.mkdir(parents=True, exist_ok=True)
    part = out / "model.onnx.part"
    part.write_bytes(model.SerializeToString(deterministic=True))
    part.replace(out / "model.onnx")
    if tokenizer:
        shutil.copyfile(tokenizer, out / "tokenizer.json")


@dataclass(frozen=True)
class Config:
    """What of a config.json decides the graph."""

    source: Path
    model_type: str
    hidden: int
    layers: int
    heads: int
    activation: str
    epsilon: float
    padding: int
    token_types: int
    embedding: int  # width of the tables, hidden unless they are projected
    head: str  # texts, tokens or nothing
    labels: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Config":
        """Read and check config.json; raises ConversionFailed with what was found and what is supported."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            if not isinstance(raw, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            raise refuse(path, f"not JSON: {error}", f"不是 JSON：{error}") from None
        _require(path, "model_type", str(raw.get("model_type")), SUPPORTED)
        if raw["model_type"] == "distilbert":
            raw |= {ours: raw.get(theirs, raw.get(ours)) for ours, theirs in _DISTIL_CONFIG.items()}
            raw |= {"type_vocab_size": 0, "layer_norm_eps": 1e-12}
        _require(
            path, "position_embedding_type", raw.get("position_embedding_type", "absolute"), ("absolute",)
        )
        _require(path, "hidden_act", raw.get("hidden_act", "gelu"), tuple(_ACTIVATIONS))
        for flag in ("is_decoder", "add_cross_attention"):
            _require(path, flag, raw.get(flag, False), (False,))
        heads = _integer(path, raw, "num_attention_heads", 1, 1024)
        hidden = _integer(path, raw, "hidden_size", 1, 1 << 16)
        _require(path, "hidden_size % num_attention_heads", hidden % heads, (0,))
        epsilon = raw.get("layer_norm_eps", 1e-12)
        if type(epsilon) not in (int, float) or not 0 <= epsilon < 1:
            _require(path, "layer_norm_eps", epsilon, ("0 … 1",))
        return cls(
            source=path,
            model_type=raw["model_type"],
            hidden=hidden,
            layers=_integer(path, raw, "num_hidden_layers", 1, 256),
            heads=heads,
            activation=raw.get("hidden_act", "gelu"),
            epsilon=float(epsilon),
            padding=_integer(path, {"pad_token_id": 1, **raw}, "pad_token_id", 0, 1 << 24)
            if raw["model_type"] in _AFTER_PADDING
            else 0,
            token_types=_integer(path, {"type_vocab_size": 2, **raw}, "type_vocab_size", 0, 1 << 16),
            embedding=_integer(path, {"embedding_size": hidden, **raw}, "embedding_size", 1, 1 << 16)
            if raw["model_type"] == "electra"
            else hidden,
            head=_head_of(raw.get("architectures")),
            labels=_labels(raw.get("id2label")),
        )


def encoder(config: Config, weights: Tensors, progress: Progress) -> onnx.ModelProto:
    """The checked ONNX model of this encoder; raises ConversionFailed for weights that do not fit."""
    graph = _Graph(weights, _prefix(weights), config, width=config.hidden)
    total = config.layers + 2
    hidden = _embeddings(graph)
    mask = _mask_bias(graph)
    progress(1, total)
    for layer in range(config.layers):
        hidden = _layer(graph, f"encoder.layer.{layer}", hidden, mask)
        progress(2 + layer, total)
    if config.head:
        _HEAD_BUILDERS[config.head](graph, hidden)
    graph.nodes[-1].output[0] = "logits" if config.head else "last_hidden_state"
    model = graph.model()
    onnx.checker.check_model(model, full_check=True)
    progress(total, total)
    return model


@dataclass
class _Graph:
    """Collects nodes and initializers; every value is named after the node or weight it comes from."""

    weights: Tensors
    prefix: str
    config: Config
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    bytes: int = 0
    width: int = 0  # of the output

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add a node and name its only output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initializer once; later calls of the same name mean the same value."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def scalar(self, name: str, value: float) -> str:
        """A float32 constant."""
        return self.constant(name, np.array(value, np.float32))

    def weight(self, name: str, shape: tuple[int | None, ...]) -> Float:
        """The weight of this name below the prefix, with its shape checked; None is any length."""
        if self.config.model_type == "distilbert":
            for ours, theirs in _DISTIL.items():
                name = name.replace(ours, theirs)
        full = self.prefix + name if self.prefix + name in self.weights or name not in self.weights else name
        if full not in self.weights:  # checkpoints from TensorFlow's days
            full = full.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            )
        if full not in self.weights:
            raise refuse(self.weights.path, f"no weight {full}", f"没有权重 {full}", tensor=full)
        found = self.weights.entries[full].shape
        if len(found) != len(shape) or any(b not in (None, a) for a, b in zip(found, shape, strict=True)):
            en = f"{full} has shape {list(found)}, config.json asks for {list(shape)}"
            zh = f"{full} 的形状是 {list(found)}，config.json 要求 {list(shape)}"
            raise refuse(self.weights.path, en, zh, tensor=full)
        self.bytes += 4 * math.prod(found)
        if self.bytes > _PROTOBUF_LIMIT:
            en, zh = "weights above 2 GB do not fit one ONNX file", "权重超过 2 GB，单个 ONNX 文件放不下"
            raise refuse(self.weights.path, en, zh)
        return self.weights.float32(full)

    def model(self) -> onnx.ModelProto:
        """All of it as a model with free batch and sequence axes."""
        ids = ["input_ids", "attention_mask"] + ["token_type_ids"] * (self.config.token_types > 1)
        axes: list[str | int] = ["batch", "sequence"]
        states = [*axes[: 1 if self.config.head == "texts" else 2], self.width]
        graph = helper.make_graph(
            self.nodes,
            "encoder",
            [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in ids],
            [helper.make_tensor_value_info(self.nodes[-1].output[0], TensorProto.FLOAT, states)],
            list(self.initializers.values()),
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="opc-market")
        if self.config.head and len(self.config.labels) == self.width:
            helper.set_model_props(model, {"labels": json.dumps(self.config.labels)})
        return model


def _embeddings(graph: _Graph) -> str:
    """Words, positions and kinds of tokens, added and normalised: [batch, sequence, hidden]."""
    width = graph.config.embedding
    words = graph.constant(_WORDS, graph.weight(_WORDS, (None, width)))
    words = graph.op("Gather", words, "input_ids", name="embeddings.words")
    name = "embeddings.position_embeddings.weight"
    table = graph.constant(name, graph.weight(name, (None, width)))
    counted = graph.config.model_type in _AFTER_PADDING
    places = _positions_after_padding(graph, table) if counted else _positions(graph, table)
    kinds = "embeddings.token_type_embeddings.weight"
    total = words
    if graph.config.token_types:
        rows = graph.weight(kinds, (graph.config.token_types, width))
        if graph.config.token_types > 1:
            kind = graph.op("Gather", graph.constant(kinds, rows), "token_type_ids", name="embeddings.kinds")
        else:  # only one kind: a constant row
            kind = graph.constant(kinds, rows[0])
        total = graph.op("Add", words, kind, name="embeddings.words_kinds")
    total = graph.op("Add", total, places, name="embeddings.sum")
    total = _normalise(graph, "embeddings.LayerNorm", total)
    if width == graph.config.hidden:
        return total
    return _dense(graph, "embeddings_project", total, width, graph.config.hidden)


def _positions(graph: _Graph, table: str) -> str:
    """The first `sequence` rows of the table: positions count from 0 in every row of the batch."""
    one = graph.constant("one", np.array([1], np.int64))
    zero = graph.constant("zero", np.array([0], np.int64))
    length = graph.op("Shape", "input_ids", name="embeddings.length", start=1, end=2)
    return graph.op("Slice", table, zero, length, zero, one, name="embeddings.positions")


def _positions_after_padding(graph: _Graph, table: str) -> str:
    """RoBERTa's positions: padding keeps its own id, other tokens count on from it."""
    pad = graph.constant("padding", np.array(graph.config.padding, np.int64))
    axis = graph.constant("axis", np.array(1, np.int64))
    same = graph.op("Equal", "input_ids", pad, name="embeddings.is_padding")
    real = graph.op("Not", same, name="embeddings.is_token")
    real = graph.op("Cast", real, name="embeddings.tokens", to=TensorProto.INT64)
    count = graph.op("CumSum", real, axis, name="embeddings.count")
    count = graph.op("Mul", count, real, name="embeddings.count_tokens")
    places = graph.op("Add", count, pad, name="embeddings.position_ids")
    return graph.op("Gather", table, places, name="embeddings.positions")


def _mask_bias(graph: _Graph) -> str:
    """0 where a token counts and the lowest float where it does not: [batch, 1, 1, sequence]."""
    mask = "attention_mask"
    for axis in (1, 2):
        axes = graph.constant(f"mask.axis{axis}", np.array([axis], np.int64))
        mask = graph.op("Unsqueeze", mask, axes, name=f"mask.unsqueeze{axis}")
    mask = graph.op("Cast", mask, name="mask.float", to=TensorProto.FLOAT)
    mask = graph.op("Sub", graph.scalar("mask.one", 1.0), mask, name="mask.hidden")
    lowest = graph.scalar("mask.lowest", float(np.finfo(np.float32).min))
    return graph.op("Mul", mask, lowest, name="mask.bias")


def _layer(graph: _Graph, name: str, hidden: str, mask: str) -> str:
    """Self-attention, then the feed-forward part, each with its residual and norm."""
    width = graph.config.hidden
    context = _attention(graph, f"{name}.attention.self", hidden, mask)
    context = _dense(graph, f"{name}.attention.output.dense", context, width, width)
    context = graph.op("Add", context, hidden, name=f"{name}.attention.output.sum")
    context = _normalise(graph, f"{name}.attention.output.LayerNorm", context)
    inner = _dense(graph, f"{name}.intermediate.dense", context, width, None)
    inner = _ACTIVATIONS[graph.config.activation](graph, f"{name}.intermediate.act", inner)
    inner = _dense(graph, f"{name}.output.dense", inner, None, width)
    inner = graph.op("Add", inner, context, name=f"{name}.output.sum")
    return _normalise(graph, f"{name}.output.LayerNorm", inner)


def _attention(graph: _Graph, name: str, hidden: str, mask: str) -> str:
    width, heads = graph.config.hidden, graph.config.heads
    split = graph.constant("split", np.array([0, 0, heads, width // heads], np.int64))
    join = graph.constant("join", np.array([0, 0, width], np.int64))
    parts = {}
    for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        flat = _dense(graph, f"{name}.{part}", hidden, width, width)
        shaped = graph.op("Reshape", flat, split, name=f"{name}.{part}.heads")
        parts[part] = graph.op("Transpose", shaped, name=f"{name}.{part}.turned", perm=order)
    scores = graph.op("MatMul", parts["query"], parts["key"], name=f"{name}.products")
    scores = graph.op("Div", scores, graph.scalar("scale", math.sqrt(width // heads)), name=f"{name}.scaled")
    scores = graph.op("Add", scores, mask, name=f"{name}.masked")
    shares = graph.op("Softmax", scores, name=f"{name}.shares", axis=-1)
    context = graph.op("MatMul", shares, parts["value"], name=f"{name}.context")
    context = graph.op("Transpose", context, name=f"{name}.context.turned", perm=[0, 2, 1, 3])
    return graph.op("Reshape", context, join, name=f"{name}.context.joined")


def _dense(graph: _Graph, name: str, hidden: str, width: int | None, out: int | None) -> str:
    """x·Wᵀ + b; checkpoints keep W as [out, in], MatMul wants [in, out]."""
    weight = graph.weight(f"{name}.weight", (out, width))
    bias = graph.weight(f"{name}.bias", (weight.shape[0],))
    product = graph.op("MatMul", hidden, graph.constant(f"{name}.weight", weight.T), name=f"{name}.product")
    return graph.op("Add", product, graph.constant(f"{name}.bias", bias), name=name)


def _normalise(graph: _Graph, name: str, hidden: str) -> str:
    parts = [f"{name}.weight", f"{name}.bias"]
    width = graph.config.embedding if name.startswith("embeddings.") else graph.config.hidden
    learnt = [graph.constant(part, graph.weight(part, (width,))) for part in parts]
    return graph.op("LayerNormalization", hidden, *learnt, name=name, axis=-1, epsilon=graph.config.epsilon)


def _classify(graph: _Graph, name: str, hidden: str) -> str:
    """The last layer of a head: a score for each label."""
    graph.width = len(graph.weight(f"{name}.bias", (None,)))
    return _dense(graph, name, hidden, graph.config.hidden, graph.width)


def _of_texts(graph: _Graph, hidden: str) -> str:
    """Scores of a whole text, from its first token."""
    first = graph.constant("head.place", np.array([0], np.int64))
    hidden = graph.op("Gather", hidden, first, name="head.first", axis=1)
    hidden = graph.op("Squeeze", hidden, graph.constant("axis", np.array(1, np.int64)), name="head.token")
    kind, width = graph.config.model_type, graph.config.hidden
    dense = {"bert": "pooler.dense", "distilbert": "pre_classifier"}.get(kind, "classifier.dense")
    hidden = _dense(graph, dense, hidden, width, width)
    if kind == "distilbert":
        hidden = graph.op("Relu", hidden, name="head.relu")
    elif kind == "electra":
        hidden = _gelu(graph, "head.gelu", hidden)
    else:
        hidden = graph.op("Tanh", hidden, name="head.tanh")
    last = "classifier" if kind in ("bert", "distilbert") else "classifier.out_proj"
    return _classify(graph, last, hidden)


def _of_tokens(graph: _Graph, hidden: str) -> str:
    """Scores of each token."""
    return _classify(graph, "classifier", hidden)


_HEAD_BUILDERS = {"texts": _of_texts, "tokens": _of_tokens}


def _head_of(architectures: Any) -> str:
    named = architectures if isinstance(architectures, list) else []
    return next((head for end, head in _HEADS.items() for name in named if str(name).endswith(end)), "")


def _labels(given: Any) -> tuple[str, ...]:
    """id2label in the order of its numbers; nothing where it has gaps."""
    if not isinstance(given, dict) or set(given) != {str(number) for number in range(len(given))}:
        return ()
    return tuple(str(given[str(number)]) for number in range(len(given)))


def _gelu(graph: _Graph, name: str, x: str) -> str:
    """x/2 · (1 + erf(x/√2))."""
    y = graph.op("Div", x, graph.scalar("gelu.root2", math.sqrt(2)), name=f"{name}.div")
    y = graph.op("Erf", y, name=f"{name}.erf")
    y = graph.op("Add", y, graph.scalar("gelu.one", 1.0), name=f"{name}.add")
    y = graph.op("Mul", x, y, name=f"{name}.mul")
    return graph.op("Mul", y, graph.scalar("gelu.half", 0.5), name=name)


def _gelu_tanh(graph: _Graph, name: str, x: str) -> str:
    """x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), the approximation of GPT-2 and its followers."""
    y = graph.op("Pow", x, graph.scalar("gelu.three", 3.0), name=f"{name}.pow")
    y = graph.op("Mul", y, graph.scalar("gelu.cubic", 0.044715), name=f"{name}.cubic")
    y = graph.op("Add", x, y, name=f"{name}.sum")
    y = graph.op("Mul", y, graph.scalar("gelu.root", math.sqrt(2 / math.pi)), name=f"{name}.root")
    y = graph.op("Tanh", y, name=f"{name}.tanh")
    y = graph.op("Add", y, graph.scalar("gelu.one", 1.0), name=f"{name}.add")
    half = graph.op("Mul", x, graph.scalar("gelu.half", 0.5), name=f"{name}.half")
    return graph.op("Mul", half, y, name=name)


def _relu(graph: _Graph, name: str, x: str) -> str:
    return graph.op("Relu", x, name=name)


def _silu(graph: _Graph, name: str, x: str) -> str:
    return graph.op("Mul", x, graph.op("Sigmoid", x, name=f"{name}.sigmoid"), name=name)


_ACTIVATIONS: dict[str, Callable[[_Graph, str, str], str]] = {
    "gelu": _gelu,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": _relu,
    "silu": _silu,
    "swish": _silu,
}


def _prefix(weights: Tensors) -> str:
    """What stands before the encoder's names: nothing, `bert.`, `roberta.`, `model.` and so on."""
    found = [name.removesuffix(_WORDS) for name in weights.entries if name.endswith(_WORDS)]
    found = [prefix for prefix in found if not prefix or prefix.endswith(".")]
    if len(found) != 1:
        en = f"needs one tensor {_WORDS}, found {len(found)}"
        raise refuse(weights.path, en, f"需要一个张量 {_WORDS}，找到 {len(found)} 个", found=len(found))
    return found[0]


def _check_tokenizer(path: Path, weights: Tensors) -> None:
    """Every token must have a row in the table of words, or the server would fail on some inputs only."""
    try:
        size = Tokenizer.from_file(str(path)).get_vocab_size()
    except Exception as error:  # tokenizers raises bare Exception
        raise refuse(path, f"not a tokenizer.json: {error}", f"不是 tokenizer.json：{error}") from None
    rows = weights.entries[_prefix(weights) + _WORDS].shape[0]
    if size > rows:
        en = f"{size} tokens, but the model knows {rows}"
        raise refuse(path, en, f"有 {size} 个词元，而模型只认识 {rows} 个", tokens=size, rows=rows)


def _require(path: Path, key: str, found: object, supported: tuple[object, ...]) -> None:
    if isinstance(found, str | int | bool) and found in supported:
        return
    choices = ", ".join(map(str, supported))
    en, zh = f"{key} is {found!r}; supported: {choices}", f"{key} 是 {found!r}；支持：{choices}"
    raise refuse(path, en, zh, key=key, found=found, supported=list(supported))


def _integer(path: Path, raw: dict[str, Any], key: str, low: int, high: int) -> int:
    value = raw.get(key)
    if type(value) is not int or not low <= value <= high:
        _require(path, key, value if value is None else repr(value), (f"{low} … {high}",))
    assert isinstance(value, int)
    return value
