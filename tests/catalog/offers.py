"""Listings for tests, made through the public functions."""

import hashlib
from typing import Any

from sqlmodel import Session

from catalog.listings import NewListing, ensure_vendor, publish_version
from catalog.models import Version


def manifest_of(
    name: str, version: str = "1.0.0", task: str = "tensors", content: str = ""
) -> dict[str, Any]:
    digest = hashlib.sha256((content or name).encode()).hexdigest()
    return {
        "schema": 1,
        "name": name,
        "version": version,
        "task": task,
        "files": {"model": "model.onnx"},
        "artifacts": [{"path": "model.onnx", "sha256": digest, "size": 100}],
    }


def publish(
    db: Session,
    name: str,
    version: str = "1.0.0",
    *,
    task: str = "tensors",
    content: str = "",
    state: str = "listed",
    license_weights: str = "Apache-2.0",
    commit: bool = True,
    **words: Any,
) -> Version:
    vendor = ensure_vendor(db, name.partition("/")[0], title_zh="某商家", title_en="A vendor")
    texts = {"title_zh": "标题", "title_en": "Title", "summary_zh": "简介", "summary_en": "Summary", **words}
    made = publish_version(
        db,
        vendor,
        NewListing(**texts),
        manifest_of(name, version, task, content),
        license_package="MIT",
        license_weights=license_weights,
        state=state,
    )
    if commit:
        db.commit()
    return made
