"""Every finding has words for people, with the facts that it carries, and never a secret in them."""

import pickle
import re
from pathlib import Path

import pytest

from catalog.scan import Row, child, secrets
from catalog.scan.folder import scan
from marketplace import check_words, problems
from tests.catalog.scan import samples

SCAN = Path(child.__file__).parent
_CODE = re.compile(r'"((?:file|link|archive|array|sound|picture|text|onnx|safetensors|gguf)-[a-z0-9-]+)"')


def test_every_code_of_the_scan_has_words() -> None:
    codes = {code for path in SCAN.glob("*.py") for code in _CODE.findall(path.read_text("utf-8"))}
    codes |= {f"secret-{kind}" for kind in secrets.KINDS} | {"text-too-many-parts", "onnx-too-many-parts"}
    assert codes == set(check_words.WORDS)


@pytest.mark.parametrize(
    "sample", [s for s in samples.HOSTILE if s.code != "file-too-many"], ids=lambda s: s.name
)
def test_finding_reads_well_in_both_languages(sample: samples.Sample, tmp_path: Path) -> None:
    folder = tmp_path / "version"
    folder.mkdir()
    artifacts = sample.build(folder, tmp_path / "canary") or samples.announced(folder)
    row = next(r for r in scan(folder, artifacts) if r.code == sample.code)
    for lang in ("zh", "en"):
        told = problems.problem(row.code, lang, **row.facts)
        shown = f"{told.title} {told.detail} {told.next}"
        assert "{" not in told.title + told.next
        assert "–" not in told.detail.replace("：–", "").replace(": –", ""), shown
        assert bool(re.search(r"[\u4e00-\u9fff]", told.title)) == (lang == "zh")
        assert len(told.detail) < 600


@pytest.mark.parametrize("name", ["model.onnx", "model.pkl"])
def test_a_pickle_by_its_content_is_told_so_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"weights": [1.5]}))
    row = next(r for r in scan(tmp_path, samples.announced(tmp_path)) if r.code == "file-pickle")
    told = problems.problem(row.code, "en", **row.facts).detail
    expected = "(pickle ≠ .onnx)" if name.endswith("onnx") else "(.pkl)"
    assert told == f"{name} is loaded by pickle, whatever its name says {expected}."


def test_a_row_survives_the_way_out_of_the_child(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    rows = child.scan(str(tmp_path), samples.announced(tmp_path))
    assert [Row.from_json(row).to_json() for row in rows] == rows


def test_no_secret_stands_in_a_finding(tmp_path: Path) -> None:
    for number, sample in enumerate(samples.SECRETS):
        folder = tmp_path / str(number)
        folder.mkdir()
        sample.build(folder, tmp_path / "canary")
        secret = (folder / "notes.txt").read_text().splitlines()[1]
        (row,) = (r for r in scan(folder, samples.announced(folder)) if r.check == "secrets")
        assert row.code == sample.code
        assert row.facts["line"] == 2
        assert secret[8:] not in str(row)


def test_secrets_are_found_across_the_seams_of_what_is_read(tmp_path: Path) -> None:
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    text = ("x" * 99 + "\n") * 10_485  # to 76 bytes before the first mebibyte
    (tmp_path / "a.txt").write_text(text + "y" * 70 + " " + key + "\n" + text)
    (row,) = (r for r in scan(tmp_path, samples.announced(tmp_path)) if r.check == "secrets")
    assert (row.code, row.facts["line"]) == ("secret-aws", 10_486)
