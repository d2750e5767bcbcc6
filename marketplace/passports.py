"""The provenance passport of a version: from its source to its listing, on one page and as signed files.

It is made anew whenever it is asked for, out of what the shop knows then; the same knowledge gives the same
bytes. Persons are not named in it: a vendor's name stands for whoever acted for it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from catalog import review
from catalog.models import CheckState, Listing, Vendor, Version
from deployer.packager import attestation, passport, provenance
from deployer.packager.release import Release
from marketplace import checks, releases
from marketplace.errors import MarketError
from marketplace.settings import Settings


class NoPassport(MarketError):
    """The version's checks have not passed, so nothing is attested. Facts: name, version."""

    code = "no-passport"


@dataclass(frozen=True)
class Passport:
    """A version's passport: the chain that is signed, and its files by name."""

    release: Release
    chain: provenance.Chain
    files: Mapping[str, bytes]
    fingerprint: str
    """sha256 of the public key that signed."""

    def step(self, name: str) -> Mapping[str, Any]:
        """One step of the chain; empty where it is not known."""
        found = (step for step in self.chain["steps"] if step["step"] == name)
        return next(found, {})

    def listed(self) -> list[tuple[str, str, int, str]]:
        """Name, media type, size and sha256 of each file, the statement first."""
        return [
            (name, passport.MEDIA_TYPES[name], len(content), hashlib.sha256(content).hexdigest())
            for name, content in self.files.items()
        ]

    @property
    def slug(self) -> str:
        """What its folder and .zip are called."""
        return f"{self.release.slug}-{self.release.version}-passport"


def make(settings: Settings, db: Session, listing: Listing, version: Version) -> Passport:
    """The passport of a version whose checks have passed; raises NoPassport for any other."""
    if version.check_state != CheckState.passed:
        raise NoPassport(name=listing.name, version=version.number)
    workshop = releases.workshop_of(settings)
    release = releases.of_version(settings.home, listing, version)
    chain = passport.chain_of(
        release,
        checks=_checks(db, version),
        measurement=_measurement(version),
        facts=_facts(db, listing, version),
    )
    files = passport.documents(release, chain, workshop.sign, workshop.public_key)
    return Passport(release, chain, files, attestation.fingerprint(workshop.public_key))


def archive(made: Passport) -> bytes:
    """The passport's folder as a .zip."""
    return passport.archive(made.files, made.slug)


def _checks(db: Session, version: Version) -> dict[str, Any] | None:
    """None for the market's own versions, which were built from pinned sources and not uploaded."""
    rows = checks.rows_of(db, version)
    if not rows:
        return None
    return {
        "rules": version.rules,
        "checked": _time(version.checked),
        "rows": [
            {
                "check": row.check,
                "path": row.path,
                "verdict": str(row.verdict),
                "code": row.code,
                "facts": dict(row.facts),
                "scanner": row.scanner,
                "scanner_version": row.scanner_version,
                "at": _time(row.at),
            }
            for row in rows
        ],
    }


def _measurement(version: Version) -> dict[str, Any] | None:
    if not version.claims and not version.measured:
        return None
    return {"claimed": dict(version.claims), "measured": dict(version.measured)}


def _facts(db: Session, listing: Listing, version: Version) -> dict[str, Any]:
    vendor = db.get(Vendor, listing.vendor_id)
    if vendor is None:
        raise LookupError(f"listing without its vendor {listing.vendor_id}")
    return {
        "vendor": {"name": vendor.name, "proof": vendor.proof, "domain": vendor.domain},
        "state": str(version.state),
        "stated_source": version.source,
        "created": _time(version.created),
        "reviewed": version.reviewed,
        "history": [
            {"before": str(event.before), "after": str(event.after), "at": _time(event.at)}
            for event in review.events_of(db, version)
        ],
    }


def _time(moment: datetime | None) -> str:
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds")
