"""The two graphs that every server of the benchmark serves from the same file, and what goes in and out.

minilm  the shelf's MiniLM in full precision with mean pooling and L2 norm appended: `input_ids` and
        `attention_mask` int64 [batch, sequence] → `embedding` float32 [batch, 384]. A vector, because hidden
        states as JSON would measure JSON and nothing else.
tiny    a logistic regression as for the iris flowers, about 10 µs a run: `x` float32 [batch, 4] →
        `probabilities` float32 [batch, 3].
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tests.shelf_files import model_dir

Array = npt.NDArray[Any]
Feed = dict[str, Array]
SHELF = "en-minilm-l6-fp32"
TOKENS = 32
BATCH = 16
TOLERANCE = 1e-5  # the greatest error of an answer that is right
_WORDS = (1000, 30_000)  # ids of whole words in MiniLM's vocabulary
_WEIGHTS = ((-0.42, 0.51, -0.11), (0.97, -0.33, -0.66), (-0.95, -0.09, 0.82), (-0.43, -0.41, 0.86))
_BIAS = (2.4, 1.1, -3.5)


@dataclass(frozen=True)
class Graph:
    """A model folder of ours, whose graph the others serve too."""

    name: str
    folder: Path
    output: str

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.folder / "model.onnx"

    @property
    def prepared(self) -> Path:
        """Where its forms for machines lie, once `servers.prepare` has made one."""
        return self.folder.with_name(f"{self.folder.name}-prepared")

    def session(self, threads: int = 1) -> onnxruntime.InferenceSession:
        """The graph in this process, without spinning, as every server has it."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])

    def feeds(self, shapes: Iterable[tuple[int, int]], seed: int) -> list[Feed]:
        """Different inputs for each (rows, tokens) given; the tiny graph takes no notice of tokens."""
        random = np.random.default_rng(seed)
        make = _sentence if self.name == "minilm" else _flower
        return [make(random, rows, tokens) for rows, tokens in shapes]

    def answers(self, feeds: Sequence[Feed]) -> list[Array]:
        """The right answer to each, computed here in batches of one shape."""
        session = self.session()
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, feed in enumerate(feeds):
            alike[next(iter(feed.values())).shape].append(number)
        found: dict[int, Array] = {}
        step = BATCH if self.name == "minilm" else 4096
        for (rows, *_), numbers in alike.items():
            for begin in range(0, len(numbers), step):
                part = numbers[begin : begin + step]
                results = session.run([self.output], stack([feeds[number] for number in part]))[0]
                found |= zip(part, results.reshape(len(part), rows, -1), strict=True)
        return [found[number] for number in range(len(feeds))]


def stack(feeds: Sequence[Feed]) -> Feed:
    """Inputs of one shape as a batch."""
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def _sentence(random: np.random.Generator, rows: int, tokens: int) -> Feed:
    ids = random.integers(*_WORDS, (rows, tokens))
    return {"input_ids": ids, "attention_mask": np.ones((rows, tokens), np.int64)}


def _flower(random: np.random.Generator, rows: int, tokens: int) -> Feed:
    # Two decimals, so that JSON carries the very same float32 in few digits.
    return {"x": (random.integers(0, 800, (rows, 4)) / 100).astype(np.float32)}


def minilm(folder: Path) -> Graph:
    """Write MiniLM as a model folder; fetches the shelf's files on first use."""
    model = onnx.load(model_dir(SHELF) / "model.onnx")
    graph = model.graph
    tokens = next(one for one in graph.input if one.name == "token_type_ids")
    graph.input.remove(tokens)
    graph.node.insert(0, helper.make_node("Sub", ["input_ids", "input_ids"], ["token_type_ids"]))
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "pool.axis"))
    graph.initializer.append(numpy_helper.from_array(np.array([2]), "pool.mask.axis"))
    graph.node.extend(
        [
            helper.make_node("Unsqueeze", ["attention_mask", "pool.mask.axis"], ["pool.mask.column"]),
            helper.make_node("Cast", ["pool.mask.column"], ["pool.mask.float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [graph.output[0].name, "pool.mask.float"], ["pool.words"]),
            helper.make_node("ReduceSum", ["pool.words", "pool.axis"], ["pool.sum"], keepdims=0),
            helper.make_node("ReduceSum", ["pool.mask.float", "pool.axis"], ["pool.count"], keepdims=0),
            helper.make_node("Div", ["pool.sum", "pool.count"], ["pool.mean"]),
            helper.make_node("LpNormalization", ["pool.mean"], ["embedding"], axis=-1, p=2),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 384]))
    return _write(folder, "minilm", "embedding", model)


def tiny(folder: Path) -> Graph:
    """Write the logistic regression as a model folder."""
    initializers = [
        numpy_helper.from_array(np.array(_WEIGHTS, np.float32), "weights"),
        numpy_helper.from_array(np.array(_BIAS, np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return _write(folder, "tiny", "probabilities", model)


MAKERS = {"minilm": minilm, "tiny": tiny}


def _write(folder: Path, name: str, output: str, model: onnx.ModelProto) -> Graph:
    onnx.checker.check_model(model)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    manifest = {
        "schema": 1,
        "name": f"bench/{name}",
        "version": "1.0.0",
        "task": "tensors",
        "files": {"model": "model.onnx"},
        "options": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return Graph(name, folder, output)
