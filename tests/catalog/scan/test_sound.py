"""What is sound passes: the twin of each hostile sample, and every model of the starter shelf."""

import json
from pathlib import Path

import pytest

from catalog.entries import load_entries
from catalog.manifest import FILE_NAME
from catalog.scan.folder import scan
from tests import shelf_files
from tests.catalog.scan.samples import announced
from tests.catalog.scan.sound import SOUND
from tests.catalog.scan.test_hostile import scan_in_child


@pytest.mark.parametrize("name", SOUND)
def test_sound_twin_passes(name: str, tmp_path: Path) -> None:
    folder, work = tmp_path / "version", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    SOUND[name](folder, work / "canary")
    artifacts = announced(folder)
    rows, _ = scan_in_child(folder, artifacts, work)
    assert [row for row in rows if row.verdict != "pass"] == []
    assert {row.check for row in rows} == {"folder", "digests", "format", "secrets"}
    badges = [row for row in rows if row.check == "format"]
    assert {row.path for row in badges} == {artifact["path"] for artifact in artifacts}
    assert all(row.facts["form"] for row in badges)


@pytest.mark.parametrize("listing", [entry.id for entry in load_entries()])
def test_starter_model_passes(listing: str) -> None:
    folder = shelf_files.model_dir(listing)
    manifest = json.loads((folder / FILE_NAME).read_text())
    rows = scan(folder, manifest["artifacts"], linked=True)
    assert [row for row in rows if row.verdict != "pass"] == []


def test_gguf_of_a_language_model_passes() -> None:
    model = shelf_files.cache_dir() / "members" / "bcc81830d10c" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not model.exists():
        pytest.skip("the GGUF of the conversion tests was not fetched")
    folder = model.parent
    rows = scan(folder, announced(folder))
    assert [row.code for row in rows if row.verdict != "pass"] == []
    (badge,) = (row for row in rows if row.check == "format")
    assert badge.facts["architecture"] == "llama"


def test_card_with_plain_tags_is_noted_and_passes(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A\n\n<b>fast</b>\n")
    rows = scan(tmp_path, announced(tmp_path))
    assert [(row.verdict, row.code) for row in rows if row.code] == [("warn", "text-html-in-card")]


def test_table_with_a_formula_is_noted(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('a,b\n1,"=HYPERLINK(""http://x"")"\n')
    rows = scan(tmp_path, announced(tmp_path))
    assert [(row.verdict, row.code) for row in rows if row.code] == [("warn", "text-formula")]


def test_words_that_read_like_a_pickle_are_words(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    (tmp_path / "more.txt").write_text("cat\ndog\nRabbit\n.\n")
    assert [row.code for row in scan(tmp_path, announced(tmp_path)) if row.code] == []
