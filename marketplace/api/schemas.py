"""What the JSON API answers; the pages read the same values."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from catalog import search_facets
from catalog.listings import find_version
from catalog.models import Listing, Vendor, Version
from catalog.offered import is_refused
from catalog.search import Card, Found
from deployer import deployments
from deployer.models import Deployment, Variant
from marketplace import metering, problems
from marketplace.figures import Figures, figures_of
from marketplace.services import Services


@dataclass(frozen=True)
class VendorOut:
    """Who publishes a listing."""

    name: str
    title_zh: str
    title_en: str
    verified: bool
    domain: str = ""  # that its name was proved by; an operator vouches for a verified one without


@dataclass(frozen=True)
class ListingOut:
    """A listing as lists show it; `title` and `summary` are in the asker's language."""

    name: str
    kind: str
    task: str
    verticals: list[str]
    languages: list[str]
    title: str
    summary: str
    title_zh: str
    title_en: str
    summary_zh: str
    summary_en: str
    version: str
    size: int
    license_package: str
    license_weights: str
    vendor: VendorOut
    price: dict[str, Any] = field(default_factory=dict)  # plan, and fen
    latency_ms: float | None = None  # the median, measured here


@dataclass(frozen=True)
class VersionOut:
    """One version in a listing's history."""

    number: str
    state: str
    digest: str
    size: int
    created: datetime
    refused: bool = False  # by newer rules: nobody new is given it


@dataclass(frozen=True)
class ListingDetail(ListingOut):
    """A listing with its cards, the newest version's manifest and all versions."""

    card_zh: str = ""
    card_en: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    signature: str = ""  # fingerprint of the key that signed the newest version's files
    versions: list[VersionOut] = field(default_factory=list)


@dataclass(frozen=True)
class FacetValueOut:
    """One value to narrow a search by; `at_least` when only the most popular matches were counted."""

    value: str
    count: int
    at_least: bool
    chosen: bool


@dataclass(frozen=True)
class ListingPage:
    """One page of a search; `at_least` says that `total` is not all."""

    items: list[ListingOut]
    total: int
    at_least: bool = False
    more: bool = False  # another page follows
    corrected: dict[str, str] = field(default_factory=dict)  # words that nobody uses, and those taken instead
    loose: bool = False  # found only after long stretches of characters were taken apart
    facets: dict[str, list[FacetValueOut]] = field(default_factory=dict)


@dataclass(frozen=True)
class StepOut:
    """One step of a deployment; `progress` only while it runs."""

    name: str
    state: str
    seconds: float | None
    detail: dict[str, Any]
    progress: dict[str, Any] | None = None


@dataclass(frozen=True)
class UsageOut:
    """What a deployment was used."""

    requests: int
    errors: int
    tokens: int


@dataclass(frozen=True)
class DeploymentOut:
    """A deployment; `deployment` is its name, `key` is there once, in the answer to its creation."""

    deployment: str
    listing: str
    version: str
    task: str
    state: str
    desired: str
    endpoint: str
    runtime: str
    device: str
    transport: str
    sandbox: str
    revision: int
    restarts: int
    created: datetime
    updated: datetime
    error: dict[str, Any] | None
    steps: list[StepOut]
    usage: UsageOut
    variant: str | None = None  # digest of the variant that it runs; None runs the version as it came
    certificate: Figures | None = None  # what the variant's certificate states, in short
    key: str | None = None
    version_state: str = ""  # of the version that it runs: listed, deprecated, yanked, draft …
    reviewed: bool = True  # whether somebody looked at that version


@dataclass(frozen=True)
class DeploymentPage:
    """All deployments."""

    items: list[DeploymentOut]
    total: int


def listing_out(listing: Listing, version: Version, vendor: Vendor, lang: str) -> ListingOut:
    """A listing for a list."""
    return ListingOut(**_listing_values(listing, version, vendor, lang))


