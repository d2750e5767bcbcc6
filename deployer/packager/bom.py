"""The bill of materials of a package: CycloneDX 1.7, the model as a machine-learning component.

It names the model with its card, its files and what they came from, and the Debian packages and wheels
that run it. The same content gives the same bytes: no times, and a serial number made of the content.
"""

import email.message
import email.parser
import hashlib
import re
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, unquote

from deployer.errors import PackagingFailed
from deployer.packager.layout import Descriptor, Layout, canonical
from deployer.packager.release import Release

MEDIA_TYPE = "application/vnd.cyclonedx+json"
NAMESPACE = uuid.UUID("6a0cf0c8-3a52-5d0b-9c5e-0d6f6d61726b")  # of our serial numbers
# Where a layer says what was installed: Debian's records, with dpkg or without, and those of wheels.
DEBIAN = re.compile(r"var/lib/dpkg/(status|status\.d/(?!.*\.md5sums)[^/]+)")
WHEEL = re.compile(r".+\.dist-info/METADATA")
LARGEST_RECORD = 16 << 20  # bytes
FORM = 2  # counts up when more or other things are read out of layers


@dataclass(frozen=True)
class Package:
    """Somebody else's work that a package contains: of Debian, PyPI or npm."""

    purl: str
    name: str
    version: str
    license: str = ""
    """SPDX expression, where it states one."""


def contents_of(layout: Layout, layers: Iterable[Descriptor]) -> tuple[Package, ...]:
    """The Debian packages and wheels in uncompressed layers of the layout, by what was recorded in them."""
    found: dict[str, Package] = {}
    for layer in layers:
        key = ["contents", FORM, layer.digest]
        known = layout.recall(key)
        if known is None:
            known = {"packages": [asdict(package) for package in _recorded(layout, layer)]}
            layout.remember(key, known)
        found |= {each["purl"]: Package(**each) for each in known["packages"]}
    return tuple(found[purl] for purl in sorted(found))


def archive_purl(registry: str, package: str, version: str, file: str) -> str:
    """The package URL of one file of a package index (pypi or npm)."""
    package = _pypi(package) if registry == "pypi" else package
    name = "/".join(quote(part, safe="") for part in package.split("/"))
    return f"pkg:{registry}/{name}@{_version(version)}?file_name={quote(file, safe='')}"


def _version(version: str) -> str:
    return quote(version, safe=":")  # as package URLs have it


def package_of(purl: str) -> Package:
    """The package that a package URL names."""
    path, _, version = purl.partition("?")[0].rpartition("@")
    name = path.removeprefix("pkg:").partition("/")[2]
    return Package(purl, unquote(name), unquote(version))


def _pypi(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def bom(
    release: Release,
    packages: Sequence[Package] = (),
    *,
    chain: Mapping[str, Any] | None = None,
    certificate: Mapping[str, Any] | None = None,
) -> bytes:
    """The bill of a release and of the packages that run it."""
    model = _model(release, certificate or {})
    ancestors = [_source(material) for material in _materials(chain or release.chain)]
    if ancestors:
        model["pedigree"] = {"ancestors": ancestors}
    files = [_file(artifact) for artifact in release.manifest["artifacts"]]
    runtime = [_library(package) for package in packages]
    below = sorted(part["bom-ref"] for part in [*files, *runtime])
    leaves = sorted({part["bom-ref"] for part in [*files, *runtime, *ancestors]})
    content: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": {"component": model},
        "components": [*files, *runtime],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": below},
            *({"ref": leaf} for leaf in leaves),
        ],
    }
    serial = uuid.uuid5(NAMESPACE, hashlib.sha256(canonical(content)).hexdigest())
    return canonical({**content, "serialNumber": f"urn:uuid:{serial}"})


def _deb(name: str, version: str, arch: str) -> str:
    return f"pkg:deb/debian/{quote(name, safe='')}@{_version(version)}?arch={quote(arch, safe='')}"


