"""The work of an import: from a source to a draft with its files, in steps that may be done twice.

    look → fetch → unpack → convert → describe → check

What is fetched and made lies in the import's own folder. Once the offer is whole it is written down there as
offer.json; a killed import goes on from it. Files enter the draft by being moved, so they need no more room.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlmodel import Session, col, select

from catalog import offer as offers
from catalog import plain_yaml, uploads
from catalog.importers.choosing import OWN, choose
from catalog.importers.errors import ImportNotInferred
from catalog.importers.inferring import Wishes, infer
from catalog.importers.plans import Gate, Hints, Plan, fetch, fetched, planned, require_place
from catalog.importers.reach import read_reach
from catalog.importers.sources import Source, read_sources
from catalog.importers.taking import link, listed, take
from catalog.manifest import FILE_NAME as MANIFEST
from catalog.models import Artifact, CheckState, ImportJob, Listing, Version
from catalog.offer import Offer
from catalog.progress import Progress
from deployer.optimizer.convert.sources import convert_source, recognise
from marketplace import checking, import_oci, publishing
from marketplace.db import read_session, write_session
from marketplace.models import Account
from marketplace.services import Services
from marketplace.settings import Settings

OFFER = "offer.json"
CARD = 120_000  # characters of a card
FIRST = "1.0.0"


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


def gate_of(settings: Settings) -> Gate:
    """How this shop reaches sources."""
    return Gate(
        reach=read_reach(settings.import_private),
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
        model = _lay_out(work, material, made, folder)
        offered = _describe(services, work, material.hints, made, model)
        _write(folder / OFFER, json.dumps(offered.to_json(), ensure_ascii=False).encode())
    # Only now: until here everything could be taken up again from what was fetched.
    for name in ("fetched", "taken", "pulled", "converted"):
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
    with planned(sources, gate_of(services.settings)) as plan:
        have = fetched(folder / "fetched")
        require_place(plan, folder, have)
        work.note(pinned=plan.pinned, options={**job.options, "identity": plan.identity})
        work.enter("fetch", total=plan.total)
        fetch(plan, folder / "fetched", work.progress, gate_of(services.settings).patience)
        return _unpacked(work, plan, sources, folder)


def _unpacked(work: Work, plan: Plan, sources: list[Source], folder: Path) -> Material:
    """The files of a plan, those of its archives taken out of them."""
    if not plan.taken:
        return Material(folder / "fetched", plan.chosen, plan.hints)
    work.enter("unpack")
    out = folder / "taken"
    shutil.rmtree(out, ignore_errors=True)
    came: list[str] = []
    for one in plan.taken:
        came += take(folder / "fetched" / one.archive, one.inner, out, work.progress)
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
    reach = read_reach(services.settings.import_private)
    pinned = job.pinned or import_oci.pinned_of(job.source, reach)
    work.note(pinned=pinned, options={**job.options, "identity": pinned})
    work.enter("fetch")
    out = folder / "taken"
    shutil.rmtree(out, ignore_errors=True)
    hints = import_oci.bring(pinned, reach, folder / "pulled", out, work.progress)
    return Material(out, "", hints)


# convert


def _lay_out(work: Work, material: Material, made: Path, folder: Path) -> str:
    """The model's files as they are to be served; "" for a package that describes itself, else the graph."""
    source = work.job().source
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
    convert_source(made / model, out, dict(work.job().options.get("convert", {})), work.progress)
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
        newest = next_number(db, job.name)
    own = next((name for name in OWN if (made / name).exists()), "") if not model else ""
    wishes = _wishes(job, newest)
    if own == offers.FILE_NAME:
        sheet = _own_sheet(made, wishes, fixed=bool(job.mirror_id))
    elif own == MANIFEST:
        sheet = _sheet_of_manifest(made, hints, wishes)
    else:
        found = infer(made, model, hints, wishes)
        sheet = found.sheet
        for path in listed(made):
            if path not in found.files:
                (made / path).unlink()
        for code, text in found.cards.items():
            (made / f"card.{code}.md").write_text(text[:CARD], "utf-8")
        if found.cards:
            sheet["card"] = {code: f"card.{code}.md" for code in found.cards}
    _write(made / offers.FILE_NAME, plain_yaml.dump(sheet).encode())
    return offers.read(made, work.progress)


