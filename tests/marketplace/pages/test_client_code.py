"""Code to copy on a deployment's page brings the request that it sends."""

import html
import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from marketplace.pages import words
from marketplace.pages.rendering import environment


@pytest.mark.parametrize("body", [{"rows": [{"年龄": 41, "note": "it's"}]}, {}])
def test_code_to_copy_brings_the_request_that_it_sends(body: dict[str, object]) -> None:
    source = """{% import "client_code.html" as code with context %}
        {{- code.curl("k") }}|{{ code.javascript("k") }}"""
    item = SimpleNamespace(endpoint="http://shop/d/x", task="tensors", deployment="x")
    context = {"item": item, "field": "body", "body": body, "sample": "", "lang": "en", "words": words}
    text = str(environment().from_string(source).render(**context, _=lambda told, **_: told))
    curl, script = html.unescape(text).split("|")
    if not body:
        assert curl.startswith("curl") and "request.json" in curl
        return
    with TemporaryDirectory() as folder:
        first = curl.partition("\ncurl ")[0]
        subprocess.run(["bash", "-ec", first], cwd=folder, check=True)
        assert json.loads((Path(folder) / "request.json").read_text("utf-8")) == body
    assert f"const request = {json.dumps(body, ensure_ascii=False)};" in script
