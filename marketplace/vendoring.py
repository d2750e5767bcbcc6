"""What people do with vendors: make one, describe it, prove its name, and say who acts for it."""

from sqlmodel import Session

from catalog import vendor_proof, vendors
from catalog.errors import CatalogError
from catalog.importers.reach import read_reach
from catalog.models import Vendor
from marketplace import audit, people, publishing
from marketplace.audit import Actor, AuditAction
from marketplace.models import Account
from marketplace.services import Services

WAYS = ("dns", "file")


class UnknownProof(CatalogError):
    """Names are proved by dns or file. Facts: way."""

    code = "unknown-proof"


def create(
    db: Session, actor: Actor, account: Account, wanted: vendors.NewVendor, *, vouch: bool = False
) -> Vendor:
    """A vendor with the account as its owner; `vouch` is for operators, who may vouch for their own. Commits.

    Raises VendorRefused and VendorTaken.
    """
    vendor = vendors.create_vendor(db, wanted, account.id)
    audit.record(db, actor, AuditAction.create_vendor, vendor.name)
    if vouch:
        vendors.mark_proved(db, vendor, "operator")
        audit.record(db, actor, AuditAction.vouch_vendor, vendor.name)
    db.commit()
    return vendor


def describe(
    db: Session, actor: Actor, account: Account, vendor: Vendor, title_zh: str, title_en: str
) -> None:
    """Change a vendor's titles; for its owners. Commits."""
    publishing.require_member(db, vendor, account, owner=True)
    vendors.describe(db, vendor, title_zh=title_zh, title_en=title_en)
    audit.record(db, actor, AuditAction.change_vendor, vendor.name)
    db.commit()


def prove(
    services: Services, db: Session, actor: Actor, account: Account, vendor: Vendor, way: str, domain: str
) -> None:
    """Look whether a domain speaks for a vendor, and note it; for its owners. Commits.

    Raises NotMember, ProofWithdrawn, UnknownProof, DomainRefused, ProofMissing, DnsUnreachable, FetchError.
    """
    publishing.require_member(db, vendor, account, owner=True)
    vendors.require_provable(vendor)
    if way not in WAYS:
        raise UnknownProof(way=way)
    name, token = vendor_proof.domain_of(domain), publishing.proof_token(services, vendor)
    settings = services.settings
    db.commit()  # others' servers may be slow: no transaction stays open meanwhile
    if way == "dns":
        vendor_proof.look_in_dns(vendor.name, name, token, settings.dns_servers)
    else:
        vendor_proof.look_in_file(vendor.name, name, token, read_reach(settings.import_private))
    db.refresh(vendor, with_for_update=True)
    vendors.require_provable(vendor)  # an operator may have taken it back meanwhile
    vendors.mark_proved(db, vendor, way, name)
    audit.record(db, actor, AuditAction.prove_vendor, vendor.name, way=way, domain=name)
    db.commit()


def vouch(db: Session, actor: Actor, vendor: Vendor) -> None:
    """An operator's word for a name. Commits."""
    vendors.mark_proved(db, vendor, "operator")
    audit.record(db, actor, AuditAction.vouch_vendor, vendor.name)
    db.commit()


def unprove(db: Session, actor: Actor, vendor: Vendor, why: str) -> None:
    """Take a proof back: nothing more is listed until an operator vouches or allows another. Commits."""
    vendors.mark_unproved(db, vendor)
    audit.record(db, actor, AuditAction.unprove_vendor, vendor.name, why=why)
    db.commit()


def allow_proof(db: Session, actor: Actor, vendor: Vendor) -> None:
    """Let a vendor prove its name again after a proof was taken back. Commits."""
    vendors.allow_proof(db, vendor)
    audit.record(db, actor, AuditAction.allow_proof, vendor.name)
    db.commit()


def set_member(db: Session, actor: Actor, account: Account, vendor: Vendor, name: str, role: str) -> None:
    """Let an account act for a vendor as owner or publisher; for its owners. Commits.

    Raises NotMember, UnknownAccount, VendorRefused and LastOwner.
    """
    publishing.require_member(db, vendor, account, owner=True)
    member = people.get_account(db, name)
    vendors.set_member(db, vendor, member.id, role)
    audit.record(db, actor, AuditAction.set_member, vendor.name, account=member.name, role=role)
    db.commit()


def remove_member(db: Session, actor: Actor, account: Account, vendor: Vendor, name: str) -> None:
    """Take an account out of a vendor: for its owners, and for whoever leaves. Commits.

    Raises NotMember, UnknownAccount, UnknownMember and LastOwner.
    """
    member = people.get_account(db, name)
    publishing.require_member(db, vendor, account, owner=member.id != account.id)
    vendors.remove_member(db, vendor, member.id, member.name)
    audit.record(db, actor, AuditAction.remove_member, vendor.name, account=member.name)
    db.commit()
