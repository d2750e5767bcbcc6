"""The provenance passport of a version, as a page."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Template
from sqlmodel import Session

from catalog.models import Vendor
from deployer.packager import passport as passport_files
from marketplace import checks, passports
from marketplace.api.passports import find_version
from marketplace.auth import AnyRequest, Viewer
from marketplace.pages import checked
from marketplace.pages.rendering import page
from marketplace.permissions import Permission
from marketplace.services import Services


@get(
    "/listings/{vendor:str}/{name:str}/versions/{number:str}/passport",
    permission=Permission.browse,
    include_in_schema=False,
    sync_to_thread=True,
)
def show(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> Template:
    """Source, conversion, files, checks, measurements, signature and list of parts, with the files."""
    row, version = find_version(db, viewer, vendor, name, number)
    made = passports.make(services.settings, db, row, version)
    table = checked.table(db, version, viewer.lang) if checks.rows_of(db, version) else []
    return page(
        request,
        viewer,
        "passport.html",
        row=row,
        version=version,
        vendor=db.get_one(Vendor, row.vendor_id),
        source=made.step("source"),
        conversion=made.step("conversion"),
        facts=made.step("package")["facts"],
        checks=table,
        counts=checked.counts(table),
        badges=checked.badges(db, version, viewer.lang),
        figures=checked.figures(version, viewer.lang),
        signed=passport_files.SIGNATURE in made.files,
        fingerprint=made.fingerprint,
        listed=made.listed(),
        slug=made.slug,
    )


handlers = [show]
