"""A BERT forward pass in plain numpy, in double precision, and small encoders with random weights.

Written from the paper (Devlin et al., 2018) and RoBERTa's rule for position ids, apart from the converter:
it reads weights by name and shares no code with it.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

ERF = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATIONS = {
    "gelu": lambda x: x * (1 + ERF(x / math.sqrt(2))) / 2,
    "gelu_new": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def norm(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * scale + shift


def softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def forward(
    config: dict[str, Any], weights: dict[str, np.ndarray], feeds: dict[str, np.ndarray]
) -> np.ndarray:
    """The last hidden state; weights by their names without a prefix."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    ids, mask = feeds["input_ids"], feeds["attention_mask"]
    if config["model_type"] in ("bert", "distilbert", "electra"):
        places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    else:
        real = ids != config["pad_token_id"]
        places = np.cumsum(real, axis=1) * real + config["pad_token_id"]
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][places]
    if config["type_vocab_size"]:
        kinds = feeds.get("token_type_ids", np.zeros_like(ids))
        x = x + w["embeddings.token_type_embeddings.weight"][kinds]
    epsilon = config["layer_norm_eps"]
    x = norm(x, w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"], epsilon)
    for n in range(config["num_hidden_layers"]):
        layer = {k.split(f"layer.{n}.")[1]: v for k, v in w.items() if k.startswith(f"encoder.layer.{n}.")}
        x = block(config, layer, x, mask)
    return x


def block(config: dict[str, Any], w: dict[str, np.ndarray], x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    batch, length, width = x.shape

    def dense(name: str, value: np.ndarray) -> np.ndarray:
        return value @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def by_head(part: str) -> np.ndarray:
        flat = dense(f"attention.self.{part}", x)
        return flat.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)

    query, key, value = by_head("query"), by_head("key"), by_head("value")
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(width // heads)
    scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
    context = (softmax(scores) @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)
    part = "attention.output"
    x = norm(
        x + dense(f"{part}.dense", context),
        w[f"{part}.LayerNorm.weight"],
        w[f"{part}.LayerNorm.bias"],
        epsilon,
    )
    inner = ACTIVATIONS[config["hidden_act"]](dense("intermediate.dense", x))
    return norm(
        x + dense("output.dense", inner), w["output.LayerNorm.weight"], w["output.LayerNorm.bias"], epsilon
    )


def tiny_config(**changes: Any) -> dict[str, Any]:
    """The config.json of an encoder of two layers."""
    return {
        "model_type": "bert",
        "hidden_size": 24,
        "num_attention_heads": 3,
        "num_hidden_layers": 2,
        "intermediate_size": 40,
        "vocab_size": 50,
        "max_position_embeddings": 20,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "pad_token_id": 0,
        **changes,
    }


def random_weights(config: dict[str, Any], seed: int = 7) -> dict[str, np.ndarray]:
    """Weights for a config, large enough that every part of the graph shows in the answer."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
    }
    if config["type_vocab_size"]:
        shapes["embeddings.token_type_embeddings.weight"] = (config["type_vocab_size"], width)
    norms = ["embeddings.LayerNorm"]
    dense = {"pooler.dense": (width, width)}
    for n in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{n}"
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        dense |= {f"{layer}.attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        dense |= {f"{layer}.attention.output.dense": (width, width)}
        dense |= {f"{layer}.intermediate.dense": (inner, width), f"{layer}.output.dense": (width, inner)}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    for name, shape in dense.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(0, 0.4, shape) + name.endswith("LayerNorm.weight")).astype(np.float32)
        for name, shape in shapes.items()
    }


def head_weights(config: dict[str, Any], labels: int, head: str, seed: int = 8) -> dict[str, np.ndarray]:
    """Weights of a classifier of texts or tokens, by the names of its family."""
    width, family = config["hidden_size"], config["model_type"]
    shapes: dict[str, tuple[int, ...]] = {}
    if head == "texts":
        dense = {"bert": "bert.pooler.dense", "distilbert": "pre_classifier"}.get(family, "classifier.dense")
        shapes |= {f"{dense}.weight": (width, width), f"{dense}.bias": (width,)}
    last = "classifier" if head == "tokens" or family in ("bert", "distilbert") else "classifier.out_proj"
    shapes |= {f"{last}.weight": (labels, width), f"{last}.bias": (labels,)}
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def head_scores(
    config: dict[str, Any], weights: dict[str, np.ndarray], states: np.ndarray, head: str
) -> np.ndarray:
    """The logits of a classifier upon last hidden states."""

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]

    if head == "tokens":
        return dense("classifier", states)
    first, family = states[:, 0], config["model_type"]
    if family == "bert":
        return dense("classifier", np.tanh(dense("bert.pooler.dense", first)))
    if family == "distilbert":
        return dense("classifier", np.maximum(dense("pre_classifier", first), 0))
    inner = dense("classifier.dense", first)
    return dense("classifier.out_proj", ACTIVATIONS["gelu"](inner) if family == "electra" else np.tanh(inner))


_DISTIL_NAMES = [
    ("encoder.layer.", "transformer.layer."), ("attention.self.query", "attention.q_lin"),
    ("attention.self.key", "attention.k_lin"), ("attention.self.value", "attention.v_lin"),
    ("attention.output.dense", "attention.out_lin"), ("attention.output.LayerNorm", "sa_layer_norm"),
    ("intermediate.dense", "ffn.lin1"), ("output.dense", "ffn.lin2"),
    ("output.LayerNorm", "output_layer_norm"),
]  # fmt: skip


def distilled(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An encoder's weights by DistilBERT's names, without a pooler."""
    found = {}
    for name, values in weights.items():
        for ours, theirs in _DISTIL_NAMES:
            name = name.replace(ours, theirs)
        if not name.startswith("pooler"):
            found[f"distilbert.{name}"] = values
    return found


def encode(values: np.ndarray, dtype: str) -> bytes:
    """The bytes of a tensor in one of safetensors' dtypes."""
    if dtype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}[dtype]).tobytes()


def write_safetensors(
    path: Path, tensors: dict[str, np.ndarray], dtype: str = "F32", others: dict[str, str] | None = None
) -> Path:
    """Write a safetensors file by hand; `others` are dtypes of single tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in tensors.items():
        kind = (others or {}).get(name, dtype)
        raw = encode(values, kind)
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path
