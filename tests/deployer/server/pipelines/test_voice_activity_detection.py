"""Finding speech: the shelf's model on speech and noise, in blocks, frames and streams, at any rate."""

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.examples import check
from deployer.server.errors import BadInput, BadModel
from deployer.server.model import Model
from deployer.server.pipelines.voice_activity_detection import FRAME, SpeechFinder, segments
from deployer.server.predictor import finish, load
from deployer.server.sound.audio import decode, resample
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


# Streams.


def pcm(samples: np.ndarray) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def stream(model: SpeechFinder, data: bytes, rate: int, cuts: list[int], **more: Any) -> list[dict[str, Any]]:
    """The segments that the events of a stream tell, sent in pieces that end at the cuts."""
    edges = [0, *sorted(2 * cut for cut in cuts if 2 * cut < len(data)), len(data)]
    state, events = None, []
    for start, end in itertools.pairwise(edges):
        body = {"audio": data[start:end], "rate": rate, "state": state, **more}
        answer = finish(model.predict(body))
        state = answer["state"]
        events += answer["events"]
        assert answer["speaking"] == (len(events) % 2 == 1)
    answer = finish(model.predict({"audio": b"", "state": state, "last": True, **more}))
    assert answer["state"] is None and not answer["speaking"]
    events += answer["events"]
    assert [event["type"] for event in events] == ["start", "end"] * (len(events) // 2)
    times = [event["time"] for event in events]
    return [{"start": a, "end": b} for a, b in zip(times[::2], times[1::2], strict=True)]


@settings(deadline=None, max_examples=25)
@given(
    cuts=st.lists(st.integers(0, 90_000), max_size=12),
    silence=st.sampled_from([0, 100, 1000]),
    pad=st.sampled_from([0, 30, 400]),
)
def test_a_stream_in_pieces_tells_what_the_whole_does(
    model: SpeechFinder, cuts: list[int], silence: int, pad: int
) -> None:
    """Two recordings with noise between, and pieces of any size."""
    more = {"min_silence_ms": silence, "pad_ms": pad}
    sound = np.concatenate([speech(), np.random.default_rng(3).normal(0, 0.01, 9000), speech()[5000:20_000]])
    whole = finish(model.predict({"audio": wav(sound, 16_000), **more}))["segments"]
    assert whole
    assert stream(model, pcm(sound), 16_000, cuts, **more) == whole


def test_a_stream_of_ten_milliseconds_a_piece(model: SpeechFinder) -> None:
    whole = finish(model.predict({"audio": wav(speech(), 16_000)}))["segments"]
    assert stream(model, pcm(speech()), 16_000, list(range(160, speech().size, 160))) == whole


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_a_stream_may_have_another_rate(model: SpeechFinder, rate: int) -> None:
    sound = resample(speech(), 16_000, rate)
    whole = finish(model.predict({"audio": wav(sound, rate)}))["segments"]
    once = stream(model, pcm(sound), rate, [])
    assert stream(model, pcm(sound), rate, list(range(777, sound.size, 1999))) == once
    assert len(once) == len(whole) == 2
    for one, other in zip(once, whole, strict=True):
        assert one == pytest.approx(other, abs=0.033)  # a frame


def test_a_stream_over_http(serve: Serve) -> None:
    server = serve(model_dir(LISTING))
    whole = server.predict(body("audio", wav(speech(), 16_000)))["segments"]
    state, events = None, []
    for start in range(0, speech().size, 8000):
        piece = wav(speech()[start : start + 8000], 16_000)
        answer = server.predict(body("audio", piece, state=state))
        state, events = answer["state"], events + answer["events"]
    form = {"audio": ("rest", b""), "rate": (None, "16000"), "state": (None, state), "last": (None, "true")}
    events += server.client.post("/predict", files=form).json()["events"]
    assert [event["time"] for event in events] == [
        edge for one in whole for edge in (one["start"], one["end"])
    ]
    document = server.client.get("/openapi.json").json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"rate", "state", "last"} <= set(schema["properties"])
    assert (
        "state: is not a state of such a stream" in server.refuse(body("audio", b"", state="AAAA"))["detail"]
    )
    said = server.refuse(body("audio", piece, state=5), "zh")["detail"]
    assert "state：不是此类音频流的状态" in said


@pytest.mark.parametrize(
    ("sent", "where", "why"),
    [
        ({"audio": b"\0\0\0", "rate": 16_000, "state": None}, "audio", "half a sample"),
        ({"audio": b"\0\0", "rate": 1000, "state": None}, "rate", "in range"),
        ({"audio": b"\0\0", "rate": 17_000, "state": None}, "audio", "is at 17000 Hz"),
        ({"audio": b"\0\0", "rate": 8000, "state": "begun"}, "audio", "its stream began at 16000"),
        ({"audio": b"\0\0", "state": None}, "audio", "not a WAV"),
        ({"audio": 5, "state": None}, "audio", "no bytes"),
        ({"audio": b"\0\0", "rate": 16_000, "last": "perhaps"}, "last", "neither true nor false"),
        ({"audio": b"", "rate": 16_000}, "audio", "is empty"),
        ({"audio": b"\0" * 57_600_002, "rate": 8000}, "audio", "lasts 60 minutes"),
    ],
)
def test_pieces_that_are_refused(model: SpeechFinder, sent: dict[str, Any], where: str, why: str) -> None:
    if sent.get("state") == "begun":
        sent["state"] = finish(model.predict({"audio": b"\0\0", "rate": 16_000, "state": None}))["state"]
    with pytest.raises(BadInput) as refused:
        finish(model.predict(sent))
    assert refused.value.where == where
    assert why in refused.value.why.en


def test_bare_samples_are_a_recording_too(model: SpeechFinder) -> None:
    straight = finish(model.predict({"audio": wav(speech(), 16_000)}))
    assert finish(model.predict({"audio": pcm(speech()), "rate": 16_000})) == straight


def test_one_call_may_be_a_whole_stream(model: SpeechFinder) -> None:
    answer = finish(model.predict({"audio": wav(speech(), 16_000), "last": True}))
    assert [event["type"] for event in answer["events"]] == ["start", "end"] * 2
    assert finish(model.predict({"audio": "", "last": True})) == {
        "events": [],
        "speaking": False,
        "state": None,
    }
