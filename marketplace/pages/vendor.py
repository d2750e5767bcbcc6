"""The vendor's door: one's vendors with their proof, members and listings, and how a listing does."""

from dataclasses import dataclass
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect, Template
from sqlmodel import Session, col, select

from catalog import listings, vendors
from catalog.models import Listing, Vendor, Version
from catalog.vendors import NewVendor
from marketplace import analytics, ratings, vendoring
from marketplace.api.passports import require_insider
from marketplace.api.publication_schemas import VendorProfile, vendor_out
from marketplace.auth import AnyRequest, Viewer
from marketplace.i18n import mark as _
from marketplace.i18n import ngettext
from marketplace.pages import publish, version_page
from marketplace.pages.columns import Columns, columns
from marketplace.pages.forms import see_other
from marketplace.pages.publish_form import SAMPLE
from marketplace.pages.rendering import page
from marketplace.pages.version_page import REFUSALS
from marketplace.permissions import Permission
from marketplace.problems import problem_of
from marketplace.services import Services


@dataclass(frozen=True)
class ListingRow:
    """One listing of a vendor as its row shows it."""

    listing: Listing
    version: Version
    """The newest, in whatever state."""
    sums: dict[str, int]
    rating: ratings.Summary


@dataclass(frozen=True)
class VendorShown:
    """A vendor with all that its members do here."""

    vendor: VendorProfile
    rows: list[ListingRow]


@get("/vendor", permission=Permission.publish, include_in_schema=False, sync_to_thread=True)
def home(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template:
    """One's vendors; without any, how to begin."""
    return _home(request, services, db, viewer)


def _home(
    request: AnyRequest, services: Services, db: Session, viewer: Viewer, *, status: int = 200, **more: Any
) -> Template:
    shown = [
        VendorShown(vendor_out(services, db, vendor, viewer), _rows(db, vendor))
        for vendor, _role in vendors.vendors_of(db, viewer.account(db).id)
    ]
    context: dict[str, Any] = {
        "problem": None,
        "problem_at": "",
        "typed": {},
        "suggested": _suggested(viewer.name),
        "sample": SAMPLE,
        **more,
    }
    return page(request, viewer, "vendor.html", status=status, vendors=shown, **context)


def _suggested(name: str) -> str:
    """A vendor's name that an account of this name could take."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
    return plain if vendors.NAME.fullmatch(plain) and plain not in vendors.RESERVED else "my-company"


def _rows(db: Session, vendor: Vendor) -> list[ListingRow]:
    found = db.exec(select(Listing).where(Listing.vendor_id == vendor.id).order_by(col(Listing.name)))
    rows = [(row, versions[0]) for row in found if (versions := listings.versions_of(db, row))]
    sums = analytics.reports(db, [row for row, _version in rows])
    return [
        ListingRow(row, version, sums[row.name].totals, ratings.summary(db, row)) for row, version in rows
    ]


@post("/vendor/vendors", permission=Permission.manage_vendors, include_in_schema=False, sync_to_thread=True)
def create(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template | Redirect:
    """Take a vendor's name; whoever may vouch does so for their own."""
    wanted = NewVendor(data.get("name", "").strip(), data.get("title_zh", ""), data.get("title_en", ""))
    try:
        vouch = viewer.may(Permission.vouch_vendors)
        vendoring.create(db, viewer, viewer.account(db), wanted, vouch=vouch)
    except REFUSALS as error:
        return _refused(request, services, db, viewer, error, "create", data)
    return see_other(f"/vendor#{wanted.name}")


def _refused(
    request: AnyRequest,
    services: Services,
    db: Session,
    viewer: Viewer,
    error: Any,
    where: str,
    typed: dict[str, str],
) -> Template:
    """The page again with what was refused, where it was asked for."""
    db.rollback()
    said = problem_of(error, viewer.lang)
    more = {"problem": said, "problem_at": where, "typed": typed}
    return _home(request, services, db, viewer, status=said.status, **more)


@post(
    "/vendor/vendors/{vendor:str}/proof",
    permission=Permission.manage_vendors,
    include_in_schema=False,
    sync_to_thread=True,
)
def prove(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
) -> Template | Redirect:
    """Look now whether a domain speaks for the vendor."""
    try:
        row, way = vendors.get_vendor(db, vendor), data.get("way", "dns")
        vendoring.prove(services, db, viewer, viewer.account(db), row, way, data.get("domain", ""))
    except REFUSALS as error:
        return _refused(request, services, db, viewer, error, vendor, data)
    return see_other(f"/vendor#{vendor}")


@post(
    "/vendor/vendors/{vendor:str}/members",
    permission=Permission.manage_vendors,
    include_in_schema=False,
    sync_to_thread=True,
)
def set_member(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
) -> Template | Redirect:
    """Let an account act for the vendor."""
    name, role = data.get("account", "").strip(), data.get("role", "publisher")
    try:
        row = vendors.get_vendor(db, vendor)
        vendoring.set_member(db, viewer, viewer.account(db), row, name, role)
    except REFUSALS as error:
        return _refused(request, services, db, viewer, error, vendor, data)
    return see_other(f"/vendor#{vendor}")


@post(
    "/vendor/vendors/{vendor:str}/members/remove",
    permission=Permission.manage_vendors,
    include_in_schema=False,
    sync_to_thread=True,
)
def remove_member(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
) -> Template | Redirect:
    """Take an account out of the vendor."""
    try:
        row = vendors.get_vendor(db, vendor)
        vendoring.remove_member(db, viewer, viewer.account(db), row, data.get("account", ""))
    except REFUSALS as error:
        return _refused(request, services, db, viewer, error, vendor, data)
    return see_other(f"/vendor#{vendor}")


@get(
    "/vendor/listings/{vendor:str}/{name:str}",
    permission=Permission.manage_self,
    include_in_schema=False,
    sync_to_thread=True,
)
def listing(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Template:
    """A listing of one's own: its versions, and how often it was opened, deployed, called and rated."""
    services.views.flush(services.engine)
    row = listings.get_listing(db, f"{vendor}/{name}")
    require_insider(db, viewer, row)
    report = analytics.report(db, row)
    reviewer = viewer.may(Permission.decide_reviews)
    versions = listings.visible_versions(db, row, viewer.account_id, all_states=reviewer)
    return page(
        request,
        viewer,
        "vendor_listing.html",
        row=row,
        member=listings.is_member(db, row.vendor_id, viewer.account(db).id),
        versions=versions,
        shown=any(version.state == "listed" for version in versions),
        report=report,
        views=_plot(report, "views", viewer.lang),
        calls=_plot(report, "calls", viewer.lang),
        rating=ratings.summary(db, row),
        ratings=ratings.ratings_of(db, row),
        base=services.settings.url,
    )


def _plot(report: analytics.Report, what: str, lang: str) -> Columns:
    """One column a day, under a title that says what came of it."""
    n = report.total(what)
    titles = {
        "views": ngettext(lang, _("{n} view in 30 days"), "{n} views in 30 days", n),
        "calls": ngettext(lang, _("{n} call in 30 days"), "{n} calls in 30 days", n),
    }
    days = [day.day for day in report.days]
    return columns(titles[what], days, [int(getattr(day, what)) for day in report.days])


handlers: list[Any] = [
    home,
    create,
    prove,
    set_member,
    remove_member,
    *publish.handlers,
    listing,
    *version_page.handlers,
]
