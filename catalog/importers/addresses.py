"""https://: one file, or an archive with a model in it, from an address that somebody named.

It is asked for once to learn its size and its ETag; what comes must have that ETag, or the sha256 that was
written behind the address.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from catalog.errors import SourceMissing, SourceUnreachable
from catalog.importers.hints import Hints
from catalog.importers.plans import ARCHIVES, Gate, Plan, Taken
from catalog.importers.reach import place_of
from catalog.importers.sources import Source, shown
from catalog.importers.transfer import Remote, web_opener


@contextmanager
def plan_address(sources: Sequence[Source], gate: Gate) -> Iterator[Plan]:
    """The plan of an address; raises UrlRefused, AddressRefused, SourceUnreachable and SourceMissing."""
    source = sources[0]
    place = place_of(source.place).shown
    opener = web_opener(gate.reach)
    for failures in range(1, gate.patience.attempts + 1):
        try:
            # The body is left unread: the connection is closed after the head.
            with opener(source.place, {}) as answer:
                status, headers = answer.status, dict(answer.headers)
            break
        except SourceUnreachable:
            if failures == gate.patience.attempts:
                raise
            gate.patience.wait(failures)
    if status in (404, 410, 451):
        raise SourceMissing(source=place, file=_file_name(source.place, headers))
    if status != 200:
        raise SourceUnreachable(source=place, why=f"HTTP {status}")
    name = _file_name(source.place, headers)
    length = headers.get("content-length", "")
    remote = Remote(
        path=name,
        url=source.place,
        size=int(length) if length.isascii() and length.isdigit() else None,
        digest=f"sha256:{source.revision}" if source.revision else "",
        source=place,
    )
    taken = (Taken(name, ""),) if name.endswith(ARCHIVES) else ()
    yield Plan(
        pinned=str(source),
        identity=_identity(source, headers),
        remotes=(remote,),
        opener=opener,
        hints=Hints(title=source.name),
        taken=taken,
        chosen="" if taken else name,
    )


def _identity(source: Source, headers: dict[str, str]) -> str:
    """What changes with the content; "" where the server tells nothing that would. It is kept, and shown."""
    place = shown(str(source))
    mark = headers.get("etag", "") or headers.get("last-modified", "")
    if source.revision or not mark:
        return place if source.revision else ""
    return f"{place} {mark} {headers.get('content-length', '')}"


def _file_name(url: str, headers: dict[str, str]) -> str:
    """A plain name for the file, from the answer or the address."""
    told = re.search(r'filename="?([^";/\\]+)"?', headers.get("content-disposition", ""))
    name = told[1] if told else unquote(urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^\w.+-]", "_", name)[-120:].lstrip(".") or "file"
