"""Whisper's graphs against a forward pass of their own, and the shelf's against CTranslate2's figures."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from deployer.errors import ConversionFailed
from deployer.optimizer.convert import BUILDERS, whisper
from deployer.server.sound.audio import decode, resample
from deployer.server.sound.spectrogram import log_mel
from deployer.spec import silent
from tests.deployer.optimizer.convert.whispers import SMALL, Forward, weights, write
from tests.deployer.server.pipelines.examples import example_file
from tests.shelf_files import model_dir

LISTING = "asr-whisper-base"
# CTranslate2 4.8.5 in float32, greedily, behind <|startoftranscript|>, the language, <|transcribe|> and
# <|notimestamps|>: the tokens, each with its logit.
CTRANSLATE2 = {
    "contract-zh": (
        50260,
        {
            16302: 9.8353,
            16075: 19.1794,
            2664: 17.8557,
            36266: 17.3528,
            14245: 14.7315,
            13089: 18.321,
            14637: 16.2313,
            17798: 23.2163,
            11561: 13.1544,
            94: 20.1231,
            39517: 18.4294,
            13470: 15.3196,
            37232: 15.6419,
            11: 14.5473,
            11100: 9.8782,
        },
    ),
    "support-en": (
        50259,
        {
            759: 24.027,
            291: 54.6985,
            362: 27.861,
            604: 42.7698,
            1651: 35.7322,
            11: 35.1317,
            1767: 20.5549,
            3385: 20.3474,
            264: 13.7041,
            1406: 10.6848,
            1469: 19.2178,
            13: 41.7355,
        },
    ),
}


class Pair:
    """The two graphs in sessions."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in ("encoder", "decoder")
        )
        self.outputs = [value.name for value in self.decoder.get_outputs()]

    def encode(self, mel: np.ndarray) -> dict[str, np.ndarray]:
        names = [value.name for value in self.encoder.get_outputs()]
        return dict(zip(names, self.encoder.run(None, {"mel": mel}), strict=True))

    def past(self, rows: int = 1) -> dict[str, np.ndarray]:
        shapes = {v.name: v.shape for v in self.decoder.get_inputs() if v.name.startswith("past_")}
        return {name: np.zeros((rows, 0, shape[2]), np.float32) for name, shape in shapes.items()}

    def step(
        self, ids: list[list[int]], past: dict[str, np.ndarray], crossed: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        feeds = {"ids": np.array(ids, np.int64), **past, **crossed}
        made = dict(zip(self.outputs, self.decoder.run(None, feeds), strict=True))
        logits = made.pop("logits")
        return logits, {f"past_{n}": np.concatenate([past[f"past_{n}"], v], 1) for n, v in made.items()}


def converted(folder: Path, made: dict[str, np.ndarray], **numbers: int) -> Path:
    whisper.convert({"weights": write(folder / "model.bin", made, **numbers)}, folder / "out", {}, silent)
    return folder / "out"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("own", [False, True])
def test_both_graphs_match_the_forward_pass(tmp_path: Path, dtype: str, own: bool) -> None:
    made = weights(dtype=dtype)
    if own:  # a projection of its own, which other models share with the embeddings
        made["decoder/projection/weight"] = weights(seed=8, dtype=dtype)["decoder/embeddings/weight"]
    converted(tmp_path, made)
    pair, forward = Pair(tmp_path / "out"), Forward(made)
    mel = np.random.default_rng(1).normal(size=(2, SMALL["mels"], 2 * SMALL["frames"])).astype(np.float32)
    crossed = pair.encode(mel)
    ids = [[3, 1, 4, 1, 5, 9], [2, 7, 1, 8, 2, 8]]
    whole, past = pair.step(ids, pair.past(2), crossed)
    assert set(past) == set(pair.past())
    for row in range(2):
        seen = forward.encode(mel[row])
        for n in range(SMALL["layers"][1]):
            key, value = np.split(forward.dense(f"decoder/layer_{n}/attention/linear_1", seen), 2, axis=1)
            found = crossed[f"cross_key_{n}"][row], crossed[f"cross_value_{n}"][row]
            np.testing.assert_allclose(found[0], forward.split(key).transpose(0, 2, 1), atol=2e-5)
            np.testing.assert_allclose(found[1], forward.split(value), atol=2e-5)
        np.testing.assert_allclose(whole[row], forward.decode(ids[row], seen)[-1], atol=5e-5)


def test_step_by_step_is_as_at_once(tmp_path: Path) -> None:
    made = weights()
    pair, forward = Pair(converted(tmp_path, made)), Forward(made)
    mel = np.random.default_rng(2).normal(size=(SMALL["mels"], 2 * SMALL["frames"])).astype(np.float32)
    crossed, ids = pair.encode(mel[None]), [3, 14, 15, 9, 26, 5, 35]
    expected = forward.decode(ids, forward.encode(mel))
    for cuts in ([1] * 7, [3, 1, 3], [7]):
        past, done = pair.past(), 0
        for count in cuts:
            logits, past = pair.step([ids[done : done + count]], past, crossed)
            done += count
            np.testing.assert_allclose(logits[0], expected[done - 1], atol=5e-5)
        assert {value.shape for value in past.values()} == {(1, 7, SMALL["width"])}


def test_halves_stay_halves_in_the_files(tmp_path: Path) -> None:
    made = weights()
    out = converted(tmp_path, made)
    size = sum(value.nbytes for value in made.values())
    assert sum(path.stat().st_size for path in out.iterdir()) < 1.1 * size + 60_000
    assert {path.name for path in out.iterdir()} == {"encoder.onnx", "decoder.onnx"}
    kinds = {tensor.data_type for tensor in onnx.load(out / "decoder.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds


def test_parts_are_joined_and_the_build_repeats_to_the_byte(tmp_path: Path) -> None:
    out = converted(tmp_path, weights())
    whole = (tmp_path / "model.bin").read_bytes()
    parts = {"weights-1": tmp_path / "one", "weights-2": tmp_path / "two"}
    parts["weights-1"].write_bytes(whole[:5000])
    parts["weights-2"].write_bytes(whole[5000:])
    told: list[tuple[int, int]] = []
    options = {"sha256": hashlib.sha256(whole).hexdigest()}
    BUILDERS["whisper"](
        parts, tmp_path / "again", options, lambda done, total, note="": told.append((done, total))
    )
    for name in ("encoder.onnx", "decoder.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"encoder.onnx", "decoder.onnx"}
    # While nothing happens the last step is told again, at first that there is none.
    assert [step for step in dict.fromkeys(told) if step != (0, 0)] == [(done, 5) for done in range(1, 6)]
    parts["weights-2"].write_bytes(whole[5000:-1] + b"?")
    with pytest.raises(ConversionFailed, match="sha256"):
        whisper.convert(parts, tmp_path / "third", options, silent)
    assert list((tmp_path / "third").iterdir()) == []


def without(name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in weights().items() if not key.startswith(name)}


NORM = "decoder/layer_norm/gamma"
REFUSED: dict[str, tuple[dict[str, np.ndarray], dict[str, int], str]] = {
    "activation": (weights(), {"activation": 0}, "decoder/activation is 0"),
    "post norm": (weights(), {"pre_norm": 0}, "decoder/pre_norm"),
    "alibi": (weights(), {"alibi": 1}, "decoder/alibi"),
    "heads": (weights(), {"num_heads": 3}, "3 heads"),
    "no heads": (weights(), {"num_heads": 0}, "0 heads"),
    "heads not told": (weights(), {"num_heads": -1}, "decoder/num_heads"),
    "no layer": (without("decoder/layer_0"), {}, "decoder with layers"),
    "a part missing": (without("decoder/layer_1/attention/linear_2/bias"), {}, "layer_1/attention/linear_2"),
    "no table": (without("decoder/embeddings"), {}, "alias"),
    "another width": ({**weights(), NORM: np.ones(17, np.float16)}, {}, NORM),
    "a bias without axes": (
        {**weights(), "encoder/layer_0/ffn/linear_0/bias": np.array(1, np.float16)},
        {},
        "encoder/layer_0/ffn/linear_0",
    ),
    "another rank": (
        {**weights(), "encoder/conv1/weight": np.ones((16, 6), np.float16)},
        {},
        "rank of encoder/conv1/weight",
    ),
    "bytes": ({**weights(), NORM: np.ones(16, np.int8)}, {}, "not a float"),
    "no number": ({**weights(), NORM: np.full(16, np.nan, np.float16)}, {}, "NaN"),
}


@pytest.mark.parametrize(("made", "numbers", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_supported_is_named(
    tmp_path: Path, made: dict[str, np.ndarray], numbers: dict[str, int], why: str
) -> None:
    with pytest.raises(ConversionFailed, match=why) as refused:
        converted(tmp_path, made, **numbers)
    assert refused.value.facts["source"] == "model.bin"
    assert refused.value.facts["why_zh"]
    assert list((tmp_path / "out").iterdir()) == []


def test_another_specification_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.bin", weights())
    path.write_bytes(path.read_bytes().replace(b"WhisperSpec", b"WhispurSpec"))
    with pytest.raises(ConversionFailed, match="WhispurSpec"):
        whisper.convert({"weights": path}, tmp_path / "out", {}, silent)


@pytest.mark.parametrize(
    ("names", "options"),
    [([], {}), (["weights"], {"fp16": 1}), (["weights-1", "weights-2"], {}), (["config"], {})],
)
def test_inputs_and_options_that_make_no_sense_are_refused(
    tmp_path: Path, names: list[str], options: dict[str, Any]
) -> None:
    inputs = {name: write(tmp_path / name, weights()) for name in names}
    with pytest.raises(ConversionFailed, match="needs weights"):
        whisper.convert(inputs, tmp_path / "out", options, silent)


@pytest.mark.network
def test_real_graphs_are_right_to_ctranslate2() -> None:
    pair = Pair(model_dir(LISTING))
    for name, (language, expected) in CTRANSLATE2.items():
        samples, rate = decode(example_file(LISTING, f"{name}.wav"))
        crossed = pair.encode(log_mel(resample(samples, rate, 16_000), 3000)[None])
        past, ids, found = pair.past(), [50258, language, 50359, 50363], []
        for token in expected:
            logits, past = pair.step([ids], past, crossed)
            ids = [token]
            found.append(float(logits[0, token]))
            assert int(logits[0, :50257].argmax()) == token
        np.testing.assert_allclose(found, list(expected.values()), atol=1e-3)  # 1e-4 was seen