def card_out(card: Card, lang: str) -> ListingOut:
    """A listing for a list, as search gives it."""
    return ListingOut(
        name=card.name,
        kind=card.kind,
        task=card.task,
        verticals=card.verticals,
        languages=card.languages,
        title=card.title_zh if lang == "zh" else card.title_en,
        summary=card.summary_zh if lang == "zh" else card.summary_en,
        title_zh=card.title_zh,
        title_en=card.title_en,
        summary_zh=card.summary_zh,
        summary_en=card.summary_en,
        version=card.number,
        size=card.size,
        license_package=card.license_package,
        license_weights=card.license_weights,
        vendor=VendorOut(card.vendor, card.vendor_zh, card.vendor_en, card.verified, card.domain),
        price=card.price,
        latency_ms=card.latency,
    )


def found_out(found: Found, items: list[ListingOut]) -> ListingPage:
    """A page of a search."""
    facets = {
        name: [FacetValueOut(each.value, each.count, each.at_least, each.chosen) for each in values]
        for name, values in found.facets.items()
    }
    return ListingPage(items, found.total, found.at_least, found.more, found.corrected, found.loose, facets)


def listing_detail(
    listing: Listing, version: Version, vendor: Vendor, versions: list[Version], lang: str, *, signature: str
) -> ListingDetail:
    """A listing for its own page."""
    return ListingDetail(
        **_listing_values(listing, version, vendor, lang),
        card_zh=listing.card_zh,
        card_en=listing.card_en,
        manifest=version.manifest,
        signature=signature,
        versions=[
            VersionOut(v.number, v.state, v.digest, v.size, v.created, is_refused(v)) for v in versions
        ],
    )


def _listing_values(listing: Listing, version: Version, vendor: Vendor, lang: str) -> dict[str, Any]:
    plain = (
        "name",
        "kind",
        "task",
        "verticals",
        "languages",
        "title_zh",
        "title_en",
        "summary_zh",
        "summary_en",
    )
    return {
        **{name: getattr(listing, name) for name in plain},
        "title": getattr(listing, f"title_{lang}"),
        "summary": getattr(listing, f"summary_{lang}"),
        "version": version.number,
        "size": version.size,
        "license_package": version.license_package,
        "license_weights": version.license_weights,
        "vendor": VendorOut(vendor.name, vendor.title_zh, vendor.title_en, vendor.verified, vendor.domain),
        "price": listing.price,
        "latency_ms": search_facets.latency_of(version),
    }


def deployment_out(
    services: Services,
    db: Session,
    row: Deployment,
    lang: str,
    *,
    usage: metering.Usage,
    key: str | None = None,
) -> DeploymentOut:
    """A deployment as it is now, with the steps of its present revision."""
    error = problems.problem(row.error_code, lang, **row.error_facts).to_dict() if row.error_code else None
    variant = db.get(Variant, row.variant) if row.variant else None
    version = find_version(db, row.listing, row.version)
    plain = ("listing", "version", "task", "state", "desired", "runtime", "device", "transport", "sandbox")
    return DeploymentOut(
        deployment=row.name,
        endpoint=f"{services.settings.url}/d/{row.name}",
        **{name: getattr(row, name) for name in plain},
        revision=row.revision,
        restarts=row.restarts,
        created=row.created,
        updated=row.updated,
        error=error,
        steps=steps_out(services, db, row),
        usage=UsageOut(usage.requests, usage.errors, usage.tokens),
        variant=row.variant or None,
        certificate=figures_of(variant.certificate) if variant else None,
        key=key,
        version_state=version.state if version else "",
        reviewed=version.reviewed if version else True,
    )


def steps_out(services: Services, db: Session, row: Deployment) -> list[StepOut]:
    """The steps with the progress of the one that runs."""
    live = services.progress.get(row.name)
    return [
        StepOut(
            step.name,
            step.state,
            round(step.seconds, 3) if step.seconds is not None else None,
            step.detail,
            {"done": live.done, "total": live.total, "note": live.note}
            if live and live.step == step.name and step.state == "running"
            else None,
        )
        for step in deployments.steps_of(db, row)
    ]
