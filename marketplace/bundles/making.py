"""Gather what a bundle holds: versions out of the catalogue, the runtime image, the shop, the licences."""

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session

from catalog import blobs, signing
from catalog.listings import NewListing, get_version
from catalog.models import Listing, Vendor, Version
from deployer.packager.release import Workshop
from deployer.spec import Progress, silent
from marketplace.bundles import carried, shop
from marketplace.bundles.contents import Table, refuse
from marketplace.bundles.signature import seal
from marketplace.bundles.writing import Part, write
from marketplace.db import read_session
from marketplace.having import require_may_have


def make(
    engine: Engine,
    workshop: Workshop,
    references: Sequence[str],
    target: Path,
    *,
    with_shop: bool = True,
    with_image: bool = True,
    progress: Progress = silent,
) -> Table:
    """Write a bundle of vendor/name[@version] references; needs no running shop.

    Raises UnknownListing, UnknownVersion, VersionNotReady, VersionWithheld, BlobMissing, BlobCorrupted,
    PackagingFailed, BundleRefused and StorageFull; nothing is left behind then.
    """
    home = workshop.home
    names: list[str] = []
    parts: dict[str, Part] = {}
    with read_session(engine) as db:
        for reference in dict.fromkeys(references):
            name, release = _release(db, home, reference)
            if name not in names:
                names.append(name)
                parts |= release
    if not names:
        refuse(target.name, "no listing was named", "没有指定任何商品")
    image = ""
    if with_image:
        image, layers = carried.image(workshop, shop.architecture(), progress)
        parts |= layers
    if with_shop:
        parts |= shop.source() | shop.wheels(workshop.cache, progress)
    table = Table(
        product=importlib.metadata.version(shop.PROJECT),
        listings=names,
        machine=shop.machine() if with_shop or with_image else {},
        image=image,
    )
    return write(target, table, parts, lambda content: seal(home, content), progress)


def _release(db: Session, home: Path, reference: str) -> tuple[str, dict[str, Part]]:
    """A version's name, and its files and facts below blobs/ and releases/."""
    listing, version = get_version(db, reference)
    require_may_have(db, listing, version)
    vendor = db.get(Vendor, listing.vendor_id)
    assert vendor is not None
    folder = f"releases/{version.digest.removeprefix('sha256:')}"
    told = json.dumps(_facts(vendor, listing, version), ensure_ascii=False, sort_keys=True, indent=1)
    name = f"{listing.name}@{version.number}"
    terms = f"{name}\n\npackage: {version.license_package}\nweights: {version.license_weights}\n"
    parts = {
        f"{folder}/release.json": Part(told.encode()),
        f"licenses/{listing.name}.txt": Part(f"{terms}\n{listing.card_en}\n\n{listing.card_zh}\n".encode()),
    }
    if (found := signing.signature_of(home, version.digest)) is not None:
        parts[f"{folder}/signature.json"] = Part(found.path.read_bytes())
    for artifact in version.manifest["artifacts"]:
        sha256 = artifact["sha256"]
        blob = blobs.verify(home, sha256, artifact["path"])
        parts[f"blobs/{sha256}"] = Part(blob, sha256=sha256)
    return name, parts


def _facts(vendor: Vendor, listing: Listing, version: Version) -> dict[str, Any]:
    offer = NewListing(**{name: getattr(listing, name) for name in NewListing.__dataclass_fields__})
    return {
        "vendor": {"title_zh": vendor.title_zh, "title_en": vendor.title_en},
        "offer": asdict(offer),
        "manifest": version.manifest,
        "license_package": version.license_package,
        "license_weights": version.license_weights,
        "source": version.source,
    }
