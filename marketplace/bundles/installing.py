"""Bring what a checked bundle holds into a home; what is there stays, and twice is as good as once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from catalog import blobs, shelf, signing
from catalog import manifest as manifests
from catalog.errors import CatalogError
from catalog.listings import NewListing, ensure_vendor, publish_version
from deployer.spec import Progress, silent
from marketplace.bundles import carried
from marketplace.bundles.contents import Table, refuse
from marketplace.db import transaction


@dataclass(frozen=True)
class Installed:
    """One version that is now in the home."""

    name: str
    """vendor/name"""
    version: str
    digest: str
    manifest: dict[str, Any]


def install(
    engine: Engine,
    home: Path,
    table: Table,
    root: Path,
    *,
    key: Path,
    file: str,
    progress: Progress = silent,
) -> list[Installed]:
    """Install the unpacked bundle at `root`: versions, signed by the `key` (PEM), and the runtime image.

    Raises BundleRefused, SignatureInvalid, VersionTaken and StorageFull.
    """
    releases = [_read(path, file) for path in sorted(root.glob("releases/*"))]
    if table.image:
        carried.keep(home, root, table, file)
    done = []
    for number, (folder, told) in enumerate(releases, 1):
        progress(number - 1, len(releases), str(told["manifest"].get("name", "")))
        done.append(_install(engine, home, root, folder, told, key, file))
    progress(len(releases), len(releases))
    order = {name: place for place, name in enumerate(table.listings)}
    return sorted(done, key=lambda each: order.get(f"{each.name}@{each.version}", len(order)))


def _read(folder: Path, file: str) -> tuple[Path, dict[str, Any]]:
    try:
        told = json.loads((folder / "release.json").read_bytes())
        told["manifest"] = manifests.validate(told["manifest"])
        told["offer"] = NewListing(**told["offer"])
        texts = ("license_package", "license_weights", "source")
        if not all(isinstance(told[name], str) for name in texts):
            raise TypeError("its licences are no text")
        if set(told["vendor"]) != {"title_zh", "title_en"}:
            raise ValueError("its vendor is of no form that is known here")
        if manifests.digest(told["manifest"]) != f"sha256:{folder.name}":
            raise ValueError("its name is not its digest")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, CatalogError) as error:
        refuse(file, f"releases/{folder.name}: {error}", f"releases/{folder.name}：{error}")
    return folder, told


def _install(
    engine: Engine, home: Path, root: Path, folder: Path, told: dict[str, Any], key: Path, file: str
) -> Installed:
    manifest, digest = told["manifest"], f"sha256:{folder.name}"
    for artifact in manifest["artifacts"]:
        source = root / "blobs" / artifact["sha256"]
        if not source.is_file():
            refuse(file, f"{artifact['path']} is missing", f"缺少文件 {artifact['path']}")
        blobs.put(home, source, artifact["sha256"])
    laid_out = blobs.materialize(home, manifest, digest)
    if (folder / "signature.json").is_file():
        signing.verify_folder(laid_out, folder / "signature.json", key, subject=manifest["name"])
    if signing.signature_of(home, digest) is None:
        signing.sign(home, laid_out, digest)  # this home answers for it from now on
    name = manifest["name"]
    vendor = name.partition("/")[0]
    with transaction(engine) as db:
        row = ensure_vendor(db, vendor, **told["vendor"])
        publish_version(
            db,
            row,
            told["offer"],
            manifest,
            license_package=told["license_package"],
            license_weights=told["license_weights"],
            source=told["source"],
        )
        shelf.mark_ready(db, name)
    return Installed(name, manifest["version"], digest, manifest)
