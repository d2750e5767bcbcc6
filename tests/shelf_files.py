"""Real files of the starter shelf for tests, fetched once by the catalogue's own importer.

The archives lie in ~/.cache/opc-market-tests (or $MARKET_TEST_CACHE) and are checked at every use.
"""

import os
import tempfile
from functools import cache
from pathlib import Path

from catalog.importers.packages import Member, fetch_archive, unpack
from catalog.shelf import Entry, load_entry
from catalog.storage import only_one, sha256_of


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
    inner = next((i for i in known if i == path or i.endswith("/" + path) or i.endswith("!" + path)), path)
    source = known.get(inner)
    for archive in entry(listing_id).archives:
        if source is not None and source.archive != archive.file:
            continue
        fetched = fetch_archive(archive, cache_dir())
        out = cache_dir() / "members" / archive.sha256[:12] / inner.replace("!", "/")
        with only_one(cache_dir() / "members" / f".{archive.sha256[:12]}.lock"):
            if not out.exists() or (source is not None and sha256_of(out) != source.sha256):
                size, sha256 = (source.size, source.sha256) if source is not None else (None, None)
                unpack(fetched, [Member(inner, out, size, sha256)])
        return out
    raise LookupError(f"{listing_id} has no archive with {path}")


@cache
def model_dir(listing_id: str) -> Path:
    """A complete model folder of a listing, with manifest.json, built in the cache."""
    from tests.shelf_models import build_model_dir

    return build_model_dir(entry(listing_id), cache_dir())


def scratch() -> Path:
    """A new folder on the cache's own disk, so that files can be linked into it."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=cache_dir(), prefix=".scratch-"))
