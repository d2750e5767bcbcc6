"""Requests made from the server's own description, right and wrong ones: every answer is as described."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks

from tests.deployer.server.conftest import RunningServer, Serve, identity, write_model
from tests.shelf_files import model_dir

LISTINGS = ("zh-sentiment", "en-minilm-l6-int8", "zh-lac-ner", "doc-orientation", "filetype-magika")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "2"))  # for each decoder; `make fuzz` takes a minute
EXAMPLES = 12  # of each operation and mode
# Not among them: that what the schema allows is taken and all else refused. JSON Schema cannot say what a
# picture is, and what a generator meant to be wrong may come out right on the wire.
CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=["tensors", *LISTINGS])
def server(
    request: pytest.FixtureRequest, serve_module: Serve, tmp_path_factory: pytest.TempPathFactory
) -> RunningServer:
    if request.param == "tensors":
        folder = write_model(tmp_path_factory.mktemp("fuzz") / "m", identity())
    else:
        folder = model_dir(request.param)
    return serve_module(folder, tcp=True)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_keeps_to_its_description(server: RunningServer, mode: GenerationMode) -> None:
    url = f"http://{server.address}"
    schema = schemathesis.openapi.from_dict(server.client.get("/openapi.json").json())
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        strategy = operation.as_strategy(generation_mode=mode)

        @FUZZ
        @given(case=strategy)
        def check(case: schemathesis.Case) -> None:
            response = case.call(base_url=url)
            case.validate_response(response, checks=CHECKS)

        if mode is GenerationMode.NEGATIVE and not list(operation.body):
            continue
        check()
        tried += 1
    assert tried >= (10 if mode is GenerationMode.POSITIVE else 2)
    assert not [line for line in server.lines() if line["level"] == "error"]
    assert server.client.get("/healthz").status_code == 200


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this platform")
@pytest.mark.parametrize("target", ["infer", "tensor", "form", "json", "sound", "picture"])
def test_decoders_answer_or_refuse_whatever_bytes_come(tmp_path: Path, target: str) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.deployer.server.fuzz_codecs",
        target,
        f"-max_total_time={SECONDS}",
        # The kernel counts what the parent had as a new process's own, so: what one allocation takes.
        "-rss_limit_mb=0",
        "-malloc_limit_mb=2048",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr
