"""The reviewer's door: what waits, what changed in it, approve or reject; and whom one vouches for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect, Template
from sqlmodel import Session

from catalog import vendors
from catalog.models import Listing, Vendor, Version, VersionState
from catalog.review import FINDINGS, events_of
from marketplace import deciding, publishing, vendoring
from marketplace.auth import AnyRequest, Viewer
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages import changes as diffs
from marketplace.pages import checked, version_page
from marketplace.pages.forms import see_other
from marketplace.pages.rendering import page
from marketplace.pages.version_page import REFUSALS, Said, Seen
from marketplace.permissions import Permission
from marketplace.problems import Problem, problem_of
from marketplace.services import Services

PATH = "/reviews/{vendor:str}/{name:str}/{number:str}"


@dataclass(frozen=True)
class Queued:
    """One version that waits."""

    listing: Listing
    version: Version
    vendor: Vendor
    title: str
    since: datetime
    change: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Typed:
    """What was filled in of a refusal."""

    kinds: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


@get("/reviews", permission=Permission.decide_reviews, include_in_schema=False, sync_to_thread=True)
def queue(request: AnyRequest, db: NamedDependency[Session], viewer: NamedDependency[Viewer]) -> Template:
    """What waits, the oldest first; and vendors whose name is not proved."""
    return _queue(request, db, viewer)


def _queue(request: AnyRequest, db: Session, viewer: Viewer, problem: Problem | None = None) -> Template:
    items = [_queued(db, listing, version, viewer.lang) for listing, version in deciding.waiting(db)]
    unproved = [vendor for vendor in vendors.list_vendors(db) if not vendor.verified]
    return page(
        request,
        viewer,
        "reviews.html",
        status=problem.status if problem else 200,
        items=items,
        marked=deciding.marked(db),
        unproved=unproved,
        problem=problem,
    )


def _queued(db: Session, listing: Listing, version: Version, lang: str) -> Queued:
    before = diffs.listed_before(db, listing, version)
    found = diffs.changes(listing, version, before, lang)
    names = ("、" if lang == "zh" else ", ").join(change.title for change in found[:6])
    text = _("Other than {number}: {what}") if before else _("First version, with: {what}")
    facts = {"what": names or "–", **({"number": before.number} if before else {})}
    return Queued(
        listing,
        version,
        db.get_one(Vendor, listing.vendor_id),
        _title(listing, version, lang),
        since(db, version),
        gettext(lang, text, **facts),
        checked.counts(checked.table(db, version, lang)),
    )


def _title(listing: Listing, version: Version, lang: str) -> str:
    return str(version.offer.get(f"title_{lang}") or getattr(listing, f"title_{lang}"))


def since(db: Session, version: Version) -> datetime:
    """When it was submitted last."""
    submitted = [event.at for event in events_of(db, version) if event.after == VersionState.submitted]
    return submitted[-1] if submitted else version.created


@get(PATH, permission=Permission.decide_reviews, include_in_schema=False, sync_to_thread=True)
def show(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> Template:
    """One version with what changed, what to look at, and the decision."""
    seen = version_page.find(db, viewer, f"{vendor}/{name}", number)
    return page(request, viewer, "review.html", **_context(db, seen, viewer.lang))


def _context(
    db: Session, seen: Seen, lang: str, problem: Problem | None = None, typed: Typed | None = None
) -> dict[str, Any]:
    row, version = seen.listing, seen.version
    before = diffs.listed_before(db, row, version)
    checks = checked.table(db, version, lang)
    changes = diffs.changes(row, version, before, lang)
    vendor = db.get_one(Vendor, row.vendor_id)
    words = ("title_zh", "title_en", "summary_zh", "summary_en", "card_zh", "card_en")
    return {
        "row": row,
        "version": version,
        "vendor": vendor,
        "title": _title(row, version, lang),
        "path": f"/reviews/{row.name}/{version.number}",
        "seen": deciding.fingerprint(version),
        "problem": problem,
        "typed": typed or Typed(),
        "advice": advice(vendor, checks, changes, lang),
        "before": before,
        "changes": changes,
        "since": since(db, version),
        "kinds": list(FINDINGS.values()),
        "history": version_page.history(db, row, version, lang),
        "open_checks": [check for check in checks if check.rows],
        "figures": checked.figures(version, lang),
        "offer": {name: version.offer.get(name, getattr(row, name)) for name in words},
        "licence": checked.licence_said(version, lang),
        "badges": checked.badges(db, version, lang),
    }


def advice(vendor: Vendor, checks: list[checked.CheckShown], changes: list[diffs.Change], lang: str) -> Said:
    """What to look at before deciding, the gravest first."""
    counts = checked.counts(checks)
    look = [check.title for check in checks if check.verdict in ("warn", "unknown", "fail")]
    grave = [change.title for change in changes if change.grave and change.before]
    join = "、" if lang == "zh" else ", "
    if not vendor.verified:
        return Said(
            gettext(lang, _("The vendor's name is not proved")),
            gettext(lang, _("It cannot be listed before that. Vouch for the vendor, or wait for a proof.")),
        )
    if counts.get("fail"):
        return Said(
            gettext(lang, _("A check does not pass")),
            gettext(lang, _("Do not approve it: {what}."), what=join.join(look)),
        )
    if look or grave:
        return Said(
            gettext(lang, _("Look at this first")),
            gettext(lang, _("{what}. Everything else passed."), what=join.join([*grave, *look])),
        )
    return Said(
        gettext(lang, _("Nothing stands against it")),
        gettext(lang, _("All checks passed. Read what people will read, then decide.")),
    )


@post(
    f"{PATH}/approve",
    permission=Permission.decide_reviews,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def approve(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> Template | Redirect:
    """Put it on the shelf; a refusal is said on the page."""
    seen = version_page.find(db, viewer, f"{vendor}/{name}", number)
    try:
        why = data.get("why", "").strip()[:300]
        read = data.get("seen") or "nothing"
        deciding.approve(services, db, viewer, seen.listing, seen.version, why=why, seen=read)
    except REFUSALS as error:
        db.rollback()
        return _refused(request, db, viewer, seen, problem_of(error, viewer.lang))
    return see_other("/reviews")


@post(
    f"{PATH}/reject",
    permission=Permission.decide_reviews,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def reject(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> Template | Redirect:
    """Refuse it for what was found."""
    seen = version_page.find(db, viewer, f"{vendor}/{name}", number)
    typed = read(data)
    try:
        found = [(kind, typed.texts.get(kind, "")) for kind in typed.kinds]
        deciding.reject(services, db, viewer, seen.listing, seen.version, findings=found)
    except REFUSALS as error:
        db.rollback()
        return _refused(request, db, viewer, seen, problem_of(error, viewer.lang), typed)
    return see_other("/reviews")


def read(data: Mapping[str, str]) -> Typed:
    """The findings as they were sent: a kind that is ticked, or that has a text."""
    texts = {kind: data.get(f"text-{kind}", "").strip()[:2000] for kind in FINDINGS}
    kinds = [kind for kind in FINDINGS if data.get(f"kind-{kind}") or texts[kind]]
    return Typed(kinds, texts)


def _refused(
    request: AnyRequest, db: Session, viewer: Viewer, seen: Seen, said: Problem, typed: Typed | None = None
) -> Template:
    again = version_page.find(db, viewer, seen.listing.name, seen.version.number)
    values = _context(db, again, viewer.lang, said, typed)
    return page(request, viewer, "review.html", status=said.status, **values)


@post(
    f"{PATH}/yank",
    permission=Permission.decide_reviews,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def yank(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> Template | Redirect:
    """Take a version off the shelf; only an operator puts it back."""
    seen = version_page.find(db, viewer, f"{vendor}/{name}", number)
    account, why = viewer.account(db), data.get("why", "").strip()[:300]
    try:
        publishing.reshelve(
            services,
            db,
            viewer,
            account,
            seen.listing,
            seen.version,
            VersionState.yanked,
            why=why,
            operator=True,
        )
    except REFUSALS as error:
        db.rollback()
        return _refused(request, db, viewer, seen, problem_of(error, viewer.lang))
    return see_other("/reviews")


@post(
    "/reviews/vendors/{vendor:str}/vouch",
    permission=Permission.vouch_vendors,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def vouch(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
) -> Template | Redirect:
    """Say that a vendor is who the name says."""
    try:
        deciding.vouch(db, viewer, vendors.get_vendor(db, vendor))
    except REFUSALS as error:
        db.rollback()
        return _queue(request, db, viewer, problem_of(error, viewer.lang))
    return see_other("/reviews#unproved-title")


@post(
    "/reviews/vendors/{vendor:str}/allow-proof",
    permission=Permission.vouch_vendors,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def allow_proof(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
) -> Template | Redirect:
    """Let a vendor whose proof was taken back prove its name again."""
    try:
        vendoring.allow_proof(db, viewer, vendors.get_vendor(db, vendor))
    except REFUSALS as error:
        db.rollback()
        return _queue(request, db, viewer, problem_of(error, viewer.lang))
    return see_other("/reviews#unproved-title")


handlers = [queue, show, approve, reject, yank, vouch, allow_proof]
