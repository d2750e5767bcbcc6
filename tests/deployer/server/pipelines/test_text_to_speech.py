"""Text to sound: the shelf's model, heard by the shelf's voice detector, and one of another language."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from deployer.examples import check
from deployer.server.errors import BadInput, BadModel
from deployer.server.pipelines.text_to_speech import Phrase, Speaker, cut, joined
from deployer.server.pipelines.voice_activity_detection import RATE, SpeechFinder
from deployer.server.predictor import finish, load
from deployer.server.sound.audio import decode, resample
from tests.deployer.server.conftest import Serve, graph, write_model
from tests.deployer.server.pipelines.examples import examples
from tests.shelf_files import model_dir

LISTING = "tts-kokoro-82m-int8"
MEETING = "今天下午三点，我们在会议室开会，请大家准时参加。"


@pytest.fixture(scope="module")
def model() -> Speaker:
    found = load(model_dir(LISTING), threads=2)
    assert isinstance(found, Speaker)
    return found


@pytest.fixture(scope="module")
def listener() -> SpeechFinder:
    found = load(model_dir("vad-silero-6"))
    assert isinstance(found, SpeechFinder)
    return found


def heard(answer: dict[str, Any]) -> np.ndarray:
    samples, rate = decode(base64.b64decode(answer["audio"]["base64"]))
    assert rate == answer["sample_rate"]
    assert samples.size / rate == pytest.approx(answer["duration"], abs=0.001)
    return samples


def test_the_server_answers_its_examples(serve: Serve) -> None:
    server = serve(model_dir(LISTING), threads=2)
    for example in examples(LISTING):
        assert check(server.predict(example["request"]), example["expect"]) == [], example["title_en"]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["好的。"]}
    answer = server.client.post(f"/v2/models/{server.name}/infer", json={"inputs": [tensor]})
    assert json.loads(answer.json()["outputs"][0]["data"][0])["voice"] == "zf_xiaobei"
    schema = server.client.get("/openapi.json").text
    assert "zm_yunxi" in schema


@pytest.mark.parametrize(
    ("body", "zh", "en"),
    [
        ({}, "不是文本", "not a text"),
        ({"text": " "}, "空", "empty"),
        ({"text": ["好"]}, "不是文本", "not a text"),
        ({"text": "😀！？"}, "没有可以朗读", "nothing that can be said"),
        ({"text": "Привет"}, "没有可以朗读", "nothing that can be said"),
        ({"text": "好" * 4097}, "4097", "4097"),
        ({"text": "好", "voice": "alloy"}, "zm_yunxi", "zm_yunxi"),
        ({"text": "好", "voice": 3}, "zm_yunxi", "zm_yunxi"),
        ({"text": "好", "speed": 0.4}, "0.5", "0.5"),
        ({"text": "好", "speed": "fast"}, "0.5", "0.5"),
        ({"text": "好", "speed": float("nan")}, "0.5", "0.5"),
    ],
)
def test_what_cannot_be_said_is_refused_in_both_languages(
    model: Speaker, body: dict[str, Any], zh: str, en: str
) -> None:
    with pytest.raises(BadInput) as refused:
        finish(model.predict(body))
    words = refused.value
    assert zh in words.why.zh + words.expected.zh
    assert en in words.why.en + words.expected.en
    assert words.where in ("text", "voice", "speed")


def test_what_is_said_is_speech_from_its_begin_to_its_end(model: Speaker, listener: SpeechFinder) -> None:
    for voice in ("zf_xiaobei", "zm_yunxi"):
        answer = finish(model.predict({"text": MEETING, "voice": voice}))
        samples = heard(answer)
        assert 3.5 < answer["duration"] < 7.5
        assert 0.1 < np.abs(samples).max() <= 1
        likely = finish(listener.listen(resample(samples, model.rate, RATE)))
        assert np.mean(likely > 0.5) > 0.7
        assert np.mean(likely[4:-12] > 0.5) > 0.8


def test_phrases_in_a_row_are_one_text_with_pauses(model: Speaker, listener: SpeechFinder) -> None:
    said = finish(model.predict({"text": "今天天气很好。我们去公园散步。", "voice": "zm_yunxi"}))
    first, second = finish(listener.predict({"audio": said["audio"], "min_silence_ms": 150}))["segments"]
    assert 0.1 < second["start"] - first["end"] < 0.8
    assert second["end"] > said["duration"] - 0.6


def test_speed_is_speed(model: Speaker) -> None:
    slow, plain, fast = (
        finish(model.predict({"text": MEETING, "speed": speed}))["duration"] for speed in (0.5, 1, 2)
    )
    assert 1.5 < slow / plain < 2.5
    assert 1.5 < plain / fast < 2.5


def test_a_long_text_is_said_phrase_by_phrase(model: Speaker) -> None:
    text = "您好，欢迎光临！" + MEETING * 4 + "没有标点的长句" * 60
    phrases = model.phrases(text)
    assert len(phrases) > 3
    assert all(0 < len(phrase.ids) <= model.limit for phrase in phrases)
    assert len(phrases[0].ids) < 60
    symbols = " ".join(phrase.symbols for phrase in phrases)
    assert symbols.split() == " ".join(model.pronouncer.speak(text).sentences).split()
    short = "您好，欢迎光临！" + MEETING
    lengths = [finish(model.say(p, voice="zm_yunxi", speed=2)).size for p in model.phrases(short)]
    whole = finish(model.predict({"text": short, "voice": "zm_yunxi", "speed": 2}))
    assert len(lengths) == 2
    assert heard(whole).size == pytest.approx(sum(lengths), rel=0.02)
    with pytest.raises(BadInput) as refused:
        model.phrases("好" * 5000, where="input")
    assert refused.value.where == "input"
    with pytest.raises(BadInput) as refused:
        finish(model.say(phrases[0], voice="nobody", speed=1))
    assert "zf_xiaobei | " in refused.value.expected.en
    with pytest.raises(BadInput, match="speed"):
        finish(model.say(phrases[0], voice="zm_yunxi", speed=4))


def test_the_longest_phrase_is_said(model: Speaker) -> None:
    ids = model.phrases("今天天气很好我们去公园")[0].ids
    most = Phrase("", (ids * 60)[: model.limit])
    samples = finish(model.say(most, voice="zm_yunxi", speed=1))
    assert samples.size / model.rate > 10
    shortest = finish(model.say(Phrase("", ids[:1]), voice="zm_yunxi", speed=1))
    assert 0 < shortest.size / model.rate < 2


# A model that says what it was given: numbers of symbols, style and speed come out as its sound


WIDTH = 3
VOCAB = {"vocab": {" ": 9, ".": 8, "h": 1, "e": 2, "l": 3, "o": 4, "b": 5, "ˈ": 6}}
LEXICON = "hello\t3\thˈelo\nB\t0\tbe\nbonjour\t1\tbolo\nO\t0\to\n"


def echo() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["symbols"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "flat"], ["row"]),
        helper.make_node("Reshape", ["style", "flat"], ["look"]),
        helper.make_node("Concat", ["row", "look", "pace"], ["all"], axis=0),
        helper.make_node("Div", ["all", "thousand"], ["sound"]),
    ]
    return graph(
        nodes,
        [
            ("pace", TensorProto.FLOAT, [1]),
            ("style", TensorProto.FLOAT, [1, WIDTH]),
            ("symbols", TensorProto.INT64, [1, "n"]),
        ],
        [("sound", TensorProto.FLOAT, ["m"])],
        flat=np.array([-1], np.int64),
        thousand=np.float32(1000),
    )


def made(folder: Path, *, vocab: Any = VOCAB, lexicon: str = LEXICON, rows: int = 4, **manifest: Any) -> Path:
    """A model folder of another language: its lexicon in plain text, its voices in an .npz."""
    manifest = {"files": {"voices": "voices.npz"}, "options": {}} | manifest
    plain = {"model": "model.onnx", "vocab": "vocab.json", "lexicon": "words.tsv"}
    write_model(folder, echo(), "text-to-speech", **manifest | {"files": plain | manifest["files"]})
    (folder / "vocab.json").write_text(json.dumps(vocab), "utf-8")
    (folder / "words.tsv").write_text(lexicon, "utf-8")
    table = np.arange(rows * WIDTH, dtype=np.float32).reshape(rows, 1, WIDTH) + 100
    np.savez(folder / "voices.npz", bob=table, amy=table + 500)
    (table + 200).tofile(folder / "eve.bin")
    return folder


def speaker(folder: Path) -> Speaker:
    found = load(folder)
    assert isinstance(found, Speaker)
    return found


def fed(model: Speaker, text: str, voice: str, speed: float = 1.0) -> list[float]:
    (phrase,) = model.phrases(text)
    return [round(x * 1000, 1) for x in finish(model.say(phrase, voice=voice, speed=speed)).tolist()]


def test_symbols_are_wrapped_in_zeros_and_the_style_goes_by_their_number(tmp_path: Path) -> None:
    model = speaker(made(tmp_path / "m", rows=12))
    assert model.voices == ["amy", "bob"]
    assert fed(model, "Hello.", "bob", 1.5) == [0, 1, 6, 2, 3, 4, 8, 0, 115, 116, 117, 1.5]
    assert fed(model, "b", "amy") == [0, 5, 2, 0, 603, 604, 605, 1]
    few = speaker(made(tmp_path / "few", rows=2))
    assert fed(few, "hello hello", "bob")[-4:-1] == [103, 104, 105]


def test_a_model_of_another_language_needs_no_code(tmp_path: Path) -> None:
    model = speaker(
        made(
            tmp_path / "m",
            files={"voice-eve": "eve.bin"},
            options={"sample_rate": 16_000, "max_tokens": 8, "most_characters": 50, "max_speed": 1.2},
        )
    )
    assert (model.rate, model.voices, model.most_characters) == (16_000, ["eve"], 50)
    phrases = model.phrases("Hello, BONJOUR. b7xo")
    assert [phrase.symbols for phrase in phrases] == ["hˈelo", "bolo.", "be o"]
    answer = finish(model.predict({"text": "Hello, ça 7"}))
    assert answer["left_out"] == "ça"
    assert answer["usage"] == {"characters": 11}
    assert answer["sample_rate"] == 16_000
    with pytest.raises(BadInput, match="speed"):
        finish(model.predict({"text": "Hello", "speed": 1.3}))
    model.close()


def test_the_default_voice_is_the_first(tmp_path: Path) -> None:
    assert speaker(made(tmp_path / "a", options={"voice": "bob"})).voices == ["bob", "amy"]
    assert speaker(made(tmp_path / "b", options={"voices": ["bob", "amy"]})).voices == ["bob", "amy"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"files": {}}, "no voice"),
        ({"files": {"voices": "vocab.json"}}, "pickle|voices"),
        ({"files": {"voice-eve": "words.tsv"}}, "table of styles"),
        ({"files": {"voice-eve": "gone.bin"}}, "gone.bin"),
        ({"options": {"voice": "eve"}}, "options.voice"),
        ({"options": {"voices": ["bob"]}}, "options.voice"),
        ({"options": {"numerals": "tlh"}}, "tlh"),
        ({"vocab": {"a": 1}}, "space"),
        ({"vocab": [1]}, "space"),
        ({"lexicon": "hello\n"}, "line 1"),
    ],
)
def test_folders_that_do_not_hold_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises((BadModel, ValueError), match=why):
        load(made(tmp_path / "m", **changes))


def test_another_graph_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "m")
    other = graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, [1, "n"])],
        [("y", TensorProto.FLOAT, [1, "n"])],
    )
    onnx.save(other, str(folder / "model.onnx"))
    with pytest.raises(BadModel, match="symbols"):
        load(folder)


@given(st.text("ab ,.!", max_size=80), st.integers(4, 30))
def test_pieces_fit_and_lose_nothing_but_spaces(symbols: str, limit: int) -> None:
    pieces = cut(symbols, limit)
    assert all(0 < len(piece) <= limit for piece in pieces)
    assert "".join(pieces).replace(" ", "") == symbols.replace(" ", "")
    phrases = joined(pieces, limit)
    assert all(0 < len(phrase) <= limit for phrase in phrases)
    assert "".join(phrases).replace(" ", "") == symbols.replace(" ", "")
    assert phrases[:1] == pieces[:1]


@given(st.text(max_size=120))
def test_any_text_is_said_or_refused(model: Speaker, text: str) -> None:
    try:
        phrases = model.phrases(text)
    except BadInput as refused:
        assert refused.where == "text" and refused.why.zh
    else:
        assert phrases and all(0 < len(phrase.ids) <= model.limit for phrase in phrases)
