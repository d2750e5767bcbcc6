"""Publishing from a browser: a form, a market.yaml that fills it in, or a folder that has one.

Files come with the form, or were sent before it in pieces (web/static/publish.js); either way they are
uploads of the account first, and the version's draft takes them from there.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from litestar import get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromQuery, MultipartBody
from litestar.response import Redirect, Template
from sqlmodel import Session

from catalog import listings, offer, taxonomy, uploads, vendors
from catalog.errors import InvalidManifest
from catalog.models import Listing, Version, VersionState
from catalog.offer import Offer
from catalog.offer_schema import FILE_NAME
from marketplace import publishing
from marketplace.api.publications import begin_checks
from marketplace.auth import AnyRequest, Viewer
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.models import Account
from marketplace.pages import publish_form as forms
from marketplace.pages.forms import see_other
from marketplace.pages.publish_form import FieldRefused, Sent, Values
from marketplace.pages.rendering import page
from marketplace.pages.version_page import REFUSALS
from marketplace.permissions import Permission
from marketplace.problems import Problem, problem_of
from marketplace.services import Services

PIECE = 1 << 20
PLAIN = re.compile(r"[^\x00-\x1f\x7f\\:]{1,255}")
MOST_FILES = 200
LICENCES = (
    "Apache-2.0",
    "MIT",
    "BSD-3-Clause",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC0-1.0",
    "GPL-3.0-only",
    "LicenseRef-not-stated",
)


@get("/vendor/publish", permission=Permission.publish, include_in_schema=False, sync_to_thread=True)
def show(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    of: FromQuery[str] = "",
    again: FromQuery[str] = "",
) -> Template | Redirect:
    """The empty form, or the one for a further version of `of`; `again` publishes a draft's number anew."""
    if not vendors.vendors_of(db, viewer.account(db).id):
        return see_other("/vendor")
    values = Values()
    if of:
        listing, version = _start_from(db, viewer, of, again)
        number = again or _next_number(db, listing)
        values = forms.of_version(listing, version, number)
    return _page(request, services, db, viewer, values)


def _start_from(db: Session, viewer: Viewer, name: str, number: str) -> tuple[Listing, Version]:
    """The version that the form is filled in from; the newest where no number is named."""
    listing = listings.get_listing(db, name)
    publishing.require_member(db, vendors.get_vendor(db, name.partition("/")[0]), viewer.account(db))
    newest = listings.versions_of(db, listing)[0].number
    return listings.get_version(db, f"{name}@{number or newest}", viewer.account_id)


def _next_number(db: Session, listing: Listing) -> str:
    major, minor, _patch = listings.versions_of(db, listing)[0].number.split(".")
    return f"{major}.{int(minor) + 1}.0"


def _page(
    request: AnyRequest,
    services: Services,
    db: Session,
    viewer: Viewer,
    values: Values,
    errors: Mapping[str, Problem] | None = None,
    note: str = "",
) -> Template:
    wrong = dict(errors or {})
    status = next((problem.status for problem in wrong.values()), 200)
    own = [vendor for vendor, _role in vendors.vendors_of(db, viewer.account(db).id)]
    base = _base(db, viewer, values)
    return page(
        request,
        viewer,
        "publish.html",
        status=status,
        values=values,
        errors=wrong,
        note=note,
        vendors=own,
        tasks=list(taxonomy.TASKS.values()),
        verticals=list(taxonomy.VERTICALS.values()),
        licences=LICENCES,
        base=base,
        keepable=_keepable(services, db, base),
        decides=viewer.may(Permission.decide_reviews),
        most=services.settings.max_body,
        total=services.settings.upload_limit,
        sample=forms.SAMPLE,
        expected=forms.EXPECT,
    )


def _base(db: Session, viewer: Viewer, values: Values) -> Version | None:
    """The version whose files and examples may be kept."""
    name, at, number = values["base"].partition("@")
    if not at:
        return None
    try:
        return _start_from(db, viewer, name, number)[1]
    except REFUSALS:
        return None


