"""What an import that failed is told: in the reader's language, with what can be done about it."""

import ast
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import catalog
from catalog.errors import ArchiveInvalid, CatalogError, SourceMissing, SourceUnreachable
from catalog.fetch_words import in_chinese
from catalog.importers.taking import take
from marketplace.problems import problem_of

SOURCES = Path(catalog.__file__).parent


def causes() -> Iterator[str]:
    """Every cause that the importers give without a Chinese one beside it; facts of theirs stand as x9."""
    for path in sorted((SOURCES / "importers").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "SourceUnreachable",
                "ArchiveInvalid",
            ):
                for keyword in node.keywords:
                    if keyword.arg == "why" and (text := plain(keyword.value)):
                        yield text


def plain(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "9" for v in node.values)  # type: ignore[misc]
    return ""


def test_causes_are_found() -> None:
    assert len(set(causes())) > 8


@pytest.mark.parametrize("why", sorted(set(causes())))
def test_every_cause_has_a_chinese_one(why: str) -> None:
    known = re.fullmatch(
        r"(HTTP|npm:) ?9|9: 9|9 9|", why
    )  # a status, a library's error, or a name and what is told of it below
    assert known or re.search(r"[\u4e00-\u9fff]", in_chinese(why))


@pytest.mark.parametrize("error", [SourceUnreachable, ArchiveInvalid])
def test_a_chinese_reader_is_told_in_chinese(error: type[CatalogError]) -> None:
    for why in ("its name was not found on the network", "../evil leads out of it"):
        told = problem_of(error(source="s", why=why), "zh").detail
        assert "network" not in told and "leads out" not in told
        assert why in problem_of(error(source="s", why=why), "en").detail


def packed(folder: Path, *names: str) -> Path:
    with zipfile.ZipFile(folder / "p.zip", "w") as out:
        for name in names:
            out.writestr(name, b"x")
    return folder / "p.zip"


def test_a_mistyped_inner_path_is_told_what_the_package_has(tmp_path: Path) -> None:
    archive = packed(
        tmp_path, "pkg/models/det.onnx", "pkg/models/rec.onnx", "pkg/__init__.py", "pkg/notes.txt"
    )
    with pytest.raises(SourceMissing) as caught:
        take(archive, "models/dett.onnx", tmp_path / "out")
    said = problem_of(caught.value, "en")
    assert "models/dett.onnx" in said.detail and "pkg/models/det.onnx" in said.detail
    assert "mirror" not in said.next
    assert caught.value.facts["near"][0] == "pkg/models/det.onnx"  # type: ignore[index]
    with pytest.raises(SourceMissing) as caught:
        take(archive, "nothing-like-it", tmp_path / "out")
    assert caught.value.facts["near"][:2] == ["pkg/models/det.onnx", "pkg/models/rec.onnx"]  # type: ignore[index]


def test_advice_fits_what_happened() -> None:
    missing = problem_of(SourceMissing(source="https://example.org/m.onnx", file="m.onnx"), "en").next
    hostile = problem_of(ArchiveInvalid(source="p.zip", why="../evil leads out of it"), "en").next
    away = problem_of(SourceUnreachable(source="hf://a/b", why="no answer in time"), "en").next
    assert len({missing, hostile, away}) == 3
    assert (
        "address" in missing and "mirror" not in hostile and not away.startswith("Check the network or set")
    )
