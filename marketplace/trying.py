"""The dry run as rows of the table of checks: does it start, are its examples right, do its claims hold."""

import math
import secrets
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catalog
from catalog import manifest as manifests
from catalog.scan import RULES, Row, Verdict
from deployer import dry_run
from deployer.errors import DeployerError
from deployer.optimizer import worker
from deployer.runtimes.folders import private_folder
from deployer.runtimes.process import ProcessRuntime

if TYPE_CHECKING:
    from marketplace.examining import Examination

VERSION = "0.1.0"
BASE = 512 << 20  # bytes that our server may take for itself
TIMES = 4  # the weights, as a graph is loaded, optimised and packed
SLOWER, MUCH_SLOWER = 1.5, 5.0  # times the claimed latency that are warned of, and refused
MORE = 1.25  # times the claimed memory
POINTS, MANY_POINTS = 0.02, 0.10  # of accuracy below the claim
FEW_ROWS = 30  # from which on an accuracy says something


def memory_for(size: int, largest: int) -> int:
    """Bytes that a model with so many bytes of files may take in its dry run."""
    return min(largest, max(1 << 30, BASE + TIMES * size))


def try_version(looked: "Examination") -> list[Row]:
    """The rows dry-run, examples and claims; what was measured is left in `looked.measured`."""
    manifest = looked.subject.manifest
    listed = manifest.get("examples", [])
    try:
        sample = _sample(looked)
        seen = _try_out(looked, [each["request"] for each in listed], [row for row, _ in sample])
    except dry_run.DryRunFailed as error:
        return _failed(error)
    except DeployerError as error:  # the runtime itself: nothing is known of the model
        return [
            Row("dry-run", Verdict.failed, "dry-run-failed", facts={"why": error.code}),
            *_unknown("dry-run"),
        ]
    right, rows = _examples(looked, seen, listed)
    accuracy = _accuracy(looked, seen, [label for _, label in sample])
    looked.measured = {
        "device": dry_run.DEVICE,
        "runtime": seen.runtime,
        "examples": {"right": right, "of": sum(each.get("expect") is not None for each in listed)},
        "latency_ms": seen.latency(),
        "memory": seen.memory,
        "cold_start_ms": seen.cold_start_ms,
        "accuracy": accuracy,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rules": RULES,
        "version": VERSION,
    }
    facts = {"cold_start_ms": seen.cold_start_ms, "memory": seen.memory, **seen.latency()}
    return [
        Row("dry-run", Verdict.passed, facts=facts),
        *rows,
        *claims(looked.subject.claims, looked.measured),
    ]


def answers(looked: "Examination", requests: list[dict[str, Any]]) -> list[Any]:
    """What the model answers, and nothing measured; raises DeployerError."""
    return _try_out(looked, requests, [], measuring=0.0).answers


def signature(looked: "Examination", path: str) -> dict[str, Any]:
    """Inputs and outputs of a graph, which is read in a child; raises DeployerError."""
    found: dict[str, Any] = _in_child(looked, "catalog.contents:signature", {"path": looked.folder / path})
    return found


def _try_out(
    looked: "Examination",
    requests: list[dict[str, Any]],
    sample: list[dict[str, Any]],
    measuring: float = dry_run.Bounds.measuring,
) -> dry_run.Outcome:
    from marketplace.examining import lay_out

    folder = lay_out(looked.folder, looked.subject.manifest, looked.work / "model")
    size = manifests.size(looked.subject.manifest)
    bounds = dry_run.Bounds(
        memory=memory_for(size, looked.bounds.largest),
        start=looked.bounds.start,
        answer=looked.bounds.answer,
        measuring=measuring,
    )
    home = looked.home / "cache" / "checks" if looked.home else looked.work
    # Sockets have short paths, and the work folder may lie deep.
    with tempfile.TemporaryDirectory(dir=looked.run_dir, prefix="try-") as run:
        runtime = ProcessRuntime(home, private_folder(Path(run) / "r"))
        id = f"check-{secrets.token_hex(4)}"
        try:
            return dry_run.try_out(
                runtime, folder, requests, id=id, sample=sample, bounds=bounds, tick=looked.tick
            )
        finally:
            for log in runtime.log_dir.glob(f"{id}.log*"):
                log.unlink(missing_ok=True)


def _failed(error: dry_run.DryRunFailed) -> list[Row]:
    """An answer that is wrong is a matter of the examples; all else one of the run."""
    if error.code.startswith("example-"):
        run = Row("dry-run", Verdict.passed)
        return [
            run,
            Row("examples", Verdict.failed, error.code, facts=dict(error.facts)),
            *_unknown("examples"),
        ]
    return [Row("dry-run", Verdict.failed, error.code, facts=dict(error.facts)), *_unknown("dry-run")]


def _unknown(after: str) -> list[Row]:
    from marketplace.examining import not_run

    later = ("examples", "claims") if after == "dry-run" else ("claims",)
    return not_run(*later, after=after)


def _sample(looked: "Examination") -> list[tuple[dict[str, Any], Any]]:
    """Labelled rows that the version brings along, as requests and labels; none where there are none."""
    manifest = looked.subject.manifest
    name = manifest["files"].get("samples")
    if name is None or manifest["task"] not in dry_run.SAMPLED:
        return []
    rows = _in_child(looked, "deployer.dry_run:read_sample", {"path": looked.folder / name})
    return [({k: v for k, v in row.items() if k != "label"}, row["label"]) for row in rows]


