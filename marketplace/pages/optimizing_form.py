"""The form that asks for an optimisation: what was filled in, what a file is to hold, what may run where."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from litestar.datastructures import UploadFile

from deployer.devices import DEVICES, DeviceProfile
from deployer.errors import DeployerError
from deployer.models import Optimization
from deployer.optimizer.objective import KINDS, Objective
from marketplace.errors import InvalidRequest
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages import words
from marketplace.samples import Intake, get_sample

NO_FILE = _("Choose a file, or one of the other ways.")
NO_NUMBER = _("{text} is not a number.")
NOT_HERE = _("Nothing on this machine can run it; only its form can be checked.")
FILES_ONLY = _("You get the files and the certificate; this version does not deploy to it.")
UPLOAD = "upload"
CHUNK = 1 << 20
MEGA = 1_000_000
BOUNDS = ("max_drop", "max_latency_ms", "max_memory", "max_size")
LONGEST_CELL = 40  # characters


@dataclass
class Values:
    """What stands in the form's fields, as typed; memory and size are in MB, the loss in points."""

    kind: str = "fastest"
    max_drop: str = "1"
    max_latency_ms: str = ""
    max_memory: str = ""
    max_size: str = ""
    sample: str = UPLOAD
    device: str = "cpu"

    def __getitem__(self, name: str) -> str:
        return str(getattr(self, name))


class FieldRefused(InvalidRequest):
    """A field of the form holds something else. Facts: field, why."""


@dataclass(frozen=True)
class DeviceChoice:
    """A device with its grade; `ok` says whether this machine can run it, `why` what there is to know."""

    id: str
    title: str
    grade: str
    ok: bool
    why: str


@dataclass(frozen=True)
class Expected:
    """A table of what a file of rows holds: its columns, and some rows."""

    columns: list[str]
    rows: list[list[str]]


def number(text: str) -> float | None:
    """A number that was typed, with a point or a comma; None for anything else."""
    try:
        value = float(text.strip().replace(",", ".")) if len(text) < 40 else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read(data: Mapping[str, Any]) -> Values:
    """The fields as they were sent."""
    sent = {name: value for name, value in data.items() if isinstance(value, str)}
    names = Values.__dataclass_fields__
    return Values(**{name: sent[name].strip()[:200] for name in names if name in sent})


def values_of(row: Optimization) -> Values:
    """The form as it was for an earlier job."""
    wanted = objective_of(row.objective)
    return Values(
        kind=wanted.kind,
        max_drop=f"{wanted.max_drop * 100:.4g}",
        max_latency_ms=f"{wanted.max_latency_ms:.6g}" if wanted.max_latency_ms else "",
        max_memory=f"{wanted.max_memory / MEGA:.10g}" if wanted.max_memory else "",
        max_size=f"{wanted.max_size / MEGA:.10g}" if wanted.max_size else "",
        sample=row.sample,
        device=row.device,
    )


def objective_of(plain: Mapping[str, Any]) -> Objective:
    """A job's objective as its row has it."""
    try:
        return msgspec.convert(dict(plain), Objective)
    except msgspec.ValidationError:
        return Objective()


def objective(values: Values, lang: str) -> Objective:
    """The objective that was filled in; raises FieldRefused for what is no number."""
    if values.kind not in KINDS:
        raise FieldRefused(field="kind", why=", ".join(KINDS))
    typed = {name: _typed(values, name, lang) for name in BOUNDS}
    return Objective(
        kind=values.kind,  # type: ignore[arg-type]  # one of KINDS
        max_drop=typed["max_drop"] / 100,
        max_latency_ms=typed["max_latency_ms"],
        max_memory=round(min(typed["max_memory"], 1e12) * MEGA),
        max_size=round(min(typed["max_size"], 1e12) * MEGA),
    )


def _typed(values: Values, name: str, lang: str) -> float:
    text = values[name]
    value = number(text) if text else 0.0
    if value is None or (name == "max_drop" and not text):
        raise FieldRefused(field=name, why=gettext(lang, NO_NUMBER, text=text or "–"))
    return value


