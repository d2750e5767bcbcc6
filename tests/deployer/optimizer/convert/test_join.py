"""Parts to one file: the order of their names, and parts that do not belong together."""

import hashlib
from pathlib import Path

import pytest

from deployer.errors import ConversionFailed
from deployer.optimizer.convert import BUILDERS, join
from deployer.spec import silent

PARTS = {"part-2": b"b" * 3_000_000, "part-1": b"a" * 10, "part-3": b""}
WHOLE = b"a" * 10 + b"b" * 3_000_000
OPTIONS = {"path": "deep/model.bin", "sha256": hashlib.sha256(WHOLE).hexdigest()}


def inputs(folder: Path) -> dict[str, Path]:
    for name, content in PARTS.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in PARTS}


def test_parts_are_joined_by_the_order_of_their_names(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    BUILDERS["join"](
        inputs(tmp_path), tmp_path / "out", OPTIONS, lambda done, total, note="": told.append((done, total))
    )
    assert (tmp_path / "out" / "deep" / "model.bin").read_bytes() == WHOLE
    assert told == sorted(told) and told[-1] == (len(WHOLE), len(WHOLE))
    assert [path.name for path in (tmp_path / "out" / "deep").iterdir()] == ["model.bin"]


def test_other_parts_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    parts = inputs(tmp_path)
    parts["part-3"].write_bytes(b"x")
    with pytest.raises(ConversionFailed, match="sha256") as refused:
        join.build(parts, tmp_path / "out", OPTIONS, silent)
    assert refused.value.facts["why_zh"]
    assert list((tmp_path / "out").rglob("*.bin*")) == []


@pytest.mark.parametrize("options", [{}, {"path": "x"}, {**OPTIONS, "more": 1}])
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConversionFailed, match="sha256"):
        join.convert(inputs(tmp_path), tmp_path / "out", options, silent)
