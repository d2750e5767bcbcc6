"""A decoder of the Llama or Qwen2 family as an ONNX graph, in the form that ONNX Runtime's own tools make.

Inputs: input_ids, int64 [batch, n]; attention_mask, int64 [batch, past + n], 1 where a token counts; and
past_key_values.N.key and .value, float32 [batch, heads, past, width]. Outputs: logits, float32 [batch, n,
tokens], and present.N.key and .value, which are the next past.

A GGUF of the Llama family keeps the rows of query and key in the order that turns neighbours together, one of
Qwen2 halves apart; GroupQueryAttention knows both.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx
from onnx import TensorProto, helper

from deployer.optimizer.convert.gguf.reader import Gguf
from deployer.optimizer.convert.nodes import Nodes
from deployer.optimizer.convert.weights import refuse
from deployer.spec import Progress, silent

FAMILIES = {"llama": True, "qwen2": False}  # whether neighbours are turned together
_CONTRIB = "com.microsoft"
_TINY = np.float32(1e-8)  # in place of a scale of 0, whose block is its offset alone


@dataclass(frozen=True)
class Shape:
    """What of the facts decides the graph."""

    family: str
    layers: int
    width: int
    inner: int
    heads: int
    pairs: int  # heads of keys and values
    each: int  # width of a head
    turned: int  # how much of it tells the place
    base: float
    epsilon: float
    context: int

    @classmethod
    def of(cls, source: Gguf, context: int) -> Self:
        """Read and check the facts; raises ConversionFailed with what was found and what is supported."""
        family = source.fact("general.architecture", str, "")
        if family not in FAMILIES:
            known = " | ".join(FAMILIES)
            en, zh = f"architecture {family!r}; known: {known}", f"架构 {family!r}；支持 {known}"
            raise refuse(source.path, en, zh, found=family, supported=list(FAMILIES))
        for key, plain in (("expert_count", 0), ("rope.scaling.type", "none")):
            value = source.facts.get(f"{family}.{key}", plain)
            if value != plain:
                en, zh = (
                    f"{family}.{key} is {value}; only {plain}",
                    f"{family}.{key} 是 {value}；只支持 {plain}",
                )
                raise refuse(source.path, en, zh, key=key)

        def whole(key: str, default: int | None = None) -> int:
            value: int = source.fact(f"{family}.{key}", int, default)
            if not 1 <= value <= 1 << 24:
                raise refuse(source.path, f"{family}.{key} is {value}", f"{family}.{key} 是 {value}", key=key)
            return value

        width, heads = whole("embedding_length"), whole("attention.head_count")
        each = whole("attention.key_length", width // heads or 1)
        return cls(
            family=family,
            layers=whole("block_count"),
            width=width,
            inner=whole("feed_forward_length"),
            heads=heads,
            pairs=whole("attention.head_count_kv", heads),
            each=each,
            turned=whole("rope.dimension_count", each),
            base=source.fact(f"{family}.rope.freq_base", float, 10_000.0),
            epsilon=source.fact(f"{family}.attention.layer_norm_rms_epsilon", float),
            context=min(context, whole("context_length")),
        )


def decoder(source: Gguf, context: int, progress: Progress = silent) -> onnx.ModelProto:
    """The checked ONNX model; raises ConversionFailed for weights that do not fit."""
    shape = Shape.of(source, context)
    graph = _Graph(source, shape, Nodes(source.path))
    hidden = graph.embedded()
    graph.places()
    past: list[str | int] = ["batch", shape.pairs, "past", shape.each]
    present: list[str | int] = ["batch", shape.pairs, "whole", shape.each]
    tokens: list[str | int] = ["batch", "n"]
    inputs: dict[str, Any] = {
        "input_ids": (TensorProto.INT64, tokens),
        "attention_mask": (TensorProto.INT64, ["batch", "whole"]),
    }
    outputs: dict[str, Any] = {"logits": (TensorProto.FLOAT, [*tokens, graph.tokens])}
    for layer in range(shape.layers):
        hidden = graph.layer(layer, hidden)
        progress(layer + 1, shape.layers + 1)
        for part in ("key", "value"):
            inputs[f"past_key_values.{layer}.{part}"] = (TensorProto.FLOAT, past)
            outputs[f"present.{layer}.{part}"] = (TensorProto.FLOAT, present)
    hidden = graph.norm("output_norm", hidden)
    head = "output" if "output.weight" in source.tensors else "token_embd"
    graph.dense(head, hidden, shape.width, graph.tokens, called="logits")
    progress(shape.layers + 1, shape.layers + 1)
    model = graph.nodes.model("decoder", inputs, outputs, com_microsoft=1)
    helper.set_model_props(model, {"context": str(shape.context), "architecture": shape.family})
    return model


class _Graph:
    """The nodes so far."""

    def __init__(self, source: Gguf, shape: Shape, nodes: Nodes) -> None:
        self.source = source
        self.shape = shape
        self.nodes = nodes
        self.tokens = self._expect("token_embd.weight", None, shape.width)[0]

    def embedded(self) -> str:
        """The rows of the table by the ids: [batch, n, width]."""
        name, kind = "token_embd.weight", self.source.tensors["token_embd.weight"].kind
        if kind.name != "Q8_0":
            table = self.nodes.constant("token_embd.table", self.source.float32(name))
            return self.nodes.op("Gather", table, "input_ids", name="embedded")
        blocks = kind.blocks(self.source.raw(name))
        kept = self.nodes.constant("token_embd.table", blocks.integers.reshape(self.tokens, -1))
        scales = self.nodes.constant("token_embd.scales", blocks.scale.reshape(self.tokens, -1))
        return self.nodes.op(
            "GatherBlockQuantized", kept, "input_ids", scales, name="embedded", domain=_CONTRIB,
            bits=8, block_size=32, gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def places(self) -> None:
        """How long each row is, and the waves that tell where a token stands."""
        n = self.nodes
        count = n.op("ReduceSum", "attention_mask", n.integers(1), name="lengths", keepdims=0)
        last = n.op("Sub", count, n.constant("one", np.array(1, np.int64)), name="lengths.before")
        n.op("Cast", last, name="seqlens_k", to=TensorProto.INT32)
        whole = n.op("Shape", "attention_mask", name="whole.shape", start=1, end=2)
        whole = n.op("Squeeze", whole, name="whole.length")
        n.op("Cast", whole, name="total_sequence_length", to=TensorProto.INT32)
        half = self.shape.turned // 2
        speed = self.shape.base ** (-np.arange(half, dtype=np.float64) / half)
        if "rope_freqs.weight" in self.source.tensors:  # how Llama 3 stretches them
            self._expect("rope_freqs.weight", half)
            speed = speed / self.source.float32("rope_freqs.weight")
        angles = np.arange(self.shape.context)[:, None] * speed
        n.constant("cos_cache", np.cos(angles).astype(np.float32))
        n.constant("sin_cache", np.sin(angles).astype(np.float32))

    def layer(self, number: int, hidden: str) -> str:
        """Attention, then the gated layers, each with a norm before and what came in added."""
        shape, n, name = self.shape, self.nodes, f"blk.{number}"
        before = self.norm(f"{name}.attn_norm", hidden)
        wide, narrow = shape.heads * shape.each, shape.pairs * shape.each
        parts = [
            self.dense(f"{name}.attn_{part}", before, shape.width, out)
            for part, out in (("q", wide), ("k", narrow), ("v", narrow))
        ]
        past = [f"past_key_values.{number}.{part}" for part in ("key", "value")]
        present = [f"present.{number}.{part}" for part in ("key", "value")]
        given = [*parts, *past, "seqlens_k", "total_sequence_length", "cos_cache", "sin_cache"]
        n.nodes.append(
            helper.make_node(
                "GroupQueryAttention", given, [f"{name}.context", *present], f"{name}.attention",
                domain=_CONTRIB, num_heads=shape.heads, kv_num_heads=shape.pairs, do_rotary=1,
                rotary_interleaved=int(FAMILIES[shape.family]), scale=float(shape.each**-0.5),
            )
        )  # fmt: skip
        context = self.dense(f"{name}.attn_output", f"{name}.context", wide, shape.width)
        hidden = n.op("Add", context, hidden, name=f"{name}.attended")
        before = self.norm(f"{name}.ffn_norm", hidden)
        gate = self.dense(f"{name}.ffn_gate", before, shape.width, shape.inner)
        gate = n.op("Mul", gate, n.op("Sigmoid", gate, name=f"{name}.gate"), name=f"{name}.silu")
        wider = self.dense(f"{name}.ffn_up", before, shape.width, shape.inner)
        gated = n.op("Mul", gate, wider, name=f"{name}.gated")
        return n.op(
            "Add", self.dense(f"{name}.ffn_down", gated, shape.inner, shape.width), hidden, name=f"{name}.out"
        )

    def norm(self, name: str, hidden: str) -> str:
        """x / √(mean of x² + ε) × weight, in the pattern that ONNX Runtime fuses."""
        n = self.nodes
        self._expect(f"{name}.weight", self.shape.width)
        square = n.op("Pow", hidden, n.scalar(2.0), name=f"{name}.square")
        mean = n.op("ReduceMean", square, name=f"{name}.mean", axes=[-1], keepdims=1)
        mean = n.op("Add", mean, n.scalar(self.shape.epsilon), name=f"{name}.raised")
        root = n.op("Sqrt", mean, name=f"{name}.root")
        even = n.op("Div", hidden, root, name=f"{name}.even")
        return n.op("Mul", even, self._floats(f"{name}.weight"), name=name)

    def dense(self, name: str, hidden: str, width: int, out: int, *, called: str = "") -> str:
        """x·Wᵀ, and a bias where there is one."""
        self._expect(f"{name}.weight", out, width)
        target = called or name
        biased = f"{name}.bias" in self.source.tensors
        product = self._product(name, hidden, width, out, f"{target}.product" if biased else target)
        if not biased:
            return product
        self._expect(f"{name}.bias", out)
        return self.nodes.op("Add", product, self._floats(f"{name}.bias"), name=target)

    def _product(self, name: str, hidden: str, width: int, out: int, target: str) -> str:
        weight, kind = f"{name}.weight", self.source.tensors[f"{name}.weight"].kind
        blocks = kind.blocks(self.source.raw(weight)) if kind.split else None
        if blocks is None or (blocks.bits == 8 and blocks.offset is not None):
            turned = self.nodes.constant(weight, self.source.float32(weight).T)
            return self.nodes.op("MatMul", hidden, turned, name=target)
        size = blocks.integers.shape[1]
        count = width // size
        kept = blocks.integers.reshape(out, count, size)
        scale = blocks.scale.reshape(out, count)
        if blocks.offset is None:
            zero = np.full((out, count), blocks.zero, np.uint8)
            zeros = self.nodes.constant(f"{weight}.zeros", _packed(zero) if blocks.bits == 4 else zero)
        else:
            scale = np.where(scale == 0, _TINY, scale)
            zeros = self.nodes.constant(f"{weight}.zeros", -blocks.offset.reshape(out, count) / scale)
        integers = self.nodes.constant(f"{weight}.integers", _packed(kept) if blocks.bits == 4 else kept)
        scales = self.nodes.constant(f"{weight}.scales", scale)
        return self.nodes.op(
            "MatMulNBits", hidden, integers, scales, zeros, name=target, domain=_CONTRIB,
            K=width, N=out, bits=blocks.bits, block_size=size,
        )  # fmt: skip

    def _floats(self, name: str) -> str:
        return self.nodes.constant(name, self.source.float32(name))

    def _expect(self, name: str, *shape: int | None) -> tuple[int, ...]:
        """The shape of a tensor that must be there; None is any length."""
        path = self.source.path
        if name not in self.source.tensors:
            raise refuse(path, f"no tensor {name}", f"没有张量 {name}", tensor=name)
        found = self.source.tensors[name].shape
        if len(found) != len(shape) or any(b not in (None, a) for a, b in zip(found, shape, strict=True)):
            en = f"{name} has shape {list(found)}, its facts ask for {list(shape)}"
            raise refuse(path, en, f"{name} 的形状是 {list(found)}，应为 {list(shape)}", tensor=name)
        return found


def _packed(integers: Any) -> Any:
    """Two integers of four bits in a byte, the first one below; an odd last one stays alone."""
    if integers.shape[-1] % 2:
        integers = np.concatenate([integers, np.zeros((*integers.shape[:-1], 1), np.uint8)], axis=-1)
    return integers[..., 0::2] | (integers[..., 1::2] << 4)
