"""Where the names of classes are found, and in which order."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from deployer.server.errors import BadModel
from deployer.server.labels import labels_of, names_of
from deployer.server.model import Model
from tests.deployer.server.conftest import identity, write_model


def folder(path: Path, *, metadata: dict[str, str] | None = None, options: Any = None, **files: Any) -> Model:
    """A model folder with JSON files by role."""
    graph = identity()
    onnx.helper.set_model_props(graph, metadata or {})
    named = {role: f"{role}.json" for role in files}
    write_model(path, graph, options=options or {}, files={"model": "model.onnx", **named})
    for role, value in files.items():
        (path / named[role]).write_text(json.dumps(value), encoding="utf-8")
    return Model.open(path)


def found(model: Model) -> list[str]:
    return labels_of(model, model.graph())


def test_the_nearest_place_counts(tmp_path: Path) -> None:
    """Each place is left out in turn, from the first that is looked at."""
    metadata = {"labels": '["m"]', "character": "p\nq\n"}
    options = {"labels": ["o"], "id2label": {"0": "i"}}
    config = {"id2label": {"0": "c"}}
    made = folder(tmp_path / "1", metadata=metadata, options=options, labels=["f"], config=config)
    assert found(made) == ["f"]
    del made.manifest["files"]["labels"]
    assert found(made) == ["o"]
    del made.manifest["options"]["labels"]
    assert found(made) == ["i"]
    del made.manifest["options"]["id2label"]
    assert found(made) == ["c"]
    del made.manifest["files"]["config"]
    assert found(made) == ["m"]
    assert found(folder(tmp_path / "2", metadata={"character": "p\nq\n"})) == ["p", "q"]


def test_numbers_to_names(tmp_path: Path) -> None:
    made = folder(tmp_path / "1", options={"labels": {"10": "k", **{str(n): f"n{n}" for n in range(10)}}})
    assert found(made) == [*(f"n{n}" for n in range(10)), "k"]
    gap = folder(tmp_path / "2", options={"labels": {"1": "cat", "3": "dog"}})
    assert names_of(gap, gap.graph()) == {1: "cat", 3: "dog"}
    with pytest.raises(BadModel, match=r"\[1, 3\], not 0 to 1"):
        found(gap)


@pytest.mark.parametrize(
    "labels", ["cat", 5, {"cat": 0}, {"-1": "cat"}, {"²": "cat"}, {"9999999": "cat"}, {"": "x"}]
)
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, labels: Any) -> None:
    with pytest.raises(BadModel, match="labels"):
        found(folder(tmp_path / "m", options={"labels": labels}))


def test_a_model_without_labels_is_refused(tmp_path: Path) -> None:
    made = folder(tmp_path / "m", config={"architectures": ["X"]})
    assert names_of(made, made.graph()) == {}
    with pytest.raises(BadModel, match="no labels"):
        found(made)
