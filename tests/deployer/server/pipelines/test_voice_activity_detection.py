"""Finding speech: the shelf's model on speech and noise, block by block like frame by frame, at any rate."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.examples import check
from deployer.server.audio import decode, resample
from deployer.server.errors import BadInput, BadModel
from deployer.server.model import Model
from deployer.server.pipelines.voice_activity_detection import FRAME, SpeechFinder, segments
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import Serve, identity, write_model
from tests.deployer.server.pipelines.examples import body, example_file, examples
from tests.shelf_files import archive_member, model_dir

LISTING = "vad-silero-6"
likelihoods = st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.5, 0.7, 1.0]), min_size=1, max_size=80)


@pytest.fixture(scope="module")
def model() -> SpeechFinder:
    found = load(model_dir(LISTING))
    assert isinstance(found, SpeechFinder)
    return found


def wav(samples: np.ndarray, rate: int) -> bytes:
    payload = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    head = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(payload))
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(payload)) + b"WAVE" + head + payload


def speech() -> np.ndarray:
    return decode(example_file(LISTING, "two-phrases.wav"))[0]


def test_the_server_answers_its_examples(serve: Serve) -> None:
    server = serve(model_dir(LISTING))
    for example in examples(LISTING):
        assert check(server.predict(example["request"]), example["expect"]) == [], example["title_en"]
    problem = server.refuse(body("audio", b"\xff\xfb\x90\x00 mp3"))
    assert "WAV" in problem["detail"] + problem["next"]
    server.refuse(body("audio", wav(np.zeros(0), 16_000)))


def test_blocks_of_frames_give_what_frames_one_by_one_give(model: SpeechFinder) -> None:
    path = archive_member(LISTING, "silero_vad/data/silero_vad_16k_op15.onnx")
    session = Model(path.parent, {"files": {"model": path.name}}).graph().session
    samples = np.tile(speech(), 9)[: 600 * FRAME + 100]
    state, context, one_by_one = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    for start in range(0, samples.size, FRAME):
        frame = np.zeros(FRAME, np.float32)
        frame[: samples[start : start + FRAME].size] = samples[start : start + FRAME]
        feed = {"input": np.concatenate([context, frame])[None], "state": state, "sr": np.array(16_000)}
        likely, state = session.run(None, feed)
        context = frame[-64:]
        one_by_one.append(likely[0, 0])
    found = finish(model.listen(samples))
    assert found.size == 601
    assert np.abs(found - one_by_one).max() < 1e-4


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_the_rate_of_a_recording_does_not_matter(model: SpeechFinder, rate: int) -> None:
    straight = finish(model.predict({"audio": wav(speech(), 16_000)}))
    found = finish(model.predict({"audio": wav(resample(speech(), 16_000, rate), rate)}))
    assert found["duration"] == pytest.approx(straight["duration"], abs=0.001)
    assert len(found["segments"]) == len(straight["segments"]) == 2
    for one, other in zip(found["segments"], straight["segments"], strict=True):
        assert one == pytest.approx(other, abs=0.1)


def test_a_longer_silence_joins_what_a_shorter_one_parts(model: SpeechFinder) -> None:
    data = example_file(LISTING, "two-phrases.wav")
    assert len(finish(model.predict({"audio": data, "min_silence_ms": 1000}))["segments"]) == 1
    assert finish(model.predict({"audio": data, "min_speech_ms": 5000}))["segments"] == []
    with pytest.raises(BadInput) as refused:
        finish(model.predict({"audio": data, "threshold": 0}))
    assert refused.value.where == "threshold"


def test_one_sample_and_silence_hold_no_speech(model: SpeechFinder) -> None:
    for samples in (np.zeros(1), np.zeros(50_000)):
        answer = finish(model.predict({"audio": wav(samples, 16_000)}))
        assert answer["segments"] == []
        assert answer["speech_ratio"] == 0


def test_another_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="sequence form"):
        load(write_model(tmp_path / "m", identity(), "voice-activity-detection"))


@given(likelihoods, st.integers(0, 4000), st.integers(0, 3000), st.integers(0, 2000), st.integers(0, 511))
def test_segments_are_in_order_apart_and_inside(
    likely: list[float], speech_least: int, silence_least: int, pad: int, short: int
) -> None:
    length = len(likely) * FRAME - short
    found = segments(
        np.array(likely),
        length,
        threshold=0.5,
        least_speech=speech_least,
        least_silence=silence_least,
        pad=pad,
    )
    flat = [edge for span in found for edge in span]
    assert flat == sorted(flat)
    assert all(0 <= edge <= length for edge in flat)
    assert all(end - start > speech_least for start, end in found)
    if max(likely) < 0.5:
        assert found == []


def test_hysteresis_keeps_a_segment_open_over_a_dip() -> None:
    def of(*likely: float) -> list[tuple[int, int]]:
        whole = [0.0] * 2 + [1.0] * 10 + list(likely) + [1.0] * 10 + [0.0] * 10
        found = segments(
            np.array(whole), len(whole) * FRAME, threshold=0.5, least_speech=4000, least_silence=1600, pad=0
        )
        return [(start // FRAME, end // FRAME) for start, end in found]

    assert of(*[0.4] * 8) == [(2, 30)]
    assert of(*[0.1] * 3) == [(2, 25)]
    assert of(*[0.1] * 8) == [(2, 12), (20, 30)]
