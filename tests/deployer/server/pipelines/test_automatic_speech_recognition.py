"""Sound to text: the shelf's model on speech, on none and on too much, and small models of other kinds."""

import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.examples import check
from deployer.optimizer.convert import whisper
from deployer.server.errors import BadInput, BadModel
from deployer.server.model import Model
from deployer.server.pipelines.automatic_speech_recognition import Transcriber
from deployer.server.predictor import Work, finish, load
from deployer.server.sound.audio import decode, resample
from deployer.server.sound.encoding import wav
from deployer.spec import silent
from tests.deployer.optimizer.convert.whispers import weights, write
from tests.deployer.server.conftest import Serve
from tests.deployer.server.pipelines.examples import body, example_file, examples
from tests.deployer.server.sound.test_transcription import SIZE, tokenizer
from tests.shelf_files import model_dir

LISTING = "asr-whisper-base"
RATE = 16_000
SUPPORT = "If you have any questions, please contact the support team."
CONTRACT = "请把这份合同发给财务部门,明天上午之前完成付款。"


@pytest.fixture(scope="module")
def model() -> Transcriber:
    found = load(model_dir(LISTING), threads=2)
    assert isinstance(found, Transcriber)
    return found


def sound(name: str, listing: str = LISTING) -> np.ndarray:
    samples, rate = decode(example_file(listing, name))
    return resample(samples, rate, RATE)


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def heard(model: Transcriber, *pieces: np.ndarray, **more: Any) -> dict[str, Any]:
    """The answer to pieces of sound in a row, and how often each graph ran."""
    work = model.predict({"audio": wav(np.concatenate(pieces), RATE), **more})
    runs: list[str] = []
    answer = finish(counted(work, runs, model))
    return {**answer, "looks": runs.count("encoder"), "steps": runs.count("decoder")}


def counted(work: Work[dict[str, Any]], runs: list[str], model: Transcriber) -> Work[dict[str, Any]]:
    try:
        run = next(work)
        while True:
            runs.append(
                "encoder" if run.graph is model.encoder else "decoder" if run.graph is model.decoder else ""
            )
            run = work.send((yield run))
    except StopIteration as end:
        return end.value


def test_the_server_answers_its_examples(serve: Serve) -> None:
    server = serve(model_dir(LISTING), threads=2)
    for example in examples(LISTING):
        assert check(server.predict(example["request"]), example["expect"]) == [], example["title_en"]
    spoken = example_file(LISTING, "support-en.wav")
    bare = server.client.post("/predict", content=spoken, headers={"Content-Type": "audio/wav"})
    form = server.client.post("/predict", files={"audio": ("a.wav", spoken)}, data={"timestamps": "false"})
    assert (bare.json()["text"], form.json()["text"]) == (SUPPORT, SUPPORT)
    assert bare.json()["segments"] and form.json()["segments"] == []
    tensor = {"name": "audio", "datatype": "BYTES", "shape": [1], "data": [body("", spoken)[""]["base64"]]}
    answer = server.client.post(f"/v2/models/{server.name}/infer", json={"inputs": [tensor]})
    assert json.loads(answer.json()["outputs"][0]["data"][0])["text"] == SUPPORT
    assert '"translate"' in server.client.get("/openapi.json").text


def test_the_server_keeps_callers_apart_and_drops_those_who_leave(serve: Serve) -> None:
    server = serve(model_dir(LISTING), threads=2)
    chinese, english = (example_file(LISTING, f"{name}.wav") for name in ("contract-zh", "support-en"))
    long = wav(np.concatenate([sound("support-en.wav"), quiet(4)] * 40), RATE)
    with pytest.raises(httpx.ReadTimeout):
        server.client.post("/predict", json=body("audio", long), timeout=1)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda data: server.predict(body("audio", data)), [chinese, english] * 2))
    assert [(one["text"], one["language"]) for one in found] == [(CONTRACT, "zh"), (SUPPORT, "en")] * 2
    assert "request failed" not in server.log.read_text()
    for bad in (b"ID3\x04 mp3", wav(quiet(0), RATE), example_file(LISTING, "noise.wav")[:30]):
        problem = server.refuse(body("audio", bad), "zh")
        assert "WAV" in problem["detail"] + problem["next"]
    server.refuse({"audio": {"base64": "?"}})
    server.refuse({"language": "zh"})


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"language": "tlh"}, "language"),
        ({"language": 7}, "language"),
        ({"language": ["zh"]}, "language"),
        ({"task": "summarise"}, "task"),
        ({"task": None}, "task"),
        ({"timestamps": "words"}, "timestamps"),
        ({"audio": b"RIFF"}, "audio"),
    ],
)
def test_what_makes_no_sense_is_refused_in_both_languages(
    model: Transcriber, more: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInput) as refused:
        finish(model.predict({"audio": example_file(LISTING, "noise.wav"), **more}))
    assert refused.value.where == where
    assert refused.value.why.en and refused.value.why.zh and refused.value.expected.zh


