"""The text pipelines: the real models of the shelf answer their examples; small graphs show the rest."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from deployer.examples import check
from deployer.server.pipelines.token_classification import viterbi
from deployer.server.text.features import NgramAnalyzer
from tests.deployer.server.conftest import RunningServer, Serve, graph, write_model
from tests.shelf_files import model_dir


def starter(listing: str) -> dict[str, Any]:
    path = Path(__file__).parents[3] / "catalog" / "starter" / listing / "model.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def minilm(serve_module: Serve) -> RunningServer:
    return serve_module(model_dir("en-minilm-l6-int8"), tcp=True)


@pytest.fixture(scope="module")
def lac(serve_module: Serve) -> RunningServer:
    return serve_module(model_dir("zh-lac-ner"))


# The shelf's models.


@pytest.mark.parametrize("index", range(3))
def test_minilm_answers_its_examples(minilm: RunningServer, index: int) -> None:
    example = starter("en-minilm-l6-int8")["examples"][index]
    assert check(minilm.predict(example["request"]), example["expect"]) == []


@pytest.mark.parametrize("index", range(3))
def test_lac_answers_its_examples(lac: RunningServer, index: int) -> None:
    example = starter("zh-lac-ner")["examples"][index]
    assert check(lac.predict(example["request"]), example["expect"]) == []


def test_like_meanings_lie_near_and_a_batch_changes_nothing(minilm: RunningServer) -> None:
    texts = [
        "I want to return this and get a refund.",
        "Send my money back, please.",
        "It is sunny today.",
        "The weather is bright " + "and warm " * 30,
    ]
    together = np.array(minilm.predict({"text": texts})["embeddings"])
    alone = np.array([minilm.predict({"text": text})["embeddings"][0] for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    near, far = together[0] @ together[1], together[0] @ together[2]
    assert near > 0.35 > 0.2 > far


def test_more_texts_than_a_batch_keep_their_order(minilm: RunningServer) -> None:
    texts = [f"number {number} " * (number % 7 + 1) for number in range(40)]
    answer = minilm.predict({"text": texts})
    again = minilm.predict({"text": texts[::-1]})
    assert np.allclose(answer["embeddings"], again["embeddings"][::-1], atol=1e-5)
    assert answer["usage"]["prompt_tokens"] > 40


def test_a_long_text_is_refused_or_cut_as_asked(minilm: RunningServer) -> None:
    long = "word " * 300
    problem = minilm.refuse({"text": ["short", long]})
    assert "text[1]: has 302 tokens; the model reads 256" in problem["detail"]
    assert '"truncate": true' in problem["detail"]
    cut = minilm.predict({"text": long, "truncate": True})
    assert cut["usage"]["prompt_tokens"] == 256
    exact = minilm.predict({"text": "word " * 254})
    assert np.allclose(cut["embeddings"], exact["embeddings"], atol=1e-6)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "text: is missing. Expected: text, truncate"),
        ({"text": 1}, "text: is neither a text nor a list of texts"),
        ({"text": []}, "text: is neither a text nor a list of texts"),
        ({"text": [" "]}, "text[0]: is empty"),
        ({"text": ["a", None]}, "text[1]: is not a text"),
        ({"text": ["a"] * 257}, "text: has 257 texts. Expected: at most 256"),
        ({"text": "a" * 100_001}, "text: has 100001 characters"),
        ({"text": "a", "truncate": "yes"}, "truncate: is neither true nor false"),
    ],
)
def test_bodies_that_are_refused(minilm: RunningServer, body: dict[str, Any], said: str) -> None:
    assert said in minilm.refuse(body)["detail"]


def test_a_form_works_like_json(minilm: RunningServer) -> None:
    form = {"text": (None, "hello there"), "truncate": (None, "true")}
    answer = minilm.client.post("/predict", files=form)
    assert answer.status_code == 200, answer.text
    assert answer.json() == minilm.predict({"text": "hello there"})


def test_raw_graph_over_the_protocol(minilm: RunningServer) -> None:
    ids = np.array([[101, 7592, 102]], np.int64)
    with triton.InferenceServerClient(minilm.address) as client:
        inputs = []
        for name, values in (
            ("input_ids", ids),
            ("attention_mask", np.ones_like(ids)),
            ("token_type_ids", ids * 0),
        ):
            inputs.append(triton.InferInput(name, [1, 3], "INT64"))
            inputs[-1].set_data_from_numpy(values)
        hidden = client.infer("demo", inputs).as_numpy("last_hidden_state")
    pooled = hidden[0].mean(axis=0)
    expected = minilm.predict({"text": "hello"})["embeddings"][0]
    assert np.allclose(pooled / np.linalg.norm(pooled), expected, atol=1e-5)
    problem = minilm.client.post(
        "/v2/models/demo/infer",
        json={
            "inputs": [
                {"name": name, "shape": [1, 1], "datatype": "INT64", "data": [99_999]}
                for name in ("input_ids", "attention_mask", "token_type_ids")
            ]
        },
    )
    assert problem.status_code == 400
    assert "the model refuses these tensors" in problem.json()["error"]


def test_lac_tokens_tile_the_text(lac: RunningServer) -> None:
    text = " 張三  在ＡＢＣ公司\n上班🙂。\u3000"
    tokens = lac.predict({"text": text})["results"][0]["tokens"]
    assert "".join(token["text"] for token in tokens) == text
    assert all(text[token["start"] : token["end"]] == token["text"] for token in tokens)
    assert tokens[0]["start"] == 0
    assert all(a["end"] == b["start"] for a, b in itertools.pairwise(tokens))
    assert "-" not in "".join(token["tag"] for token in tokens)


def test_lac_refuses_lists_and_long_texts(lac: RunningServer) -> None:
    assert "text: is not a text" in lac.refuse({"text": ["a"]})["detail"]
    assert "text: has 10001 characters" in lac.refuse({"text": "好" * 10_001})["detail"]
    assert lac.predict({"text": "好"})["results"][0]["entities"] == []


def test_viterbi_finds_the_best_of_all_paths() -> None:
    random = np.random.default_rng(0)
    for length in (1, 2, 4):
        scores, moves, start = (
            random.normal(size=(length, 3)),
            random.normal(size=(3, 3)),
            random.normal(size=3),
        )

        def total(
            path: tuple[int, ...], scores: Any = scores, moves: Any = moves, start: Any = start
        ) -> float:
            steps = sum(moves[a, b] for a, b in itertools.pairwise(path))
            return float(start[path[0]] + sum(scores[i, tag] for i, tag in enumerate(path)) + steps)

        best = max(np.ndindex(*([3] * length)), key=total)
        assert viterbi(scores, moves, start) == list(best)


# Text classification over small graphs.


def linear(folder: Path) -> Path:
    """A graph of hashed n-grams that looks for 好 and 坏."""
    analyzer = NgramAnalyzer((1, 1), 1000)
    table = np.zeros((1001, 2), np.float32)
    table[analyzer.features("坏")[0][0], 0] = table[analyzer.features("好")[0][0], 1] = 8.0
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["scaled"]),
        helper.make_node("ReduceSum", ["scaled", "middle"], ["logits"], keepdims=0),
    ]
    model = graph(
        nodes,
        [("ids", TensorProto.INT64, ["b", "n"]), ("weights", TensorProto.FLOAT, ["b", "n"])],
        [("logits", TensorProto.FLOAT, ["b", 2])],
        table=table,
        last=np.array([2], np.int64),
        middle=np.array([1], np.int64),
    )
    options = analyzer.options() | {"labels": ["negative", "positive"]}
    return write_model(folder, model, "text-classification", options=options)


def test_ngram_classifier(serve: Serve, tmp_path: Path) -> None:
    server = serve(linear(tmp_path / "m"))
    results = server.predict({"text": ["好", "坏", "x"]})["results"]
    assert [result["label"] for result in results] == ["positive", "negative", "negative"]
    assert results[0]["score"] == pytest.approx(1 / (1 + np.exp(-8)), abs=1e-5)
    assert results[2]["scores"] == {"negative": 0.5, "positive": 0.5}


def encoder(folder: Path, **options: Any) -> Path:
    """A graph whose logits are the counts of two words, with a word tokenizer that would cut silently."""
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "good": 4, "bad": 5}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=64)
    table = np.zeros((6, 2), np.float32)
    table[4, 1] = table[5, 0] = 1.0
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "middle"], ["logits"], keepdims=0),
    ]
    model = graph(
        nodes,
        [("input_ids", TensorProto.INT64, ["b", "n"])],
        [("logits", TensorProto.FLOAT, ["b", 2])],
        table=table,
        middle=np.array([1], np.int64),
    )
    files = {"model": "model.onnx", "tokenizer": "tokenizer.json", "labels": "labels.json"}
    made = write_model(folder, model, "text-classification", files=files, options={"max_tokens": 8} | options)
    tokenizer.save(str(made / "tokenizer.json"))
    (made / "labels.json").write_text(json.dumps({"0": "bad", "1": "good"}))
    return made


def test_tokenizer_classifier(serve: Serve, tmp_path: Path) -> None:
    server = serve(encoder(tmp_path / "m"))
    answer = server.predict({"text": ["good good bad good", "bad"]})
    assert [result["label"] for result in answer["results"]] == ["good", "bad"]
    assert answer["results"][0]["score"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-5)
    assert answer["usage"]["prompt_tokens"] == 9
    assert "has 9 tokens; the model reads 8" in server.refuse({"text": "good " * 7})["detail"]
    assert server.predict({"text": "good " * 7, "truncate": True})["usage"]["prompt_tokens"] == 8


def test_labels_that_do_not_exclude_each_other(serve: Serve, tmp_path: Path) -> None:
    server = serve(encoder(tmp_path / "m", function="sigmoid"))
    scores = server.predict({"text": "good bad"})["results"][0]["scores"]
    assert scores == {"bad": pytest.approx(0.731059), "good": pytest.approx(0.731059)}
