"""An image, an index or an artifact out of a registry into the layout, with all that is attached to it."""

import shutil
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from deployer.errors import DiskFull, PlatformNotSupported
from deployer.packager import referrers
from deployer.packager.image import CONFIG, MANIFEST, Platform
from deployer.packager.layout import Descriptor, Layout
from deployer.packager.registry import blobs, manifests
from deployer.packager.registry.connection import Connection, Pace
from deployer.packager.registry.moved import Tally, each
from deployer.packager.registry.push import blobs_of, children_of
from deployer.packager.registry.reference import Reference
from deployer.spec import Progress, silent

_MOST = 300  # manifests of one pull, attached ones with them; what is beyond is refused
_MOST_BYTES = 32 << 20  # of all these manifests
_MOST_ATTACHED = 50  # to one manifest; the others are left there
_LARGEST_ATTACHED = 64 << 20  # bytes; anybody may attach anything, and larger things are left there


@dataclass
class _Found:
    """What the registry named: manifests with their bytes, in the order in which they were found."""

    manifests: dict[str, tuple[Descriptor, bytes]] = field(default_factory=dict)
    attached: list[Descriptor] = field(default_factory=list)
    blobs: dict[str, Descriptor] = field(default_factory=dict)


def pull(
    reference: Reference | str,
    layout: Layout,
    *,
    platform: Platform | None = None,
    progress: Progress = silent,
    insecure: bool = False,
    pace: Pace | None = None,
    transport: httpx.BaseTransport | None = None,
    anonymous: bool = False,
) -> Descriptor:
    """Fetch what the layout lacks; without a platform all those of an index. Returns the root's descriptor.

    Raises InvalidReference, RegistryUnavailable, RegistryRefused, ContentCorrupted, PlatformNotSupported
    and DiskFull; a manifest enters the layout only after all that it names.
    """
    wanted = reference if isinstance(reference, Reference) else Reference.parse(reference)
    rights = {wanted.repository: "pull"}
    with Connection(
        wanted, rights, insecure=insecure, pace=pace or Pace(), transport=transport, anonymous=anonymous
    ) as connection:
        root, content = manifests.get(connection, wanted.target)
        if platform is not None and root.media_type in manifests.INDEXES:
            chosen = _chosen(manifests.document(connection, content), platform)
            root, content = manifests.get(connection, chosen.digest)
        elif platform is not None:
            _check_platform(connection, layout, content, platform)
        found = _find(connection, root, content)
        _fetch(connection, layout, found, progress)
    for manifest, told in reversed(found.manifests.values()):
        layout.add(told, manifest.media_type)
    for one in found.attached:
        layout.enter(one)
    return root


def _chosen(index: dict[str, object], platform: Platform) -> Descriptor:
    listed = children_of(index)
    for entry in listed:
        if Platform.of(entry.platform) == platform:
            return entry
    known = ", ".join(str(Platform.of(entry.platform)) for entry in listed if entry.platform)
    raise PlatformNotSupported(platform=str(platform), known=known, why="the image is not made for it")


def _check_platform(connection: Connection, layout: Layout, content: bytes, platform: Platform) -> None:
    """An image that stands alone says in its config what it runs on; other artifacts run on nothing."""
    config = Descriptor.of(manifests.document(connection, content).get("config"))
    if config.media_type not in {CONFIG, "application/vnd.docker.container.image.v1+json"}:
        return
    if not layout.has(config):
        blobs.fetch(connection, layout, config, lambda count: None)
    made_for = Platform.of(layout.document(config))
    if made_for != platform:
        why = "the image is not made for it"
        raise PlatformNotSupported(platform=str(platform), known=str(made_for), why=why)


def _find(connection: Connection, root: Descriptor, content: bytes) -> _Found:
    """Walk down from the root, and to what is attached to each manifest, without repetitions."""
    found, size = _Found(), 0
    fetched = {root.digest: (root, content)}
    waiting = deque([(root.digest, "")])
    for _ in range(_MOST):
        if not waiting:
            return found
        digest, subject = waiting.popleft()
        if digest in found.manifests:
            continue
        manifest, content = fetched.get(digest) or manifests.get(connection, digest)
        size += len(content)
        told = manifests.document(connection, content)
        parts = blobs_of(told)
        if subject:
            described = referrers.described(manifest, told)
            if not described or described[0] != subject or not _handy(manifest, parts):
                continue
            found.attached.append(described[1])
        found.manifests[digest] = manifest, content
        found.blobs |= {blob.digest: blob for blob in parts}
        waiting += [(child.digest, "") for child in children_of(told)]
        listed = manifests.referrers(connection, digest)[:_MOST_ATTACHED]
        waiting += [(one.digest, digest) for one in listed]
        if len(waiting) > _MOST or size > _MOST_BYTES:
            break
    raise connection.refused(200, "too many or too large manifests under one name")


def _handy(manifest: Descriptor, parts: Sequence[Descriptor]) -> bool:
    return manifest.media_type == MANIFEST and sum(part.size for part in parts) <= _LARGEST_ATTACHED


def _fetch(connection: Connection, layout: Layout, found: _Found, progress: Progress) -> None:
    lacking = [blob for blob in found.blobs.values() if not layout.has(blob)]
    needed, total = (sum(blob.size for blob in them) for them in (lacking, found.blobs.values()))
    free = shutil.disk_usage(layout.root).free
    if needed > free:
        raise DiskFull(path=str(layout.root), needed=needed, free=free)
    tally = Tally(total, progress, "pull")
    tally.skip(total - needed)
    each(lacking, lambda blob: blobs.fetch(connection, layout, blob, tally.move), tally)