@pytest.mark.parametrize("name", ["nothing", "noise", "soft noise", "hum", "clicks", "a moment"])
def test_where_nobody_speaks_no_words_are_made_up(model: Transcriber, name: str) -> None:
    rng = np.random.default_rng(3)
    samples = {
        "nothing": quiet(40),
        "noise": rng.normal(0, 0.3, 12 * RATE),
        "soft noise": rng.normal(0, 1e-3, 12 * RATE),
        "hum": 0.3 * np.sin(2 * np.pi * 100 * np.arange(12 * RATE) / RATE),
        "clicks": (rng.random(9 * RATE) > 0.9995).astype(float),
        "a moment": rng.normal(0, 0.3, 9),
    }[name]
    found = heard(model, samples.astype(np.float32))
    assert (found["text"], found["language"], found["segments"]) == ("", None, [])
    assert found["duration"] == round(samples.size / RATE, 3)
    assert found["looks"] == 0  # not even listened to


def test_a_long_pause_parts_windows_and_times_are_those_of_the_recording(model: Transcriber) -> None:
    first = sound("support-en.wav")
    found = heard(model, quiet(2), first, quiet(20), sound("two-phrases.wav", "vad-silero-6"))
    assert found["text"] == f"{SUPPORT} Good morning. Thank you."
    assert found["language"] == "en"
    assert found["looks"] == 2
    one, *others = found["segments"]
    begin, end = 2.0, 2 + first.size / RATE
    assert one["text"] == SUPPORT
    assert begin - 0.4 <= one["start"] <= begin + 0.4 and end - 0.6 <= one["end"] <= end + 0.3
    assert [other["text"] for other in others] == ["Good morning.", "Thank you."]
    assert end + 20 - 0.1 <= others[0]["start"] <= others[0]["end"] <= others[1]["end"] <= found["duration"]


def test_a_window_that_is_full_ends_where_nobody_speaks(
    model: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "longest", 6 * RATE)
    first, second = sound("support-en.wav"), sound("two-phrases.wav", "vad-silero-6")
    found = heard(model, first, quiet(0.4), first, quiet(0.4), second)
    assert found["text"] == f"{SUPPORT} {SUPPORT} Good morning. Thank you."
    assert found["looks"] == 3


def test_where_the_room_for_words_ends_the_rest_is_heard_again(
    model: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "max_tokens", 18)
    found = heard(model, sound("support-en.wav"), quiet(0.4), sound("two-phrases.wav", "vad-silero-6"))
    assert found["text"] == f"{SUPPORT} Good morning. Thank you."
    assert found["looks"] == 2


def test_soft_speech_is_heard(model: Transcriber) -> None:
    found = heard(model, sound("support-en.wav") * 0.01)
    assert found["text"].startswith("If you have any question") and found["looks"] == 1


def test_speech_is_heard_without_a_detector_too(model: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "finder", None)
    found = heard(model, quiet(5), sound("support-en.wav"), quiet(5))
    assert found["text"] == SUPPORT and found["looks"] == 1
    assert heard(model, quiet(9))["text"] == ""


