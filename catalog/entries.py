"""The starter shelf's data: one folder per listing under catalog/starter.

`listing.json` says what people read and which pinned files make the model, `model.json` how a server
uses them and which answers are right, `card.zh.md` and `card.en.md` tell the whole story. Weights and
packages are never part of this; they are fetched.
"""

import base64
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog import manifest as manifests
from catalog.errors import BuildFailed
from catalog.importers.packages import Archive, Member, fetch_archive, unpack
from catalog.listings import NewListing
from catalog.progress import Progress, silent
from catalog.storage import sha256_of

STARTER = Path(__file__).with_name("starter")
VENDOR = "opc-market"
TIERS = ("core", "voice")
EXAMPLE_LIMIT = 60_000  # bytes of one example file: examples travel inside the manifest

BUILDING = "building"  # the note of progress once all is fetched

Builder = Callable[[dict[str, Path], Path, dict[str, Any], Progress], None]
Builders = Mapping[str, Builder]


@dataclass(frozen=True)
class Source:
    """One file inside an archive, and what it must be."""

    archive: str  # the archive's file name
    inner: str
    size: int
    sha256: str
    path: str = ""  # in the model folder; empty for an input of a build


@dataclass(frozen=True)
class Build:
    """How the files that no archive has are made."""

    builder: str
    inputs: dict[str, Source]
    options: dict[str, Any]
    paths: tuple[str, ...]  # what must be there afterwards


@dataclass(frozen=True)
class Entry:
    """One listing of the starter shelf, as its folder describes it."""

    id: str
    folder: Path
    version: str
    tier: str
    offer: NewListing
    license_package: str
    license_weights: str
    archives: tuple[Archive, ...]
    files: tuple[Source, ...]
    builds: tuple[Build, ...]
    model: dict[str, Any] | None  # model.json; None while it is being written

    @property
    def name(self) -> str:
        """vendor/name of the listing."""
        return f"{VENDOR}/{self.id}"

    @property
    def bytes(self) -> int:
        """Bytes to fetch when nothing is here."""
        return sum(archive.size for archive in self.archives)

    @property
    def source(self) -> str:
        """Where the model's main file comes from, as `market import` takes it."""
        inputs = [source for build in self.builds for source in build.inputs.values()]
        main = (inputs or self.files)[0]
        archive = next(a for a in self.archives if a.file == main.archive)
        return f"{archive.source}/{main.inner}"

    def sources(self) -> list[Source]:
        """Every file that is taken out of an archive."""
        return [*self.files, *(source for build in self.builds for source in build.inputs.values())]


def load_entries(tiers: Collection[str] = TIERS, root: Path = STARTER) -> list[Entry]:
    """The complete entries of these tiers, the smallest first; a folder without model.json is left out."""
    entries = [
        load_entry(folder.name, root) for folder in root.iterdir() if (folder / "listing.json").exists()
    ]
    usable = [e for e in entries if e.tier in tiers and e.model is not None]
    return sorted(usable, key=lambda e: (e.bytes, e.id))


