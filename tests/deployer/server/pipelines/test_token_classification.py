"""Tagging by any encoder with a tokenizer: a small graph that knows a few words, in two languages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from deployer.server.errors import BadInput, BadModel
from deployer.server.pipelines.token_classification import EncoderTagger
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import RunningServer, Serve, graph, write_model

TASK = "token-classification"
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
# Each known piece with its tag; what is not known is [UNK], which is nothing.
PIECES = {
    "anna": 1,
    "smith": 2,
    "##son": 2,
    "hong": 3,
    "kong": 4,
    "##burg": 0,  # as models tag the ends of words that they were not taught
    "ham": 3,
    "lives": 0,
    "in": 0,
    "王": 1,
    "小": 2,
    "明": 2,
    "深": 3,
    "圳": 4,
    "在": 0,
    "é": 1,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
STRENGTH = 4.0
SCORE = float(np.exp(STRENGTH) / (np.exp(STRENGTH) + len(LABELS) - 1))


def tokenizer() -> Tokenizer:
    """As BERT's, with settings that would cut and pad silently."""
    words = {piece: number for number, piece in enumerate([*SPECIAL, *PIECES])}
    made = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_truncation(4)
    made.enable_padding(length=64)
    return made


def tagger(folder: Path, labels: Any = None, made: Tokenizer | None = None, **options: Any) -> Path:
    """Scores by a table of pieces, nought where the mask is."""
    table = np.zeros((len(SPECIAL) + len(PIECES), len(LABELS)), np.float32)
    table[: len(SPECIAL), 0] = STRENGTH
    table[np.arange(len(PIECES)) + len(SPECIAL), list(PIECES.values())] = STRENGTH
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["logits"]),
    ]
    model = graph(
        nodes,
        [("input_ids", TensorProto.INT64, ["b", "n"]), ("attention_mask", TensorProto.INT64, ["b", "n"])],
        [("logits", TensorProto.FLOAT, ["b", "n", len(LABELS)])],
        table=table,
        last=np.array([2], np.int64),
    )
    options = {"id2label": dict(enumerate(labels or LABELS)), "max_tokens": 12} | options
    files = {"model": "model.onnx", "tokenizer": "tokenizer.json"}
    folder = write_model(folder, model, TASK, files=files, options=options)
    (made or tokenizer()).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def server(serve_module: Serve, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    return serve_module(tagger(tmp_path_factory.mktemp("tagger")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EncoderTagger:
    found = load(tagger(tmp_path_factory.mktemp("tagger")))
    assert isinstance(found, EncoderTagger)
    return found


def spans(result: dict[str, Any]) -> list[tuple[str, str, int, int]]:
    return [(one["text"], one["label"], one["start"], one["end"]) for one in result["entities"]]


def test_entities_stand_where_the_text_has_them(server: RunningServer) -> None:
    texts = ["  Anna  SMITHson lives in Hong\tKong", "王小明在深圳", "é 🙂 anna"]
    answer = server.predict({"text": texts})
    assert [spans(result) for result in answer["results"]] == [
        [("Anna  SMITHson", "PER", 2, 16), ("Hong\tKong", "LOC", 26, 35)],
        [("王小明", "PER", 0, 3), ("深圳", "LOC", 4, 6)],
        [("é", "PER", 0, 1), ("anna", "PER", 4, 8)],
    ]
    first = answer["results"][0]["entities"][0]
    assert first["score"] == pytest.approx(SCORE, abs=1e-5)
    assert [token["text"] for token in answer["results"][0]["tokens"]][:3] == ["Anna", "SMITH", "son"]
    assert answer["usage"]["prompt_tokens"] == 9 + 8 + 5
    for text, result in zip(texts, answer["results"], strict=True):
        assert server.predict({"text": text})["results"] == [result]
        for token in result["tokens"]:
            assert text[token["start"] : token["end"]] == token["text"]


def test_aggregations(server: RunningServer) -> None:
    text = "Hamburg, Hong Kong"
    simple = server.predict({"text": text})["results"][0]
    assert spans(simple) == [("Ham", "LOC", 0, 3), ("Hong Kong", "LOC", 9, 18)]
    first = server.predict({"text": text, "aggregation": "first"})["results"][0]
    assert spans(first) == [("Hamburg", "LOC", 0, 7), ("Hong Kong", "LOC", 9, 18)]
    assert [token["text"] for token in first["tokens"]] == ["Hamburg", ",", "Hong", "Kong"]
    none = server.predict({"text": text, "aggregation": "none"})["results"][0]
    assert [(one["text"], one["label"]) for one in none["entities"]] == [
        ("Ham", "B-LOC"),
        ("Hong", "B-LOC"),
        ("Kong", "I-LOC"),
    ]


def test_a_long_text_is_refused_or_cut_as_asked(server: RunningServer) -> None:
    long = "anna " * 11
    problem = server.refuse({"text": ["anna", long]})
    assert "text[1]: has 13 tokens; the model reads 12" in problem["detail"]
    assert "text：有 13 个 token，模型至多读取 12 个" in server.refuse({"text": long}, "zh")["detail"]
    cut = server.predict({"text": long, "truncate": True})
    assert len(cut["results"][0]["tokens"]) == 10


@pytest.mark.parametrize(
    ("body", "said", "zh"),
    [
        ({"text": 5}, "text: is neither a text nor", "text：既不是文本"),
        (
            {"text": "a", "aggregation": "max"},
            "aggregation: is none of its choices",
            "aggregation：不在可选值",
        ),
        ({"text": "a", "aggregation": []}, "Expected: simple | first | none", "期望：simple | first | none"),
        ({"text": "a", "truncate": 1}, "truncate: is neither true", "truncate：既不是"),
    ],
)
def test_bodies_that_are_refused(server: RunningServer, body: dict[str, Any], said: str, zh: str) -> None:
    assert said in server.refuse(body)["detail"]
    assert zh in server.refuse(body, "zh")["detail"]


def test_openapi_names_the_labels(server: RunningServer) -> None:
    document = server.client.get("/openapi.json").json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["x-labels"] == ["LOC", "PER"]
    assert schema["properties"]["aggregation"] == {"enum": ["simple", "first", "none"], "default": "simple"}


def test_plain_labels_and_another_word_for_nothing(tmp_path: Path) -> None:
    labels = ["none", "name", "name", "place", "place"]
    folder = tagger(
        tmp_path / "1", [f"{label}{number}" for number, label in enumerate(labels)], outside=["none0"]
    )
    (result,) = finish(load(folder).predict({"text": "anna smith in hong kong"}))["results"]
    assert [span[:2] for span in spans(result)] == [
        ("anna", "name1"),
        ("smith", "name2"),
        ("hong", "place3"),
        ("kong", "place4"),
    ]


def test_blanks_that_a_tokenizer_counts_to_words_are_left_out(tmp_path: Path) -> None:
    """SentencePiece's way: a word's token covers the blank before it."""
    made = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "▁anna": 4, "▁kong": 8}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    found = load(tagger(tmp_path / "m", made=made))
    (result,) = finish(found.predict({"text": "anna and  anna"}))["results"]
    assert spans(result) == [("anna", "PER", 0, 4), ("anna", "PER", 10, 14)]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"id2label": {"0": "O"}}, "not scores of 1 labels"),
        ({"aggregation": "max"}, "options.aggregation"),
        ({"outside": ["nothing"]}, "options.outside"),
        ({"output": "nowhere"}, "nowhere has shape"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(BadModel, match=named):
        load(tagger(tmp_path / "m", **options))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = tagger(tmp_path / "m")
    model = write_model(
        folder,
        graph([helper.make_node("Identity", ["x"], ["y"])], [("x", 1, ["n", 2])], [("y", 1, ["n", 2])]),
        TASK,
    )
    with pytest.raises(BadModel, match="role `tokenizer`"):
        load(model)


words = st.lists(
    st.sampled_from([*PIECES, "Hongkong", "，", "\t", "🙂", "e\u0301", "\u200b", "ﬁ", "\0"]), max_size=9
)


@given(
    words.map(" ".join) | words.map("".join) | st.text(max_size=12),
    st.sampled_from(["simple", "first", "none"]),
)
@settings(deadline=None)
def test_any_text_is_answered_or_refused(model: EncoderTagger, text: str, aggregation: str) -> None:
    try:
        answer = finish(model.predict({"text": text, "aggregation": aggregation}))
    except BadInput as refused:
        assert refused.where == "text"
        return
    (result,) = answer["results"]
    for one in [*result["tokens"], *result["entities"]]:
        assert text[one["start"] : one["end"]] == one["text"] != ""
        assert 0 < one["score"] <= 1
    starts = [token["start"] for token in result["tokens"]]
    assert starts == sorted(starts)
