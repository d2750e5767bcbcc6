"""Whose imports use the keys that this machine has stored: an operator's, and nobody else's."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.importers.download import Patience
from catalog.importers.errors import SourceDenied
from catalog.importers.plans import Gate, planned
from catalog.importers.reach import read_reach
from catalog.importers.sources import read_sources
from deployer.errors import RegistryRefused
from marketplace import import_oci, import_work
from marketplace.problems import problem_of
from tests.catalog.importers.servers import Answer, Little, little
from tests.marketplace.inside import Inside

SECRET = "hf_secret"


def closed(path: str, headers: dict[str, str]) -> Answer:
    """Wants a key from everybody, and takes none."""
    return 401, {"WWW-Authenticate": 'Basic realm="models"'}, b"{}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Little]:
    with little(closed) as server:
        monkeypatch.setenv("HF_TOKEN", SECRET)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        auth = base64.b64encode(f"shop:{SECRET}".encode()).decode()
        told = {"auths": {f"127.0.0.1:{server.port}": {"auth": auth}}}
        (tmp_path / "config.json").write_text(json.dumps(told))
        yield server


def gate_to(hub: Little, *, keys: bool) -> Gate:
    return Gate(
        reach=read_reach("127.0.0.1"),
        keys=keys,
        hf_endpoint=hub.url,
        modelscope_endpoint=hub.url,
        modelscope_token=SECRET,
        patience=Patience(attempts=1),
    )


def look(source: str) -> Callable[[Gate], None]:
    def at(gate: Gate) -> None:
        with planned(read_sources(source), gate):
            raise AssertionError("it is closed")

    return at


def registry(gate: Gate) -> None:
    port = gate.hf_endpoint.rpartition(":")[2]
    import_oci.pinned_of(f"oci://127.0.0.1:{port}/acme/m:1", gate)


ASKED = {"hf": look("hf://org/m"), "modelscope": look("modelscope://org/m"), "oci": registry}


@pytest.mark.parametrize("kind", ASKED)
def test_nobody_else_shows_the_shops_keys(hub: Little, kind: str) -> None:
    with pytest.raises(SourceDenied) as denied:
        ASKED[kind](gate_to(hub, keys=False))
    assert hub.asked and not any("authorization" in headers for _, headers in hub.asked)
    for lang, said in (("en", "ask one of them"), ("zh", "联系运营者")):
        problem = problem_of(denied.value, lang)
        assert (problem.status, problem.code) == (403, "source-denied") and said in problem.next


@pytest.mark.parametrize("kind", ASKED)
def test_an_operator_does(hub: Little, kind: str) -> None:
    with pytest.raises((SourceDenied, RegistryRefused)):
        ASKED[kind](gate_to(hub, keys=True))
    assert any("authorization" in headers for _, headers in hub.asked)


@pytest.mark.parametrize(
    ("roles", "keys"), [(["vendor", "opc"], False), (["operator"], True), (["vendor", "operator"], True)]
)
def test_who_decides_reviews_imports_with_keys(inside: Inside, roles: list[str], keys: bool) -> None:
    assert import_work.gate_of(inside.services, inside.account("lin", *roles).id).keys is keys
