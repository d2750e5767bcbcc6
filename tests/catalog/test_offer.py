import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import manifest as manifests
from catalog import plain_yaml, taxonomy
from catalog.drafting import draft
from catalog.entries import load_entries
from catalog.errors import InvalidManifest
from catalog.offer import EXAMPLE_LIMIT, json_schema, parse, read, to_files
from catalog.review import WORDS
from deployer import devices
from tests import shelf_files
from tests.catalog.folders import GRAPH, sheet_of, starter_folder, starter_offer, write

STARTERS = [entry.id for entry in load_entries()]


def refusal(folder: Path) -> dict[str, Any]:
    with pytest.raises(InvalidManifest) as refused:
        read(folder)
    assert refused.value.facts["why_zh"], refused.value.facts
    return refused.value.facts


def test_a_folder_becomes_a_strict_manifest(tmp_path: Path) -> None:
    files = {
        "model.onnx": GRAPH,
        "data/labels.txt": b"a\nb\n",
        ".git/config": b"x",
        "card.md": "# 卡".encode(),
    }
    sheet = sheet_of(card={"zh": "card.md"}, options={"top": 3, "none": None}, languages=["zh", "en"])
    offer = read(write(tmp_path, sheet, files))
    manifest = offer.manifest()
    assert manifests.validate(manifest) == manifest
    assert [a["path"] for a in manifest["artifacts"]] == ["data/labels.txt", "model.onnx"]
    assert manifest["artifacts"][1]["sha256"] == hashlib.sha256(GRAPH).hexdigest()
    assert manifest["options"] == {"top": 3, "none": None}
    words = offer.words()
    assert set(WORDS) <= set(words)
    assert (words["card_zh"], words["card_en"], words["price"]["plan"]) == ("# 卡", "", "free")
    assert offer.licenses == {"package": "MIT", "weights": "Apache-2.0", "base": ""}


