"""What is attached to an image: its bill of materials, provenance, certificate, card and signatures.

Each is an OCI artifact of its own whose `subject` is the image's manifest or index. index.json lists it
without a name, so that the layout, an archive of it and a registry carry it along.
"""

from collections.abc import Mapping, Sequence

from deployer.errors import PackagingFailed
from deployer.packager.image import MANIFEST
from deployer.packager.layout import Descriptor, Layout, canonical

EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"


def attach(
    layout: Layout,
    subject: Descriptor,
    artifact_type: str,
    content: bytes,
    *,
    media_type: str = "",
    title: str = "",
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """Attach content to a manifest; the same once more changes nothing. `title` is its file's name."""
    blob = layout.add(content, media_type or artifact_type)
    layer = Descriptor(blob.media_type, blob.digest, blob.size, {TITLE: title} if title else {})
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": layout.add(b"{}", EMPTY).to_json(),
        "layers": [layer.to_json()],
        "subject": subject.plain().to_json(),
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    made = layout.add(canonical(manifest), MANIFEST)
    listed = Descriptor(made.media_type, made.digest, made.size, dict(annotations or {}), artifact_type)
    layout.enter(listed)
    return listed


def referrers(layout: Layout, subject: Descriptor | str) -> list[Descriptor]:
    """What is attached to a manifest or its digest, in the order of type and digest."""
    digest = subject if isinstance(subject, str) else subject.digest
    return subjects(layout).get(digest, [])


def subjects(layout: Layout) -> dict[str, list[Descriptor]]:
    """All that is attached in a layout, by the digest of what it is attached to."""
    found: dict[str, dict[str, Descriptor]] = {}
    for entry in layout.entries():
        if entry.media_type == MANIFEST and layout.has(entry):
            one = described(entry, layout.document(entry))
            if one is not None:
                found.setdefault(one[0], {})[entry.digest] = one[1]
    return {digest: ordered(list(entries.values())) for digest, entries in found.items()}


def described(manifest: Descriptor, told: Mapping[str, object]) -> tuple[str, Descriptor] | None:
    """The digest that a manifest is attached to, and its descriptor with type and annotations."""
    subject = told.get("subject")
    if subject is None:
        return None
    config = told.get("config")
    fallback = config.get("mediaType") if isinstance(config, Mapping) else ""
    full = {
        **manifest.plain().to_json(),
        "artifactType": told.get("artifactType") or fallback,
        "annotations": told.get("annotations"),
    }
    return Descriptor.of(subject).digest, Descriptor.of(full)


def ordered(entries: Sequence[Descriptor]) -> list[Descriptor]:
    """By type, then by digest."""
    return sorted(entries, key=lambda one: (one.artifact_type, one.digest))


def content(layout: Layout, referrer: Descriptor) -> bytes:
    """The bytes that were attached."""
    layers = layout.document(referrer).get("layers")
    if not isinstance(layers, list) or len(layers) != 1:
        raise PackagingFailed(image=referrer.digest, why="an attachment has one file")
    return layout.read(Descriptor.of(layers[0]))
