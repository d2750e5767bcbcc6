"""What tests put on the shelf: vendors, listings and versions in a database, without a running shop."""

from typing import Any

from sqlmodel import Session

from catalog import listings
from catalog import manifest as manifests
from catalog.listings import NewListing
from catalog.models import Listing, Vendor, VendorMember, Version, VersionState
from marketplace.models import Account


def manifest(name: str = "acme/reader", number: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """The manifest of a small model; `more` replaces parts of it."""
    return manifests.validate(
        {
            "schema": 1,
            "name": name,
            "version": number,
            "task": "tensors",
            "files": {"model": "model.onnx"},
            "artifacts": [{"path": "model.onnx", "sha256": "0" * 64, "size": 5}],
            **more,
        }
    )


def listed(
    db: Session,
    name: str = "acme/reader",
    number: str = "1.0.0",
    *,
    state: str = VersionState.listed,
    **more: Any,
) -> tuple[Listing, Version]:
    """A version of vendor/name that is listed, or in another state."""
    vendor = listings.ensure_vendor(db, name.partition("/")[0], title_zh="甲", title_en="Acme")
    offer = NewListing("读", "Reader", "读字", "Reads", card_zh="# 读", card_en="# Read", languages=["zh"])
    version = listings.publish_version(
        db,
        vendor,
        offer,
        manifest(name, number, **more),
        license_package="MIT",
        license_weights="Apache-2.0",
        state=state,
    )
    return listings.get_listing(db, name), version


def account(db: Session, name: str, *roles: str) -> Account:
    """An account with these roles."""
    row = Account(name=name, roles=list(roles))
    db.add(row)
    db.flush()
    return row


def join(db: Session, listing: Listing, member: Account, role: str = "owner") -> None:
    """Let an account act for a listing's vendor."""
    vendor = db.get(Vendor, listing.vendor_id)
    assert vendor is not None
    db.add(VendorMember(vendor_id=vendor.id, account_id=member.id, role=role))
    db.flush()
