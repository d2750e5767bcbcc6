"""Real files of the starter shelf for tests, fetched once by the catalogue's own importer.

The archives lie in ~/.cache/opc-market-tests (or $MARKET_TEST_CACHE) and are checked at every use.
"""

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from catalog import manifest as manifests
from catalog.entries import Builders, Entry, assemble, load_entry, make_manifest
from catalog.importers.packages import Member, fetch_archive, unpack
from catalog.storage import only_one, sha256_of

ROOT = Path(__file__).parents[1]
_CONVERTERS = "deployer.optimizer.convert"


def cache_dir() -> Path:
    """The folder that keeps downloads between test runs."""
    folder = os.environ.get("MARKET_TEST_CACHE") or Path.home() / ".cache" / "opc-market-tests"
    return Path(folder)


@cache
def entry(listing_id: str) -> Entry:
    """One entry of the shelf, as its listing.json says."""
    return load_entry(listing_id)


@cache
def archive_member(listing_id: str, path: str) -> Path:
    """One file out of the archives of a listing: by its full inner path, or the end of it.

    Files that listing.json names have their digest checked, the others come from a checked archive.
    """
    known = {s.inner: s for s in entry(listing_id).sources()}
    inner = _match(known, path) or path
    source = known.get(inner)
    for archive in entry(listing_id).archives:
        if source is not None and source.archive != archive.file:
            continue
        fetched = fetch_archive(archive, cache_dir())
        if source is None and "!" not in path:
            found = _match(_names(fetched), path)
            if found is None:
                continue
            inner = found
        out = cache_dir() / "members" / archive.sha256[:12] / inner.replace("!", "!/")
        with only_one(cache_dir() / "members" / f".{archive.sha256[:12]}.lock"):
            if not out.exists() or (source is not None and sha256_of(out) != source.sha256):
                size, sha256 = (source.size, source.sha256) if source is not None else (None, None)
                unpack(fetched, [Member(inner, out, size, sha256)])
        return out
    raise LookupError(f"{listing_id} has no archive with {path}")


def _match(names: Iterable[str], path: str) -> str | None:
    return next((n for n in names if n == path or n.endswith(("/" + path, "!" + path))), None)


def _names(archive: Path) -> list[str]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            return opened.namelist()
    with tarfile.open(archive) as opened_tar:
        return opened_tar.getnames()


@cache
def model_dir(listing_id: str) -> Path:
    """A complete model folder of a listing, with manifest.json, built in the cache."""
    wanted = entry(listing_id)
    mark = _fingerprint(wanted)
    folder = cache_dir() / "models" / f"{listing_id}-{mark}"
    with only_one(cache_dir() / "models" / f".{listing_id}.lock"):
        if folder.exists():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            out = assemble(wanted, cache_dir(), Path(work) / "work", _builders())
            text = manifests.canonical(make_manifest(wanted, out))
            (out / manifests.FILE_NAME).write_bytes(text)
            for old in folder.parent.glob(f"{listing_id}-????????????"):
                shutil.rmtree(old)
            out.replace(folder)
    return folder


def _builders() -> Builders:
    from deployer.optimizer.convert import BUILDERS

    return BUILDERS


def _fingerprint(wanted: Entry) -> str:
    """Changes when the entry does, or what builds it."""
    digest = hashlib.sha256(repr((wanted.archives, wanted.files, wanted.builds, wanted.model)).encode())
    used: set[Path] = set()
    for build in wanted.builds:
        _converter(_builders()[build.builder].args[0], used)  # type: ignore[attr-defined]
    for path in sorted(used):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _converter(module: str, used: set[Path]) -> None:
    """Collect the sources of a converter: its module and those of ours that it imports, beside the worker."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not module.startswith(f"{_CONVERTERS}.") or not path.exists() or path in used:
        return
    used.add(path)
    for base, names in re.findall(r"^from (\S+) import (.+)$", path.read_text("utf-8"), re.MULTILINE):
        _converter(base, used)
        for name in names.split(", "):
            _converter(f"{base}.{name}", used)
