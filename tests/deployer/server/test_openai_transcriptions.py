"""OpenAI's transcriptions, driven by OpenAI's own client."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.deployer.server.conftest import RunningServer, Serve
from tests.shelf_files import model_dir

EXAMPLES = Path(__file__).parents[3] / "catalog/starter/asr-whisper-base/examples"
ENGLISH = next(path for path in sorted(EXAMPLES.glob("*.wav")) if "en" in path.stem)


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> RunningServer:
    return serve_module(model_dir("asr-whisper-base"), threads=2)


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(server.uds)), timeout=120)
    with openai.OpenAI(base_url="http://server/v1", api_key="any", http_client=http, max_retries=0) as made:
        yield made


def test_every_form_says_the_same(client: openai.OpenAI) -> None:
    def ask(form: str) -> object:
        return client.audio.transcriptions.create(model="demo", file=ENGLISH, response_format=form)  # type: ignore[call-overload]

    text = ask("json").text  # type: ignore[attr-defined]
    assert len(text.split()) >= 3
    told = ask("verbose_json")
    assert (told.text, told.language) == (text, "en")  # type: ignore[attr-defined]
    assert told.segments[0].end > told.segments[0].start >= 0  # type: ignore[attr-defined]
    assert str(ask("text")).strip() == text
    subtitles, captions = str(ask("srt")), str(ask("vtt"))
    assert re.match(r"1\n00:00:\d\d,\d{3} --> 00:00:\d\d,\d{3}\n", subtitles)
    assert captions.startswith("WEBVTT\n\n00:00:")
    assert text.split()[0] in subtitles and text.split()[0] in captions


def test_a_named_language_and_a_translation(client: openai.OpenAI, server: RunningServer) -> None:
    named = client.audio.transcriptions.create(model="demo", file=ENGLISH, language="en")
    assert named.text
    # Not by the client, which calls its own method deprecated.
    files = {"file": ("a.wav", (EXAMPLES / "contract-zh.wav").read_bytes())}
    answer = server.client.post("/v1/audio/translations", data={"model": "demo"}, files=files)
    assert answer.status_code == 200
    assert answer.json()["text"].isascii()


def test_refusals(client: openai.OpenAI, server: RunningServer) -> None:
    with pytest.raises(openai.BadRequestError, match="is not a WAV file"):
        client.audio.transcriptions.create(model="demo", file=("a.wav", b"RIFF"))
    with pytest.raises(openai.BadRequestError, match="is not a language"):
        client.audio.transcriptions.create(model="demo", file=ENGLISH, language="klingon")
    with pytest.raises(openai.NotFoundError, match="other is not served here"):
        client.audio.transcriptions.create(model="other", file=ENGLISH)
    with pytest.raises(openai.BadRequestError, match="stream"):
        client.audio.transcriptions.create(model="demo", file=ENGLISH, stream=True)
    answer = server.client.post("/v1/audio/transcriptions", json={"model": "demo"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported-media-type")


def test_other_tasks_have_no_such_route(serve: Serve) -> None:
    server = serve(model_dir("vad-silero-6"))
    files = {"file": ("a.wav", ENGLISH.read_bytes())}
    answer = server.client.post("/v1/audio/transcriptions", data={"model": "demo"}, files=files)
    assert answer.status_code == 400
    assert "has no transcriptions" in answer.json()["error"]["message"]
