"""Vendors: who publishes under a name, who may act for them, and how a name is proved.

A name is proved by a record in the DNS of a domain, by a file on its web site, or by an operator who vouches
for it. Until then its vendor may have versions checked, and not listed. A domain says no more than who
governs it, so it is told wherever a name is said to be proved; where an operator took a proof back, only an
operator opens the way to another one.
"""

import re
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from catalog.errors import CatalogError
from catalog.models import Vendor, VendorMember, utcnow

_WORDS = """
about account accounts admin administrator agent agents api app apps assets audit auth bundle card cards
catalog catalogue chat com compare d dataset datasets default deploy deployments doc docs example examples
favicon file files finding healthz help hf home hub import imports internal jobs local localhost login
logout mail market marketplace mcp me metrics model models new none null oauth official opc opc-market
operator operators package packages passport passports publish readyz register registry resolve review
reviews robots root search security self settings shelf shop sign-in signin spaces static status store
support system test undefined unknown upload uploads user users v0 v1 v2 vendor vendors verified version
versions webhook webhooks well-known www
"""
RESERVED = frozenset(_WORDS.split())
NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9]){1,39}")
ROLES = ("owner", "publisher")
_LOOKALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "-": None, "_": None, ".": None})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class UnknownVendor(CatalogError):
    """No vendor has this name, or none that the asker may act for. Facts: vendor."""

    code = "unknown-vendor"


class VendorTaken(CatalogError):
    """A vendor of this name is there. Facts: vendor."""

    code = "vendor-taken"


class VendorRefused(CatalogError):
    """A vendor cannot be called or described so. Facts: vendor, why."""

    code = "vendor-refused"


class NotMember(CatalogError):
    """The account does not act for the vendor, or not as its owner. Facts: vendor, role (that is needed)."""

    code = "not-a-member"


class LastOwner(CatalogError):
    """A vendor must keep an owner. Facts: vendor."""

    code = "last-owner"


class UnknownMember(CatalogError):
    """The account does not belong to the vendor. Facts: vendor, account."""

    code = "unknown-member"


class VendorUnproved(CatalogError):
    """The vendor's name is not proved, so nothing of it is listed. Facts: vendor."""

    code = "vendor-unproved"


class ProofWithdrawn(CatalogError):
    """An operator took the proof of the name back, and has not allowed another one. Facts: vendor."""

    code = "proof-withdrawn"


@dataclass(frozen=True)
class NewVendor:
    """What people read about a vendor, under a name that is not changed."""

    name: str
    title_zh: str
    title_en: str


def create_vendor(db: Session, wanted: NewVendor, owner: UUID) -> Vendor:
    """A vendor with its first owner; the caller commits. Raises VendorRefused and VendorTaken."""
    name = wanted.name
    _require_name(db, name)
    _require_titles(name, wanted.title_zh, wanted.title_en)
    vendor = Vendor(name=name, title_zh=wanted.title_zh.strip(), title_en=wanted.title_en.strip())
    db.add(vendor)
    try:
        db.flush()
    except IntegrityError:  # made by somebody else in the same moment
        db.rollback()
        raise VendorTaken(vendor=name) from None
    db.add(VendorMember(vendor_id=vendor.id, account_id=owner, role="owner"))
    db.flush()
    return vendor


def _require_name(db: Session, name: str) -> None:
    if not NAME.fullmatch(name):
        raise VendorRefused(
            vendor=name,
            why="2 to 40 small letters and digits are expected, with single hyphens between",
            why_zh="应为 2 至 40 个小写字母与数字，中间可用单个连字符",
        )
    if name in RESERVED:
        raise VendorRefused(vendor=name, why="the name is reserved", why_zh="该名称为保留名")
    names = list(db.exec(select(Vendor.name)))
    if name in names:
        raise VendorTaken(vendor=name)
    looks = skeleton(name)
    for other in (*names, "opc-market"):
        if skeleton(other) == looks:
            raise VendorRefused(
                vendor=name, why=f"it looks like {other}", why_zh=f"与已有的 {other} 过于相似"
            )


def skeleton(name: str) -> str:
    """What a name looks like at a glance; two names with the same skeleton are taken for each other."""
    return name.translate(_LOOKALIKE).replace("rn", "m").replace("vv", "w").replace("cl", "d")


def _require_titles(name: str, *titles: str) -> None:
    for title in titles:
        if not 1 <= len(title.strip()) <= 60 or _CONTROL.search(title):
            raise VendorRefused(
                vendor=name,
                why="a title has 1 to 60 characters, on one line",
                why_zh="名称应为 1 至 60 个字符，写成一行",
            )