def _recorded(layout: Layout, layer: Descriptor) -> Iterator[Package]:
    try:
        with tarfile.open(layout.path(layer.digest), "r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                read = next((how for where, how in RECORDS if where.fullmatch(name)), None)
                if read and member.isreg() and (file := archive.extractfile(member)):
                    yield from read(file.read(LARGEST_RECORD).decode(errors="replace"))
    except tarfile.ReadError:
        return  # packed, or no tar: not of our making
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PackagingFailed(image=layer.digest, why=f"a layer cannot be read: {error}") from error


def _debian(text: str) -> Iterator[Package]:
    for paragraph in re.split(r"\n\s*\n", text):
        stated = _stated(paragraph)
        name, version = str(stated["Package"] or ""), str(stated["Version"] or "")
        if name and version and "deinstall" not in str(stated["Status"] or ""):
            yield Package(_deb(name, version, str(stated["Architecture"] or "all")), name, version)


def _wheel(text: str) -> Iterator[Package]:
    stated = _stated(text)
    name, version = str(stated["Name"] or ""), str(stated["Version"] or "")
    # The older field holds names, classifiers or whole texts.
    license_ = str(stated["License-Expression"] or "").strip()[:200]
    if name and version:
        purl = f"pkg:pypi/{_pypi(name)}@{_version(version)}"
        yield Package(purl, _pypi(name), version, license=license_)


def _stated(text: str) -> email.message.Message:
    return email.parser.HeaderParser().parsestr(text)


RECORDS = ((DEBIAN, _debian), (WHEEL, _wheel))


def licenses_of(release: Release) -> dict[str, str]:
    """The licences of the packaging and of the weights, those that are known."""
    known = {"package": release.license_package, "weights": release.license_weights}
    return {what: license_ for what, license_ in known.items() if license_}


def _model(release: Release, certificate: Mapping[str, Any]) -> dict[str, Any]:
    group, _, name = release.name.rpartition("/")
    parts = [quote(part, safe="") for part in release.name.split("/")]
    digest = release.digest.removeprefix("sha256:")
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{release.digest}",
        "name": name,
        "version": release.version,
        "purl": f"pkg:generic/{'/'.join(parts)}@{_version(release.version)}?checksum=sha256:{digest}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "modelCard": _card(release, certificate),
    }
    if group:
        model["group"] = group
    if description := release.summary_en or release.title_en:
        model["description"] = description
    licenses = [
        {"expression": license_, "properties": [{"name": "opc-market:license-of", "value": what}]}
        for what, license_ in sorted(licenses_of(release).items())
    ]
    if licenses:
        model["licenses"] = licenses
    return model


def _card(release: Release, certificate: Mapping[str, Any]) -> dict[str, Any]:
    examples = release.manifest.get("examples") or [{}]
    expected = examples[0].get("expect")
    parameters: dict[str, Any] = {"task": release.task}
    for key, values in (("inputs", examples[0].get("request")), ("outputs", expected)):
        if isinstance(values, Mapping) and values:
            parameters[key] = [{"format": _format(name, values[name])} for name in sorted(values)]
    card: dict[str, Any] = {"bom-ref": f"card:{release.digest}", "modelParameters": parameters}
    if metrics := _metrics(certificate):
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _format(name: str, value: object) -> str:
    """How the interface takes or gives a value: image, string, number…"""
    if isinstance(value, Mapping) and set(value) == {"base64"}:
        return name
    kinds = ((bool, "boolean"), (int | float, "number"), (str, "string"), (list, "array"))
    kind = next((word for type_, word in kinds if isinstance(value, type_)), "object")
    return f"{name}: {kind}"


def _metrics(certificate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The certificate's figures as CycloneDX has them: everything is text."""
    quality, speed = certificate.get("quality") or {}, certificate.get("speed") or {}
    data = certificate.get("data") or {}
    rows = " ".join(filter(None, (str(data.get("name", "")), str(data.get("digest", "")))))
    named = [
        ("agreement", quality.get("agreement")),
        (str(quality.get("metric") or "score"), quality.get("score")),
        ("difference", quality.get("difference")),
        ("speed ratio", speed.get("ratio")),
    ]
    metrics = []
    for name, interval in named:
        if not isinstance(interval, Mapping) or "value" not in interval:
            continue
        bounds = {"lowerBound": str(interval["low"]), "upperBound": str(interval["high"])}
        metric = {"type": name, "value": str(interval["value"]), "confidenceInterval": bounds}
        metrics.append({**metric, "slice": rows} if rows else metric)
    return metrics


def _materials(chain: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    steps = [step for step in chain.get("steps", ()) if step.get("step") == "source"]
    found = {str(one["uri"]): one for step in steps for one in step.get("materials", ())}
    return [found[uri] for uri in sorted(found)]


def _source(material: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": str(material["uri"]),
        "name": str(material["package"]),
        "version": str(material["version"]),
        "purl": str(material["uri"]),
        "hashes": [{"alg": "SHA-256", "content": str(material["sha256"])}],
    }


def _file(artifact: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{artifact['path']}",
        "name": str(artifact["path"]),
        "hashes": [{"alg": "SHA-256", "content": str(artifact["sha256"])}],
        "properties": [{"name": "opc-market:size", "value": str(artifact["size"])}],
    }


def _library(package: Package) -> dict[str, Any]:
    part: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if package.license:
        part["licenses"] = [{"expression": package.license}]
    return part
