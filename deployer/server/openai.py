"""OpenAI's routes for the tasks that have one: models, embeddings, moderations, speech."""

import base64
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec
import numpy as np

from deployer.server import sound
from deployer.server.batching import Answering
from deployer.server.errors import BadInput, Words
from deployer.server.fields import texts_field
from deployer.server.http import Request, Response, json_response, read_json
from deployer.server.predictor import Predictor, Work
from deployer.server.problems import Problem
from deployer.server.signature import Array


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


class EmbeddingsRequest(msgspec.Struct):
    """The body of POST /v1/embeddings; fields that OpenAI adds later are let through."""

    model: str
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


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


class Route(NamedTuple):
    """What answers a path, what a predictor must be able to do for it, and the body that it takes."""

    answer: Callable[..., Answering]
    able: type
    body: type[msgspec.Struct]
    summary: str
    takes: str = "application/json"
    gives: tuple[str, ...] = ("application/json",)


ROUTES: dict[str, Route] = {
    "/v1/embeddings": Route(embeddings, Embedder, EmbeddingsRequest, "Embed texts"),
    "/v1/audio/speech": Route(
        speech, Speaker, SpeechRequest, "Say a text", gives=tuple(sound.MEDIA_TYPES.values())
    ),
}


def offered(predictor: Predictor) -> dict[str, Route]:
    """The routes that a predictor has answers for."""
    return {path: route for path, route in ROUTES.items() if isinstance(predictor, route.able)}
