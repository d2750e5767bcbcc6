"""A release in the CNCF ModelPack format (v0.0.7), and its weights as an image: one tar, two manifests.

The layers are those that images carry, uncompressed, and so the same blobs: whoever has one of the three in
a registry sends only a config and a manifest for the others. The format asks for one layer for each weight
file where there are several; here they stay one layer, since that is the blob that is shared.
"""

import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from deployer.errors import PackagingFailed
from deployer.packager.image import EPOCH, MANIFEST, PLATFORMS, Platform, assemble, image_index
from deployer.packager.layers import LAYER
from deployer.packager.layout import Descriptor, Layout, canonical
from deployer.packager.parts import FOLDER, parts
from deployer.packager.provenance import chain_of
from deployer.packager.referrers import TITLE
from deployer.packager.release import Release, Workshop

ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHTS = "application/vnd.cncf.model.weight.v1.tar"
SETTINGS = "application/vnd.cncf.model.weight.config.v1.tar"
DOCUMENTS = "application/vnd.cncf.model.doc.v1.tar"
FILE_PATH = "org.cncf.model.filepath"
FILE_METADATA = "org.cncf.model.file.metadata+json"
FORMATS = {".onnx": "onnx", ".ort": "ort"}

_WORDS = "org.opencontainers.image."
# What goes in and what comes out, by task, in the format's own words; other tasks say "other".
_MODALITIES: dict[str, tuple[list[str], list[str]]] = {
    "automatic-speech-recognition": (["audio"], ["text"]),
    "document-layout": (["image"], ["other"]),
    "feature-extraction": (["text"], ["embedding"]),
    "image-classification": (["image"], ["text"]),
    "image-segmentation": (["image"], ["image"]),
    "image-to-text": (["image"], ["text"]),
    "object-detection": (["image"], ["other"]),
    "sentence-similarity": (["text"], ["embedding"]),
    "text-classification": (["text"], ["text"]),
    "text-generation": (["text"], ["text"]),
    "text-to-speech": (["text"], ["audio"]),
    "token-classification": (["text"], ["text"]),
    "voice-activity-detection": (["audio"], ["other"]),
}


def modelpack(workshop: Workshop, release: Release) -> tuple[Layout, Descriptor]:
    """The artifact in the home's layout, under vendor/name:version-modelpack."""
    layout = Layout(workshop.images)
    own = parts(layout, release)
    kinds = ((WEIGHTS, "weights"), (SETTINGS, "config"), (DOCUMENTS, "docs"))
    layers = [_layer(layout, blob, *kind) for blob, kind in zip(own.layers, kinds, strict=False)]
    config = layout.add(canonical(config_of(release, layers)), CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "annotations": _annotations(release),
    }
    kept = layout.add(canonical(manifest), MANIFEST)
    made = Descriptor(MANIFEST, kept.digest, kept.size, artifact_type=ARTIFACT)
    layout.tag(made, f"{release.name}:{release.version}-modelpack")
    return layout, made


def weights_image(
    workshop: Workshop, release: Release, *, platforms: Sequence[Platform] = PLATFORMS
) -> Descriptor:
    """The weights alone as an image of one layer, under vendor/name:version-weights.

    For `docker pull` and for image volumes of Kubernetes. Engines take an image only for their own platform,
    so it is an index whose images differ in nothing else; a manifest when one platform is asked for.
    """
    layout = Layout(workshop.images)
    root = _one_layer(layout, parts(layout, release).weights, _annotations(release), platforms)
    layout.tag(root, f"{release.name}:{release.version}-weights")
    return root


def weights_of(layout: Layout, artifact: Descriptor) -> Descriptor:
    """The same image, made of an artifact that is at hand; refuses what holds no weights."""
    told = layout.document(artifact)
    weights = next((one for one in map(Descriptor.of, told["layers"]) if one.media_type == WEIGHTS), None)
    if told.get("artifactType") != ARTIFACT or weights is None:
        raise PackagingFailed(image=artifact.digest, why="it is no ModelPack artifact with weights")
    plain = Descriptor(LAYER, weights.digest, weights.size)
    return _one_layer(layout, plain, told.get("annotations") or {}, PLATFORMS)


