"""Where a package comes from: the chain of steps, as an in-toto statement with SLSA provenance.

A chain is {"schema", "steps"}. A step lists the files that go `in` and those that come `out` as {path,
sha256}, so that whoever verifies sees that what leaves one step enters the next. A step that is not there
is not known; nothing is made up for it:

- source: `materials` (archives of a package index) and what was taken `out` of them; `unexplained` are files
  of the model whose origin nobody wrote down;
- conversion: `conversions`, one for each converter; none when every file lies as it was published;
- quantisation: the `recipes` by graph with device and versions; none for a version as it came;
- evaluation: the certificate's digest, its data and figures;
- checks: what a shop found when it looked through the files, row by row (passports of versions only);
- measurement: what a vendor claims, and what the shop measured of it (likewise);
- package: the model's files go in; images, or files for a terminal, come out.
"""

import hashlib
import importlib.metadata
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployer.errors import PackagingFailed
from deployer.packager import attestation, referrers
from deployer.packager import bom as bills
from deployer.packager.bom import Package, archive_purl, licenses_of
from deployer.packager.image import CONFIG, Platform
from deployer.packager.layout import INDEX, Descriptor, Layout, canonical, roomy, write_whole
from deployer.packager.release import Release, Workshop

SCHEMA = "opc-market/provenance/1"
STEPS = ("source", "conversion", "quantisation", "evaluation", "checks", "measurement", "package")
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:opc-market:package:1"
BUILDER = "urn:opc-market:workshop"
CHAIN = "opcmarket_chain"  # fields beyond SLSA's own are named vendor_field
CERTIFICATE = "certificate.json"
PASSPORT, BILL, SUMS, KEY = "passport.intoto.json", "sbom.cdx.json", "SHA256SUMS", "signing.pub.pem"
MODEL_BILL, MODEL_SIGNATURE = "bom.cdx.json", "model.sig"  # as passports of versions call them
MODEL_PASSPORT = "passport"  # where a package step says for what terminal it is
CERTIFICATE_TYPE = "application/vnd.opc-market.certificate+json"
CARD_TYPE = "text/markdown"
SIGNATURE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
KEY_TYPE = "application/x-pem-file"
BASE_NAME = "org.opencontainers.image.base.name"
LICENSE = re.compile(r"(LICEN[CS]E|NOTICE|COPYING)([.-].*)?", re.IGNORECASE)

Chain = dict[str, Any]
Facts = Mapping[str, Any]


def version() -> str:
    """The version of this software; empty where it is not installed."""
    try:
        return importlib.metadata.version("opc-market")
    except importlib.metadata.PackageNotFoundError:
        return ""


def source_chain(
    artifacts: Sequence[Facts],
    archives: Sequence[Facts],
    taken: Sequence[Facts],
    builds: Sequence[Facts],
    *,
    version: str,
) -> Chain:
    """Source and conversion of a model whose files came out of a package index's archives.

    `artifacts` {path, sha256} are the model's files; `archives` {registry, package, version, file, size,
    sha256}; `taken` {path, archive, inner, sha256} lie in the model as they came; `builds` {builder, inputs:
    {name: {archive, inner, sha256}}, paths, options} made the others, a single one also what is not among
    its `paths`. What does not fit is unexplained.
    """
    have = {str(one["path"]): str(one["sha256"]) for one in artifacts}
    kept = [one for one in taken if have.get(str(one["path"])) == one["sha256"]]
    made = [build for build in builds if build["paths"] and set(build["paths"]) <= set(have)]
    used = [*kept, *(one for build in made for one in build["inputs"].values())]
    paths = [set(build["paths"]) for build in made]
    if len(made) == 1 and len(kept) == len(taken):
        paths = [have.keys() - {str(one["path"]) for one in kept}]  # reports and the like
    explained = {str(one["path"]) for one in kept}.union(*paths)
    conversions = [
        {
            "converter": str(build["builder"]),
            "version": version,
            "options": dict(build.get("options") or {}),
            "in": _unique(map(_inner, build["inputs"].values())),
            "out": _files({path: have[path] for path in out}),
        }
        for build, out in zip(made, paths, strict=True)
    ]
    source: dict[str, Any] = {
        "step": "source",
        "materials": _archives(archives, {str(one["archive"]) for one in used}),
        "out": _unique(map(_inner, used)),
        "unexplained": _files({path: have[path] for path in have.keys() - explained}),
    }
    steps = [source]
    if explained:
        steps.append({"step": "conversion", "conversions": conversions})
    return {"schema": SCHEMA, "steps": steps}


def _inner(one: Facts) -> dict[str, str]:
    return {"path": f"{one['archive']}!{one['inner']}", "sha256": str(one["sha256"])}


def _archives(archives: Sequence[Facts], used: set[str]) -> list[dict[str, Any]]:
    return [
        {
            "uri": archive_purl(one["registry"], one["package"], one["version"], one["file"]),
            **{key: one[key] for key in ("registry", "package", "version", "file", "sha256")},
        }
        for one in sorted(archives, key=lambda each: str(each["file"]))
        if one["file"] in used
    ]


def _files(named: Facts) -> list[dict[str, str]]:
    return [{"path": str(path), "sha256": str(named[path])} for path in sorted(named)]


def _unique(files: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return _files({one["path"]: one["sha256"] for one in files})


def artifacts_of(release: Release) -> dict[str, str]:
    """sha256 by path of the release's files, without the manifest itself."""
    return {str(one["path"]): str(one["sha256"]) for one in release.manifest["artifacts"]}


def certificate_of(release: Release) -> tuple[bytes, dict[str, Any]] | None:
    """The certificate in the release's folder, as bytes and read; None when there is none."""
    path = release.folder / str(release.manifest["files"].get("certificate", CERTIFICATE))
    try:
        content = path.read_bytes()
        found = json.loads(content)
        return content, {**found}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise PackagingFailed(image=release.name, why=f"its certificate cannot be read: {error}") from error


def chain_of(release: Release) -> Chain:
    """All that is known of a release before it is packaged: its own chain, and what its certificate says."""
    known = {step["step"]: step for step in release.chain.get("steps", ())}
    if not known:
        files = artifacts_of(release)
        known = {step["step"]: step for step in source_chain(_files(files), (), (), (), version="")["steps"]}
    certified = certificate_of(release)
    if certified:
        known |= {step["step"]: step for step in _certified_steps(release, *certified)}
    elif "conversion" in known:
        known.setdefault("quantisation", {"step": "quantisation", "recipes": {}, "in": [], "out": []})
    return {"schema": SCHEMA, "steps": [known[step] for step in STEPS if step in known]}


def _certified_steps(release: Release, content: bytes, told: Facts) -> list[dict[str, Any]]:
    """Quantisation and evaluation as a certificate states them."""
    try:
        before, variant = told["subject"].get("files") or {}, told["variant"]
        out = _files(variant["files"])
        quantisation = {
            "step": "quantisation",
            "recipes": dict(variant["graphs"]),
            "kept_in_float": dict(variant.get("kept_in_float") or {}),
            **{key: told[key] for key in ("device", "versions", "seed")},
            "in": _files(before),
            "out": out,
        }
        data = {key: told["data"][key] for key in ("name", "digest", "rows", "judged")}
        figures = {key: told[key] for key in ("device", "grade", "quality", "speed")}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise PackagingFailed(image=release.name, why=f"its certificate is incomplete: {error}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    path = str(release.manifest["files"].get("certificate", CERTIFICATE))
    evaluation = {
        "step": "evaluation",
        "certificate": sha256,
        "data": data,
        **figures,
        "in": out,
        "out": _files({path: sha256}),
    }
    return [quantisation, evaluation]


def with_package(chain: Chain, release: Release, **facts: Any) -> Chain:
    """The chain with its last step; `facts` say what came out."""
    step = {"step": "package", "in": _files(artifacts_of(release)), **facts}
    return {**chain, "steps": [*chain["steps"], step]}


def statement(
    chain: Chain,
    subjects: Iterable[tuple[str, str]],
    *,
    release: Release,
    packages: Sequence[Package] = (),
    byproducts: Iterable[Mapping[str, str]] = (),
) -> bytes:
    """The in-toto statement over `subjects` (name, sha256 in hex).

    `byproducts` {name, mediaType, sha256} are the documents that go along: bill, certificate, card.
    """
    materials = [one for step in chain["steps"] for one in step.get("materials", ())]
    dependencies = {package.purl: "" for package in packages}
    dependencies |= {str(one["uri"]): str(one["sha256"]) for one in materials}
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "release": {
                "name": release.name,
                "version": release.version,
                "digest": release.digest,
                "task": release.task,
                "licenses": licenses_of(release),
            },
            "terminal": next((s.get("terminal", "") for s in chain["steps"] if s["step"] == "package"), ""),
        },
        "resolvedDependencies": [
            {"uri": uri, "digest": {"sha256": sha256}} if sha256 else {"uri": uri}
            for uri, sha256 in sorted(dependencies.items())
        ],
    }
    run = {
        "builder": {"id": BUILDER, "version": {"opc-market": version()}},
        "byproducts": [
            {"name": one["name"], "mediaType": one["mediaType"], "digest": {"sha256": one["sha256"]}}
            for one in byproducts
        ],
    }
    return canonical(
        {
            "_type": STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in subjects],
            "predicateType": PREDICATE,
            "predicate": {"buildDefinition": definition, "runDetails": run, CHAIN: chain},
        }
    )


@dataclass(frozen=True)
class _Document:
    """What goes along with a package, and is named in its statement."""

    name: str
    media_type: str
    content: bytes

    def told(self) -> dict[str, str]:
        sha256 = hashlib.sha256(self.content).hexdigest()
        return {"name": self.name, "mediaType": self.media_type, "sha256": sha256}


