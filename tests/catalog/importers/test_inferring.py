import json
from pathlib import Path
from typing import Any

import pytest

from catalog import plain_yaml
from catalog.importers.choosing import choose
from catalog.importers.errors import ImportNotInferred
from catalog.importers.front_matter import UNKNOWN, languages, read_readme, spdx
from catalog.importers.hints import Hints
from catalog.importers.inferring import Inferred, Wishes, infer
from catalog.offer import read
from tests import tiny_models


def _infer(folder: Path, files: dict[str, Any], hints: Hints | None = None, **wishes: Any) -> Inferred:
    plain = {n: c if isinstance(c, bytes) else json.dumps(c).encode() for n, c in files.items()}
    tiny_models.write({"model.onnx": b"graph", **plain}, folder)
    told = Wishes("acme/thing", "1.0.0", "hf://org/thing@abc", **wishes)
    return infer(folder, "model.onnx", hints or Hints(), told)


def test_a_classifier_of_a_hub_is_described_as_its_server_wants_it(tmp_path: Path) -> None:
    files = {
        n.removeprefix("onnx/"): c for n, c in tiny_models.hub_files().items() if n != "pytorch_model.bin"
    }
    found = _infer(tmp_path, files)
    sheet = found.sheet
    assert sheet["task"] == "text-classification"
    assert sheet["files"] == {"model": "model.onnx", "tokenizer": "tokenizer.json"}
    assert sheet["options"] == {"max_tokens": 64, "labels": ["negative", "positive"]}
    assert sheet["license"] == {"package": "Apache-2.0", "weights": "Apache-2.0"}
    assert sheet["title"]["en"] == "Tiny reviews" and sheet["languages"] == ["en"]
    assert sheet["summary"]["en"].startswith("A very small classifier")
    assert found.files == ("model.onnx", "tokenizer.json")
    assert found.cards["en"].startswith("# Tiny reviews") and "hf://org/thing@abc" in found.cards["zh"]


def test_what_is_inferred_is_a_sound_offer(tmp_path: Path) -> None:
    found = _infer(tmp_path, {"tokenizer.json": tiny_models.tokenizer()}, Hints(task="feature-extraction"))
    (tmp_path / "market.yaml").write_text(plain_yaml.dump(found.sheet), "utf-8")
    offer = read(tmp_path)
    assert offer.manifest()["task"] == "feature-extraction"
    assert offer.licenses["weights"] == UNKNOWN


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [({"pooling_mode_cls_token": True}, "cls"), ({"pooling_mode_mean_tokens": True}, "mean")],
)
def test_sentence_encoders_tell_their_pooling(tmp_path: Path, pooling: dict[str, bool], wanted: str) -> None:
    files: dict[str, Any] = {
        "tokenizer.json": tiny_models.tokenizer(),
        "config.json": {"architectures": ["BertModel"], "max_position_embeddings": 512},
        "modules.json": [{"type": "sentence_transformers.models.Normalize"}],
        "sentence_bert_config.json": {"max_seq_length": 128},
        "1_Pooling/config.json": pooling,
    }
    sheet = _infer(tmp_path, files, Hints(task="sentence-similarity")).sheet
    assert sheet["task"] == "sentence-similarity"
    assert sheet["options"] == {"max_tokens": 128, "pooling": wanted, "normalize": True}


def test_pictures_keep_their_preprocessor_and_labels(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "config.json": {"architectures": ["ViTForImageClassification"], "id2label": {"1": "dog", "0": "cat"}},
        "preprocessor_config.json": {"size": 224},
    }
    sheet = _infer(tmp_path, files).sheet
    assert sheet["task"] == "image-classification"
    assert sheet["files"]["preprocessor"] == "preprocessor_config.json"
    assert sheet["options"]["labels"] == ["cat", "dog"]


def test_detectors_of_a_known_family_tell_their_boxes(tmp_path: Path) -> None:
    config = {"architectures": ["DetrForObjectDetection"], "model_type": "detr", "id2label": {"0": "cat"}}
    options = _infer(tmp_path, {"config.json": config}).sheet["options"]
    assert options == {
        "labels": ["cat"],
        "decoder": "boxes",
        "box": "cxcywh",
        "normalized": True,
        "activation": "softmax",
    }


