"""OpenAI's routes for the tasks that have one: models, embeddings, moderations, speech."""

import base64
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec
import numpy as np

from deployer.server.batching import Answering
from deployer.server.errors import BadInput, Words
from deployer.server.fields import texts_field
from deployer.server.http import Request, Response, json_response, read_form, read_json
from deployer.server.moderation import Moderation
from deployer.server.predictor import Predictor, Work
from deployer.server.problems import Problem
from deployer.server.signature import Array
from deployer.server.sound import encoding as sound
from deployer.server.sound import transcripts

MOST_MODERATED = 32  # texts or pictures in a request
_MODERATED = {"text-classification": "text", "image-classification": "image"}  # field of /predict by task


@runtime_checkable
class Embedder(Protocol):
    """A predictor that can answer /v1/embeddings."""

    def embed(self, texts: list[str], *, where: str, truncate: bool) -> Work[tuple[Array, int]]:
        """Vectors float32 [n, d] and the number of tokens read."""


@runtime_checkable
class Speaker(Protocol):
    """A predictor that can answer /v1/audio/speech."""

    rate: int
    """Samples a second."""

    def voice(self, name: Any, where: str) -> str:
        """The name of a voice; raises BadInput."""

    def phrases(self, text: str, *, where: str) -> list[Any]:
        """A text in pieces that are said one by one."""

    def say(self, phrase: Any, *, voice: str, speed: float) -> Work[Array]:
        """The sound of a piece: float32 [samples] in -1 … 1."""


class Transcript(Protocol):
    """What was said in a recording."""

    text: str
    language: str | None
    duration: float
    segments: Sequence[Any]
    """Each with start and end in seconds, and text."""


@runtime_checkable
class Transcriber(Protocol):
    """A predictor that can answer /v1/audio/transcriptions and /v1/audio/translations."""

    def transcribe(
        self, audio: bytes, *, language: str | None, translate: bool, where: str
    ) -> Work[Transcript]:
        """What is said in a WAV file, or what that means in English; raises BadInput at `where`."""


@runtime_checkable
class Moderator(Protocol):
    """A classifier that can answer /v1/moderations, if its manifest says what its labels stand for."""

    moderation: Moderation | None


class EmbeddingsRequest(msgspec.Struct):
    """The body of POST /v1/embeddings; fields that OpenAI adds later are let through."""

    model: str
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class ModerationsRequest(msgspec.Struct):
    """The body of POST /v1/moderations: texts, or objects of the types text and image_url."""

    model: str
    input: str | list[Any]


class SpeechRequest(msgspec.Struct):
    """The body of POST /v1/audio/speech."""

    model: str
    input: str
    voice: str
    response_format: str = "mp3"
    speed: Annotated[float, msgspec.Meta(ge=0.25, le=4.0)] = 1.0
    stream_format: Literal["audio"] = "audio"


def models(name: str, created: int) -> Response:
    """GET /v1/models."""
    return json_response({"object": "list", "data": [_model(name, created)]})


def model(name: str, created: int) -> Response:
    """GET /v1/models/{name}."""
    return json_response(_model(name, created))


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "opc-market"}


def embeddings(request: Request, name: str, predictor: Predictor) -> Answering:
    """POST /v1/embeddings; refuses token arrays, another model and a number of dimensions not its own."""
    asked = read_json(request.body, EmbeddingsRequest)
    _check(asked.model, name)
    if not isinstance(predictor, Embedder):
        raise _cannot(name, predictor, Words("embeddings", "向量"))
    vectors, tokens = yield from predictor.embed(_texts(asked.input), where="input", truncate=False)
    if asked.dimensions not in (None, vectors.shape[1]):
        said = asked.dimensions
        why = Words(f"{said} is not supported by this model", f"该模型不支持 {said} 维")
        raise BadInput("dimensions", why, str(vectors.shape[1]))
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, asked.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_response({"object": "list", "data": data, "model": name, "usage": usage}, tokens=tokens)


