"""Files on their way in: announced by digest and size, sent in pieces, taken up where the sending broke off.

The bytes of an upload lie in uploads/<id>, for its owner's eyes only. What its row says is on the disk; more
may lie there after a kill, and is overwritten. An upload belongs to one account: nobody learns from it
whether somebody else has the same file.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import func
from sqlmodel import Session, col, select

from catalog.errors import CatalogError
from catalog.models import Upload, utcnow
from catalog.storage import only_one, require_room, sha256_of, storage_errors, sync

CHUNK = 8 << 20  # bytes of one piece at most
IDLE = timedelta(days=1)


class UnknownUpload(CatalogError):
    """The account has no such upload; it may have been idle for too long. Facts: id."""

    code = "unknown-upload"


class UploadOffsetWrong(CatalogError):
    """A piece does not begin where the upload ends. Facts: offset (of the piece), received (bytes)."""

    code = "upload-offset-wrong"


class UploadTooLong(CatalogError):
    """A piece is longer than allowed, or goes beyond the announced size. Facts: size, limit (bytes)."""

    code = "upload-too-long"


class UploadCorrupted(CatalogError):
    """What came has another digest than announced; it begins again. Facts: expected, got."""

    code = "upload-corrupted"


class UploadLimit(CatalogError):
    """The account has too many bytes under way. Facts: limit, used, size (bytes)."""

    code = "upload-limit"


def folder(home: Path) -> Path:
    """The folder of uploads, readable by the shop alone."""
    found = home / "uploads"
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def path_of(home: Path, upload: Upload) -> Path:
    """Where an upload's bytes lie."""
    return folder(home) / str(upload.id)


def is_complete(upload: Upload) -> bool:
    """Whether all of it is here and has the digest that was announced."""
    return upload.received == upload.size


def announce(home: Path, db: Session, account_id: UUID, sha256: str, size: int, *, limit: int) -> Upload:
    """The account's upload of a file, begun or taken up again; the caller commits.

    Raises UploadLimit when more than `limit` bytes of the account would be under way, and StorageFull.
    """
    found = _of(db, account_id, sha256, size)
    if found is None:
        used = used_by(db, account_id)
        if used + size > limit:
            raise UploadLimit(limit=limit, used=used, size=size)
        require_room(folder(home), size)
        found = Upload(account_id=account_id, sha256=sha256, size=size)
    path = path_of(home, found)
    if not path.is_file():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        found.received = 0
    if found.size == 0:
        _require_digest(path, found)
    found.updated = utcnow()
    db.add(found)
    db.flush()
    return found


def _of(db: Session, account_id: UUID, sha256: str, size: int) -> Upload | None:
    found = select(Upload).where(
        Upload.account_id == account_id, Upload.sha256 == sha256, Upload.size == size
    )
    return db.exec(found.order_by(col(Upload.created), col(Upload.id))).first()


def used_by(db: Session, account_id: UUID) -> int:
    """Bytes that an account has announced and no version has taken yet."""
    total = select(func.coalesce(func.sum(Upload.size), 0)).where(Upload.account_id == account_id)
    return int(db.exec(total).one())


def get_upload(db: Session, account_id: UUID, identity: str | UUID) -> Upload:
    """An upload of this account; raises UnknownUpload."""
    try:
        found = db.get(Upload, UUID(str(identity)))
    except ValueError:
        found = None
    if found is None or found.account_id != account_id:
        raise UnknownUpload(id=str(identity))
    return found


def list_uploads(db: Session, account_id: UUID) -> list[Upload]:
    """The uploads of an account, the oldest first."""
    return list(db.exec(select(Upload).where(Upload.account_id == account_id).order_by(col(Upload.created))))


def complete_of(db: Session, account_id: UUID, sha256: str, size: int) -> Upload | None:
    """The account's whole upload of a file, if it has one."""
    found = _of(db, account_id, sha256, size)
    return found if found is not None and is_complete(found) else None


def append(home: Path, db: Session, account_id: UUID, identity: str, offset: int, piece: bytes) -> Upload:
    """Add a piece to an upload and commit; the last one has the whole file's digest checked.

    Raises UnknownUpload, UploadOffsetWrong, UploadTooLong, UploadCorrupted and StorageFull; what came
    before is kept, but for a file that is not what was announced.
    """
    if len(piece) > CHUNK:
        raise UploadTooLong(size=len(piece), limit=CHUNK)
    with _alone(home, identity):
        upload = get_upload(db, account_id, identity)
        db.refresh(upload)
        if offset != upload.received:
            raise UploadOffsetWrong(offset=offset, received=upload.received)
        if offset + len(piece) > upload.size:
            raise UploadTooLong(size=offset + len(piece), limit=upload.size)
        db.commit()  # no transaction stays open while the disk works
        path = path_of(home, upload)
        _write(path, offset, piece)
        whole = offset + len(piece) == upload.size
        try:
            if whole:
                _require_digest(path, upload)
            upload.received = offset + len(piece)
        except UploadCorrupted:
            upload.received = 0
            raise
        finally:
            upload.updated = utcnow()
            db.add(upload)
            db.commit()
    return upload


@contextmanager
def _alone(home: Path, identity: str) -> Iterator[None]:
    """One piece of an upload at a time; a name that is no upload's makes no file."""
    try:
        name = str(UUID(identity))
    except ValueError:
        raise UnknownUpload(id=identity) from None
    if not (folder(home) / name).exists():
        raise UnknownUpload(id=identity)
    with only_one(folder(home) / f".{name}.lock"):
        yield


def _write(path: Path, offset: int, piece: bytes) -> None:
    with storage_errors(path.parent, len(piece)):
        require_room(path.parent, len(piece))
        with path.open("r+b") as file:
            file.truncate(offset)  # what a killed process wrote and nobody counted
            file.seek(offset)
            file.write(piece)
            sync(file)


def _require_digest(path: Path, upload: Upload) -> None:
    got = sha256_of(path) if upload.size else hashlib.sha256(b"").hexdigest()
    if got != upload.sha256:
        raise UploadCorrupted(expected=upload.sha256, got=got)


def take(home: Path, db: Session, upload: Upload, target: Path) -> None:
    """Move a whole upload to where a version wants it; the caller commits. May run twice."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path_of(home, upload).replace(target)
    _forget(home, db, upload)


def remove(home: Path, db: Session, account_id: UUID, identity: str) -> None:
    """Forget an upload with its bytes, and commit; raises UnknownUpload."""
    get_upload(db, account_id, identity)
    db.commit()
    with _alone(home, identity):
        upload = get_upload(db, account_id, identity)
        path_of(home, upload).unlink(missing_ok=True)
        _forget(home, db, upload)
        db.commit()


def _forget(home: Path, db: Session, upload: Upload) -> None:
    (folder(home) / f".{upload.id}.lock").unlink(missing_ok=True)
    db.delete(upload)
    db.flush()


def expire(home: Path, db: Session, idle: timedelta = IDLE) -> int:
    """Remove uploads that nothing was added to for so long, and files without one; says how many."""
    old = list(db.exec(select(Upload).where(col(Upload.updated) < utcnow() - idle)))
    for upload in old:
        path_of(home, upload).unlink(missing_ok=True)
        _forget(home, db, upload)
    known = {str(identity) for identity in db.exec(select(Upload.id))}
    edge = (utcnow() - idle).timestamp()
    for file in folder(home).iterdir():
        if file.name.strip(".").removesuffix(".lock") not in known and file.stat().st_mtime < edge:
            file.unlink(missing_ok=True)
    return len(old)
