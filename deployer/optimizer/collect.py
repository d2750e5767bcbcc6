"""What the model answers as it came: the yardstick of all variants, and real inputs of its graphs."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from deployer.optimizer import driving, rows, statistics
from deployer.optimizer.folders import read_manifest
from deployer.optimizer.metrics import judge_for
from deployer.optimizer.rows import Row
from deployer.server.predictor import Predictor
from deployer.spec import Progress

CALIBRATION = 128  # inputs of each graph that are kept
ROOM = 64 << 20  # bytes of them
RECORDED = 300  # first rows whose runs are recorded
MOST_ASKED = 16 << 20  # bytes of requests that real servers are asked
LEAST, LIMIT = 100, 2000  # rows that are used, whatever the time; at most


class Table(NamedTuple):
    """Rows, each with its side, and what is told of their file."""

    rows: list[tuple[Row, str]]
    facts: dict[str, Any]


def run(
    *,
    folder: str,
    work: str,
    data: str,
    budget: float,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Answer the rows of a file, or the examples where there is none, and write answers and inputs down.

    Stops taking further rows after `budget` seconds, but not before a sensible number is through.
    """
    base, place = Path(folder), Path(work)
    predictor = driving.open_model(base)
    table = _rows(predictor, Path(data)) if data else _examples(base)
    recorder = driving.Recorder(most=CALIBRATION, room=ROOM, seed=seed)
    answers: list[driving.Answer] = []
    began, until = time.process_time(), time.monotonic() + 2 * budget
    for count, (row, side) in enumerate(table.rows):
        late = time.process_time() - began > budget or time.monotonic() > until
        if count >= LEAST and late:
            break
        recorder.keeping = side != "judged" and count < RECORDED
        answers.append(driving.answer(predictor, row.request, row.number, recorder))
        recorder.end_row()
        if count % 8 == 0:
            progress(count, len(table.rows), "rows")
    whole = time.process_time() - began
    used = table.rows[: len(answers)]
    lines = [{"number": row.number, "side": side, **row.describe()} for row, side in used]
    driving.write_lines(place / "rows.jsonl", lines)
    driving.write_lines(place / "answers.jsonl", answers)
    kept = driving.save_feeds(recorder.feeds, place / "feeds")
    predictor.close()
    graphs = sum(recorder.cpu.values())
    told = {
        **table.facts,
        "task": predictor.task,
        "used": len(used),
        "choosing": sum(side == "choosing" for _, side in used),
        "judged": sum(side == "judged" for _, side in used),
        "feeds": kept,
        "shares": {role: cpu / graphs for role, cpu in recorder.cpu.items()} if graphs else {},
        "runs": {role: runs / max(1, len(used)) for role, runs in recorder.runs.items()},
        "milliseconds": 1000 * graphs / max(1, len(used)),
        "row_milliseconds": 1000 * whole / max(1, len(used)),
    }
    return told | _score(predictor.task, used, answers, seed, labelled=table.facts["labelled"])


def _score(
    task: str, used: list[tuple[Row, str]], answers: list[driving.Answer], seed: int, *, labelled: bool
) -> dict[str, Any]:
    """The model's own score on the judged rows."""
    judged = [(row, one) for (row, side), one in zip(used, answers, strict=True) if side == "judged"]
    if not labelled or not judged:
        return {"metric": "", "score": None}
    judge = judge_for(task)
    tally = judge.tally([one for _, one in judged], [row.label for row, _ in judged])
    found = statistics.interval(tally, seed=seed)
    return {"metric": judge.metric, "score": [found.value, found.low, found.high]}


def _rows(predictor: Predictor, data: Path) -> Table:
    """The file's rows in their hashes' order, each with its side."""
    found = rows.read(data, predictor.task, limit=LIMIT, **rows.wanted_by(predictor))
    choosing, _ = rows.split(found)
    chosen = {row.number for row in choosing}
    sides = ["choosing" if row.number in chosen else "judged" for row in found.rows]
    facts = {
        "name": found.name,
        "digest": found.digest,
        "total": found.total,
        "labelled": found.labelled,
        "duplicates": found.duplicates,
        "contradictions": found.contradictions,
    }
    return Table(list(zip(found.rows, sides, strict=True)), facts)


def _examples(base: Path) -> Table:
    """The listing's examples: too few to judge by, but real inputs all the same."""
    requests = [example["request"] for example in read_manifest(base).get("examples") or []]
    own = [(row, "examples") for row in rows.rows_in(requests)]
    return Table(own, {"name": "", "digest": "", "total": len(own), "labelled": False})


def requests(*, work: str, side: str, answers: str, most: int, progress: Progress) -> dict[str, Any]:
    """Up to `most` rows of a side as requests, each with the answer that stands in `answers`."""
    lines = [line for line in driving.read_lines(Path(work) / "rows.jsonl") if line["side"] == side][:most]
    asked: list[list[Any]] = []
    held = 0
    for line, answer in zip(lines, driving.read_lines(Path(answers)), strict=False):
        request = rows.recalled(line)[0]
        size = len(orjson.dumps(request))
        progress(len(asked), most, side)
        if size < MOST_ASKED // 4 and held + size < MOST_ASKED:
            asked.append([request, answer])
            held += size
    return {"asked": asked}
