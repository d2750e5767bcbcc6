"""/api/vendors: who publishes, who acts for them, and how their names are proved."""

from dataclasses import dataclass

from litestar import delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlmodel import Session

from catalog import vendors
from marketplace import vendoring
from marketplace.api.publication_schemas import VendorPage, VendorProfile, vendor_out
from marketplace.auth import Viewer
from marketplace.errors import NotAllowed
from marketplace.permissions import Permission, role_for
from marketplace.services import Services


@dataclass(frozen=True)
class VendorRequest:
    """A new vendor; an operator may vouch for it at once."""

    name: str
    title_zh: str
    title_en: str
    vouch: bool = False


@dataclass(frozen=True)
class TitlesRequest:
    """What people read about a vendor."""

    title_zh: str
    title_en: str


@dataclass(frozen=True)
class ProofRequest:
    """Where to look: dns or file, and the domain."""

    way: str
    domain: str


@dataclass(frozen=True)
class ReasonRequest:
    """Why something is taken back."""

    why: str = ""


@dataclass(frozen=True)
class MemberRequest:
    """owner or publisher."""

    role: str = "publisher"


def _out(services: Services, db: Session, name: str, viewer: Viewer) -> VendorProfile:
    operator = viewer.may(Permission.vouch_vendors)
    return vendor_out(services, db, vendors.get_vendor(db, name), viewer, operator=operator)


@get("/vendors", permission=Permission.browse, sync_to_thread=True)
def index(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    mine: FromQuery[bool] = False,
) -> VendorPage:
    """All vendors, or those that the asker acts for."""
    if mine:
        rows = [vendor for vendor, _ in vendors.vendors_of(db, viewer.account(db).id)]
    else:
        rows = vendors.list_vendors(db)
    return VendorPage([vendor_out(services, db, row, viewer) for row in rows], len(rows))


@post("/vendors", permission=Permission.manage_vendors, sync_to_thread=True)
def create(
    data: JSONBody[VendorRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> VendorProfile:
    """Make a vendor, with the asker as its owner."""
    if data.vouch and not viewer.may(Permission.vouch_vendors):
        permission = Permission.vouch_vendors
        raise NotAllowed(role=role_for(permission), permission=str(permission))
    wanted = vendors.NewVendor(data.name, data.title_zh, data.title_en)
    vendoring.create(db, viewer, viewer.account(db), wanted, vouch=data.vouch)
    return _out(services, db, data.name, viewer)


@get("/vendors/{name:str}", permission=Permission.browse, sync_to_thread=True)
def show(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> VendorProfile:
    """One vendor."""
    return _out(services, db, name, viewer)


@patch("/vendors/{name:str}", permission=Permission.manage_vendors, sync_to_thread=True)
def describe(
    data: JSONBody[TitlesRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> VendorProfile:
    """Change a vendor's titles."""
    vendor = vendors.get_vendor(db, name)
    vendoring.describe(db, viewer, viewer.account(db), vendor, data.title_zh, data.title_en)
    return _out(services, db, name, viewer)


@post("/vendors/{name:str}/proof", permission=Permission.manage_vendors, status_code=200, sync_to_thread=True)
def prove(
    data: JSONBody[ProofRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> VendorProfile:
    """Look for the proof of a vendor's name now."""
    vendor = vendors.get_vendor(db, name)
    vendoring.prove(services, db, viewer, viewer.account(db), vendor, data.way, data.domain)
    return _out(services, db, name, viewer)


@post("/vendors/{name:str}/vouch", permission=Permission.vouch_vendors, status_code=200, sync_to_thread=True)
def vouch(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> VendorProfile:
    """Vouch for a vendor's name."""
    vendoring.vouch(db, viewer, vendors.get_vendor(db, name))
    return _out(services, db, name, viewer)


@post(
    "/vendors/{name:str}/unprove", permission=Permission.vouch_vendors, status_code=200, sync_to_thread=True
)
def unprove(
    data: JSONBody[ReasonRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> VendorProfile:
    """Take a proof back."""
    vendoring.unprove(db, viewer, vendors.get_vendor(db, name), data.why)
    return _out(services, db, name, viewer)


@post(
    "/vendors/{name:str}/allow-proof",
    permission=Permission.vouch_vendors,
    status_code=200,
    sync_to_thread=True,
)
def allow_proof(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> VendorProfile:
    """Let a vendor prove its name again after its proof was taken back."""
    vendoring.allow_proof(db, viewer, vendors.get_vendor(db, name))
    return _out(services, db, name, viewer)


@put("/vendors/{name:str}/members/{account:str}", permission=Permission.manage_vendors, sync_to_thread=True)
def set_member(
    data: JSONBody[MemberRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
    account: FromPath[str],
) -> VendorProfile:
    """Let an account act for a vendor."""
    vendor = vendors.get_vendor(db, name)
    vendoring.set_member(db, viewer, viewer.account(db), vendor, account, data.role)
    return _out(services, db, name, viewer)


@delete(
    "/vendors/{name:str}/members/{account:str}",
    permission=Permission.manage_vendors,
    status_code=200,
    sync_to_thread=True,
)
def remove_member(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
    account: FromPath[str],
) -> VendorProfile:
    """Take an account out of a vendor."""
    vendoring.remove_member(db, viewer, viewer.account(db), vendors.get_vendor(db, name), account)
    return _out(services, db, name, viewer)


handlers = [index, create, show, describe, prove, vouch, unprove, allow_proof, set_member, remove_member]