def _in_child(looked: "Examination", function: str, arguments: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory(dir=looked.work) as room:
        done = worker.run(
            function,
            arguments,
            read=(Path(catalog.__file__).parent, looked.folder),
            write=(Path(room),),
            memory=looked.bounds.memory,
            seconds=looked.bounds.seconds,
            tick=looked.tick,
        )
    return done.result


def _examples(
    looked: "Examination", seen: dry_run.Outcome, listed: list[dict[str, Any]]
) -> tuple[int, list[Row]]:
    """How many are right, and the row that says so."""
    expects = [each.get("expect") for each in listed]
    try:
        wrong = _in_child(looked, "deployer.dry_run:compare", {"answers": seen.answers, "expects": expects})
    except DeployerError as error:
        facts = {"how": error.facts.get("how", error.code)}
        return 0, [Row("examples", Verdict.failed, "example-not-compared", facts=facts)]
    expected = [n for n, expect in enumerate(expects) if expect is not None]
    right = sum(not wrong[n] for n in expected)
    broken = next((n for n, found in enumerate(wrong) if found and found[0].startswith("NaN: ")), None)
    if broken is not None:
        facts = {"example": broken + 1, "at": wrong[broken][0].removeprefix("NaN: ")}
        return right, [Row("examples", Verdict.failed, "example-nan", facts=facts)]
    if not listed:
        return 0, [Row("examples", Verdict.warned, "example-none")]
    if not expected:
        return 0, [Row("examples", Verdict.warned, "example-no-answers", facts={"of": len(listed)})]
    counted = {"right": right, "of": len(expected)}
    if right < len(expected):
        first = next(n for n in expected if wrong[n])
        facts = counted | {"example": first + 1, "mismatch": "; ".join(wrong[first])[:300]}
        return right, [Row("examples", Verdict.failed, "example-wrong", facts=facts)]
    return right, [Row("examples", Verdict.passed, facts=counted)]


def _accuracy(looked: "Examination", seen: dry_run.Outcome, labels: list[Any]) -> dict[str, Any]:
    """Share of the labelled rows that were answered right; empty where there are none."""
    if not labels:
        return {}
    try:
        hits = _in_child(looked, "deployer.dry_run:hits", {"answers": seen.sample, "labels": labels})
    except DeployerError:  # answers without end are no accuracy
        return {}
    return {"metric": "accuracy", "value": round(hits / len(labels), 4), "rows": len(labels)}


# Claims beside measurements


def claims(claimed: dict[str, Any], measured: dict[str, Any]) -> list[Row]:
    """Each claim beside what was measured here; one that could not be measured says so."""
    checks: tuple[Callable[[dict[str, Any], dict[str, Any]], Row | None], ...] = (
        _latency,
        _memory,
        _claimed_accuracy,
    )
    rows = [row for row in (check(claimed, measured) for check in checks) if row is not None]
    if not rows:
        return [Row("claims", Verdict.passed, "claim-none")]
    return rows


def _number(value: Any) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain and value > 0 else None


def _row(verdict: Verdict, code: str, **facts: Any) -> Row:
    return Row("claims", verdict, code, facts=facts)


def _latency(claimed: dict[str, Any], measured: dict[str, Any]) -> Row | None:
    if claimed.get("latency_ms") is None:
        return None
    said, here = _number(claimed["latency_ms"]), measured["latency_ms"].get("p50")
    if said is None:
        return _row(Verdict.failed, "claim-invalid", claim="latency_ms")
    if here is None:
        return _row(Verdict.warned, "claim-not-measured", claim="latency_ms")
    facts = {
        "claimed": said,
        "measured": here,
        "n": measured["latency_ms"]["n"],
        "times": round(here / said, 2),
    }
    if here > said * MUCH_SLOWER:
        return _row(Verdict.failed, "claim-latency-false", **facts)
    if here > said * SLOWER:
        return _row(Verdict.warned, "claim-latency-slower", **facts)
    return _row(Verdict.passed, "claim-latency-holds", **facts)


def _memory(claimed: dict[str, Any], measured: dict[str, Any]) -> Row | None:
    if claimed.get("memory") is None:
        return None
    said, here = _number(claimed["memory"]), measured["memory"]
    if said is None:
        return _row(Verdict.failed, "claim-invalid", claim="memory")
    facts = {"claimed": int(said), "measured": here}
    if here > said * MORE:
        return _row(Verdict.warned, "claim-memory-more", **facts)
    return _row(Verdict.passed, "claim-memory-holds", **facts)


def _claimed_accuracy(claimed: dict[str, Any], measured: dict[str, Any]) -> Row | None:
    said = claimed.get("accuracy")
    if said is None:
        return None
    value = _number(said.get("value")) if isinstance(said, dict) else None
    if value is None or (said.get("metric") == "accuracy" and value > 1):
        return _row(Verdict.failed, "claim-invalid", claim="accuracy")
    found = measured.get("accuracy") or {}
    if said.get("metric") != "accuracy" or found.get("rows", 0) < FEW_ROWS:
        return _row(Verdict.warned, "claim-not-measured", claim=f"{said.get('metric')} {value:g}")
    facts = {"claimed": value, "measured": found["value"], "rows": found["rows"]}
    # Few rows spread: three standard errors belong to chance, not to the vendor.
    spread = 3 * math.sqrt(max(value * (1 - value), 0.01) / found["rows"])
    if found["value"] < value - max(MANY_POINTS, spread):
        return _row(Verdict.failed, "claim-accuracy-false", **facts)
    if found["value"] < value - max(POINTS, spread / 3):
        return _row(Verdict.warned, "claim-accuracy-less", **facts)
    return _row(Verdict.passed, "claim-accuracy-holds", **facts)
