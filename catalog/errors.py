"""Named refusals of the catalogue.

CatalogError
├── UnknownListing
├── UnknownVersion
├── UnknownTask
├── VersionTaken
├── VersionStateRefused
├── VersionNotReady
├── InvalidManifest
├── BlobMissing
├── BlobCorrupted
├── StorageFull
├── BuildFailed
├── SignatureInvalid
└── FetchError
    ├── SourceUnreachable
    ├── SourceMissing
    ├── DigestMismatch
    └── ArchiveInvalid

Each error carries the facts that a page needs as keyword arguments; the words for people,
in both languages, are in marketplace.problems.
"""

from typing import ClassVar

from catalog.fetch_words import in_chinese


class CatalogError(Exception):
    """Root of all refusals of the catalogue; `facts` are the values for the message."""

    code: ClassVar[str] = "catalog-error"

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(", ".join(f"{k}={v}" for k, v in facts.items()))


class UnknownListing(CatalogError):
    """No listing has this name. Facts: name, and near (names that are close)."""

    code = "unknown-listing"


class UnknownVersion(CatalogError):
    """The listing has no such version. Facts: name, version."""

    code = "unknown-version"


class UnknownTask(CatalogError):
    """The task is not in the taxonomy. Facts: task."""

    code = "unknown-task"


class VersionTaken(CatalogError):
    """The listing has other content under this version number already. Facts: name, version."""

    code = "version-taken"


class VersionStateRefused(CatalogError):
    """A version may not come from one state to the other. Facts: number, state, wanted."""

    code = "version-state-refused"


class VersionNotReady(CatalogError):
    """A version that did not pass its checks, or was rejected, runs nowhere. Facts: name, version, state."""

    code = "version-not-ready"


class InvalidManifest(CatalogError):
    """A manifest does not hold together. Facts: path (place in the manifest), why."""

    code = "invalid-manifest"


class BlobMissing(CatalogError):
    """A file that a version names is not in the store. Facts: sha256, path."""

    code = "blob-missing"


class BlobCorrupted(CatalogError):
    """A stored file no longer has its digest. Facts: sha256, path."""

    code = "blob-corrupted"


class StorageFull(CatalogError):
    """The disk has no room. Facts: path, needed (bytes), free (bytes)."""

    code = "storage-full"


class BuildFailed(CatalogError):
    """An entry of the shelf could not be built. Facts: entry, why."""

    code = "build-failed"


class SignatureInvalid(CatalogError):
    """A version's files do not agree with their signature. Facts: digest, why."""

    code = "signature-invalid"


class FetchError(CatalogError):
    """A file could not be fetched. Facts: source."""

    code = "fetch-failed"


class SourceUnreachable(FetchError):
    """The source did not answer. Facts: source, why, why_zh."""

    code = "source-unreachable"

    def __init__(self, *, why: str, **facts: object) -> None:
        super().__init__(**{"why": why, "why_zh": in_chinese(why), **facts})


class SourceMissing(FetchError):
    """The source answers, but does not have the file. Facts: source, file."""

    code = "source-missing"


class DigestMismatch(FetchError):
    """What came is not what was asked for. Facts: source, file, expected, got."""

    code = "digest-mismatch"


class ArchiveInvalid(FetchError):
    """An archive is broken or is not what it declares. Facts: source, why, why_zh."""

    code = "archive-invalid"

    def __init__(self, *, why: str, **facts: object) -> None:
        super().__init__(**{"why": why, "why_zh": in_chinese(why), **facts})