def test_progress_is_told_over_all_files(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    folder = write(tmp_path, sheet_of(), {"model.onnx": b"x" * 10, "z.txt": b"y" * 5})
    read(folder, lambda done, total, note="": told.append((done, total, note)))
    assert told == [(0, 15, "model.onnx"), (10, 15, "z.txt"), (15, 15, "")]


def test_examples_take_their_files_along(tmp_path: Path) -> None:
    example = {
        "title": {"zh": "一张票", "en": "A receipt"},
        "request": {"image": {"$file": "examples/a.png"}},
        "expect": {"text": {"$contains": "总计"}},
    }
    folder = write(
        tmp_path, sheet_of(examples=[example]), {"model.onnx": GRAPH, "examples/a.png": b"\x89PNG.."}
    )
    offer = read(folder)
    (told,) = offer.manifest()["examples"]
    assert base64.b64decode(told["request"]["image"]["base64"]) == b"\x89PNG.."
    assert told["expect"] == {"text": {"$contains": "总计"}}
    assert [a["path"] for a in offer.artifacts] == ["model.onnx"]
    assert read(write(tmp_path / "again", *_again(offer))).manifest() == offer.manifest()


def _again(offer: Any) -> tuple[str, dict[str, bytes]]:
    files = to_files(offer)
    return files.pop("market.yaml").decode(), {**files, "model.onnx": GRAPH}


@pytest.mark.parametrize("listing_id", STARTERS)
def test_every_starter_listing_is_written_and_read_back_with_the_same_digest(
    tmp_path: Path, listing_id: str
) -> None:
    manifest = json.loads((shelf_files.model_dir(listing_id) / "manifest.json").read_bytes())
    offer = starter_offer(listing_id)
    folder = starter_folder(tmp_path, listing_id)
    again = read(folder)
    assert manifests.digest(again.manifest()) == manifests.digest(manifest)
    assert again.words() == offer.words()
    sheet, _ = plain_yaml.load((folder / "market.yaml").read_bytes())
    del sheet["artifacts"]  # then they are hashed
    (folder / "market.yaml").write_text(plain_yaml.dump(sheet))
    assert manifests.digest(read(folder).manifest()) == manifests.digest(manifest)
    travelled = parse(json.loads(json.dumps(again.to_json())))
    assert (travelled.manifest(), travelled.words()) == (again.manifest(), again.words())


EXAMPLE = {"title": {"zh": "例", "en": "One"}, "request": {"text": "x"}}


@pytest.mark.parametrize(
    ("change", "place", "why"),
    [
        ({"task": "ocr"}, "market.yaml:4 task", "write image-to-text instead of ocr"),
        ({"task": "text-classificatoin"}, "market.yaml:4 task", "known: text-classification"),
        ({"version": 1.0}, "market.yaml:3 version", "quotes"),
        ({"version": "1.0"}, "market.yaml:3 version", "three numbers"),
        ({"name": "Acme/Reader"}, "market.yaml:2 name", "small letters"),
        ({"licence": {}}, "market.yaml:16 licence", "license is meant?"),
        ({"claims": {"latency": 1}}, "market.yaml:17 claims.latency", "latency_ms is meant?"),
        (
            {"examples": [EXAMPLE | {"inputs": {}}]},
            "market.yaml:22 examples.0.inputs",
            "known here: title, request",
        ),
        ({"examples": [EXAMPLE | {"expects": {}}]}, "market.yaml:22 examples.0.expects", "expect is meant?"),
        ({"price": {"version": 1}}, "market.yaml:17 price.version", "known here: plan, fen, free_calls"),
        ({"verticals": ["finance"]}, "market.yaml:17 verticals.0", "finance_and_business"),
        ({"title": {"zh": "x"}}, "market.yaml:5 title.en", "is missing"),
        ({"title": {"zh": "x\ny", "en": "x"}}, "market.yaml:6 title.zh", "one line"),
        ({"title": {"zh": "a\u202eb", "en": "x"}}, "market.yaml:6 title.zh", "control characters"),
        ({"files": {"model": "../x"}}, "market.yaml:15 files.model", "relative path"),
        ({"files": {"model": "/etc/passwd"}}, "market.yaml:15 files.model", "relative path"),
        ({"files": {"model": "other.onnx"}}, "market.yaml:15 files.model", "not in the folder"),
        ({"files": {}}, "market.yaml:14 files", "at least 1"),
        ({"price": {"plan": "monthly"}}, "market.yaml:16 price", "free plan"),
        ({"price": {"plan": "gratis"}}, "market.yaml:17 price.plan", "expected"),
        ({"needs": {"memory": "lots"}}, "market.yaml:17 needs.memory", "300 MB"),
        (
            {"needs": {"devices": ["cpu", "buy_cheap_pills"]}},
            "market.yaml:19 needs.devices.1",
            "not a device",
        ),
        ({"needs": {"devices": ["cudaa"]}}, "market.yaml:18 needs.devices.0", "known: cuda"),
        ({"claims": {"latency_ms": 0}}, "market.yaml:17 claims.latency_ms", "more than 0"),
        ({"gated": "yes"}, "market.yaml:16 gated", "true or false"),
        ({"card": {"zh": "../../etc/passwd"}}, "market.yaml:17 card.zh", "relative path"),
        ({"card": {"zh": "no.md"}}, "market.yaml:17 card.zh", "not in the folder"),
        ({"schema": 2}, "market.yaml:1 schema", "expected 1"),
    ],
)
def test_a_wrong_place_is_named_with_its_line_and_what_to_write(
    tmp_path: Path, change: dict[str, Any], place: str, why: str
) -> None:
    facts = refusal(write(tmp_path, sheet_of() | change))
    assert facts["path"] == place
    assert why in facts["why"]


def test_sizes_may_be_written_as_people_do(tmp_path: Path) -> None:
    sheet = sheet_of(
        needs={"memory": "300 MB", "devices": ["cpu"]}, claims={"memory": "1.5 GiB", "latency_ms": 5}
    )
    offer = read(write(tmp_path, sheet))
    assert offer.words()["needs"]["memory"] == 300_000_000
    assert offer.claims == {"latency_ms": 5.0, "memory": 1_610_612_736}


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "a/../../secret", "", "\0"])
def test_examples_do_not_climb_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("x")
    example = {"title": {"zh": "x", "en": "x"}, "request": {"file": {"$file": path}}}
    sheet = json.dumps(sheet_of(examples=[example]))  # JSON is YAML, and may hold a NUL as an escape
    assert "examples.0" in refusal(write(tmp_path / "folder", sheet))["path"]


@pytest.mark.parametrize("inner", ["model.onnx", "sub/inner.txt"])
def test_links_are_refused_wherever_they_lie(tmp_path: Path, inner: str) -> None:
    (tmp_path / "secret").write_text("x")
    folder = write(tmp_path / "folder", sheet_of())
    (folder / inner).unlink(missing_ok=True)
    (folder / inner).parent.mkdir(exist_ok=True)
    (folder / inner).symlink_to(tmp_path / "secret")
    assert "link" in refusal(folder)["why"]


def test_linked_cards_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "card.md").write_text("secret")
    folder = write(tmp_path / "folder", sheet_of(card={"zh": "cards/card.md"}))
    (folder / "cards").symlink_to(tmp_path / "outside")
    assert "link" in refusal(folder)["why"]


def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    folder = write(tmp_path, sheet_of(card={"zh": "card.md"}))
    os.mkfifo(folder / "card.md")
    assert "is no file" in refusal(folder)["why"]


