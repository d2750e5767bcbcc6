"""OpenAI's speech route, driven by OpenAI's own client."""

import io
import wave
from collections.abc import Iterator

import httpx
import numpy as np
import openai
import pytest

from tests.deployer.server.conftest import RunningServer, Serve
from tests.shelf_files import model_dir

TEXT = "今天下午三点，我们在会议室开会。请大家准时参加，带好上个月的报表。"


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> RunningServer:
    return serve_module(model_dir("tts-kokoro-82m-int8"), threads=2)


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(server.uds)), timeout=120)
    with openai.OpenAI(base_url="http://server/v1", api_key="any", http_client=http, max_retries=0) as made:
        yield made


def test_mp3_unless_told_otherwise(client: openai.OpenAI) -> None:
    answer = client.audio.speech.create(model="demo", voice="zf_xiaobei", input="你好，欢迎光临。")
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert answer.content[0] == 0xFF and answer.content[1] & 0xE0 == 0xE0
    assert len(answer.content) > 5000


def test_wav_and_pcm_hold_the_same_sound_as_predict(client: openai.OpenAI, server: RunningServer) -> None:
    asked = {"model": "demo", "voice": "zm_yunxi", "input": "发票已经开好了。"}
    whole = client.audio.speech.create(**asked, response_format="wav").content
    with wave.open(io.BytesIO(whole)) as opened:
        assert (opened.getframerate(), opened.getnchannels(), opened.getsampwidth()) == (24_000, 1, 2)
    plain = client.audio.speech.create(**asked, response_format="pcm").content
    assert whole[44:] == plain
    answer = server.predict({"text": asked["input"], "voice": "zm_yunxi"})
    assert len(plain) / 2 / 24_000 == pytest.approx(answer["duration"], abs=0.002)
    assert np.abs(np.frombuffer(plain, "<i2")).max() > 1000


def test_long_texts_come_piece_by_piece(client: openai.OpenAI) -> None:
    asked = {"model": "demo", "voice": "zf_xiaobei", "input": TEXT * 3, "response_format": "pcm"}
    with client.audio.speech.with_streaming_response.create(**asked) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        pieces = [len(piece) for piece in answer.iter_bytes()]
    assert len(pieces) >= 2
    assert sum(pieces) / 2 / 24_000 > 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"voice": "alloy"}, "zf_xiaobei"),
        ({"input": ""}, "is empty"),
        ({"input": "…"}, "nothing that can be said"),
        ({"speed": 9}, "speed"),
        ({"speed": 3}, "0.5 … 2"),
        ({"response_format": "opus"}, "wav | pcm | mp3"),
    ],
)
def test_refusals_come_before_any_sound(client: openai.OpenAI, change: dict[str, object], said: str) -> None:
    asked = {"model": "demo", "voice": "zf_xiaobei", "input": "你好。"} | change
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.speech.create(**asked)  # type: ignore[arg-type]
    assert said in refused.value.message


def test_it_stands_in_the_api_s_description(server: RunningServer) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    assert "/v1/audio/speech" in paths
    assert "/v1/embeddings" not in paths


def test_who_leaves_half_way_costs_no_more(server: RunningServer) -> None:
    body = {"model": "demo", "voice": "zf_xiaobei", "input": TEXT * 10, "response_format": "pcm"}
    with server.client.stream("POST", "/v1/audio/speech", json=body) as answer:
        next(answer.iter_raw())
    text = server.client.get("/metrics").text
    assert "market_queue_length 0\n" in text or "market_queue_length 1\n" in text
    assert server.predict({"text": "好。"})["duration"] > 0
