"""The work of an import: from a source to a draft with its files, in steps that may be done twice.

    look → fetch → unpack → convert → describe → check

What is fetched and made lies in the import's own folder. Once the offer is whole it is written down there as
offer.json; a killed import goes on from it. Files enter the draft by being moved, so they need no more room.
"""

import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlmodel import Session, col, select

from catalog import imports, plain_yaml, uploads
from catalog import offer as offers
from catalog.importers.choosing import choose
from catalog.importers.describing import FIRST
from catalog.importers.hints import Hints
from catalog.importers.inferring import Wishes
from catalog.importers.plans import Gate, Plan, fetch, fetched, planned, require_place
from catalog.importers.reach import read_reach
from catalog.importers.sources import Source, read_sources, shown
from catalog.importers.taking import link, listed
from catalog.models import CheckState, ImportJob, Listing, Version, VersionState
from catalog.offer import Offer
from catalog.progress import Progress
from deployer.dry_run import require_full_sandbox
from deployer.optimizer.convert.sources import convert_source, recognise
from marketplace import checking, import_child, import_oci, publishing
from marketplace.db import read_session, write_session
from marketplace.models import Account
from marketplace.permissions import Permission, permissions_of
from marketplace.services import Services

OFFER = "offer.json"
_CONVERTING = threading.BoundedSemaphore(2)  # each may take half of the machine's memory
CONVERTS = frozenset({"columns", "bound", "context"})
"""What a shop's conversions may be told; never a path of this machine, nor that a pickle is to be trusted."""


class Work(Protocol):
    """The import as its job sees it."""

    progress: Progress

    def job(self) -> ImportJob:
        """The row as it is now."""

    def enter(self, step: str, *, total: int = 0) -> None:
        """Begin a step."""

    def note(self, **values: Any) -> None:
        """Write down what was found out."""


@dataclass(frozen=True)
class Material:
    """What a source gave: files in a folder, which of them is the model, and what was told beside them."""

    folder: Path
    chosen: str
    hints: Hints


def gate_of(services: Services, owner: UUID) -> Gate:
    """How this shop reaches sources for an account: with its operator's keys for operators only."""
    settings = services.settings
    with read_session(services.engine) as db:
        roles = db.get_one(Account, owner).roles
    return Gate(
        reach=read_reach(settings.import_private),
        keys=Permission.decide_reviews in permissions_of(roles),
        hf_endpoint=settings.hf_endpoint,
        modelscope_endpoint=settings.modelscope_endpoint,
        modelscope_token=os.environ.get("MODELSCOPE_API_TOKEN", ""),
    )