def test_the_prompt_leads_to_simplified_characters_and_nothing_is_converted(
    model: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert heard(model, sound("contract-zh.wav"), language="zh-CN")["text"] == CONTRACT
    monkeypatch.setattr(model, "prompts", {})
    assert heard(model, sound("contract-zh.wav"), language="zh")["text"].startswith("請把這份合同發給")


def test_translation_is_english(model: Transcriber) -> None:
    found = heard(model, sound("contract-zh.wav"), task="translate")
    assert found["language"] == "zh"
    assert found["text"].isascii() and "contract" in found["text"]


def test_transcribe_is_the_same_for_another_route(model: Transcriber) -> None:
    data = example_file(LISTING, "contract-zh.wav")
    found = finish(model.transcribe(data, language=None, translate=False, where="file"))
    assert (found.text, found.language, found.duration) == (CONTRACT, "zh", 4.974)
    assert [segment.text for segment in found.segments] == [CONTRACT]
    with pytest.raises(BadInput) as refused:
        finish(model.transcribe(b"mp3", language=None, translate=False, where="file"))
    assert refused.value.where == "file"
    with pytest.raises(BadInput, match="language"):
        finish(model.transcribe(data, language="klingon", translate=False, where="file"))


def test_a_work_may_be_dropped_at_any_run(model: Transcriber) -> None:
    for most in (1, 3, 9):
        work = model.predict({"audio": example_file(LISTING, "support-en.wav")})
        run = next(work)
        for _ in range(most):
            run = work.send(run.graph.run(run))
        work.close()
    assert heard(model, sound("support-en.wav"))["text"] == SUPPORT


# A small model with random weights, windows of two seconds and a vocabulary of its own


def made(folder: Path, *, options: dict[str, Any] | None = None, **files: str) -> Path:
    """A model folder; files by role, a value of "" leaves one out."""
    folder.mkdir(parents=True)
    sizes = {"tokens": SIZE, "frames": 100, "mels": 20, "context": 30}
    path = write(folder / "model.bin", weights(**sizes, dtype="float32"))
    whisper.convert({"weights": path}, folder, {}, silent)
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"suppress_ids": [1, 2]}')
    named = {"encoder": "encoder.onnx", "decoder": "decoder.onnx", "tokenizer": "tokenizer.json"}
    named = {role: name for role, name in {**named, **files}.items() if name}
    manifest = {"task": "automatic-speech-recognition", "files": named, "options": options or {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transcriber]:
    folder = made(tmp_path_factory.mktemp("small") / "m", config="config.json")
    found = load(folder)
    assert isinstance(found, Transcriber)
    yield found
    found.close()


def test_another_model_needs_no_code(small: Transcriber, model: Transcriber) -> None:
    assert small.schema["properties"]["language"]["enum"] == ["en", "yue", "zh"]
    assert (small.bands, small.frames, small.longest) == (20, 200, 2 * RATE)
    assert (model.bands, model.frames, model.longest) == (80, 3000, 30 * RATE)
    assert small.prompts == {} and set(model.prompts) == {"zh"}


@given(st.integers(0, 99), st.floats(0.01, 9), st.sampled_from([None, "zh", "en"]), st.booleans())
@settings(max_examples=40)
def test_whatever_a_model_makes_of_a_sound_there_is_an_answer(
    small: Transcriber, seed: int, seconds: float, language: str | None, translate: bool
) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 0.2, round(seconds * RATE)) * (rng.random(round(seconds * RATE)) > 0.2)
    samples *= np.repeat(rng.random(samples.size // 8000 + 1) > 0.4, 8000)[: samples.size]
    data = wav(samples.astype(np.float32), RATE)
    found = finish(small.transcribe(data, language=language, translate=translate, where="audio"))
    assert found.duration == round(samples.size / RATE, 3)
    assert (found.language in small.vocabulary.languages) or not found.text
    places = [place for segment in found.segments for place in segment[:2]]
    assert places == sorted(places)
    assert all(0 <= place <= found.duration + 0.01 for place in places)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"decoder": ""}, "'decoder'"),
        ({"decoder": "encoder.onnx"}, "not a pair"),
        ({"encoder": "decoder.onnx"}, "not a pair"),
        ({"tokenizer": "gone.json"}, "gone.json"),
        ({"options": {"max_tokens": 0}}, "max_tokens"),
        ({"options": {"max_tokens": True}}, "max_tokens"),
        ({"options": {"most_seconds": 30}}, "most_seconds"),
        ({"options": {"threshold": "low"}}, "threshold"),
        ({"options": {"prompts": {"tlh": "nuqneH"}}}, "prompts"),
        ({"options": {"prompts": "zh"}}, "prompts"),
        ({"options": {"suppress_ids": "all"}}, "suppress_ids"),
        ({"vad": "encoder.onnx"}, "Silero"),
    ],
)
def test_folders_that_do_not_hold_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadModel, match=why):
        load(made(tmp_path / "m", **changes))


def test_graphs_of_two_models_are_no_pair(tmp_path: Path) -> None:
    folder = made(tmp_path / "m")
    path = write(tmp_path / "other.bin", weights(tokens=SIZE, frames=100, mels=20, layers=(2, 2)))
    whisper.convert({"weights": path}, tmp_path / "other", {}, silent)
    (tmp_path / "other" / "decoder.onnx").replace(folder / "decoder.onnx")
    with pytest.raises(BadModel, match="not a pair"):
        load(folder)


def test_the_prepared_form_answers_the_same(model: Transcriber, tmp_path: Path) -> None:
    from deployer.server.prepare import prepare

    source = Model.open(model_dir(LISTING), 2)
    report = prepare(source, tmp_path)
    assert all("seconds" in told for told in report["graphs"].values())
    ready = Transcriber(dataclasses.replace(source, prepared=tmp_path))
    assert heard(ready, sound("contract-zh.wav"))["text"] == CONTRACT
    ready.close()
