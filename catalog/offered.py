"""What is offered, and which version a listing's name means where no number is given.

Offered is what is listed and was not refused by newer rules since. Where a listing has none of that, its name
means the newest version that is deprecated, and last one that newer rules refuse: its page says so.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, and_
from sqlmodel import col

from catalog.models import CheckState, Version, VersionState

SHOWN = (VersionState.listed, VersionState.deprecated)


def offered(version: Any = Version) -> ColumnElement[bool]:
    """Versions that are offered, as a condition on the table or on another name of it."""
    return and_(col(version.state) == VersionState.listed, col(version.check_state) != CheckState.failed)


def is_refused(version: Version) -> bool:
    """Whether newer rules refuse a version that people could have: nobody new is given it."""
    return version.state in SHOWN and version.check_state == CheckState.failed


def newest(versions: Iterable[Version]) -> Version | None:
    """The one with the greatest number."""
    return max(versions, key=lambda version: number_of(version.number), default=None)


def meant(versions: Iterable[Version]) -> Version | None:
    """The version that a name without a number means; None where all were taken back, or none was listed."""
    shown = [version for version in versions if version.state in SHOWN]
    return max(shown, key=_rank, default=None)


def _rank(version: Version) -> tuple[bool, bool, tuple[int, ...]]:
    return not is_refused(version), version.state == VersionState.listed, number_of(version.number)


def number_of(number: str) -> tuple[int, ...]:
    """A version's number as it is compared."""
    return tuple(int(part) for part in number.split("."))