def test_an_example_that_is_too_large_is_refused(tmp_path: Path) -> None:
    example = {"title": {"zh": "x", "en": "x"}, "request": {"image": {"$file": "a.png"}}}
    files = {"model.onnx": GRAPH, "a.png": b"x" * (EXAMPLE_LIMIT + 1)}
    assert "larger than" in refusal(write(tmp_path, sheet_of(examples=[example]), files))["why"]


def test_artifacts_that_are_given_must_be_there(tmp_path: Path) -> None:
    artifact = {"path": "model.onnx", "sha256": "0" * 64, "size": len(GRAPH) + 1}
    assert "another size" in refusal(write(tmp_path, sheet_of(artifacts=[artifact])))["why"]


def test_more_files_than_a_version_may_have_are_refused(tmp_path: Path) -> None:
    files = {"model.onnx": GRAPH} | {f"many/{n}": b"" for n in range(1000)}
    assert "more than 1000 files" in refusal(write(tmp_path, sheet_of(), files))["why"]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"sheet": None},
        {"sheet": {}, "other": 1},
        {"sheet": sheet_of()},  # without artifacts
        {"sheet": sheet_of(), "cards": {"fr": "x"}},
        {"sheet": sheet_of(options={"x": float("nan")})},
        {"sheet": sheet_of(options={"x": 10**30})},
        {"sheet": sheet_of(options={"x": "\ud800"})},
        {"sheet": sheet_of(options={"\ud800": 1})},
        {"sheet": sheet_of(), "cards": {"zh": "x" * 300_000}},
    ],
)
def test_what_programs_send_is_held_against_the_same_bounds(data: Any) -> None:
    artifacts = [{"path": "model.onnx", "sha256": "0" * 64, "size": 1}]
    if isinstance(data, dict) and data.get("sheet") and data != {"sheet": sheet_of()}:
        data = {**data, "sheet": {**data["sheet"], "artifacts": artifacts}}
    with pytest.raises(InvalidManifest):
        parse(data)


def test_what_is_nested_too_deep_is_refused() -> None:
    value: Any = 1
    for _ in range(500):
        value = [value]
    with pytest.raises(InvalidManifest, match="nested too deep"):
        parse({"sheet": sheet_of(options={"x": value})})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(sheet_of(artifacts=[], examples=[], card={}, needs={}, claims={}))), JSON)
def test_no_value_in_any_place_breaks_the_reader(field: str, value: Any) -> None:
    sheet = sheet_of(artifacts=[{"path": "model.onnx", "sha256": "0" * 64, "size": 1}]) | {field: value}
    try:
        assert parse({"sheet": sheet}).manifest()
    except InvalidManifest as refused:
        assert refused.facts["path"] and refused.facts["why"]


def test_the_json_schema_takes_what_the_reader_takes(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    for listing_id in STARTERS[:4]:
        sheet, _ = plain_yaml.load(to_files(starter_offer(listing_id))["market.yaml"])
        validator.validate(sheet)
    for wrong in ({"task": "ocr"}, {"version": "1"}, {"unknown": 1}, {"files": {}}, {"title": {"zh": "x"}}):
        assert not validator.is_valid(sheet_of() | wrong)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_first_sheet_is_written_from_what_the_files_tell(tmp_path: Path, lang: str) -> None:
    folder = tmp_path / "My Model"
    folder.mkdir()
    for file in shelf_files.model_dir("zh-sentiment").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for name, text in draft(folder, "acme", lang).items():
        (folder / name).write_text(text)
    offer = read(folder)
    assert (offer.name, offer.sheet.task) == ("acme/my-model", "text-classification")
    assert offer.sheet.files["model"] == "model.onnx"
    assert len(offer.sheet.examples) == 3
    assert set(offer.cards) == {"zh", "en"}
    with pytest.raises(InvalidManifest, match="already"):
        draft(folder, "acme", lang)


def test_a_first_sheet_of_a_bare_graph_is_one_of_tensors(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "", {"encoder.onnx": GRAPH, "decoder.onnx": GRAPH})
    (folder / "market.yaml").unlink()
    sheet, _ = plain_yaml.load(draft(folder, "acme")["market.yaml"].encode())
    assert sheet["task"] == "tensors"
    assert sheet["files"] == {"encoder": "encoder.onnx", "decoder": "decoder.onnx"}


def test_a_folder_without_a_model_has_no_first_sheet(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InvalidManifest, match="none of its files is a model"):
        draft(tmp_path, "acme")


def test_the_devices_are_those_that_models_can_be_made_for() -> None:
    assert set(taxonomy.DEVICES) == {device.id for device in devices.DEVICES}
