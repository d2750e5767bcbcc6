"""What pages say of packages: what to do with a file, and which row is whose."""

import shlex
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from deployer.packages import STEPS
from deployer.terminals import ACCELERATORS, TERMINALS
from marketplace import container_commands
from marketplace.api.package_schemas import PackageOut
from marketplace.i18n import LANGUAGES
from marketplace.pages import packaging, words

MADE = PackageOut(
    id="1",
    name="opc-market/x",
    version="1.0.0",
    variant=None,
    task="tensors",
    terminal="image",
    device="cpu",
    platforms=["linux/amd64"],
    grade="measured",
    state="ready",
    cancel=False,
    steps=[],
    seconds=1.0,
    file="x-1.0.0-image-amd64.tar",
    media_type="application/x-tar",
    size=1,
    digest="sha256:0",
    url="",
    facts={"reference": "opc-market/x:1.0.0-amd64"},
    error=None,
    created=datetime(2026, 1, 1, tzinfo=UTC),
    updated=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_every_row_has_a_place_of_its_own() -> None:
    rows = [packaging.row_id(each.id, device) for each in TERMINALS for device in each.devices]
    assert len(set(rows)) == len(rows) == len(TERMINALS) + len(ACCELERATORS)


def test_every_step_has_words() -> None:
    assert set(STEPS) <= set(words.STEPS)
    assert {"linux/amd64", "linux/arm64"} == set(words.PLATFORMS)
    assert set(words.GRADE_MEANINGS) == set(words.GRADES)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("terminal", [each.id for each in TERMINALS])
def test_a_ready_package_is_checked_first_and_then_used(terminal: str, lang: str) -> None:
    file = f"x-1.0.0-{terminal}.{next(each.form for each in TERMINALS if each.id == terminal)}"
    told = packaging.commands(replace(MADE, terminal=terminal, file=file), lang)
    assert told[0].text == f"market verify {file}"
    assert len(told) > 1
    assert all(each.title and shlex.split(each.text) for each in told)
    if lang == "zh":
        assert all(any("\u4e00" <= c <= "\u9fff" for c in each.title) for each in told)


def test_an_image_is_run_with_a_key() -> None:
    *_, run, call = packaging.commands(MADE, "en")
    assert 'MARKET_SERVER_KEY="$KEY"' in run.text and 'echo "$KEY"' in run.text
    assert f"127.0.0.1:{container_commands.PORT}/" in call.text
    assert run.text.endswith(" opc-market/x:1.0.0-amd64")
    assert "--gpus" not in run.text


def test_an_image_for_a_device_is_given_the_device() -> None:
    *_, run, _ = packaging.commands(replace(MADE, device="cuda"), "en")
    assert "--gpus all" in run.text


@pytest.mark.parametrize("state", ["pending", "building", "failed", "cancelled"])
def test_what_is_not_ready_has_nothing_to_do(state: str) -> None:
    assert packaging.commands(replace(MADE, state=state), "en") == []