def _wishes(job: ImportJob, number: str) -> Wishes:
    options: Mapping[str, Any] = job.options
    texts = {key: str(options.get(key, "")) for key in ("task", "license", "title_zh", "title_en")}
    texts |= {key: str(options.get(key, "")) for key in ("summary_zh", "summary_en")}
    return Wishes(
        name=job.name,
        version=str(options.get("version") or number),
        source=job.pinned or job.source,
        languages=tuple(options.get("languages", ())),
        verticals=tuple(options.get("verticals", ())),
        options=dict(options.get("pipeline", {})),
        **texts,
    )


def _own_sheet(made: Path, wishes: Wishes, *, fixed: bool) -> dict[str, Any]:
    """The market.yaml that came, under the name that was asked for."""
    content = (made / offers.FILE_NAME).read_bytes()[: plain_yaml.LARGEST + 1]
    sheet, _ = plain_yaml.load(content, offers.FILE_NAME)
    if not isinstance(sheet, dict):
        why = "its market.yaml has no fields"
        raise ImportNotInferred(source=wishes.source, why=why, why_zh="其中的 market.yaml 没有任何字段")
    sheet.pop("artifacts", None)
    number = wishes.version if fixed or wishes.version != FIRST else sheet.get("version", wishes.version)
    return {**sheet, "name": wishes.name, "version": number, "source": wishes.source[:500]}


def _sheet_of_manifest(made: Path, hints: Hints, wishes: Wishes) -> dict[str, Any]:
    """A manifest of ours says all but the words."""
    path = made / MANIFEST
    try:
        told = json.loads(path.read_bytes()) if path.stat().st_size <= offers.MANIFEST_LIMIT else {}
        files, options = dict(told["files"]), dict(told.get("options", {}))
        task, examples = str(told["task"]), list(told.get("examples", []))
    except (ValueError, KeyError, TypeError, RecursionError):
        why = "its manifest.json does not say task and files"
        raise ImportNotInferred(
            source=wishes.source, why=why, why_zh="其中的 manifest.json 没有写明任务与文件"
        ) from None
    path.unlink()
    words = infer(made, str(files.get("model", "")), hints, _as_tensors(wishes)).sheet
    shown = [one for one in examples if isinstance(one, dict)][:20]
    return {
        **{key: words[key] for key in ("schema", "name", "version", "kind", "title", "summary")},
        **{key: words[key] for key in ("languages", "verticals", "license", "source")},
        "task": wishes.task or task,
        "files": files,
        "options": {**options, **wishes.options},
        "examples": [
            {
                "title": {"zh": one.get("title_zh", "示例"), "en": one.get("title_en", "Example")},
                "request": one.get("request", {}),
                "expect": one.get("expect"),
            }
            for one in shown
        ],
    }


def _as_tensors(wishes: Wishes) -> Wishes:
    """Only the words are asked for."""
    return replace(wishes, task="tensors")


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
    if found.check_state in (CheckState.none, CheckState.failed):
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
    """For a mirror: the version that has these very files already; its source changed in other ways."""
    if job.mirror_id is None:
        return None
    rows = (
        select(Version)
        .join(Listing, col(Listing.id) == col(Version.listing_id))
        .where(Listing.name == job.name, Version.check_state == CheckState.passed)
        .order_by(col(Version.created).desc())
    )
    newest = db.exec(rows).first()
    if newest is None:
        return None
    have = select(Artifact.path, Artifact.sha256).where(Artifact.version_id == newest.id)
    if set(db.exec(have)) != {(one["path"], one["sha256"]) for one in offered.artifacts}:
        return None
    db.expunge(newest)
    return newest
