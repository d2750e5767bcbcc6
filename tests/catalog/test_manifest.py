import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import manifest as manifests
from catalog.errors import InvalidManifest

GOOD: dict[str, Any] = {
    "schema": 1,
    "name": "opc-market/thing",
    "version": "1.0.0",
    "task": "text-classification",
    "files": {"model": "model.onnx"},
    "options": {"labels": ["好", "坏"]},
    "examples": [{"title_zh": "例", "title_en": "One", "request": {"text": "好"}, "expect": {"a": 1.5}}],
    "artifacts": [
        {"path": "model.onnx", "sha256": "a" * 64, "size": 3},
        {"path": "extra/words.txt", "sha256": "b" * 64, "size": 0},
    ],
}


def _with(path: str, value: Any) -> dict[str, Any]:
    changed: Any = copy.deepcopy(GOOD)
    place = changed
    *steps, last = path.split(".")
    for step in steps:
        place = place[int(step)] if step.isdigit() else place[step]
    place[int(last) if last.isdigit() else last] = value
    return changed  # type: ignore[no-any-return]


def test_order_of_files_and_keys_does_not_matter() -> None:
    turned = dict(reversed(GOOD.items()))
    turned["artifacts"] = list(reversed(GOOD["artifacts"]))
    assert manifests.digest(manifests.validate(GOOD)) == manifests.digest(manifests.validate(turned))


def test_canonical_form_is_stable() -> None:
    checked = manifests.validate(GOOD)
    assert manifests.validate(checked) == checked
    assert manifests.size(checked) == 3
    assert manifests.digest(checked).startswith("sha256:")
    assert "好".encode() in manifests.canonical(checked)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("schema", 2, "schema"),
        ("name", "thing", "name"),
        ("name", "../thing", "name"),
        ("name", "a/b/c", "name"),
        ("name", "Opc/Thing", "name"),
        ("version", "1.0", "version"),
        ("version", "01.0.0", "version"),
        ("task", "no-such-task", "task"),
        ("task", "ocr", "task"),
        ("files", {"model": "other.onnx"}, "manifest"),
        ("files", {"model": 3}, "files.model"),
        ("options", {"x": float("nan")}, "manifest"),
        ("artifacts", [], "artifacts"),
        ("artifacts.0.path", "/etc/passwd", "artifacts.0.path"),
        ("artifacts.0.path", "../x", "artifacts.0.path"),
        ("artifacts.0.path", "a/../x", "artifacts.0.path"),
        ("artifacts.0.path", "a//x", "artifacts.0.path"),
        ("artifacts.0.path", "", "artifacts.0.path"),
        ("artifacts.0.path", ".", "artifacts.0.path"),
        ("artifacts.0.path", "a\\x", "artifacts.0.path"),
        ("artifacts.0.path", "a\x00", "artifacts.0.path"),
        ("artifacts.0.path", "manifest.json", "artifacts.0.path"),
        ("artifacts.0.path", "extra", "manifest"),
        ("artifacts.0.path", "extra/words.txt", "manifest"),
        ("artifacts.0.sha256", "A" * 64, "artifacts.0.sha256"),
        ("artifacts.0.size", -1, "artifacts.0.size"),
        ("artifacts.0.size", "3", "artifacts.0.size"),
        ("examples.0.request", "text", "examples.0.request"),
        ("surprise", 1, "surprise"),
    ],
)
def test_refuses(path: str, value: Any, place: str) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        manifests.validate(_with(path, value))
    assert refusal.value.facts["path"] == place
    assert refusal.value.facts["why"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.floats(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_anything_else_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidManifest):
        manifests.validate({"schema": 1, "name": value} if not isinstance(value, dict) else value)