def test_a_graph_alone_is_plain_tensors_and_what_a_person_says_counts(tmp_path: Path) -> None:
    assert _infer(tmp_path, {}).sheet["task"] == "tensors"
    sheet = _infer(tmp_path, {}, task="tensors", license="MIT", title_zh="甲", options={"a": 1}).sheet
    assert (sheet["title"]["zh"], sheet["options"]) == ("甲", {"a": 1})
    assert sheet["license"]["weights"] == "MIT"


@pytest.mark.parametrize(
    ("files", "hints"),
    [
        ({}, Hints(task="text-classification")),  # no tokenizer
        ({"tokenizer.json": b"{}", "config.json": {"architectures": ["LlamaForCausalLM"]}}, Hints()),
        ({"config.json": {"architectures": ["OwlForObjectDetection"]}}, Hints()),
        ({"tokenizer.json": b"{}", "1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, Hints()),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_is_lacking(
    tmp_path: Path, files: dict[str, Any], hints: Hints
) -> None:
    with pytest.raises(ImportNotInferred) as refusal:
        _infer(tmp_path, files, hints)
    assert refusal.value.facts["why"] and refusal.value.facts["why_zh"]


@pytest.mark.parametrize("text", [b"{", b"[1]", b"[" * 100_000, b"\xff", b"x" * (5 << 20)])
def test_broken_configuration_counts_as_none(tmp_path: Path, text: bytes) -> None:
    assert _infer(tmp_path, {"config.json": text}).sheet["task"] == "tensors"


# Choosing


def test_one_graph_and_what_belongs_to_it_are_chosen() -> None:
    sizes = dict.fromkeys([*tiny_models.hub_files(), "onnx/model.onnx_data", "flax_model.msgpack"], 1)
    chosen = choose(sizes, "", "it")
    assert chosen.model == "model.onnx"
    assert chosen.files["onnx/model.onnx"] == "model.onnx"
    assert chosen.files["onnx/model.onnx_data"] == "model.onnx_data"
    assert set(chosen.files.values()) >= {"tokenizer.json", "config.json", "README.md"}
    assert not {"pytorch_model.bin", "flax_model.msgpack", "onnx/model_quantized.onnx"} & set(chosen.files)
    named = choose(sizes, "onnx/model_quantized.onnx", "it")
    assert named.model == "model_quantized.onnx" and "tokenizer.json" in named.files


def test_a_package_of_ours_is_taken_whole() -> None:
    sizes = dict.fromkeys(["market.yaml", "a/b.onnx", ".git/config", "notes.txt"], 1)
    assert set(choose(sizes, "", "it").files) == {"market.yaml", "a/b.onnx", "notes.txt"}


@pytest.mark.parametrize(
    ("paths", "inner"), [(["a.onnx", "b.onnx"], ""), (["x.txt"], ""), ([], ""), (["a.onnx"], "nowhere")]
)
def test_an_unclear_choice_names_what_there_is(paths: list[str], inner: str) -> None:
    with pytest.raises(ImportNotInferred):
        choose(dict.fromkeys(paths, 1), inner, "it")


# Front matter


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("MIT", "MIT"),
        ("Apache License 2.0", "Apache-2.0"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("", UNKNOWN),
        ("unknown", UNKNOWN),
        ("llama3.1", "LicenseRef-llama3.1"),
        ("a licence (ours)", "LicenseRef-a-licence-ours"),
        ("///", UNKNOWN),
    ],
)
def test_licences_of_hubs_in_spdx(name: str, wanted: str) -> None:
    assert spdx(name) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "---\nlicense: mit\na: &x [1]\nb: *x\n---\n# T\n",
        "---\n!!python/object/apply:os.system ['true']\n---\ntext",
        "---\n[[[[\n---\ntext",
        "no front matter",
        "---\nlicense: mit",
    ],
)
def test_odd_front_matter_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_readme(tmp_path / "README.md").facts == {}


def test_languages_are_those_of_the_catalogue() -> None:
    assert languages(("en-US", "zh_Hans", "fr")) == ["zh", "en"]
