"""OpenAI's moderations, driven by OpenAI's own client, for a picture classifier and a text classifier."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from deployer.server.errors import BadModel
from deployer.server.moderation import Moderation
from tests.deployer.server.conftest import RunningServer, Serve
from tests.shelf_files import model_dir

LANDSCAPE = Path(__file__).parents[3] / "catalog/starter/nsfw-open/examples/landscape.jpg"


@contextmanager
def client_of(server: RunningServer) -> Iterator[openai.OpenAI]:
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(server.uds)))
    with openai.OpenAI(base_url="http://server/v1", api_key="any", http_client=http, max_retries=0) as made:
        yield made


def picture(url: str = "") -> list[Any]:
    url = url or "data:image/jpeg;base64," + base64.b64encode(LANDSCAPE.read_bytes()).decode()
    return [{"type": "image_url", "image_url": {"url": url}}]


@pytest.fixture(scope="module")
def pictures(serve_module: Serve) -> RunningServer:
    return serve_module(model_dir("nsfw-open"))


@pytest.fixture(scope="module")
def texts(serve_module: Serve, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    folder = tmp_path_factory.mktemp("texts") / "m"
    shutil.copytree(model_dir("zh-sentiment"), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["options"]["moderation"] = {"categories": {"negative": "harassment"}, "threshold": 0.7}
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return serve_module(folder)


def test_a_harmless_picture_is_not_flagged(pictures: RunningServer) -> None:
    with client_of(pictures) as client:
        answer = client.moderations.create(model="demo", input=picture())
    (result,) = answer.results
    assert answer.model == "demo"
    assert result.flagged is False
    assert result.categories.sexual is False
    shown = pictures.predict({"image": {"base64": base64.b64encode(LANDSCAPE.read_bytes()).decode()}})
    scores = {one["label"]: one["score"] for one in shown["results"]}
    assert result.category_scores.sexual == pytest.approx(scores["nsfw"], abs=1e-6)
    assert result.category_applied_input_types.sexual == ["image"]


def test_texts_are_judged_one_by_one(texts: RunningServer) -> None:
    with client_of(texts) as client:
        answer = client.moderations.create(
            model="demo", input=["房间很干净，老板很热情", "太差了，骗人的，千万别买"]
        )
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].category_scores.harassment > 0.7


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a text", "is no image"),
        ([], "has 0 items"),
        (["a"] * 33, "has 33 items"),
        (picture("http://127.0.0.1/a.png"), "nothing is fetched"),
        (picture("data:image/png;base64,AAAA"), "is not a picture"),
        ([{"type": "text", "text": "hello"}], "is no image"),
        ([{"type": "video"}], "is no image"),
        ([3], "is no image"),
    ],
)
def test_what_cannot_be_judged_is_refused(pictures: RunningServer, given: Any, said: str) -> None:
    with client_of(pictures) as client, pytest.raises(openai.BadRequestError, match=said):
        client.moderations.create(model="demo", input=given)


def test_models_without_the_option_have_no_such_route(serve: Serve) -> None:
    server = serve(model_dir("zh-sentiment"))
    assert "/v1/moderations" not in server.client.get("/openapi.json").json()["paths"]
    with client_of(server) as client, pytest.raises(openai.BadRequestError, match="has no moderation"):
        client.moderations.create(model="demo", input="x")


def test_it_stands_in_the_description(pictures: RunningServer) -> None:
    assert "/v1/moderations" in pictures.client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "given",
    [3, {}, {"categories": []}, {"categories": {"a": 1}}, {"categories": {"a": "b"}, "threshold": 2}],
)
def test_options_that_make_no_sense_are_refused_at_load(given: Any) -> None:
    with pytest.raises(BadModel, match="moderation"):
        Moderation.of({"moderation": given})
