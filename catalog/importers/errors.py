"""Named refusals of the importers.

FetchError
├── UrlRefused
├── AddressRefused
├── RedirectsEndless
├── SourceTooLarge
├── SourceUnknown
├── SourceDenied
├── InnerPathMissing
├── ImportNotInferred
└── ImportTooLarge
"""

from catalog.errors import FetchError, SourceMissing


class UrlRefused(FetchError):
    """An address may not be fetched as it is written. Facts: source, why, why_zh."""

    code = "url-refused"


class AddressRefused(FetchError):
    """A host's name leads into a private or special network. Facts: source, host, address."""

    code = "address-refused"


class RedirectsEndless(FetchError):
    """A source sends from one address to the next. Facts: source, count."""

    code = "redirects-endless"


class SourceTooLarge(FetchError):
    """A source sends more than is allowed for it. Facts: source, limit (bytes)."""

    code = "source-too-large"


class SourceUnknown(FetchError):
    """A SOURCE is written in a form that is not known. Facts: source, why, why_zh."""

    code = "source-unknown"


class SourceDenied(FetchError):
    """The source wants a key that is not set, not for this account, or not taken. Facts: source, variable."""

    code = "source-denied"


class InnerPathMissing(SourceMissing):
    """An archive has no such file, folder or pattern. Facts: source, file, near (paths that it has)."""

    code = "inner-path-missing"


class ImportNotInferred(FetchError):
    """Files do not tell what they are for, or parts are missing. Facts: source, why, why_zh."""

    code = "import-not-inferred"


class ImportTooLarge(FetchError):
    """The disk has no room for an import. Facts: source, needed (bytes), free (bytes)."""

    code = "import-too-large"