def describe(db: Session, vendor: Vendor, *, title_zh: str, title_en: str) -> None:
    """Change what people read; raises VendorRefused."""
    _require_titles(vendor.name, title_zh, title_en)
    vendor.title_zh, vendor.title_en = title_zh.strip(), title_en.strip()
    db.add(vendor)


def get_vendor(db: Session, name: str) -> Vendor:
    """The vendor of this name; raises UnknownVendor."""
    vendor = db.exec(select(Vendor).where(Vendor.name == name)).first()
    if vendor is None:
        raise UnknownVendor(vendor=name)
    return vendor


def list_vendors(db: Session) -> list[Vendor]:
    """All vendors by name."""
    return list(db.exec(select(Vendor).order_by(col(Vendor.name))))


# Members


def members_of(db: Session, vendor: Vendor) -> list[VendorMember]:
    """Who acts for a vendor, the first one first."""
    found = select(VendorMember).where(VendorMember.vendor_id == vendor.id)
    return list(db.exec(found.order_by(col(VendorMember.created), col(VendorMember.id))))


def vendors_of(db: Session, account_id: UUID) -> list[tuple[Vendor, str]]:
    """The vendors that an account acts for, each with its role there."""
    found = (
        select(Vendor, VendorMember.role)
        .join(VendorMember, col(VendorMember.vendor_id) == col(Vendor.id))
        .where(VendorMember.account_id == account_id)
    )
    return [(vendor, role) for vendor, role in db.exec(found.order_by(col(Vendor.name)))]


def membership(db: Session, vendor_id: UUID, account_id: UUID) -> VendorMember | None:
    """What an account is to a vendor."""
    found = select(VendorMember).where(
        VendorMember.vendor_id == vendor_id, VendorMember.account_id == account_id
    )
    return db.exec(found).first()


def require_member(db: Session, vendor: Vendor, account_id: UUID, *, owner: bool = False) -> None:
    """Refuse with NotMember who does not act for a vendor, or not as its owner."""
    member = membership(db, vendor.id, account_id)
    if member is None or (owner and member.role != "owner"):
        raise NotMember(vendor=vendor.name, role="owner" if owner else "publisher")


def set_member(db: Session, vendor: Vendor, account_id: UUID, role: str) -> None:
    """Let an account act for a vendor, or in another role; raises LastOwner."""
    if role not in ROLES:
        raise VendorRefused(
            vendor=vendor.name, why=f"no role is called {role}", why_zh=f"没有 {role} 这种角色"
        )
    member = membership(db, vendor.id, account_id)
    if member is None:
        member = VendorMember(vendor_id=vendor.id, account_id=account_id, role=role)
    elif member.role == "owner" and role != "owner":
        _require_other_owner(db, vendor, account_id)
    member.role = role
    db.add(member)
    db.flush()


def remove_member(db: Session, vendor: Vendor, account_id: UUID, name: str) -> None:
    """Take an account out of a vendor; raises UnknownMember and LastOwner."""
    member = membership(db, vendor.id, account_id)
    if member is None:
        raise UnknownMember(vendor=vendor.name, account=name)
    if member.role == "owner":
        _require_other_owner(db, vendor, account_id)
    db.delete(member)
    db.flush()


def _require_other_owner(db: Session, vendor: Vendor, account_id: UUID) -> None:
    if not any(m.role == "owner" and m.account_id != account_id for m in members_of(db, vendor)):
        raise LastOwner(vendor=vendor.name)


# Proof


def require_proved(vendor: Vendor) -> None:
    """Refuse with VendorUnproved what would list something of a name that nobody proved."""
    if not vendor.verified:
        raise VendorUnproved(vendor=vendor.name)


def require_provable(vendor: Vendor) -> None:
    """Refuse with ProofWithdrawn to let a vendor prove again what an operator took back."""
    if vendor.withdrawn:
        raise ProofWithdrawn(vendor=vendor.name)


def mark_proved(db: Session, vendor: Vendor, proof: str, domain: str = "") -> None:
    """Note how a name was proved: dns, file or operator."""
    vendor.verified, vendor.proof, vendor.domain, vendor.proved = True, proof, domain, utcnow()
    vendor.withdrawn = False
    db.add(vendor)


def mark_unproved(db: Session, vendor: Vendor) -> None:
    """Take a proof back; what is listed stays, and its owners may not prove the name by themselves."""
    vendor.verified, vendor.proof, vendor.domain, vendor.proved = False, "", "", None
    vendor.withdrawn = True
    db.add(vendor)


def allow_proof(db: Session, vendor: Vendor) -> None:
    """Let a vendor whose proof was taken back prove its name again."""
    vendor.withdrawn = False
    db.add(vendor)