def sample(home: Path, owner: str, values: Values, data: Mapping[str, Any], lang: str) -> str:
    """The id of the rows to use, kept first when they were sent along; "" for none.

    Raises UnknownSample, SampleRefused, StorageFull, and FieldRefused when there is no file.
    """
    if values.sample != UPLOAD:
        return get_sample(home, owner, values.sample).id if values.sample else ""
    sent = data.get("data")
    if not isinstance(sent, UploadFile) or not sent.filename:
        raise FieldRefused(field="data", why=gettext(lang, NO_FILE))
    intake = Intake(home, sent.filename)
    try:
        while chunk := sent.file.read(CHUNK):
            intake.write(chunk)
        return intake.keep(owner).id
    finally:
        intake.close()


def field_of(error: Exception) -> str:
    """The field that a refusal belongs to; the form as a whole when there is none."""
    facts: dict[str, Any] = getattr(error, "facts", {})
    code = getattr(error, "code", "")
    if isinstance(error, FieldRefused):
        return str(facts["field"])
    if code == "objective-refused":
        bound = str(facts.get("bound", ""))
        return "kind" if bound == "objective" else bound if bound in BOUNDS else "form"
    if about_data(code) or code == "storage-full":
        return "data"
    return "device" if isinstance(error, DeployerError) and "device" in facts else "form"


def about_data(code: str) -> bool:
    """Whether a refusal speaks of the person's file."""
    return code.startswith(("data-", "sample-")) or code == "unknown-sample"


def devices(lang: str) -> list[DeviceChoice]:
    """Every known device, those that can run here first."""
    found = [_choice(each, lang) for each in DEVICES]
    return sorted(found, key=lambda each: not each.ok)


def _choice(device: DeviceProfile, lang: str) -> DeviceChoice:
    runs = device.runs_here != "checked"
    title = device.title_zh if lang == "zh" else device.title_en
    if not runs:
        return DeviceChoice(device.id, title, device.runs_here, False, gettext(lang, NOT_HERE))
    why = "" if device.serves else gettext(lang, FILES_ONLY)
    return DeviceChoice(device.id, title, device.runs_here, True, why)


def expected(task: str, manifest: Mapping[str, Any], lang: str) -> Expected:
    """Columns and sample rows of a task's file, out of the version's own examples."""
    examples = manifest.get("examples", [])[:2]
    columns = _columns(task, examples)
    rows = []
    for at, example in enumerate(examples, 1):
        cells = {**_request_cells(task, example["request"], at), "label": label_of(task, example["expect"])}
        rows.append([cells.get(column, "…") for column in columns])
    return Expected(columns, rows)


def _columns(task: str, examples: list[dict[str, Any]]) -> list[str]:
    if task in words.DATA_COLUMNS:
        return list(words.DATA_COLUMNS[task])
    row = _first_row(examples[0]["request"]) if examples else {}
    return [*row, "label"]


def _first_row(request: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a table's request, else its fields."""
    rows = request.get("rows")
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        return dict(rows[0])
    return dict(request)


def _request_cells(task: str, request: Mapping[str, Any], at: int) -> dict[str, str]:
    field = words.field_of(task)
    if field in words.SAMPLE_FILES:
        return {field: f"{Path(words.SAMPLE_FILES[field]).stem}-{at}{Path(words.SAMPLE_FILES[field]).suffix}"}
    return {name: cell(value) for name, value in _first_row(request).items()}


def label_of(task: str, expect: Mapping[str, Any]) -> str:
    """The label that an example's expected answer amounts to, as a cell; … where none can be told."""
    results = expect.get("results")
    first = results[0] if isinstance(results, list) and results and isinstance(results[0], dict) else {}
    if isinstance(first.get("label"), str):
        return str(first["label"])
    for name in ("label", "text"):
        if isinstance(expect.get(name), str):
            return cell(expect[name])
    for name in ("entities", "segments", "lines", "regions", "objects"):
        if name in first or name in expect:
            return cell(_plain(first.get(name, expect.get(name))))
    return "…"


def _plain(value: Any) -> Any:
    """An expectation without its tolerances."""
    if isinstance(value, dict):
        if "$any" in value:
            return _plain(value["$any"])
        if "$near" in value:
            return value["$near"]
        return {k: _plain(v) for k, v in value.items() if not k.startswith("$") and k != "score"}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def cell(value: Any) -> str:
    """A value as a cell of a small table."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
