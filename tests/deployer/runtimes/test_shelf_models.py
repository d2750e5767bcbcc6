"""Models of the starter shelf answer their examples from inside the sandbox and from inside a container."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployer.examples import check
from deployer.runtimes import Runtime, get_runtime
from deployer.spec import Limits, ReplicaSpec, silent
from tests.deployer.runtimes.models import ask, eventually
from tests.shelf_files import model_dir

pytestmark = pytest.mark.network

Start = Callable[[str], Runtime]


@pytest.fixture
def start(short_dir: Path) -> Iterator[Start]:
    made: list[Runtime] = []

    def of(name: str) -> Runtime:
        cache = Path(os.environ.get("MARKET_TEST_CACHE") or Path.home() / ".cache" / "opc-market-tests")
        home = cache / "runtime-home" if name == "docker" else short_dir
        made.append(get_runtime(name, home, short_dir / "run"))
        return made[-1]

    yield of
    for runtime in made:
        for replica in runtime.list():
            if replica.id.startswith("shelf-"):
                runtime.stop(replica.id)
        runtime.close()


@pytest.mark.parametrize("name", ["process", pytest.param("docker", marks=pytest.mark.engine)])
@pytest.mark.parametrize("listing", ["en-minilm-l6-int8", "ocr-ppocrv6-small", "zh-lac-ner", "vad-silero-6"])
def test_examples_are_answered_right(start: Start, short_dir: Path, name: str, listing: str) -> None:
    runtime = start(name)
    folder = model_dir(listing)
    prepared = short_dir / "prepared" / listing
    spec = ReplicaSpec(f"shelf-{listing}", listing, folder, Limits(threads=2, cpus=2), prepared=prepared)
    runtime.prepare(spec, silent)
    (report,) = prepared.glob("*/prepared.json")
    assert any("seconds" in done for done in json.loads(report.read_text())["graphs"].values())
    replica = runtime.start(spec)
    eventually(lambda: ask(replica.address, "GET", "/v2/health/ready")[0] == 200, seconds=60)
    for example in json.loads((folder / "manifest.json").read_text())["examples"]:
        status, answer = ask(replica.address, "POST", "/predict", example["request"], timeout=60)
        assert status == 200, answer
        assert check(answer, example["expect"]) == []
    assert "cannot be used" not in runtime.logs(replica.id)
    runtime.stop(replica.id)
