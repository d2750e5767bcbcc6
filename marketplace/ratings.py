"""What those who have deployed a listing think of it: one rating of each account, in stars and words.

Whoever acts for the listing's vendor may not rate it; operators hide what breaks the rules, and a hidden
rating counts for nothing.
"""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from sqlalchemy import and_, func
from sqlmodel import Session, col, select

from catalog import search_index
from catalog.models import Listing, Rating, VendorMember, utcnow
from deployer.models import Deployment, DeploymentEvent, DeploymentState
from marketplace.audit import AuditAction
from marketplace.errors import MarketError
from marketplace.models import Account, AuditEvent

MOST_STARS = 5
LONGEST = 2000  # characters
SHOWN = 20


class NotDeployed(MarketError):
    """The account has never deployed the listing so that it ran. Facts: listing."""

    code: ClassVar[str] = "rating-not-deployed"


class OwnListing(MarketError):
    """The account acts for the vendor. Facts: listing."""

    code: ClassVar[str] = "rating-own-listing"


class InvalidRating(MarketError):
    """The stars or the text are not what they may be. Facts: most, longest."""

    code: ClassVar[str] = "rating-invalid"


class UnknownRating(MarketError):
    """There is no such rating. Facts: id."""

    code: ClassVar[str] = "unknown-rating"


@dataclass(frozen=True)
class Summary:
    """The ratings of a listing that are not hidden, in short."""

    count: int
    mean: float
    by_stars: dict[int, int]
    """How many gave each number of stars, the most stars first."""


def deployed_version(db: Session, listing: Listing, account_id: UUID) -> str | None:
    """The version that an account has brought to life last; None when it never did."""
    mine = (
        select(Deployment.version)
        .join(DeploymentEvent, col(DeploymentEvent.deployment_id) == col(Deployment.id))
        .where(Deployment.owner == account_id, Deployment.listing == listing.name, LIVE)
    )
    return db.exec(mine.order_by(col(Deployment.created).desc())).first() or _removed_version(
        db, listing, account_id
    )


LIVE = and_(col(DeploymentEvent.kind) == "state", col(DeploymentEvent.name) == DeploymentState.live)


def _removed_version(db: Session, listing: Listing, account_id: UUID) -> str | None:
    """The same of deployments that were removed: they are known from the audit log alone."""
    began = (
        select(AuditEvent)
        .where(
            AuditEvent.account_id == account_id,
            AuditEvent.action == AuditAction.begin_deployment,
            col(AuditEvent.facts)["listing"].as_string() == listing.name,
        )
        .order_by(col(AuditEvent.id).desc())
    )
    for event in db.exec(began):
        removed = select(AuditEvent).where(
            AuditEvent.subject == event.subject,
            AuditEvent.action == AuditAction.remove_deployment,
            col(AuditEvent.id) > event.id,
        )
        first = db.exec(removed.order_by(col(AuditEvent.id)).limit(1)).first()
        if first is not None and first.facts.get("lived", True):  # older ones do not tell
            return str(event.facts.get("version", ""))
    return None


def is_own(db: Session, listing: Listing, account_id: UUID) -> bool:
    """Whether an account acts for the listing's vendor."""
    members = select(VendorMember.id).where(
        VendorMember.vendor_id == listing.vendor_id, VendorMember.account_id == account_id
    )
    return db.exec(members).first() is not None


def require_may_rate(db: Session, listing: Listing, account_id: UUID) -> str:
    """The version that the account may speak of; raises OwnListing and NotDeployed."""
    if is_own(db, listing, account_id):
        raise OwnListing(listing=listing.name)
    version = deployed_version(db, listing, account_id)
    if version is None:
        raise NotDeployed(listing=listing.name)
    return version


def rate(db: Session, listing: Listing, account: Account, *, stars: int, text: str = "") -> Rating:
    """Give a listing stars and words, or change those that were given; the caller commits.

    Raises OwnListing, NotDeployed and InvalidRating. A rating that an operator has hidden stays hidden.
    """
    version = require_may_rate(db, listing, account.id)
    text = text.strip()
    if not 1 <= stars <= MOST_STARS or len(text) > LONGEST or "\0" in text:
        raise InvalidRating(most=MOST_STARS, longest=LONGEST)
    row = rating_of(db, listing, account.id)
    if row is None:
        row = Rating(listing_id=listing.id, account_id=account.id, author=account.name, stars=stars)
    row.stars, row.text, row.version = stars, text, version
    row.author, row.updated = account.name, utcnow()
    db.add(row)
    search_index.refresh(db, listing)
    return row


def rating_of(db: Session, listing: Listing, account_id: UUID) -> Rating | None:
    """What an account has said of a listing."""
    own = select(Rating).where(Rating.listing_id == listing.id, Rating.account_id == account_id)
    return db.exec(own).first()


def remove(db: Session, listing: Listing, account_id: UUID) -> None:
    """Take one's own rating back; raises UnknownRating."""
    row = rating_of(db, listing, account_id)
    if row is None:
        raise UnknownRating(id=listing.name)
    db.delete(row)
    search_index.refresh(db, listing)


def hide(db: Session, listing: Listing, rating_id: UUID, *, hidden: bool = True) -> Rating:
    """Hide a rating of a listing, or show it again; raises UnknownRating."""
    row = db.get(Rating, rating_id)
    if row is None or row.listing_id != listing.id:
        raise UnknownRating(id=str(rating_id))
    row.hidden = hidden
    db.add(row)
    search_index.refresh(db, listing)
    return row


def ratings_of(
    db: Session, listing: Listing, *, hidden: bool = False, limit: int = SHOWN, offset: int = 0
) -> list[Rating]:
    """The ratings of a listing, the newest first; `hidden` shows those too that operators have hidden."""
    found = select(Rating).where(Rating.listing_id == listing.id)
    if not hidden:
        found = found.where(col(Rating.hidden).is_(False))
    return list(db.exec(found.order_by(col(Rating.updated).desc()).limit(limit).offset(offset)))


def summary(db: Session, listing: Listing) -> Summary:
    """How many rated a listing, and how."""
    query = (
        select(Rating.stars, func.count())
        .where(Rating.listing_id == listing.id, col(Rating.hidden).is_(False))
        .group_by(col(Rating.stars))
    )
    given = {int(stars): int(count) for stars, count in db.exec(query)}
    count = sum(given.values())
    mean = sum(stars * n for stars, n in given.items()) / count if count else 0.0
    return Summary(count, mean, {stars: given.get(stars, 0) for stars in range(MOST_STARS, 0, -1)})
