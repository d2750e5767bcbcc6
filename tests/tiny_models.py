"""Very small real models, made here: a plain graph, and a text classifier as hubs carry them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS = ("[PAD]", "[UNK]", "good", "bad", "fine", "awful")
README = """---
license: apache-2.0
language: [en]
pipeline_tag: text-classification
---
# Tiny reviews

A very small classifier that tells whether a review is good or bad.
"""


def plain_graph(scale: float = 2.0) -> bytes:
    """y = x * scale, float32 [n, 3]."""
    node = helper.make_node("Mul", ["x", "scale"], ["y"])
    graph = helper.make_graph(
        [node],
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.array([scale], np.float32), "scale")],
    )
    return _bytes(graph)


def graph_of_other_code() -> bytes:
    """A graph with a step that no runtime here has the code of."""
    model = onnx.load_from_string(plain_graph())
    model.graph.node[0].domain = "com.example.own"
    model.opset_import.append(onnx.helper.make_opsetid("com.example.own", 1))
    return bytes(model.SerializeToString())


REVIEWS = {"good": "positive", "bad": "negative", "fine": "positive", "awful": "negative"}


def classifier_graph(
    words: Mapping[str, str] = REVIEWS, labels: Sequence[str] = ("negative", "positive")
) -> bytes:
    """Sums a score over the words of a text: input_ids, attention_mask → logits [batch, labels].

    Each word speaks for its label; their ids are those of `tokenizer`.
    """
    weights = np.zeros((2 + len(words), len(labels)), np.float32)
    for place, label in enumerate(words.values(), 2):
        weights[place, labels.index(label)] = 3.0
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["scores"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["scores", "wide"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "middle"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(labels)])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-1], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "middle"),
        ],
    )
    return _bytes(graph)


def _bytes(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def tokenizer(words: Sequence[str] = WORDS[2:]) -> bytes:
    """A tokenizer.json that knows these words, after [PAD] and [UNK]."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    known = (*WORDS[:2], *words)
    made = Tokenizer(WordLevel({word: n for n, word in enumerate(known)}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    return made.to_str().encode()


def hub_files() -> dict[str, bytes]:
    """A repository as exporters make it: a graph below onnx/, what tells of it at the top."""
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "id2label": {"0": "negative", "1": "positive"},
        "max_position_embeddings": 64,
    }
    return {
        "README.md": README.encode(),
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": b'{"model_max_length": 1000000000000}',
        "onnx/model.onnx": classifier_graph(),
        "onnx/model_quantized.onnx": plain_graph(),
        "pytorch_model.bin": b"not for us",
    }


def write(files: dict[str, bytes], folder: Path) -> Path:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder
