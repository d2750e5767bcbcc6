"""modelscope://: repositories of ModelScope, asked over its HTTP interface.

`/api/v1/models/<id>/repo/files` lists a revision's files with size and sha256, `/repo?FilePath=` gives one of
them with Range. A branch is pinned to the commit of its latest change. The token is MODELSCOPE_API_TOKEN.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from catalog.errors import SourceMissing, SourceUnreachable
from catalog.importers.choosing import choose
from catalog.importers.errors import SourceDenied
from catalog.importers.hints import Hints
from catalog.importers.plans import Gate, Plan, text_of
from catalog.importers.sources import Source
from catalog.importers.transfer import Opener, Remote, hub_client, hub_opener

VARIABLE = "MODELSCOPE_API_TOKEN"
BRANCH = "master"
LARGEST = 16 << 20  # bytes of a listing
_MOST = 20_000  # files of a repository


@contextmanager
def plan_modelscope(sources: Sequence[Source], gate: Gate) -> Iterator[Plan]:
    """The plan of a repository; raises SourceUnreachable, SourceMissing, SourceDenied, ImportNotInferred."""
    source = sources[0]
    base = f"{gate.modelscope_endpoint}/api/v1/models/{quote(source.place)}"
    key = gate.modelscope_token if gate.keys else ""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    asked = source.revision or BRANCH
    with hub_client() as client:
        opener = hub_opener(client, str(source))
        ask = _Asker(opener, headers, source, gate)
        listing = ask(f"{base}/repo/files?{urlencode({'Revision': asked, 'Recursive': 'True'})}", asked)
        files = _files(listing)
        commit = asked if _is_commit(asked) else _newest(files) or asked
        chosen = choose({path: _size(one) for path, one in files.items()}, source.inner, str(source))
        pinned = str(source.pinned(commit))
        remotes = tuple(
            Remote(
                path=here,
                url=f"{base}/repo?{urlencode({'Revision': commit, 'FilePath': path})}",
                size=_size(files[path]),
                digest=_digest(files[path]),
                headers=headers,
                variable=VARIABLE,
                source=pinned,
            )
            for path, here in sorted(chosen.files.items(), key=lambda pair: pair[1] == chosen.model)
        )
        hints = _hints(ask(base, source.place), source)
        yield Plan(pinned, pinned, remotes, opener, hints, chosen=chosen.model)


class _Asker:
    """Asks for one JSON document after another, again after a pause where the line breaks."""

    def __init__(self, opener: Opener, headers: dict[str, str], source: Source, gate: Gate) -> None:
        self._opener, self._headers, self._source, self._gate = opener, headers, source, gate

    def __call__(self, url: str, what: str) -> dict[str, Any]:
        for failures in range(1, self._gate.patience.attempts + 1):
            try:
                return self._once(url, what)
            except SourceUnreachable:
                if failures == self._gate.patience.attempts:
                    raise
                self._gate.patience.wait(failures)
        raise ValueError("patience needs at least one attempt")

    def _once(self, url: str, what: str) -> dict[str, Any]:
        name = str(self._source)
        with self._opener(url, self._headers) as answer:
            if answer.status in (401, 403):
                raise SourceDenied(source=name, variable=VARIABLE)
            if answer.status in (400, 404):
                raise SourceMissing(source=name, file=what)
            if answer.status != 200:
                raise SourceUnreachable(source=name, why=f"HTTP {answer.status}")
            content = bytearray()
            for piece in answer.pieces():
                content += piece
                if len(content) > LARGEST:
                    raise SourceUnreachable(source=name, why=f"a listing of more than {LARGEST} bytes")
        try:
            found = json.loads(content)
            data = found["Data"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SourceUnreachable(source=name, why="its answer is no listing") from None
        if not isinstance(data, dict):
            raise SourceMissing(source=name, file=what)
        return data


def _files(listing: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = listing.get("Files")
    entries = found[:_MOST] if isinstance(found, list) else []
    plain = [one for one in entries if isinstance(one, dict) and one.get("Type") != "tree"]
    return {path: one for one in plain if (path := text_of(one, "Path"))}


def _newest(files: dict[str, dict[str, Any]]) -> str:
    """The commit of the latest change among the files; pinned, the branch may go on."""
    dated = [(one.get("CommittedDate"), text_of(one, "Revision")) for one in files.values()]
    known = [(date, commit) for date, commit in dated if isinstance(date, int) and _is_commit(commit)]
    return max(known)[1] if known else ""


def _is_commit(text: str) -> bool:
    return len(text) == 40 and all(c in "0123456789abcdef" for c in text)


def _size(one: dict[str, Any]) -> int | None:
    size = one.get("Size")
    return size if isinstance(size, int) and size >= 0 else None


def _digest(one: dict[str, Any]) -> str:
    sha256 = text_of(one, "Sha256").lower()
    return f"sha256:{sha256}" if len(sha256) == 64 else ""


def _hints(data: dict[str, Any], source: Source) -> Hints:
    tasks = data.get("Tasks")
    first = tasks[0] if isinstance(tasks, list) and tasks and isinstance(tasks[0], dict) else {}
    return Hints(
        license=text_of(data, "License"),
        task=text_of(first, "Name"),
        title=text_of(data, "ChineseName") or source.place.rpartition("/")[2],
    )
