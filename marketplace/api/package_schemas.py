"""What the JSON API says of terminals and packages; pages and command line read the same."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployer import packages
from deployer.devices import profile
from deployer.models import Package, PackageState, StepState
from marketplace import problems
from marketplace.api.schemas import StepOut
from marketplace.packaging import Offer, topic
from marketplace.services import Services


@dataclass(frozen=True)
class TerminalOut:
    """A terminal with one device; `supported` and `why` say whether the listing asked for can go there."""

    terminal: str
    device: str
    title: str
    device_title: str
    gives: str
    runs: str
    form: str  # tar | zip
    platforms: list[str]  # what an image can be made for; the first is made unless told otherwise
    grade: str  # measured | emulated | checked
    supported: bool | None  # None: no listing was asked for
    why: str  # not, in the asker's language


@dataclass(frozen=True)
class TerminalPage:
    """The table of terminals."""

    items: list[TerminalOut]
    total: int


@dataclass(frozen=True)
class PackageOut:
    """A package as it is now; `url` leads to its file once it is ready."""

    id: str
    name: str  # vendor/name
    version: str
    variant: str | None
    task: str
    terminal: str
    device: str
    platforms: list[str]
    grade: str
    state: str  # pending | building | ready | failed | cancelled
    cancel: bool  # asked to stop, and not stopped yet
    steps: list[StepOut]
    seconds: float  # that the steps took
    file: str  # its name
    media_type: str
    size: int  # bytes
    digest: str  # sha256:… of the file
    url: str
    facts: dict[str, Any]
    error: dict[str, Any] | None
    created: datetime
    updated: datetime


@dataclass(frozen=True)
class PackagePage:
    """Packages, the newest first."""

    items: list[PackageOut]
    total: int


def terminal_out(offer: Offer, lang: str, *, asked: bool) -> TerminalOut:
    """A row of the table; `asked` says that it was held against a listing."""
    of, device, why = offer.terminal, profile(offer.device), offer.refusal
    return TerminalOut(
        terminal=of.id,
        device=offer.device,
        title=getattr(of, f"title_{lang}"),
        device_title=getattr(device, f"title_{lang}"),
        gives=getattr(of, f"gives_{lang}"),
        runs=getattr(of, f"runs_{lang}"),
        form=of.form,
        platforms=list(offer.platforms),
        grade=of.grade(offer.device),
        supported=False if why else True if asked else None,
        why=problems.problem_of(why, lang).facts["why"] if why else "",
    )


def package_out(services: Services, row: Package, lang: str) -> PackageOut:
    """A package, with the progress of the step that runs."""
    from deployer import terminals

    error = problems.problem(row.error_code, lang, **row.error_facts).to_dict() if row.error_code else None
    plain = ("version", "task", "terminal", "device", "platforms", "state", "media_type", "size", "digest")
    ready = row.state == PackageState.ready
    return PackageOut(
        id=str(row.id),
        name=row.listing,
        variant=row.variant or None,
        **{name: getattr(row, name) for name in plain},
        grade=terminals.terminal(row.terminal).grade(row.device, row.platforms),
        cancel=row.cancel and row.state == PackageState.building,
        steps=steps_out(services, row),
        seconds=round(sum(step.get("seconds", 0.0) for step in row.steps), 3),
        file=row.file_name,
        url=f"{services.settings.url}/api/packages/{row.id}/file" if ready else "",
        facts=row.facts,
        error=error,
        created=row.created,
        updated=row.updated,
    )


def steps_out(services: Services, row: Package) -> list[StepOut]:
    """All steps in their order; those that a package did not come to are waiting."""
    live = services.progress.get(topic(row.id))
    known = {step["name"]: step for step in row.steps}
    return [
        StepOut(
            name,
            known.get(name, {}).get("state", StepState.waiting),
            known.get(name, {}).get("seconds"),
            {},
            {"done": live.done, "total": live.total, "note": live.note}
            if live and live.step == name and row.state == PackageState.building
            else None,
        )
        for name in packages.STEPS
    ]
