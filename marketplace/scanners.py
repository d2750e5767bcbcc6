"""A second scanner beside the gate: modelaudit, in an environment of its own, in a child without network.

The gate is the allow list of catalog.scan; a second scanner only adds refusals. It fails closed: one that is
missing, errs, or did not read a file to its end has refused the version, for nobody knows what it missed.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from catalog.progress import Progress, silent
from catalog.scan import Row, Verdict
from deployer.errors import DeployerError
from deployer.optimizer import worker
from deployer.optimizer.errors import WorkerFailed
from deployer.optimizer.targets.environments import Environment, Fetch, folder_of, is_ready, prepare

NAMES = ("none", "modelaudit")
PACKAGES = {"modelaudit": "0.2.54"}
MEMORY = 2 << 30  # bytes
SECONDS = 60.0  # for the imports, beside 20 for each file
MOST_FINDINGS = 20  # of one file
QUIET = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def _install(folder: Path, fetch: Fetch) -> None:
    """The scanner with what it needs, as wheels for our own interpreter."""
    wanted = [f"{name}=={version}" for name, version in PACKAGES.items()]
    fetch.run(
        f"pip: {', '.join(wanted)}",
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--no-compile"),
            *("--disable-pip-version-check", "--no-input", "--no-warn-conflicts"),
            *("--target", str(folder / "packages"), *wanted),
        ],
        folder.parent,
    )


ENVIRONMENT = Environment("scanner", PACKAGES, _install)


def ready(home: Path) -> bool:
    """Whether the environment is there."""
    return is_ready(home, ENVIRONMENT)


def scan(
    name: str,
    folder: Path,
    paths: list[str],
    *,
    home: Path | None,
    work: Path,
    tick: Progress = silent,
) -> list[Row]:
    """A row for each file; never raises for what the scanner does. `work` is an empty folder to write in."""
    version = PACKAGES.get(name, "")
    if home is None or name not in PACKAGES:
        return [_row(Verdict.failed, "scanner-missing", name, version, why="there is no home to keep it in")]
    try:
        prepare(home, ENVIRONMENT, 1, tick)
    except DeployerError as error:
        why = str(error.facts.get("why", error.code))[:300]
        return [_row(Verdict.failed, "scanner-missing", name, version, why=why)]
    packages = folder_of(home, ENVIRONMENT.device) / "packages"
    try:
        done = worker.run(
            "marketplace.scanners:look",
            {"packages": packages, "folder": folder, "paths": paths},
            read=(Path(__file__).parent, Path(__file__).parents[1] / "catalog", packages, folder),
            write=(work,),
            memory=MEMORY,
            seconds=SECONDS + 20 * len(paths),
            tick=tick,
        )
        found: dict[str, dict[str, Any]] = done.result
        return [_of_file(path, found[path], name, version) for path in paths]
    except WorkerFailed as error:
        return [_row(Verdict.failed, "scanner-failed", name, version, why=str(error.facts["how"]))]
    except (DeployerError, KeyError, TypeError, ValueError) as error:
        return [_row(Verdict.failed, "scanner-failed", name, version, why=type(error).__name__)]


def _row(verdict: Verdict, code: str, name: str, version: str, path: str = "", **facts: Any) -> Row:
    return Row("scanner", verdict, code, path, {"name": name, **facts}, name, version)


def _of_file(path: str, found: dict[str, Any], name: str, version: str) -> Row:
    """What the scanner said of one file as one row: the worst of it."""
    if not found["whole"]:
        why = str(found["why"])[:300]
        return _row(Verdict.failed, "scanner-incomplete", name, version, path, why=why)
    for severity, verdict, code in (
        ("critical", Verdict.failed, "scanner-finding"),
        ("warning", Verdict.warned, "scanner-warning"),
    ):
        said = [text for level, text in found["issues"] if level == severity]
        if said:
            facts = {"found": str(said[0])[:200], "count": len(said)}
            return _row(verdict, code, name, version, path, **facts)
    return _row(Verdict.passed, "", name, version, path)


# In the child


def look(packages: str, folder: str, paths: list[str], progress: Progress = silent) -> dict[str, Any]:
    """What modelaudit says of each file: whether it read it to its end, and its issues."""
    os.environ.update(QUIET)
    sys.path.insert(0, packages)
    logging.disable(logging.CRITICAL)
    from modelaudit.core import scan_model_directory_or_file

    found = {}
    for number, path in enumerate(paths):
        progress(number, len(paths), path)
        place = str(Path(folder, path))
        told = scan_model_directory_or_file(place, timeout=20, cache_enabled=False, use_hf_whitelist=False)
        found[path] = _told(told)
    return found


def _told(result: Any) -> dict[str, Any]:
    """The result in plain values; anything that hints at an unread part counts as unread."""
    plain: dict[str, Any] = result.model_dump(mode="json") if hasattr(result, "model_dump") else dict(result)
    issues, unread = [], ""
    for issue in plain.get("issues") or []:
        details = issue.get("details") or {}
        if details.get("operational_error") or details.get("analysis_incomplete"):
            unread = unread or str(issue.get("message", ""))
        issues.append((str(issue.get("severity", "")), str(issue.get("message", ""))))
    whole = bool(plain.get("success", True)) and not plain.get("has_errors") and not unread
    whole = whole and int(plain.get("files_scanned") or 0) > 0
    return {"whole": whole, "why": unread or "it ended early", "issues": issues[:MOST_FINDINGS]}
