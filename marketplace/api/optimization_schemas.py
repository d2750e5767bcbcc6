"""What the JSON API says of optimisations, variants and samples; pages and command line read the same."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlmodel import Session

from catalog.errors import CatalogError
from deployer import optimizations
from deployer.errors import DeployerError
from deployer.models import Optimization, OptimizationState, Variant
from deployer.optimizer import report as reports
from deployer.optimizer.report import Reason, Report
from marketplace import problems, provisioning
from marketplace.figures import Figures, figures_of
from marketplace.services import Services


@dataclass(frozen=True)
class SampleOut:
    """A file of one's own rows; `rows` and `columns` are what a quick look says, not a judgement."""

    id: str  # sha256
    name: str
    size: int
    rows: int | None
    columns: list[str]
    labelled: bool | None
    created: datetime


@dataclass(frozen=True)
class SamplePage:
    """The asker's samples."""

    items: list[SampleOut]
    total: int


@dataclass(frozen=True)
class OptimizationOut:
    """An optimisation as it is now; `report` is empty in lists."""

    id: str
    listing: str
    version: str
    task: str
    device: str
    objective: dict[str, Any]
    seed: int
    sample: str
    sample_name: str
    state: str  # pending | running | done | cancelled | failed
    cancel: bool  # asked to stop, and not stopped yet
    ahead: int  # jobs that come first while it waits
    phase: str  # inspect | baseline | build | screen | measure | judge | confirm | certify
    done: int
    total: int
    seconds: float
    seconds_left: float | None
    note: str
    outcome: str  # "" | picked | kept | refused
    why: str  # in the asker's language
    why_code: str
    figures: Figures | None
    variant: str | None
    error: dict[str, Any] | None
    created: datetime
    updated: datetime
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizationPage:
    """Optimisations, the newest first."""

    items: list[OptimizationOut]
    total: int


@dataclass(frozen=True)
class VariantOut:
    """A variant that can be deployed instead of its version."""

    digest: str
    optimization: str
    listing: str
    version: str
    device: str
    size: int  # bytes of all its files
    created: datetime
    figures: Figures | None
    signature: str = ""  # fingerprint of the key that signed its files
    certificate: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VerificationOut:
    """Whether files are what was signed and certified; `error` says what does not hold."""

    subject: str
    holds: bool
    fingerprint: str = ""
    own: bool = True
    certificate: dict[str, Any] | None = None
    figures: Figures | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True)
class VariantPage:
    """Variants, the newest first."""

    items: list[VariantOut]
    total: int


def read_report(plain: dict[str, Any]) -> Report | None:
    """A report out of a row; None where there is none yet, or one that this version cannot read."""
    try:
        return reports.from_plain(plain) if plain else None
    except msgspec.ValidationError:
        return None


def optimization_out(db: Session, row: Optimization, lang: str, *, whole: bool = True) -> OptimizationOut:
    """An optimisation; `whole` brings the report with its trials."""
    report = read_report(row.report)
    error = problems.problem(row.error_code, lang, **row.error_facts).to_dict() if row.error_code else None
    plain = ("listing", "version", "task", "device", "objective", "seed", "sample", "sample_name", "state")
    running = row.state == OptimizationState.running
    return OptimizationOut(
        id=str(row.id),
        **{name: getattr(row, name) for name in plain},
        cancel=row.cancel and running,
        ahead=optimizations.ahead(db, row),
        phase=report.phase if report else "",
        done=report.done if report else 0,
        total=report.total if report else 0,
        seconds=report.seconds if report else 0.0,
        seconds_left=report.seconds_left if report and running else None,
        note=report.note if report else "",
        outcome=report.outcome if report and row.state == OptimizationState.done else "",
        why=reason_text(report.why, lang) if report else "",
        why_code=report.why.code if report and report.why else "",
        figures=figures_of(report.certificate) if report else None,
        variant=row.variant or None,
        error=error,
        created=row.created,
        updated=row.updated,
        report=row.report if whole else {},
    )


def reason_text(why: Reason | None, lang: str) -> str:
    """A refusal's cause in a language."""
    if why is None:
        return ""
    return why.why_zh if lang == "zh" else why.why_en


def variant_out(row: Variant, *, signature: str = "", whole: bool = True) -> VariantOut:
    """A variant; `whole` brings its certificate and manifest."""
    return VariantOut(
        digest=row.digest,
        optimization=str(row.optimization_id),
        listing=row.listing,
        version=row.version,
        device=row.device,
        size=row.size,
        created=row.created,
        figures=figures_of(row.certificate),
        signature=signature,
        certificate=row.certificate if whole else {},
        manifest=row.manifest if whole else {},
    )


def verification_out(services: Services, digest: str, lang: str, *, certified: bool) -> VerificationOut:
    """What a check of the files finds."""
    try:
        found = provisioning.verify(services, digest, certified=certified)
    except (CatalogError, DeployerError) as error:
        return VerificationOut(digest, False, error=problems.problem_of(error, lang).to_dict())
    figures = figures_of(found.certificate) if found.certificate else None
    return VerificationOut(digest, True, found.signature.fingerprint, True, found.certificate, figures)
