"""A plan comes from a hub that may be anybody's: its files stay below their folder."""

from pathlib import Path
from typing import Any

import pytest

from catalog.importers.errors import ImportNotInferred
from catalog.importers.front_matter import read_readme
from catalog.importers.plans import Plan, fetch
from catalog.importers.sources import shown
from catalog.importers.transfer import Remote


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing is asked for")


@pytest.mark.parametrize("path", ["/tmp/pwned", "../up", "a/../../up", "a//b", "a\\b", "", "a/./b"])
def test_a_file_that_lies_elsewhere_is_not_fetched(tmp_path: Path, path: str) -> None:
    remote = Remote(path, "http://127.0.0.1:9/x", source="it")
    with pytest.raises(ImportNotInferred):
        fetch(Plan("hf://a/b@c", "c", (remote,), _never), tmp_path / "work")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "text",
    [
        "# " + "#" * 250_000 + "x",
        "![" * 120_000,
        "[a](" * 60_000,
        "<" * 250_000,
        "---\n" + "[" * 200_000 + "\n---\n# T\n",
    ],
)
def test_a_readme_that_is_slow_to_look_through_is_cut(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_readme(tmp_path / "README.md").facts == {}


def test_a_title_loses_the_marks_behind_it(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A title ##\n\nSome words that say what it is for.\n")
    found = read_readme(tmp_path / "README.md")
    assert (found.title, found.summary) == ("A title", "Some words that say what it is for.")


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("https://host/m.onnx?X-Signature=secret", "https://host/m.onnx"),
        ("https://bob:secret@host/m.onnx", "https://host/m.onnx"),
        ("https://host/m.onnx?a=secret#sha256=ab", "https://host/m.onnx#sha256=ab"),
        ("https://host/m.onnx?a=1,b=secret", "https://host/m.onnx"),
        ("https://host/a,b.onnx?c=secret", "https://host/a,b.onnx"),
        ("hf://org/repo@main/model.onnx", "hf://org/repo@main/model.onnx"),
        ("npm://@scope/a@1.0/x", "npm://@scope/a@1.0/x"),
        ("npm://a@1.0/x,pypi://b==1/m?.onnx", "npm://a@1.0/x,pypi://b==1/m?.onnx"),
        ("pypi://a==1.0/x,pypi://b==1.0/y", "pypi://a==1.0/x,pypi://b==1.0/y"),
        ("oci://host/org/m@sha256:ab", "oci://host/org/m@sha256:ab"),
        ("model.onnx", "model.onnx"),
    ],
)
def test_a_source_is_shown_without_what_may_be_a_key(source: str, seen: str) -> None:
    assert shown(source) == seen