def load_entry(entry_id: str, root: Path = STARTER) -> Entry:
    """Read one entry's folder."""
    folder = root / entry_id
    data = json.loads((folder / "listing.json").read_text(encoding="utf-8"))
    artifacts = data["artifacts"]
    offer = NewListing(
        kind=data["kind"],
        title_zh=data["title_zh"],
        title_en=data["title_en"],
        summary_zh=data["summary_zh"],
        summary_en=data["summary_en"],
        card_zh=_text(folder / "card.zh.md"),
        card_en=_text(folder / "card.en.md"),
        verticals=data["verticals"],
        languages=data["languages"],
    )
    return Entry(
        id=data["id"],
        folder=folder,
        version=data["version"],
        tier=data["tier"],
        offer=offer,
        license_package=data["license_package"],
        license_weights=data["license_weights"],
        archives=tuple(Archive(**archive) for archive in data["archives"]),
        files=tuple(_source(a, a["path"]) for a in artifacts if "from" in a),
        builds=_builds(data.get("build", []), artifacts),
        model=_model(folder),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _source(data: dict[str, Any], path: str = "") -> Source:
    return Source(data["archive"], data["from"], data["size"], data["sha256"], path)


def _builds(
    data: dict[str, Any] | list[dict[str, Any]], artifacts: list[dict[str, Any]]
) -> tuple[Build, ...]:
    """One build or a list of them; each makes the artifacts that name its builder."""
    found = []
    for build in data if isinstance(data, list) else [data]:
        inputs = {name: _source(source) for name, source in build["inputs"].items()}
        paths = tuple(a["path"] for a in artifacts if a.get("build") == build["builder"])
        found.append(Build(build["builder"], inputs, build["options"], paths))
    return tuple(found)


def _model(folder: Path) -> dict[str, Any] | None:
    path = folder / "model.json"
    if not path.exists():
        return None
    model: dict[str, Any] = _inline(json.loads(path.read_text(encoding="utf-8")), folder)
    return model


def _inline(value: Any, folder: Path) -> Any:
    """Put the bytes of {"$file": path} in its place as {"base64": …}."""
    if isinstance(value, list):
        return [_inline(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"$file"}:
        content = (folder / value["$file"]).read_bytes()
        if len(content) > EXAMPLE_LIMIT:
            raise ValueError(f"{folder.name}/{value['$file']} is larger than {EXAMPLE_LIMIT} bytes")
        return {"base64": base64.b64encode(content).decode()}
    return {key: _inline(item, folder) for key, item in value.items()}


def assemble(
    entry: Entry,
    cache: Path,
    work: Path,
    builders: Builders,
    progress: Progress = silent,
    have: Mapping[str, Path] | None = None,
) -> Path:
    """Fetch, unpack and build an entry's files in the empty folder `work`; returns the model folder.

    `have` are files known by sha256 that need no fetching. Raises FetchError, StorageFull, BuildFailed,
    or what the builder raises.
    """
    have = have or {}
    out, parts = work / "out", work / "inputs"
    out.mkdir(parents=True)
    parts.mkdir()
    wanted = [(source, out / source.path) for source in entry.files]
    for build in entry.builds:
        wanted += [(source, parts / build.builder / name) for name, source in build.inputs.items()]
    _fetch(entry, [one for one in wanted if one[0].sha256 not in have], cache, progress)
    for source, target in wanted:
        if source.sha256 in have:
            target.parent.mkdir(parents=True, exist_ok=True)
            # A copy: a builder may write here, and must not reach into the store through a link.
            shutil.copyfile(have[source.sha256], target)
    for build in entry.builds:
        inputs = {name: parts / build.builder / name for name in build.inputs}
        _run_builder(entry, build, inputs, out, builders, progress)
    return out


def _fetch(entry: Entry, absent: list[tuple[Source, Path]], cache: Path, progress: Progress) -> None:
    """Fetch the archives of these files, counting bytes over all of them, and unpack them."""
    archives = [a for a in entry.archives if any(s.archive == a.file for s, _ in absent)]
    total, before = sum(a.size for a in archives), 0
    for archive in archives:
        fetched = fetch_archive(archive, cache, _after(before, total, progress))
        members = [
            Member(source.inner, target, source.size, source.sha256)
            for source, target in absent
            if source.archive == archive.file
        ]
        unpack(fetched, members)
        before += archive.size


def _after(before: int, all_bytes: int, progress: Progress) -> Progress:
    """A Progress for one archive of several, told on as bytes of all."""

    def report(done: int, total: int, note: str = "") -> None:
        progress(before + done, all_bytes, note)

    return report


def _run_builder(
    entry: Entry, build: Build, inputs: dict[str, Path], out: Path, builders: Builders, progress: Progress
) -> None:
    builder = builders.get(build.builder)
    if builder is None:
        raise BuildFailed(entry=entry.id, why=f"no builder is called {build.builder}")

    def report(done: int, total: int, note: str = "") -> None:
        progress(entry.bytes, entry.bytes, BUILDING)

    report(0, 0)
    builder(inputs, out, dict(build.options), report)
    for path in build.paths:
        if not (out / path).is_file():
            raise BuildFailed(entry=entry.id, why=f"the builder made no {path}")


def make_manifest(entry: Entry, folder: Path, version: str = "") -> dict[str, Any]:
    """The manifest over the files in a model folder; raises InvalidManifest."""
    if entry.model is None:
        raise BuildFailed(entry=entry.id, why="there is no model.json")
    artifacts = [
        {"path": str(path.relative_to(folder)), "sha256": sha256_of(path), "size": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return manifests.validate(
        {
            "schema": manifests.SCHEMA,
            "name": entry.name,
            "version": version or entry.version,
            **entry.model,
            "artifacts": artifacts,
        }
    )
