"""Flow 1 of the design: search, look, deploy, watch, call, see the usage; on every runtime."""

import json

import httpx
import pytest
from openai import AuthenticationError, OpenAI

from deployer.examples import check
from tests.shop import Shop, wait_until

RUNTIMES = ["process", pytest.param("docker", marks=pytest.mark.engine)]


@pytest.mark.network
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_search_show_deploy_call_stop(shop: Shop, runtime: str) -> None:
    name = f"sentiment-{runtime}"
    found = json.loads(shop.market("search", "情感", "--json").stdout)
    assert "opc-market/zh-sentiment" in [item["name"] for item in found["items"]]
    listing = json.loads(shop.market("show", "opc-market/zh-sentiment", "--json").stdout)
    assert listing["license_weights"] and listing["license_package"]

    made = shop.deploy("opc-market/zh-sentiment", "--name", name, "--runtime", runtime)
    assert made["deployment"] == name
    assert made["state"] == "live"
    assert made["runtime"] == runtime
    assert made["endpoint"] == f"{shop.url}/d/{name}"
    assert made["key"].startswith("mk_")

    for example in listing["manifest"]["examples"]:
        answer = httpx.post(
            f"{made['endpoint']}/predict",
            json=example["request"],
            headers={"Authorization": f"Bearer {made['key']}"},
            timeout=30,
        )
        assert check(answer.raise_for_status().json(), example["expect"]) == []

    called = shop.market("call", name, "--text", "房间很干净，老板很热情，下次还来。", "--json")
    assert json.loads(called.stdout)["results"][0]["label"] == "positive", called.stderr

    with shop.api as api:
        wait_until(
            lambda: (
                api.get(f"/api/deployments/{name}").json()["usage"]["requests"]
                >= len(listing["manifest"]["examples"])
            ),
            within=10,
            what="the calls are counted",
        )
        board = api.get("/api/deployments").json()
    assert name in [item["deployment"] for item in board["items"]]
    assert shop.market("logs", name).returncode == 0

    stopped = shop.market("stop", name, "-y", "--json")
    assert stopped.returncode == 0, stopped.stderr
    gone = httpx.post(
        f"{made['endpoint']}/predict", json={"text": "x"}, headers={"Authorization": f"Bearer {made['key']}"}
    )
    assert gone.status_code in (404, 503)


@pytest.mark.network
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_openai_client_gets_embeddings(shop: Shop, runtime: str) -> None:
    name = f"minilm-{runtime}"
    made = shop.deploy("opc-market/en-minilm-l6-int8", "--name", name, "--runtime", runtime)
    client = OpenAI(base_url=f"{shop.url}/v1", api_key=made["key"])
    answer = client.embeddings.create(model=name, input=["Where is my parcel?", "The parcel has not come."])
    assert len(answer.data) == 2
    assert len(answer.data[0].embedding) == 384
    assert answer.usage.prompt_tokens > 0
    assert name in [model.id for model in client.models.list()]
    with pytest.raises(AuthenticationError):
        OpenAI(base_url=f"{shop.url}/v1", api_key="mk_wrong").embeddings.create(model=name, input="x")
    shop.market("stop", name, "-y")


CORE = (
    "ocr-ppocrv6-small",
    "zh-lac-ner",
    "en-minilm-l6-int8",
    "en-minilm-l6-fp32",
    "vad-silero-6",
    "filetype-magika",
    "doc-orientation",
    "doc-layout-cdla",
    "nsfw-open",
    "zh-sentiment",
    "selfie-segmentation",
    "img-efficientnet-lite0",
)


@pytest.mark.network
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("entry", CORE)
def test_every_core_listing_answers_its_examples(shop: Shop, entry: str, runtime: str) -> None:
    name = f"{entry}-{runtime[0]}"
    with shop.api as api:
        examples = (
            api.get(f"/api/listings/opc-market/{entry}").raise_for_status().json()["manifest"]["examples"]
        )
    assert len(examples) >= 2
    made = shop.deploy(f"opc-market/{entry}", "--name", name, "--runtime", runtime)
    with httpx.Client(headers={"Authorization": f"Bearer {made['key']}"}, timeout=60) as http:
        for example in examples:
            answer = http.post(f"{made['endpoint']}/predict", json=example["request"])
            assert answer.status_code == 200, answer.text
            assert check(answer.json(), example["expect"]) == [], example["title_en"]
    removed = shop.market("stop", name, "-y")
    assert removed.returncode == 0, removed.stderr


def test_compare_sets_listings_side_by_side(shop: Shop) -> None:
    names = ["en-minilm-l6-int8", "opc-market/en-minilm-l6-fp32"]
    told = shop.market("compare", *names, LANG="en_US.UTF-8")
    assert told.returncode == 0, told.stderr
    assert "opc-market/en-minilm-l6-int8" in told.stdout and "feature-extraction" in told.stdout
    listed = json.loads(shop.market("compare", *names, "--json").stdout)["items"]
    assert [item["name"] for item in listed] == [f"opc-market/{name.rpartition('/')[2]}" for name in names]
    refused = shop.market(
        "compare", *(["doc-orientation", "zh-sentiment", "vad-silero-6", "ocr-ppocrv6-small", *names])
    )
    assert refused.returncode == 1
