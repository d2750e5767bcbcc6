"""Whether an account may have the files of a version: to run it, to make something of it, to fetch them."""

from uuid import UUID

from sqlmodel import Session, select

from catalog import review
from catalog.errors import CatalogError
from catalog.listings import require_ready
from catalog.models import Listing, Version, VersionState
from deployer.models import Deployment


class VersionWithheld(CatalogError):
    """An operator took the version off the shelf, so nobody new gets its files. Facts: name, version, why."""

    code = "version-withheld"


def require_may_have(db: Session, listing: Listing, version: Version, asker: UUID | None = None) -> None:
    """Refuse what did not pass its checks, and what an operator took off, but for those who have deployed it.

    What its vendor took off may still be had by its number. Raises VersionNotReady and VersionWithheld.
    """
    require_ready(listing, version)
    if version.state != VersionState.yanked or not review.taken_off_by_operator(db, version):
        return
    if not _has_deployed(db, version, asker):
        why = review.events_of(db, version)[-1].why
        raise VersionWithheld(name=listing.name, version=version.number, why=why)


def _has_deployed(db: Session, version: Version, account_id: UUID | None) -> bool:
    if account_id is None:
        return False
    mine = select(Deployment.id).where(
        Deployment.owner == account_id, Deployment.version_digest == version.digest
    )
    return db.exec(mine).first() is not None
