"""Sentences held against one text: the shelf's encoder served under the other task."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.server.errors import BadInput
from deployer.server.pipelines.sentence_similarity import SentenceSimilarity, cosines
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import RunningServer, Serve
from tests.shelf_files import model_dir

LISTING = "en-minilm-l6-int8"
SENTENCES = [
    "Send my money back, please.",
    "It is sunny today.",
    "I want to return this and get a refund.",
    "The weather is bright " + "and warm " * 30,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder's folder under another task: the same files by links."""
    made, source = tmp_path_factory.mktemp("similarity"), model_dir(LISTING)
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    for name in manifest["files"].values():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).symlink_to(source / name)
    manifest["task"] = "sentence-similarity"
    (made / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def server(serve_module: Serve, folder: Path) -> RunningServer:
    return serve_module(folder, tcp=True)


@pytest.fixture(scope="module")
def model(folder: Path) -> SentenceSimilarity:
    found = load(folder)
    assert isinstance(found, SentenceSimilarity)
    return found


def test_like_meanings_score_higher(server: RunningServer) -> None:
    answer = server.predict({"source": SENTENCES[2], "sentences": SENTENCES})
    refund, sunny, itself, bright = answer["scores"]
    assert itself == pytest.approx(1, abs=1e-5)
    assert itself > refund > 0.35 > 0.2 > max(sunny, bright)
    assert answer["usage"]["prompt_tokens"] > 90


def test_scores_are_those_of_the_embeddings(server: RunningServer) -> None:
    with openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="none", max_retries=0) as client:
        data = client.embeddings.create(model="demo", input=[SENTENCES[0], *SENTENCES]).data
    vectors = np.array([item.embedding for item in data])
    answer = server.predict({"source": SENTENCES[0], "sentences": SENTENCES})
    assert np.allclose(answer["scores"], vectors[1:] @ vectors[0], atol=1e-4)


def test_one_sentence_may_stand_without_a_list(server: RunningServer) -> None:
    one = server.predict({"source": "a cat", "sentences": "a kitten"})
    assert one["scores"] == pytest.approx(
        server.predict({"source": "a cat", "sentences": ["a kitten"]})["scores"]
    )
    form = {"source": (None, "a cat"), "sentences": (None, "a kitten")}
    assert server.client.post("/predict", files=form).json() == one


def test_openapi_says_what_is_taken(server: RunningServer) -> None:
    document = server.client.get("/openapi.json").json()
    assert document["info"]["summary"] == "sentence-similarity"
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["source", "sentences"]
    assert "/v1/embeddings" in document["paths"]


@pytest.mark.parametrize(
    ("body", "said", "zh"),
    [
        ({"source": "a"}, "sentences: is missing", "sentences：缺失"),
        ({"source": ["a"], "sentences": ["b"]}, "source: is not a text", "source：不是文本"),
        ({"source": "a", "sentences": []}, "sentences: is neither a text", "sentences：既不是文本"),
        ({"source": "a", "sentences": ["b", 3]}, "sentences[1]: is not a text", "sentences[1]：不是文本"),
        ({"source": "a", "sentences": ["b"] * 257}, "sentences: has 257 texts", "sentences：含有 257 条文本"),
        ({"source": "word " * 300, "sentences": ["b"]}, "source: has 302 tokens", "source：有 302 个 token"),
        ({"source": "a", "sentences": ["b", "word " * 300]}, "sentences[1]: has 302", "sentences[1]：有 302"),
    ],
)
def test_bodies_that_are_refused(server: RunningServer, body: dict[str, Any], said: str, zh: str) -> None:
    assert said in server.refuse(body)["detail"]
    assert zh in server.refuse(body, "zh")["detail"]


def test_a_long_text_is_cut_when_asked(server: RunningServer) -> None:
    long = {"source": "word " * 300, "sentences": ["word " * 254], "truncate": True}
    assert server.predict(long)["scores"] == pytest.approx([1.0], abs=1e-5)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(source=json_values, sentences=json_values, truncate=json_values)
def test_any_body_is_answered_or_refused(
    model: SentenceSimilarity, source: Any, sentences: Any, truncate: Any
) -> None:
    body = {"source": source, "sentences": sentences, "truncate": truncate}
    try:
        answer = finish(model.predict(body))
    except BadInput as refused:
        assert refused.where.partition("[")[0] in body
        assert refused.why.en and refused.why.zh
    else:
        assert all(-1 <= score <= 1 for score in answer["scores"])


@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_cosines_know_no_lengths(rows: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    one, others = random.normal(size=width), random.normal(size=(rows, width))
    scores = cosines(one, others)
    assert np.allclose(scores, cosines(one * 7, others * random.uniform(0.1, 9, (rows, 1))))
    assert np.allclose(cosines(one, one[None]), 1)
    assert np.allclose(cosines(one, -one[None]), -1)
    assert cosines(np.zeros(width), others).tolist() == [0] * rows