def _documents(release: Release, chain: Chain, packages: Sequence[Package]) -> list[_Document]:
    certified = certificate_of(release)
    read = certified[1] if certified else None
    bill = bills.bom(release, packages, chain=chain, certificate=read)
    documents = [_Document(BILL, bills.MEDIA_TYPE, bill)]
    if certified:
        documents.append(_Document(CERTIFICATE, CERTIFICATE_TYPE, certified[0]))
    if release.card:
        documents.append(_Document("card.md", CARD_TYPE, release.card.encode()))
    if release.model_signature:
        documents.append(_Document("signature.json", SIGNATURE_TYPE, release.model_signature.read_bytes()))
    return documents


def dress(
    workshop: Workshop,
    layout: Layout,
    root: Descriptor,
    release: Release,
    *,
    terminal: str = "",
) -> tuple[Descriptor, ...]:
    """Attach bill, statement, certificate, card, signature and key to a manifest or index of the layout.

    Returns what was attached, which goes along when the image is carried away; the same release dressed
    again changes nothing.
    """
    images = [_image_facts(layout, one) for one in _manifests(layout, root)]
    terminal = terminal or ("image" if images[0]["config"] else "modelpack")
    chain = with_package(chain_of(release), release, terminal=terminal, images=images)
    packages = bills.contents_of(layout, _layers(layout, root))
    documents = _documents(release, chain, packages)
    subjects = {root.digest: release.name}
    subjects |= {str(one["manifest"]): f"{release.name} {one['platform']}".strip() for one in images}
    content = statement(
        chain,
        [(name, digest.removeprefix("sha256:")) for digest, name in subjects.items()],
        release=release,
        packages=packages,
        byproducts=[document.told() for document in documents],
    )
    documents.append(
        _Document(
            PASSPORT,
            attestation.PAYLOAD,
            attestation.sign(content, workshop.sign, workshop.public_key),
        )
    )
    if workshop.public_key:
        documents.append(_Document(KEY, KEY_TYPE, workshop.public_key))
    return tuple(
        referrers.attach(layout, root, one.media_type, one.content, media_type=one.media_type, title=one.name)
        for one in documents
    )


def _manifests(layout: Layout, root: Descriptor) -> list[Descriptor]:
    if root.media_type != INDEX:
        return [root]
    return [Descriptor.of(entry) for entry in layout.document(root)["manifests"]]


def _layers(layout: Layout, root: Descriptor) -> list[Descriptor]:
    told = [layout.document(manifest)["layers"] for manifest in _manifests(layout, root)]
    layers = [Descriptor.of(layer) for each in told for layer in each]
    return list({layer.digest: layer for layer in layers}.values())


def _image_facts(layout: Layout, manifest: Descriptor) -> dict[str, Any]:
    """What the statement says of an image; an artifact that is none has no config to run."""
    told = layout.document(manifest)
    config = Descriptor.of(told["config"])
    is_image = config.media_type == CONFIG
    platform = str(Platform.of(layout.document(config))) if is_image else ""
    return {
        "platform": platform,
        "manifest": manifest.digest,
        "config": config.digest if is_image else "",
        "base": str((told.get("annotations") or {}).get(BASE_NAME, "")),
        "layers": [Descriptor.of(layer).digest for layer in told["layers"]],
    }


def dress_folder(
    workshop: Workshop,
    folder: Path,
    release: Release,
    facts: Facts | None = None,
    *,
    terminal: str = "",
) -> None:
    """Write bill, certificate, card, licences, checksums and the signed statement into a package's folder.

    Every file of the folder but the statement itself is its subject, so the folder verifies by itself. Facts
    may name, as `packages`, the package URLs of what the folder holds of others.
    """
    packages = [bills.package_of(purl) for purl in (facts or {}).get("packages", ())]
    with roomy(folder):
        chain = with_package(chain_of(release), release, terminal=terminal, facts=dict(facts or {}))
        documents = _documents(release, chain, packages)
        for document in documents:
            write_whole(folder / document.name, document.content)
        for path in sorted(release.folder.rglob("*")):
            if path.is_file() and LICENSE.fullmatch(path.name):
                target = folder / "licenses" / path.relative_to(release.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        if workshop.public_key:
            write_whole(folder / KEY, workshop.public_key)
        sums = sums_of(folder, beside={PASSPORT, SUMS})
        write_whole(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode())
        sums = sums_of(folder, beside={PASSPORT})
        content = statement(
            chain,
            sorted(sums.items()),
            release=release,
            packages=packages,
            byproducts=[document.told() for document in documents],
        )
        signed = attestation.sign(content, workshop.sign, workshop.public_key)
        write_whole(folder / PASSPORT, signed)


def sums_of(folder: Path, beside: set[str]) -> dict[str, str]:
    """sha256 by path of every file below a folder, but for those `beside`; refuses links and devices."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PackagingFailed(image=folder.name, why=f"{name} is no plain file")
        if path.is_file() and name not in beside:
            with path.open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums
