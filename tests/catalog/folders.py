"""Folders that a vendor would publish, for tests."""

import json
from pathlib import Path
from typing import Any

from catalog import plain_yaml
from catalog.entries import load_entry
from catalog.models import Listing, Version
from catalog.offer import Offer, of_version, to_files
from tests import shelf_files

GRAPH = b"\x08\x0a graph"


def sheet_of(name: str = "acme/reader", version: str = "1.0.0", **fields: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": name,
        "version": version,
        "task": "tensors",
        "title": {"zh": "阅读器", "en": "Reader"},
        "summary": {"zh": "读图片里的文字", "en": "Reads text in pictures"},
        "license": {"package": "MIT", "weights": "Apache-2.0"},
        "files": {"model": "model.onnx"},
        **fields,
    }


def write(folder: Path, sheet: dict[str, Any] | str, files: dict[str, bytes] | None = None) -> Path:
    """A folder with a market.yaml and, unless told otherwise, a file that plays the model."""
    folder.mkdir(parents=True, exist_ok=True)
    text = sheet if isinstance(sheet, str) else plain_yaml.dump(sheet)
    (folder / "market.yaml").write_text(text)
    for path, content in ({"model.onnx": GRAPH} if files is None else files).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def starter_offer(listing_id: str, name: str = "", version: str = "") -> Offer:
    """A starter listing as an offer, under another name if need be."""
    entry = load_entry(listing_id)
    manifest = json.loads((shelf_files.model_dir(listing_id) / "manifest.json").read_bytes())
    words = {w: getattr(entry.offer, w) for w in ("kind", "title_zh", "title_en", "summary_zh", "summary_en")}
    cards = {"card_zh": entry.offer.card_zh, "card_en": entry.offer.card_en}
    lists = {"verticals": entry.offer.verticals, "languages": entry.offer.languages}
    listing = Listing(name=entry.name, task=manifest["task"], **words, **cards, **lists)  # type: ignore[arg-type]
    manifest = {**manifest, "name": name or manifest["name"], "version": version or manifest["version"]}
    row = Version(
        number=manifest["version"],
        manifest=manifest,
        digest="",
        size=0,
        license_package=entry.license_package,
        license_weights=entry.license_weights,
        source=entry.source,
    )
    return of_version(listing, row)


def starter_folder(folder: Path, listing_id: str, name: str = "", version: str = "") -> Path:
    """A starter listing's real files with a market.yaml, cards and examples beside them."""
    source = shelf_files.model_dir(listing_id)
    offer = starter_offer(listing_id, name, version)
    files = {a["path"]: (source / a["path"]).read_bytes() for a in offer.artifacts}
    files |= to_files(offer)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