def _keepable(services: Services, db: Session, base: Version | None) -> set[str]:
    """Files that need not come again; those of a draft that did not pass are gone."""
    if base is None:
        return set()
    absent = {str(artifact["path"]) for artifact in publishing.missing(services, db, base)}
    return {str(artifact["path"]) for artifact in base.manifest["artifacts"]} - absent


@post(
    "/vendor/publish/fill",
    permission=Permission.publish,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def fill(
    request: AnyRequest,
    data: MultipartBody[dict[str, Any]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template:
    """The form as a market.yaml fills it in; nothing is published yet."""
    try:
        sent = data.get("sheet")
        if not isinstance(sent, UploadFile) or not sent.filename:
            raise FieldRefused(field="sheet", why=gettext(viewer.lang, _("choose a market.yaml")))
        values = forms.of_sheet(sent.file.read(1 << 20))
    except REFUSALS as error:
        said = problem_of(error, viewer.lang)
        return _page(request, services, db, viewer, forms.read(data), {"sheet": said})
    note = gettext(viewer.lang, _("Filled in. Now choose its files; examples with files are to be added."))
    return _page(request, services, db, viewer, values, note=note)


@post(
    "/vendor/publish",
    permission=Permission.publish,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def send(
    request: AnyRequest,
    data: MultipartBody[dict[str, Any]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template | Redirect:
    """Take the files, make the draft, begin its checks, and go where they are seen."""
    values = forms.read(data)
    account = viewer.account(db)
    try:
        offered = _offer(services, db, viewer, account, values, data)
        version = publishing.begin(services, db, account, offered)
        listing = listings.get_listing(db, offered.name)
        _begin(services, db, viewer, listing, version, values["wanted"])
    except REFUSALS as error:
        db.rollback()
        said = problem_of(error, viewer.lang)
        where = forms.field_of(error, forms.used(values, _pictures(values, data)))
        return _page(request, services, db, viewer, values, {where: said})
    return see_other(f"/vendor/listings/{offered.name}/{offered.number}")


def _begin(
    services: Services, db: Session, viewer: Viewer, listing: Listing, version: Version, wanted: str
) -> None:
    """Begin the checks; what is wanted afterwards stays undone for a vendor whose name is not proved."""
    proved = vendors.get_vendor(db, listing.name.partition("/")[0]).verified
    if not proved or wanted not in ("submitted", "listed"):
        wanted = ""
    if wanted == VersionState.listed and not viewer.may(Permission.decide_reviews):
        wanted = "submitted"
    begin_checks(services, db, viewer, listing, version, wanted)


def _offer(
    services: Services,
    db: Session,
    viewer: Viewer,
    account: Account,
    values: Values,
    data: Mapping[str, Any],
) -> Offer:
    """The offer of the form, or of a folder that was sent with its market.yaml."""
    files = list(_files(data, "files", viewer.lang)) + list(_files(data, "folder", viewer.lang))
    before = _sent_before(services, db, account, data, viewer.lang)
    if any(path == FILE_NAME for path, _file in files):
        return _of_folder(services, db, account, files, before)
    base = _base(db, viewer, values)
    kept = [
        Sent(str(a["path"]), str(a["sha256"]), int(a["size"]))
        for a in (base.manifest["artifacts"] if base else [])
        if a["path"] in values.keep_files
    ]
    now = [_store(services, db, account, path, file.file) for path, file in files]
    artifacts = list({sent.path: sent for sent in [*kept, *before, *now]}.values())
    if not artifacts:
        raise FieldRefused(field="files", why=gettext(viewer.lang, _("choose the model's files")))
    pictures = {n: file.file.read(offer.EXAMPLE_LIMIT + 1) for n, file in _pictures(values, data).items()}
    return offer.parse(forms.sheet(values, artifacts, pictures, base, viewer.lang))


def _pictures(values: Values, data: Mapping[str, Any]) -> dict[int, UploadFile]:
    """The pictures that were chosen, by the row of their example."""
    sent = {n: data.get(f"examples.{n}.image") for n in range(len(values.examples))}
    return {n: file for n, file in sent.items() if isinstance(file, UploadFile) and file.filename}


def _files(data: Mapping[str, Any], name: str, lang: str) -> Iterator[tuple[str, UploadFile]]:
    """The files of an input with their paths; of a folder, without the folder's own name."""
    found = data.get(name)
    sent = found if isinstance(found, list) else [found]
    for count, file in enumerate(file for file in sent if isinstance(file, UploadFile) and file.filename):
        path = file.filename.replace("\\", "/")
        if name == "folder":
            path = path.partition("/")[2] or path
        if count >= MOST_FILES or not _is_inner(path):
            why = gettext(lang, _("{path} is no name for a file, or there are too many"), path=path[:80])
            raise FieldRefused(field="files", why=why)
        if not any(part.startswith(".") for part in PurePosixPath(path).parts):
            yield path, file


def _is_inner(path: str) -> bool:
    pure = PurePosixPath(path)
    plain = str(pure) == path and not pure.is_absolute() and ".." not in pure.parts and path != "."
    return plain and PLAIN.fullmatch(path) is not None


def _sent_before(
    services: Services, db: Session, account: Account, data: Mapping[str, Any], lang: str
) -> list[Sent]:
    """Files that the script has sent in pieces: [{path, sha256, size}]; only those that are whole count."""
    text = data.get("uploaded")
    if not isinstance(text, str) or not text:
        return []
    try:
        told = [Sent(str(one["path"]), str(one["sha256"]), int(one["size"])) for one in json.loads(text)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FieldRefused(field="files", why=str(error)[:100]) from None
    for sent in told[:MOST_FILES]:
        if not _is_inner(sent.path) or uploads.complete_of(db, account.id, sent.sha256, sent.size) is None:
            why = gettext(lang, _("{path} has not come whole; choose it again"), path=sent.path[:80])
            raise FieldRefused(field="files", why=why)
    return told[:MOST_FILES]


def _store(services: Services, db: Session, account: Account, path: str, file: Any) -> Sent:
    """Keep a file that came with the form as an upload of the account."""
    digest, size = hashlib.sha256(), 0
    while piece := file.read(PIECE):
        digest.update(piece)
        size += len(piece)
    home, settings = services.settings.home, services.settings
    sent = Sent(path, digest.hexdigest(), size)
    found = uploads.announce(home, db, account.id, sent.sha256, size, limit=settings.upload_limit)
    db.commit()
    file.seek(found.received)
    while found.received < size:
        found = uploads.append(home, db, account.id, str(found.id), found.received, file.read(uploads.CHUNK))
    return sent


def _of_folder(
    services: Services,
    db: Session,
    account: Account,
    files: list[tuple[str, UploadFile]],
    before: list[Sent],
) -> Offer:
    """The offer of a folder: its sheet, cards and examples are read as `market publish` reads them."""
    home = services.settings.home
    with tempfile.TemporaryDirectory(dir=uploads.folder(home).parent, prefix=".folder-") as work:
        folder = Path(work)
        for path, file in files:
            with _place(folder, path).open("wb") as out:
                shutil.copyfileobj(file.file, out)
        for sent in before:
            upload = uploads.complete_of(db, account.id, sent.sha256, sent.size)
            if upload is None:
                raise InvalidManifest(
                    path="files", why=f"{sent.path} has not come", why_zh=f"{sent.path} 未到"
                )
            os.link(uploads.path_of(home, upload), _place(folder, sent.path))
        made = offer.read(folder)
        for artifact in made.artifacts:
            if uploads.complete_of(db, account.id, artifact["sha256"], artifact["size"]) is None:
                with (folder / artifact["path"]).open("rb") as content:
                    _store(services, db, account, artifact["path"], content)
        return made


def _place(folder: Path, path: str) -> Path:
    """Where a file of the folder goes; a name that is a file already is no folder."""
    target = folder / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidManifest(
            path="files", why=f"{path} is both a file and a folder", why_zh=f"{path} 既是文件又是文件夹"
        ) from None
    return target


handlers = [show, fill, send]