def make(services: Services, work: Work, folder: Path) -> Version:
    """The draft that an import becomes, handed to the checks."""
    made = folder / "made"
    offered = _described(folder)
    if offered is None:
        shutil.rmtree(made, ignore_errors=True)
        material = _gather(services, work, folder)
        model = _lay_out(services, work, material, made, folder)
        offered = _describe(services, work, material.hints, made, model)
        _write(folder / OFFER, json.dumps(offered.to_json(), ensure_ascii=False).encode())
    # Only now: until here everything could be taken up again from what was fetched.
    for name in ("fetched", "taken", "pulled", "converted", "read"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return _hand_over(services, work, made, offered)


def _described(folder: Path) -> Offer | None:
    """The offer that an earlier run wrote down."""
    path = folder / OFFER
    return offers.parse(json.loads(path.read_bytes())) if path.exists() else None


def _write(path: Path, content: bytes) -> None:
    half = path.with_name(path.name + ".half")
    half.write_bytes(content)
    half.replace(path)


# look, fetch, unpack


def _gather(services: Services, work: Work, folder: Path) -> Material:
    job = work.job()
    work.enter("look")
    if job.options.get("files"):
        return _uploaded(services, work, job, folder / "fetched")
    sources = read_sources(job.pinned or job.source)
    if sources[0].kind == "oci":
        return _pulled(services, work, job, folder)
    gate = gate_of(services, job.owner)
    with planned(sources, gate) as plan:
        have = fetched(folder / "fetched")
        require_place(plan, folder, have)
        work.note(pinned=plan.pinned, options={**job.options, "identity": plan.identity})
        work.enter("fetch", total=plan.total)
        fetch(plan, folder / "fetched", work.progress, gate.patience)
        return _unpacked(work, plan, sources, folder)


def _unpacked(work: Work, plan: Plan, sources: list[Source], folder: Path) -> Material:
    """The files of a plan, those of its archives taken out of them."""
    if not plan.taken:
        return Material(folder / "fetched", plan.chosen, plan.hints)
    work.enter("unpack")
    out = folder / "taken"
    shutil.rmtree(out, ignore_errors=True)
    wanted = [(folder / "fetched" / one.archive, one.inner) for one in plan.taken]
    came = import_child.take(wanted, out, work.progress)
    single = len(sources) == 1 and len(came) == 1
    return Material(out, came[0] if single else "", plan.hints)


def _uploaded(services: Services, work: Work, job: ImportJob, out: Path) -> Material:
    """Files that the importer has sent; each is moved out of the uploads once."""
    home, files = services.settings.home, job.options["files"]
    work.note(pinned=job.source)
    work.enter("fetch", total=sum(int(one["size"]) for one in files.values()))
    for path, one in files.items():
        target = out / path
        if target.exists():
            continue
        with write_session(services.engine) as db:
            upload = uploads.complete_of(db, job.owner, one["sha256"], int(one["size"]))
            if upload is None:
                raise uploads.UnknownUpload(id=path)
            same = [p for p, other in files.items() if other["sha256"] == one["sha256"] and p != path]
            target.parent.mkdir(parents=True, exist_ok=True)
            if any(not (out / other).exists() for other in same):
                shutil.copyfile(uploads.path_of(home, upload), target)
            else:
                uploads.take(home, db, upload, target)
            db.commit()
    only = next(iter(files)) if len(files) == 1 else ""
    return Material(out, only, Hints(title=job.source))


def _pulled(services: Services, work: Work, job: ImportJob, folder: Path) -> Material:
    gate = gate_of(services, job.owner)
    pinned = job.pinned or import_oci.pinned_of(job.source, gate)
    work.note(pinned=pinned, options={**job.options, "identity": pinned})
    work.enter("fetch")
    out = folder / "taken"
    shutil.rmtree(out, ignore_errors=True)
    hints = import_oci.bring(pinned, gate, folder / "pulled", out, work.progress)
    return Material(out, "", hints)


# convert


def _lay_out(services: Services, work: Work, material: Material, made: Path, folder: Path) -> str:
    """The model's files as they are to be served; "" for a package that describes itself, else the graph."""
    source = shown(work.job().source)
    sizes = listed(material.folder)
    if material.chosen and len(sizes) == 1:
        chosen = {material.chosen: Path(material.chosen).name}
        model = Path(material.chosen).name
    else:
        found = choose(sizes, material.chosen, source)
        chosen, model = found.files, found.model
    for path, here in chosen.items():
        link(material.folder / path, made / here)
    if not model:
        return ""
    kind, _ = recognise(made / model)
    if kind == "onnx":
        return _named(made, model)
    require_full_sandbox(services.runtime("process"))  # a stranger's file is read by libraries of many
    return _converted(work, made, model, folder / "converted")


def _named(made: Path, model: str) -> str:
    """A graph under a name that says what it is."""
    if model.endswith(".onnx"):
        return model
    (made / model).rename(made / "model.onnx")
    return "model.onnx"


def _converted(work: Work, made: Path, model: str, out: Path) -> str:
    """Make a graph of other weights, in the sandboxed worker, and put it into their place."""
    work.enter("convert")
    shutil.rmtree(out, ignore_errors=True)
    told = work.job().options.get("convert", {})
    options = {name: value for name, value in told.items() if name in CONVERTS}
    while not _CONVERTING.acquire(timeout=0.5):
        work.progress(0, 0, "")
    try:
        convert_source(made / model, out, options, work.progress)
    finally:
        _CONVERTING.release()
    (made / model).unlink()
    for path in sorted(out.iterdir()):
        target = made / path.name
        target.unlink(missing_ok=True)
        path.rename(target)
    return "model.onnx"


# describe


def _describe(services: Services, work: Work, hints: Hints, made: Path, model: str) -> Offer:
    """Write market.yaml where there is none, and read the whole as an offer."""
    work.enter("describe", total=sum(size or 0 for size in listed(made).values()))
    job = work.job()
    with read_session(services.engine) as db:
        refused = imports.refused_draft(db, job.mirror_id)
        newest = refused.number if refused else next_number(db, job.name)
    wishes, room = _wishes(job, newest), made.with_name("read")
    fixed = bool(job.mirror_id)
    found = import_child.describe(made, model, hints, wishes, room, work.progress, fixed=fixed)
    for path in found.superfluous:
        (made / path).unlink()
    for code, text in found.cards.items():
        (made / f"card.{code}.md").write_text(text, "utf-8")
    _write(made / offers.FILE_NAME, plain_yaml.dump(found.sheet).encode())
    return offers.read(made, work.progress)


def _wishes(job: ImportJob, number: str) -> Wishes:
    options: Mapping[str, Any] = job.options
    texts = {key: str(options.get(key, "")) for key in ("task", "license", "title_zh", "title_en")}
    texts |= {key: str(options.get(key, "")) for key in ("summary_zh", "summary_en")}
    return Wishes(
        name=job.name,
        version=str(options.get("version") or number),
        source=shown(job.pinned or job.source),
        languages=tuple(options.get("languages", ())),
        verticals=tuple(options.get("verticals", ())),
        options=dict(options.get("pipeline", {})),
        **texts,
    )


def next_number(db: Session, name: str) -> str:
    """The number behind the greatest that a listing has."""
    rows = select(Version.number).join(Listing, col(Listing.id) == col(Version.listing_id))
    numbers = [tuple(map(int, number.split("."))) for number in db.exec(rows.where(Listing.name == name))]
    if not numbers:
        return FIRST
    major, minor, patch = max(numbers)
    return f"{major}.{minor}.{patch + 1}"


# check


def _hand_over(services: Services, work: Work, made: Path, offered: Offer) -> Version:
    """Begin the draft, move the files into it, and have it checked."""
    work.enter("check")
    job = work.job()
    with write_session(services.engine) as db:
        same = _same(db, job, offered)
        if same is not None:
            return same
        version = publishing.begin(services, db, db.get_one(Account, job.owner), offered)
        found = Version.model_validate(version)
        db.rollback()  # a name, a number: what follows writes in transactions of its own
    work.note(version_id=found.id, version=found.number)
    if found.state == VersionState.draft and found.check_state in (CheckState.none, CheckState.failed):
        _move(made, publishing.staging(services, found), offered)
        wanted = str(job.options.get("wanted", ""))
        beside_the_step(lambda: _start_checks(services, found.id, wanted))
    return found


def _start_checks(services: Services, version_id: UUID, wanted: str) -> None:
    with write_session(services.engine) as db:
        version = db.get_one(Version, version_id)
        publishing.collect(services, db, version)
        checking.start(services, db, version, wanted=wanted)


def beside_the_step(do: Callable[[], None]) -> None:
    """Do something that enqueues a workflow: DBOS allows none inside of a step, which a thread is not."""
    with ThreadPoolExecutor(1, thread_name_prefix="import") as pool:
        pool.submit(do).result()


def _move(made: Path, staging: Path, offered: Offer) -> None:
    for artifact in offered.artifacts:
        source, target = made / artifact["path"], staging / artifact["path"]
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.chmod(0o600)
            source.replace(target)


def _same(db: Session, job: ImportJob, offered: Offer) -> Version | None:
    """For a mirror: the version that says all of this already; its source changed in other ways."""
    if job.mirror_id is None:
        return None
    rows = (
        select(Version)
        .join(Listing, col(Listing.id) == col(Version.listing_id))
        .where(Listing.name == job.name, Version.check_state == CheckState.passed)
        .order_by(col(Version.created).desc())
    )
    newest = db.exec(rows).first()
    if newest is None or _said(newest) != _offered(offered):
        return None
    db.expunge(newest)
    return newest


def _said(version: Version) -> tuple[Any, ...]:
    """What a version says, but for its number and the revision that it came from."""
    return (
        {**version.manifest, "version": ""},
        _without(version.source, version.offer),
        version.claims,
        publishing.licenses_of(version),
    )


def _offered(offer: Offer) -> tuple[Any, ...]:
    """The same of an offer."""
    words = _without(offer.sheet.source, offer.words())
    return {**offer.manifest(), "version": ""}, words, offer.claims, offer.licenses


def _without(source: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """Words without the revision that cards name."""
    named = source.replace("`", "")
    cards = {name: str(words.get(name, "")) for name in ("card_zh", "card_en")}
    return {**words, **{name: text.replace(named, "") if named else text for name, text in cards.items()}}