def speech(request: Request, name: str, predictor: Predictor) -> Answering:
    """POST /v1/audio/speech: the sound of a text, sent phrase by phrase as it is made."""
    asked = read_json(request.body, SpeechRequest)
    _check(asked.model, name)
    if not isinstance(predictor, Speaker):
        raise _cannot(name, predictor, Words("speech", "语音合成"))
    encoder = sound.encoder(asked.response_format, predictor.rate, "response_format")
    voice = predictor.voice(asked.voice, "voice")
    for number, phrase in enumerate(predictor.phrases(asked.input, where="input")):
        samples = yield from predictor.say(phrase, voice=voice, speed=asked.speed)
        if not number:  # what can be refused has been by now
            yield Response(content_type=sound.MEDIA_TYPES[asked.response_format], streams=True)
        yield encoder.write(samples)
    yield encoder.end()
    return None


def _texts(given: str | list[Any]) -> list[str]:
    if isinstance(given, list) and given and isinstance(given[0], int | list):
        why = Words(
            "is an array of tokens, whose numbering differs from model to model; send the text itself",
            "是 token 数组，各模型的编号不同；请直接发送文本",
        )
        raise BadInput("input", why, "string | [string, …]")
    return texts_field({"input": given}, "input")


def _encoded(vector: Array, encoding: str) -> Any:
    if encoding == "base64":
        return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
    return vector


def _check(said: str, name: str) -> None:
    if said != name:
        raise unknown_model(said, name)


def _cannot(name: str, predictor: Predictor, what: Words) -> BadInput:
    """The refusal of a route that the model's task has nothing for."""
    why = Words(
        f"{name} does {predictor.task}, which has no {what.en}; use /predict",
        f"{name} 的任务是 {predictor.task}，没有{what.zh}；请用 /predict",
    )
    return BadInput("model", why)


def unknown_model(said: str, name: str) -> Problem:
    """The refusal of a model's name that is not the one served."""
    said = said[:80]
    cause = Words(f"{said} is not served here; {name} is.", f"此处提供的是 {name}，不是 {said}。")
    return Problem("unknown-model", cause)


def now() -> int:
    """Seconds since 1970, as OpenAI's `created`."""
    return int(time.time())


class TranscriptionForm(msgspec.Struct):
    """The form of POST /v1/audio/transcriptions; fields that OpenAI has beyond these are let through."""

    file: bytes
    model: str
    language: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"


def transcriptions(
    request: Request, name: str, predictor: Predictor, *, translate: bool = False
) -> Answering:
    """POST /v1/audio/transcriptions, or translations into English: a form with a WAV file."""
    if request.media_type != "multipart/form-data":
        said = request.media_type[:80] or "nothing"
        raise Problem("unsupported-media-type", Words(f"{said} was sent.", f"收到的是 {said}。"))
    form = read_form(request)
    _check(str(form.get("model", "")), name)
    if not isinstance(predictor, Transcriber):
        raise _cannot(name, predictor, Words("transcriptions", "语音识别"))
    if not isinstance(form.get("file"), bytes):
        raise BadInput("file", Words("is missing", "缺失"), "a WAV file")
    write = transcripts.FORMS.get(str(form.get("response_format", "json")))
    if write is None:
        known = " | ".join(transcripts.FORMS)
        raise BadInput("response_format", Words("is not one of them", "不在其中"), known)
    if str(form.get("stream", "false")).lower() == "true":
        raise BadInput("stream", Words("is not offered here", "此处不支持"), "false")
    language = None if translate else form.get("language")
    found = yield from predictor.transcribe(
        form["file"], language=language, translate=translate, where="file"
    )
    return write(found, "translate" if translate else "transcribe")


