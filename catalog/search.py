"""Finding listings: every word must occur in a name, title, summary, or in a word of the taxonomy."""

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, String, and_, case, cast, false, func, or_, select, true
from sqlmodel import Session, col

from catalog import taxonomy
from catalog.models import Listing, Version, VersionState

LIMIT_OF_WORDS = 12


@dataclass(frozen=True)
class Page:
    """Some of the listings that were found, and how many there are in all."""

    items: list[Listing] = field(default_factory=list)
    total: int = 0


def search_listings(
    db: Session,
    *,
    q: str = "",
    task: str | None = None,
    vertical: str | None = None,
    kind: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> Page:
    """Listings on the shelf that match, best first; raises UnknownTask.

    `q` is words divided by spaces, in Chinese or English; `task` may be an alias such as ocr.
    """
    where = [is_on_shelf()]
    if task:
        where.append(col(Listing.task) == taxonomy.task(task).id)
    if vertical:
        where.append(_in_vertical(vertical))
    if kind:
        where.append(col(Listing.kind) == kind)
    words = q.split()[:LIMIT_OF_WORDS]
    where += [_mentions(word) for word in words]
    total = db.execute(select(func.count()).select_from(Listing).where(*where)).scalar_one()
    found = select(Listing).where(*where).order_by(_rank(words), col(Listing.name))
    return Page(list(db.execute(found.limit(limit).offset(offset)).scalars()), total)


def is_on_shelf() -> ColumnElement[bool]:
    """Listings that have a version which people can have."""
    listed = and_(col(Version.listing_id) == Listing.id, col(Version.state) == VersionState.listed)
    return select(col(Version.id)).where(listed).exists()


def _in_vertical(vertical: str) -> ColumnElement[bool]:
    # The column is JSON text on every database, and an id has nothing that JSON would escape.
    return cast(Listing.verticals, String).contains(f'"{vertical}"', autoescape=True)


def _titles(word: str) -> ColumnElement[bool]:
    fields = (Listing.title_zh, Listing.title_en, Listing.name)
    return or_(*(col(f).icontains(word, autoescape=True) for f in fields))


def _mentions(word: str) -> ColumnElement[bool]:
    summaries = (Listing.summary_zh, Listing.summary_en)
    tasks = taxonomy.mentioned(taxonomy.TASKS, word)
    return or_(
        _titles(word),
        *(col(f).icontains(word, autoescape=True) for f in summaries),
        col(Listing.task).in_(tasks) if tasks else false(),
        *(_in_vertical(v) for v in taxonomy.mentioned(taxonomy.VERTICALS, word)),
    )


def _rank(words: list[str]) -> ColumnElement[int]:
    """0 when every word is in a title or the name, 1 otherwise."""
    return case((and_(true(), *(_titles(word) for word in words)), 0), else_=1)
