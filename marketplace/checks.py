"""A version's table of checks as it stands in the database: rows, badges of files, how they are written."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlmodel import Session, col, select

from catalog.models import Check, CheckState, Verdict, Version
from catalog.offered import is_refused
from catalog.scan import CHECKS, RULES, Row
from deployer.models import utcnow

ORDER = {id: number for number, id in enumerate(CHECKS)}
OPEN = (CheckState.waiting, CheckState.running)
OF_FILES = ("digests", "format", "scanner", "secrets")
"""Checks whose rows are about single files."""
_GRAVITY = (Verdict.passed, Verdict.warned, Verdict.unknown, Verdict.failed)


def rows_of(db: Session, version: Version) -> list[Check]:
    """The rows that are known so far, in the order of the table."""
    found = db.exec(select(Check).where(Check.version_id == version.id).order_by(col(Check.position)))
    return sorted(found, key=lambda row: (ORDER.get(row.check, len(ORDER)), row.position))


def add_row(db: Session, version_id: UUID, position: int, row: Row) -> None:
    """Write one row in its place, also when a run beside this one did; the caller commits."""
    db.exec(delete(Check).where(col(Check.version_id) == version_id, col(Check.position) == position))
    db.add(
        Check(
            version_id=version_id,
            position=position,
            check=row.check,
            path=row.path,
            verdict=row.verdict,
            code=row.code,
            facts=row.facts,
            scanner=row.scanner,
            scanner_version=row.scanner_version,
        )
    )


def clear(db: Session, version_id: UUID) -> None:
    """Remove all rows; the caller commits."""
    db.exec(delete(Check).where(col(Check.version_id) == version_id))


def refuses(row: Row | Check) -> bool:
    """Whether a row keeps its version from passing: a refusal, or a check that did not come to an end.

    Only a second scanner that nobody asked for may stay unknown.
    """
    if row.verdict == Verdict.unknown:
        return not (row.check == "scanner" and row.code == "scanner-none")
    return row.verdict == Verdict.failed


@dataclass(frozen=True)
class Badge:
    """What one scanner says of one file, and when it looked."""

    path: str
    scanner: str
    scanner_version: str
    verdict: str
    code: str
    facts: dict[str, Any]
    at: datetime | None


def badges(db: Session, version: Version) -> list[Badge]:
    """A badge for each file and scanner; a file that no scanner has seen is unknown, never safe."""
    rows = [row for row in rows_of(db, version) if row.check in OF_FILES]
    whole = [row for row in rows if not row.path and refuses(row)]  # said of all files at once
    found = []
    for artifact in version.manifest.get("artifacts", []):
        own = [row for row in rows if row.path == artifact["path"]]
        scanners = dict.fromkeys(row.scanner for row in own)
        if not any(row.check == "format" for row in own):  # digests alone say nothing about a form
            scanners = dict.fromkeys(row.scanner for row in own if row.check == "scanner")
            found.append(_unseen(artifact["path"], whole))
        for scanner in scanners:
            said = [row for row in own if row.scanner == scanner]
            found.append(_badge(artifact["path"], worst(said)))
    return found


def worst(rows: Iterable[Check]) -> Check:
    """The gravest of some rows; the first of those that weigh the same."""
    return max(rows, key=lambda row: _GRAVITY.index(Verdict(row.verdict)))


def _badge(path: str, row: Check) -> Badge:
    return Badge(path, row.scanner, row.scanner_version, row.verdict, row.code, row.facts, row.at)


def _unseen(path: str, whole: list[Check]) -> Badge:
    if whole:
        return _badge(path, worst(whole))
    return Badge(path, "", "", Verdict.unknown, "", {}, None)


def is_marked(version: Version) -> bool:
    """Whether a version that people can have failed a check since: for an operator to look at."""
    return is_refused(version)


def settle(version: Version, rows: Iterable[Row], measured: dict[str, Any]) -> bool:
    """Write what the checks came to into the version; gives whether it passed. The caller commits."""
    good = not any(refuses(row) for row in rows)
    version.check_state = CheckState.passed if good else CheckState.failed
    version.rules, version.checked = RULES, utcnow()
    version.measured = measured or version.measured
    return good
