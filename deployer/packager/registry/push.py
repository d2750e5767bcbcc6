"""An image, an index or an artifact of the layout to a registry, with all that is attached to it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from filelock import FileLock

from deployer.errors import InvalidReference, PackagingFailed
from deployer.packager import referrers
from deployer.packager.layout import Descriptor, Layout
from deployer.packager.registry import blobs, manifests
from deployer.packager.registry.connection import Answer, Connection, Pace
from deployer.packager.registry.moved import Tally, each
from deployer.packager.registry.reference import Reference
from deployer.spec import Progress, silent

_WORTH_MOUNTING = 1 << 20  # bytes; a smaller blob is sent sooner than looked for elsewhere
_MOST = 300  # manifests of one push; the layout may hold an index from anywhere


@dataclass(frozen=True)
class Pushed:
    """What a push did: the root's digest, bytes sent, and bytes that the registry had."""

    digest: str
    sent_bytes: int
    skipped_bytes: int


@dataclass
class _Load:
    """All that has to be in the registry, without repetitions; children stand before their parents."""

    manifests: dict[str, Descriptor] = field(default_factory=dict)
    attached: dict[str, list[Descriptor]] = field(default_factory=dict)
    blobs: dict[str, Descriptor] = field(default_factory=dict)


def push(
    layout: Layout,
    root: Descriptor,
    reference: Reference | str,
    *,
    progress: Progress = silent,
    memory: Layout | None = None,
    insecure: bool = False,
    pace: Pace | None = None,
) -> Pushed:
    """Send what the registry lacks; the name appears there last, when all that it needs is there.

    `memory` keeps which repository got which blob, so that others of the same registry take it from there:
    the home's layout, when this one is thrown away. Raises InvalidReference, RegistryUnavailable,
    RegistryRefused, and ContentCorrupted or PackagingFailed when the layout lacks what the manifests name.
    """
    wanted = reference if isinstance(reference, Reference) else Reference.parse(reference)
    if wanted.digest and wanted.digest != root.digest:
        raise InvalidReference(reference=str(wanted))
    load = _load(layout, root)
    memory = memory or layout
    sources = {digest: _source(memory, wanted, blob) for digest, blob in load.blobs.items()}
    rights = {source: "pull" for source in sources.values() if source} | {wanted.repository: "pull,push"}
    total = sum(one.size for one in (*load.blobs.values(), *load.manifests.values()))
    tally = Tally(total, progress, "push")
    with Connection(wanted, rights, insecure=insecure, pace=pace or Pace()) as connection:
        each(
            load.blobs.values(),
            lambda blob: _blob(connection, layout, blob, sources[blob.digest], tally),
            tally,
        )
        _remember(memory, wanted, load.blobs.values())
        mark = hashlib.sha256(str(connection.base).encode()).hexdigest()[:16]
        with FileLock(str(memory.root / f".push-{mark}.lock")):
            _manifests(connection, layout, load, root, tally)
    return Pushed(root.digest, tally.moved, tally.skipped)


def _load(layout: Layout, root: Descriptor) -> _Load:
    load, attached = _Load(), referrers.subjects(layout)
    for manifest, children in _walk(layout, root, attached, set()):
        load.manifests[manifest.digest] = manifest
        if manifest.digest in attached:
            load.attached[manifest.digest] = attached[manifest.digest]
        load.blobs |= {blob.digest: blob for blob in children}
    for blob in load.blobs.values():
        if not layout.has(blob):
            raise PackagingFailed(image=root.digest, why=f"{blob.digest} is not in the layout")
    return load


def _walk(
    layout: Layout,
    manifest: Descriptor,
    attached: dict[str, list[Descriptor]],
    seen: set[str],
) -> Iterator[tuple[Descriptor, list[Descriptor]]]:
    """Each manifest with its blobs, after those below it and those attached to it."""
    if manifest.digest in seen:
        return
    seen.add(manifest.digest)
    if len(seen) > _MOST:
        raise PackagingFailed(image=manifest.digest, why=f"more than {_MOST} manifests in one push")
    told = layout.document(manifest)
    for child in (*children_of(told), *attached.get(manifest.digest, ())):
        yield from _walk(layout, child, attached, seen)
    yield manifest, blobs_of(told)


def children_of(told: dict[str, object]) -> list[Descriptor]:
    """The manifests that an index lists."""
    listed = told.get("manifests")
    return [Descriptor.of(entry) for entry in listed] if isinstance(listed, list) else []


def blobs_of(told: dict[str, object]) -> list[Descriptor]:
    """Config and layers of a manifest."""
    layers = told.get("layers")
    parts = [told["config"]] if "config" in told else []
    return [Descriptor.of(entry) for entry in (*parts, *(layers if isinstance(layers, list) else ()))]


def _source(memory: Layout, wanted: Reference, blob: Descriptor) -> str:
    """Another repository of the same registry that got this blob from here."""
    if blob.size < _WORTH_MOUNTING:
        return ""
    found = str((memory.recall(_key(wanted, blob)) or {}).get("repository") or "")
    return found if found != wanted.repository else ""


def _remember(memory: Layout, wanted: Reference, sent: Iterable[Descriptor]) -> None:
    if not (memory.root / "cache").is_dir():
        return  # a layout that was opened out of an archive, and is gone soon
    for blob in sent:
        key = _key(wanted, blob)
        told = {"repository": wanted.repository}
        if blob.size >= _WORTH_MOUNTING and memory.recall(key) != told:
            memory.remember(key, told)


def _key(wanted: Reference, blob: Descriptor) -> object:
    return {"what": "pushed", "registry": wanted.registry, "blob": blob.digest}


def _blob(connection: Connection, layout: Layout, blob: Descriptor, source: str, tally: Tally) -> None:
    sent = 0

    def count(moved: int) -> None:
        nonlocal sent
        sent += moved
        tally.move(moved)

    if not blobs.exists(connection, blob):
        blobs.send(connection, layout.path(blob.digest), blob, source, count)
    tally.skip(max(0, blob.size - sent))


def _manifests(connection: Connection, layout: Layout, load: _Load, root: Descriptor, tally: Tally) -> None:
    """Send the manifests that are not there, the root last, when what is attached is there and listed.

    One push of a home to a repository at a time: registries do not keep two writers of a list apart.
    """
    subjects = {one.digest: subject for subject, them in load.attached.items() for one in them}
    listed = set()
    for manifest in load.manifests.values():
        if manifest.digest == root.digest:
            continue
        answer = _manifest(connection, layout, manifest, manifest.digest, tally)
        subject = subjects.get(manifest.digest)
        if answer and subject and answer.headers.get("OCI-Subject") == subject:
            listed.add(manifest.digest)
    for subject, them in load.attached.items():
        if {one.digest for one in them} - listed:
            _list(connection, subject, them, tally)
    _manifest(connection, layout, root, connection.reference.tag or root.digest, tally)


def _manifest(
    connection: Connection, layout: Layout, manifest: Descriptor, target: str, tally: Tally
) -> Answer | None:
    """The registry's answer to the manifest; None when it has it under this name."""
    if manifests.points_to(connection, target) == manifest.digest:
        tally.skip(manifest.size)
        return None
    return manifests.put(connection, manifest.media_type, layout.read(manifest), target, tally.move)


def _list(connection: Connection, subject: str, attached: list[Descriptor], tally: Tally) -> None:
    """Where the registry keeps no list of what is attached, keep one for it."""
    known = {one.digest for one in manifests.referrers(connection, subject)}
    if not known.issuperset(one.digest for one in attached):
        manifests.note_referrers(connection, subject, attached, tally.move)
