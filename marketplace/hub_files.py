"""The files of a version as the Hub API shows them: its own, and those that the shop writes beside them.

What the shop writes is a card (README.md), the sheet that publishes the version anew (market.yaml with its
cards and examples), the manifest, and the passport. The same version with the same words gives the same
bytes. A file of the version's own comes before one that the shop would write under its name.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml
from sqlmodel import Session

from catalog import manifest as manifests
from catalog import offer
from catalog.errors import CatalogError
from catalog.models import Listing, Version
from marketplace import passports
from marketplace.settings import Settings

CARD = "README.md"
PASSPORT = "passport"
LIBRARIES = {".onnx": "onnx", ".gguf": "gguf", ".safetensors": "safetensors", ".tflite": "tflite"}
_ONE_LICENCE = re.compile(r"[A-Za-z0-9.+-]+")


@dataclass(frozen=True)
class RepoFile:
    """One file; `content` where it is written by the shop and lies nowhere."""

    path: str
    size: int
    sha256: str
    content: bytes | None = None

    @property
    def pointer(self) -> bytes:
        """What git would keep in the place of a large file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n"
        return text.encode()

    @cached_property
    def blob_id(self) -> str:
        """The name that git gives to the file, or to what stands in its place."""
        return _git_name(b"blob", self.pointer if self.content is None else self.content)


@dataclass(frozen=True)
class Folder:
    """A folder of files; its id changes with what is in it."""

    path: str
    tree_id: str


class Files:
    """The files of one version; what the shop writes is made when it is asked for."""

    def __init__(self, settings: Settings, db: Session, listing: Listing, version: Version) -> None:
        self._settings, self._db, self._listing, self._version = settings, db, listing, version
        own = (RepoFile(a["path"], int(a["size"]), a["sha256"]) for a in version.manifest["artifacts"])
        self._own = {file.path: file for file in own}

    def get(self, path: str) -> RepoFile | None:
        """The file of this path."""
        if found := self._own.get(path):
            return found
        makers = (self._passport,) if path.startswith(f"{PASSPORT}/") else (self._described, self._card)
        return next((file for make in makers for file in self._made(make) if file.path == path), None)

    @cached_property
    def all(self) -> dict[str, RepoFile]:
        """Every file by its path, in the order of the paths."""
        made = [file for make in (self._card, self._described, self._passport) for file in self._made(make)]
        return dict(sorted((self._own | {file.path: file for file in made}).items()))

    def under(self, folder: str, *, recursive: bool) -> list[RepoFile | Folder]:
        """Files and folders in a folder, by their paths ("" is the top); none where it is none."""
        start = f"{folder}/" if folder else ""
        inside = [file for path, file in self.all.items() if path.startswith(start)]
        names = {
            start + "/".join(parts[:depth])
            for file in inside
            for parts in [file.path.removeprefix(start).split("/")]
            for depth in (range(1, len(parts)) if recursive else [1] if len(parts) > 1 else [])
        }
        direct = [file for file in inside if recursive or "/" not in file.path.removeprefix(start)]
        entries: list[RepoFile | Folder] = [*direct, *(self.folder(name) for name in names)]
        return sorted(entries, key=lambda entry: entry.path)

    def folder(self, path: str) -> Folder:
        """A folder with the id of what is in it."""
        inside = [f"{file.path} {file.sha256}\n" for file in self.all.values() if _is_in(file.path, path)]
        return Folder(path, _git_name(b"tree", "".join(inside).encode()))

    def has_folder(self, path: str) -> bool:
        """Whether files lie in a folder of this path."""
        return any(_is_in(file, path) for file in self.all)

    def _made(self, make: Callable[[], Mapping[str, bytes]]) -> Iterable[RepoFile]:
        for path, content in make().items():
            if not self._is_taken(path):
                yield RepoFile(path, len(content), hashlib.sha256(content).hexdigest(), content)

    def _is_taken(self, path: str) -> bool:
        """Whether a file of the version's own stands at this path, above it or below it."""
        return any(path == own or _is_in(path, own) or _is_in(own, path) for own in self._own)

    def _card(self) -> dict[str, bytes]:
        return {CARD: card(self._listing, self._version).encode()}

    def _described(self) -> dict[str, bytes]:
        files = {manifests.FILE_NAME: manifests.canonical(self._version.manifest)}
        try:
            sheet = offer.to_files(offer.of_version(self._listing, self._version))
        except CatalogError:
            return files  # a version of an older shop, whose words a sheet no longer takes
        return files | sheet

    def _passport(self) -> dict[str, bytes]:
        try:
            made = passports.make(self._settings, self._db, self._listing, self._version)
        except (CatalogError, passports.NoPassport):
            return {}
        return {f"{PASSPORT}/{name}": content for name, content in made.files.items()}


def words_of(listing: Listing, version: Version) -> dict[str, Any]:
    """What a version says about itself; its listing's words where it brought none."""
    names = ("kind", "title_zh", "title_en", "summary_zh", "summary_en", "card_zh", "card_en")
    return {
        name: version.offer[name] if name in version.offer else getattr(listing, name)
        for name in (*names, "verticals", "languages", "gated")
    }


def library_of(version: Version) -> str:
    """The library that opens the version's model, by the file that has the role, else by its first file."""
    files = version.manifest["files"]
    paths = [files[role] for role in ("model", *files) if role in files]
    paths += [a["path"] for a in version.manifest["artifacts"]]
    endings = (path[path.rfind(".") :].lower() for path in paths if "." in path)
    return next((LIBRARIES[ending] for ending in endings if ending in LIBRARIES), "")


def licence_of(version: Version) -> tuple[str, str]:
    """The licence of the weights as the Hub writes it, and its own name where the Hub has none for it."""
    terms = version.license_weights
    if _ONE_LICENCE.fullmatch(terms) and not terms.startswith("LicenseRef-"):
        return terms.lower(), ""
    return "other", terms


def tags_of(listing: Listing, version: Version) -> list[str]:
    """All words by which a listing is found: task, library, languages, licence, verticals, kind."""
    words = words_of(listing, version)
    found = [
        library_of(version),
        version.manifest["task"],
        *words["languages"],
        *words["verticals"],
        f"license:{licence_of(version)[0]}",
        str(words["kind"]) if words["kind"] != "model" else "",
        "opc-market",
    ]
    return list(dict.fromkeys(filter(None, found)))


def card_data(listing: Listing, version: Version) -> dict[str, Any]:
    """The head of the card, as the Hub's own fields."""
    words = words_of(listing, version)
    licence, name = licence_of(version)
    data: dict[str, Any] = {"license": licence}
    if name:
        data["license_name"] = name
    data["pipeline_tag"] = version.manifest["task"]
    if library := library_of(version):
        data["library_name"] = library
    if words["languages"]:
        data["language"] = list(words["languages"])
    data["tags"] = [tag for tag in tags_of(listing, version) if not tag.startswith("license:")]
    return data


def card(listing: Listing, version: Version) -> str:
    """The card: its head in YAML, then the words of the listing in Chinese and English."""
    words = words_of(listing, version)
    head = yaml.safe_dump(card_data(listing, version), sort_keys=False, allow_unicode=True)
    parts = [f"# {words['title_zh']} · {words['title_en']}", words["summary_zh"], words["summary_en"]]
    parts += [words["card_zh"], words["card_en"]]
    return f"---\n{head}---\n\n" + "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(folder + "/")


def _git_name(kind: bytes, content: bytes) -> str:
    # git's own naming; nothing here is kept safe by it.
    return hashlib.sha1(b"%b %d\0" % (kind, len(content)) + content, usedforsecurity=False).hexdigest()
