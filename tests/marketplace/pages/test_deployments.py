"""What the try-it box and its API refuse by name, before a server is asked."""

from types import SimpleNamespace
from typing import Any

import pytest
from litestar import post
from litestar.datastructures import State
from litestar.params import JSONBody
from litestar.testing import create_test_client

from deployer import health
from marketplace.api.deployments import on_nesting
from marketplace.errors import InvalidRequest
from marketplace.pages import deployments as page


@pytest.mark.parametrize("body", ["", "[1]", "{", '{"a": ' + "9" * 5000 + "}"])
def test_a_body_that_is_no_object_is_refused_by_name(body: str) -> None:
    with pytest.raises(InvalidRequest):
        page._body("tensor-inference", {"body": body}, "en")


def _nested(depth: int) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for _ in range(depth):
        body = {"a": body}
    return body


@pytest.mark.parametrize(
    "body", [{"a": float("nan")}, {"a": "\ud800"}, _nested(10_000)], ids=["nan", "surrogate", "deep"]
)
def test_a_body_that_json_cannot_carry_is_refused_before_it_is_sent(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        health.predict("none", "unix:/nowhere", body)


def test_a_body_nested_too_deep_is_a_named_refusal() -> None:
    @post("/", sync_to_thread=False)
    def take(data: JSONBody[dict[str, Any]]) -> None:
        """Never reached."""

    services = SimpleNamespace(settings=SimpleNamespace(lang="zh"))
    handlers: Any = {RecursionError: on_nesting}
    with create_test_client(
        [take], exception_handlers=handlers, state=State({"services": services})
    ) as client:
        content = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        answer = client.post("/", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid-request"
    assert answer.json()["detail"] == "嵌套得太深。"