def moderations(request: Request, name: str, predictor: Predictor) -> Answering:
    """POST /v1/moderations; refuses inputs that the classifier has no eyes for."""
    asked = read_json(request.body, ModerationsRequest)
    _check(asked.model, name)
    rule = predictor.moderation if isinstance(predictor, Moderator) else None
    kind = _MODERATED.get(predictor.task)
    if rule is None or kind is None:
        raise _cannot(name, predictor, Words("moderation", "内容审核"))
    items = asked.input if isinstance(asked.input, list) else [asked.input]
    if not 1 <= len(items) <= MOST_MODERATED:
        why = Words(f"has {len(items)} items", f"有 {len(items)} 项")
        raise BadInput("input", why, f"1 … {MOST_MODERATED}")
    results, tokens = [], 0
    for number, item in enumerate(items):
        value = _moderated(item, kind, f"input[{number}]")
        whole = {"top_k": 1000} if kind == "image" else {}
        answer = yield from predictor.predict({kind: value, **whole})
        results.append(rule.judge(_scores(answer), kind))
        tokens += answer.get("usage", {}).get("prompt_tokens", 0)
    id = f"modr-{uuid.uuid4().hex[:24]}"
    return json_response({"id": id, "model": name, "results": results}, tokens=tokens)


def _moderated(item: Any, kind: str, where: str) -> Any:
    """A text, or the bytes of a picture in a data: URL; nothing is fetched from elsewhere."""
    given = item
    if isinstance(item, dict):
        found = {"text": item.get("text"), "image_url": item.get("image_url")}.get(str(item.get("type")))
        given = found.get("url") if isinstance(found, dict) else found
    is_picture = isinstance(given, str) and isinstance(item, dict) and item.get("type") == "image_url"
    if not isinstance(given, str) or is_picture != (kind == "image"):
        wanted = '{"type": "image_url", "image_url": {"url": "data:…"}}' if kind == "image" else "string"
        raise BadInput(where, Words(f"is no {kind}", "不是图片" if kind == "image" else "不是文本"), wanted)
    if is_picture and not given.startswith("data:"):
        why = Words("is at an address, from which nothing is fetched", "是网址，服务不会去获取")
        raise BadInput(where, why, "data:image/…;base64,…")
    return given


def _scores(answer: dict[str, Any]) -> dict[str, float]:
    """Scores by label of a classifier's answer about one thing."""
    results = answer["results"]
    if "scores" in results[0]:
        return dict(results[0]["scores"])
    return {result["label"]: result["score"] for result in results}


class Route(NamedTuple):
    """What answers a path, what a predictor must be able to do for it, and the body that it takes."""

    answer: Callable[..., Answering]
    able: Callable[[Predictor], bool]
    body: type[msgspec.Struct]
    summary: str
    takes: str = "application/json"
    gives: tuple[str, ...] = ("application/json",)


def _moderates(predictor: Predictor) -> bool:
    return (
        isinstance(predictor, Moderator) and predictor.moderation is not None and predictor.task in _MODERATED
    )


def _written(answer: Callable[..., Answering], summary: str) -> Route:
    """A route from a recording to its transcript."""
    return Route(
        answer,
        lambda p: isinstance(p, Transcriber),
        TranscriptionForm,
        summary,
        takes="multipart/form-data",
        gives=("application/json", "text/plain", "text/vtt"),
    )


ROUTES: dict[str, Route] = {
    "/v1/embeddings": Route(embeddings, lambda p: isinstance(p, Embedder), EmbeddingsRequest, "Embed texts"),
    "/v1/moderations": Route(moderations, _moderates, ModerationsRequest, "Judge texts or pictures"),
    "/v1/audio/transcriptions": _written(transcriptions, "Write down what is said"),
    "/v1/audio/translations": _written(
        partial(transcriptions, translate=True), "Write down in English what is said"
    ),
    "/v1/audio/speech": Route(
        speech,
        lambda p: isinstance(p, Speaker),
        SpeechRequest,
        "Say a text",
        gives=tuple(sound.MEDIA_TYPES.values()),
    ),
}


def offered(predictor: Predictor) -> dict[str, Route]:
    """The routes that a predictor has answers for."""
    return {path: route for path, route in ROUTES.items() if route.able(predictor)}