def _one_layer(
    layout: Layout, weights: Descriptor, words: Mapping[str, str], platforms: Sequence[Platform]
) -> Descriptor:
    images = [
        assemble(layout, (weights,), {"Labels": dict(words)}, arch=one.architecture, annotations=words)
        for one in platforms
    ]
    return images[0].manifest if len(images) == 1 else image_index(layout, images)


def config_of(release: Release, layers: Sequence[Descriptor]) -> dict[str, Any]:
    """The format's own description of the model; what is not known is left out."""
    licences = [release.license_weights, release.license_package]
    takes, gives = _MODALITIES.get(release.task, (["other"], ["other"]))
    descriptor = {
        "vendor": release.name.partition("/")[0],
        "name": release.slug,
        "version": release.version,
        "title": release.title_en or release.title_zh,
        "description": release.summary_en or release.summary_zh,
        "revision": release.digest,
        "licenses": list(dict.fromkeys(filter(None, licences))),
    }
    capabilities = {
        "inputTypes": takes,
        "outputTypes": gives,
        "languages": sorted({code[:2] for code in release.languages if _two_letters(code)}),
    }
    technical = {
        "format": _format(release),
        "quantization": _quantisation(release),
        "capabilities": _known(capabilities),
    }
    return {
        "descriptor": _known(descriptor),
        "config": _known(technical),
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }


def _known(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if value}


def _two_letters(code: str) -> bool:
    return code[:2].isascii() and code[:2].isalpha() and code[:2].islower() and code[2:3] in {"", "-", "_"}


def _format(release: Release) -> str:
    paths = [str(artifact["path"]) for artifact in release.manifest["artifacts"]]
    found = {kind for ending, kind in FORMATS.items() if any(path.endswith(ending) for path in paths)}
    return ",".join(sorted(found))


def _quantisation(release: Release) -> str:
    """The recipes that the graphs went through."""
    steps = [step for step in chain_of(release)["steps"] if step["step"] == "quantisation"]
    return ",".join(sorted({str(recipe) for step in steps for recipe in step.get("recipes", {}).values()}))


def _annotations(release: Release) -> dict[str, str]:
    return _known(
        {
            f"{_WORDS}title": release.title_en or release.slug,
            f"{_WORDS}version": release.version,
            f"{_WORDS}description": release.summary_en,
            f"{_WORDS}licenses": release.license_weights,
            f"{_WORDS}ref.name": f"{release.name}:{release.version}",
            "market.release": release.digest,
            "market.task": release.task,
        }
    )


def _layer(layout: Layout, blob: Descriptor, media_type: str, title: str) -> Descriptor:
    """A layer under the format's type: where its file or folder belongs, and what to call the blob."""
    files = _files(layout, blob)
    annotations = {FILE_PATH: FOLDER, TITLE: f"{title}.tar"}
    if len(files) == 1:
        annotations |= {FILE_PATH: files[0].name, FILE_METADATA: _metadata(files[0])}
    return Descriptor(media_type, blob.digest, blob.size, annotations)


def _files(layout: Layout, blob: Descriptor) -> list[tarfile.TarInfo]:
    with tarfile.open(layout.path(blob.digest), mode="r:") as archive:
        return [member for member in archive if member.isfile()]


def _metadata(file: tarfile.TarInfo) -> str:
    """As the archive has it."""
    told = {
        "name": file.name.rpartition("/")[2],
        "mode": file.mode,
        "uid": file.uid,
        "gid": file.gid,
        "size": file.size,
        "mtime": EPOCH,
        "typeflag": file.type[0],
    }
    return json.dumps(told, separators=(",", ":"))
