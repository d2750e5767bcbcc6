"""The bill of materials: valid by the standard's own schema, complete, and the same each time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from deployer.errors import PackagingFailed
from deployer.packager import bom as bills
from deployer.packager.layers import file, layer
from deployer.packager.layout import Layout
from deployer.packager.release import Release, of_folder
from tests.deployer.packager.proved import ARCHIVE, model_folder, release_of

INTERVAL = {"value": 0.99, "low": 0.98, "high": 1.0}
CERTIFICATE = {
    "quality": {"agreement": INTERVAL, "metric": "accuracy", "score": INTERVAL, "difference": None},
    "speed": {"ratio": {"value": 1.8, "low": 1.7, "high": 1.9}},
    "data": {"name": "reviews.csv", "digest": "sha256:" + "12" * 32},
}
STATUS = """Package: libc6
Status: install ok installed
Version: 2.36-9+deb12u14
Architecture: amd64
Description: GNU C Library
 Package: not a field

Package: gone
Status: deinstall ok config-files
Version: 1

"""
RECORDS = {
    "var/lib/dpkg/status": STATUS,
    "var/lib/dpkg/status.d/libcrypt1": "Package: libcrypt1\nVersion: 1:4.4.33-2\nArchitecture: arm64\n",
    "var/lib/dpkg/status.d/libstdc++6": "Package: libstdc++6\nVersion: 12.2.0~rc1-14\nArchitecture: all\n",
    "var/lib/dpkg/status.d/libstdc++6.md5sums": "Package: x\nVersion: 1\n",
    "app/site/Foo_Bar-1.0.dist-info/METADATA": "Name: Foo_Bar\nVersion: 1.0\nLicense-Expression: MIT\n\nText",
    "app/site/wordy-2.dist-info/METADATA": "Name: wordy\nVersion: 2\nLicense: Copyright (c) somebody\n\n",
    "app/site/nameless.dist-info/METADATA": "\xff",
    "etc/passwd": "Package: trap\nVersion: 1\n",
}


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return release_of(model_folder(tmp_path / "model"))


@pytest.fixture
def packages(tmp_path: Path) -> tuple[bills.Package, ...]:
    layout = Layout(tmp_path / "images")
    made = layer(
        layout, "records", lambda: {name: file(text.encode("latin-1")) for name, text in RECORDS.items()}
    )
    found = bills.contents_of(layout, [made, made])
    assert bills.contents_of(layout, [made]) == found  # remembered
    return found


def valid(content: bytes) -> dict[str, Any]:
    """The bill, once the schema takes it."""
    errors = JsonStrictValidator(SchemaVersion.V1_7).validate_str(content.decode(), all_errors=True)
    assert errors is None, [str(error.data) for error in errors]
    told = json.loads(content)
    refs = [part["bom-ref"] for part in told["components"]]
    refs += [
        part["bom-ref"] for part in told["metadata"]["component"].get("pedigree", {}).get("ancestors", ())
    ]
    refs.append(told["metadata"]["component"]["bom-ref"])
    assert len(set(refs)) == len(refs)
    assert {entry["ref"] for entry in told["dependencies"]} == set(refs)
    assert {ref for entry in told["dependencies"] for ref in entry.get("dependsOn", ())} <= set(refs)
    return told


def test_the_validator_refuses_what_is_wrong(release: Release) -> None:
    told = json.loads(bills.bom(release))
    told["metadata"]["component"]["modelCard"]["mood"] = "good"
    with pytest.raises(AssertionError, match="mood"):
        valid(json.dumps(told).encode())


def test_the_model_its_files_its_source_and_what_runs_it(
    release: Release, packages: tuple[bills.Package, ...]
) -> None:
    told = valid(bills.bom(release, packages, certificate=CERTIFICATE))
    model = told["metadata"]["component"]
    assert (model["type"], model["group"], model["name"]) == (
        "machine-learning-model",
        "opc-market",
        "zh-sentiment",
    )
    assert model["hashes"] == [{"alg": "SHA-256", "content": release.digest.removeprefix("sha256:")}]
    assert [one["expression"] for one in model["licenses"]] == ["MIT", "LicenseRef-not-stated"]
    card = model["modelCard"]
    assert card["modelParameters"] == {
        "task": "text-classification",
        "inputs": [{"format": "text: string"}],
        "outputs": [{"format": "results: array"}],
    }
    metrics = {one["type"]: one for one in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert set(metrics) == {"agreement", "accuracy", "speed ratio"}
    assert metrics["speed ratio"]["confidenceInterval"] == {"lowerBound": "1.7", "upperBound": "1.9"}
    assert metrics["accuracy"]["slice"].startswith("reviews.csv sha256:1212")
    (ancestor,) = model["pedigree"]["ancestors"]
    assert ancestor["hashes"][0]["content"] == ARCHIVE["sha256"]
    files = {
        part["name"]: part["hashes"][0]["content"] for part in told["components"] if part["type"] == "file"
    }
    assert files == {one["path"]: one["sha256"] for one in release.manifest["artifacts"]}
    libraries = {part["name"]: part for part in told["components"] if part["type"] == "library"}
    assert libraries["foo-bar"]["licenses"] == [{"expression": "MIT"}]
    assert libraries["libcrypt1"]["version"] == "1:4.4.33-2"
    assert "licenses" not in libraries["libc6"]
    assert set(libraries) == {"libc6", "libcrypt1", "libstdc++6", "foo-bar", "wordy"}


def test_package_urls_are_those_of_the_standard(
    release: Release, packages: tuple[bills.Package, ...]
) -> None:
    for package in packages:
        parsed = PackageURL.from_string(package.purl)
        assert (parsed.name, parsed.version) == (package.name, package.version)
        assert (parsed.type, parsed.namespace) in {("deb", "debian"), ("pypi", None)}
        assert parsed.to_string() == package.purl
    architectures = {PackageURL.from_string(p.purl).qualifiers.get("arch") for p in packages}  # type: ignore[union-attr]
    assert architectures == {"amd64", "arm64", "all", None}
    npm = bills.archive_purl("npm", "@mediapipe/selfie_segmentation", "0.1.1", "a-0.1.1.tgz")
    parsed = PackageURL.from_string(npm)
    assert (parsed.namespace, parsed.name, parsed.version) == ("@mediapipe", "selfie_segmentation", "0.1.1")
    pypi = PackageURL.from_string(bills.archive_purl("pypi", "Foo_bar.baz", "1+cpu", "x.whl"))
    assert (pypi.name, pypi.version) == ("foo-bar-baz", "1+cpu")


def test_the_same_content_has_the_same_bytes(release: Release, packages: tuple[bills.Package, ...]) -> None:
    made = bills.bom(release, packages)
    assert bills.bom(release, packages) == made
    serials = {
        json.loads(bills.bom(each, packages))["serialNumber"]
        for each in (release, replace(release, license_weights="MIT"))
    }
    assert len(serials) == 2
    assert b"timestamp" not in made


def test_little_is_known_of_a_bare_folder(tmp_path: Path) -> None:
    told = valid(bills.bom(of_folder(model_folder(tmp_path / "model"))))
    model = told["metadata"]["component"]
    assert not {"licenses", "pedigree", "description"} & model.keys()
    assert "quantitativeAnalysis" not in model["modelCard"]


def test_a_layer_that_is_packed_tells_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "images")
    assert bills.contents_of(layout, [layout.add(b"\x1f\x8b packed", "x")]) == ()
    gone = layout.add(b"x", "x")
    layout.path(gone.digest).unlink()
    with pytest.raises(PackagingFailed):
        bills.contents_of(layout, [gone])


def test_a_package_by_its_url() -> None:
    found = bills.package_of("pkg:npm/%40huggingface/tokenizers@0.2.0")
    assert (found.name, found.version) == ("@huggingface/tokenizers", "0.2.0")
    assert bills.package_of("pkg:deb/debian/libcrypt1@1:4.4?arch=all").version == "1:4.4"
