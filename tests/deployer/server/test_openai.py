"""OpenAI's routes, driven by OpenAI's own client over a unix socket and TCP."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from tests.deployer.server.conftest import RunningServer, Serve
from tests.shelf_files import model_dir

REFUND = "Where can I get a refund for my order?"
RETURN = "How do I return an item and get my money back?"


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> RunningServer:
    return serve_module(model_dir("en-minilm-l6-int8"))


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(server.uds)))
    with openai.OpenAI(base_url="http://server/v1", api_key="any", http_client=http, max_retries=0) as made:
        yield made


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").owned_by == "opc-market"
    with pytest.raises(openai.NotFoundError, match="other is not served here"):
        client.models.retrieve("other")


def test_embeddings_in_both_encodings_agree_with_predict(
    client: openai.OpenAI, server: RunningServer
) -> None:
    # The client asks for base64 unless told otherwise.
    packed = client.embeddings.create(model="demo", input=[REFUND, RETURN])
    plain = client.embeddings.create(model="demo", input=[REFUND, RETURN], encoding_format="float")
    vectors = np.array([item.embedding for item in packed.data])
    assert vectors.shape == (2, 384)
    assert np.allclose(vectors, [item.embedding for item in plain.data], atol=1e-7)
    assert [item.index for item in plain.data] == [0, 1]
    assert plain.usage.prompt_tokens == plain.usage.total_tokens == 27
    assert float(vectors[0] @ vectors[1]) == pytest.approx(0.636, abs=0.01)
    assert np.allclose(vectors, server.predict({"text": [REFUND, RETURN]})["embeddings"], atol=1e-7)


def test_base64_is_little_endian_float32(server: RunningServer) -> None:
    body = {"model": "demo", "input": REFUND, "encoding_format": "base64"}
    data = server.client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert len(base64.b64decode(data)) == 384 * 4


def test_over_tcp_with_its_key(serve: Serve) -> None:
    server = serve(model_dir("en-minilm-l6-int8"), tcp=True, key="mk_secret")
    with openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="mk_secret") as client:
        assert len(client.embeddings.create(model="demo", input=REFUND).data[0].embedding) == 384
    with (
        openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="mk_wrong") as client,
        pytest.raises(openai.AuthenticationError, match="answers only with its key"),
    ):
        client.embeddings.create(model="demo", input=REFUND)


def test_dimensions_of_its_own_only(client: openai.OpenAI) -> None:
    assert client.embeddings.create(model="demo", input=REFUND, dimensions=384)
    with pytest.raises(openai.BadRequestError, match="dimensions: 256 is not supported"):
        client.embeddings.create(model="demo", input=REFUND, dimensions=256)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "demo", "input": [1, 2]}, "input: is an array of tokens"),
        ({"model": "demo", "input": [[1, 2]]}, "input: is an array of tokens"),
        ({"model": "demo", "input": []}, "input: is neither a text nor a list of texts"),
        ({"model": "demo", "input": ""}, "input: is empty"),
        ({"model": "demo", "input": ["a", 1]}, "input[1]: is not a text"),
        ({"model": "demo", "input": "word " * 400}, "input: has 402 tokens; the model reads 256"),
        ({"model": "demo"}, "missing required field `input`"),
        (
            {"model": "demo", "input": "a", "encoding_format": "hex"},
            "encoding_format: invalid enum value 'hex'",
        ),
    ],
)
def test_refusals_in_openais_shape(server: RunningServer, body: dict[str, object], said: str) -> None:
    answer = server.client.post("/v1/embeddings", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"
    assert said.startswith(error["param"]) or error["param"] == "body"
    assert error["code"] == "bad-input"


def test_wrong_model_and_wrong_task(server: RunningServer, serve: Serve, tensors_dir: Path) -> None:
    answer = server.client.post("/v1/embeddings", json={"model": "gpt", "input": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown-model")
    other = serve(tensors_dir)
    answer = other.client.post("/v1/embeddings", json={"model": "demo", "input": "a"})
    assert answer.status_code == 400
    assert "has no embeddings; use /predict" in answer.json()["error"]["message"]
