"""Bundles are read in one stream, and nothing is kept that was not signed."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest

from catalog import signing
from deployer.errors import BundleRefused, VerificationFailed
from deployer.packager import attestation
from deployer.packager.layout import canonical
from marketplace.bundles import contents, reading, signature, writing
from marketplace.bundles.contents import ENVELOPE, KEY, TABLE, Item, Table
from marketplace.bundles.writing import Part
from marketplace.cli.signers import Signer
from marketplace.trust import known_keys, trust

FILES = {"blobs/aa": Part(b"weights" * 1000), "install.sh": Part(b"#!/bin/sh\n", 0o755)}
EMPTY = Table(product="1", listings=["a/b@1.0.0"])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    signing.ensure_key(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def bundle(home: Path, tmp_path: Path) -> Path:
    file = tmp_path / "bundle.tar"
    writing.write(file, EMPTY, FILES, partial(signature.seal, home))
    return file


def check_of(home: Path) -> reading.Check:
    return lambda *told: signature.holds(*told, known=known_keys(home), file="bundle.tar")


def rewritten(file: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """The bundle with its members changed."""
    with tarfile.open(file) as archive:
        members = [(m, source.read() if (source := archive.extractfile(m)) else b"") for m in archive]
    change(members)
    with tarfile.open(file, "w") as archive:
        for member, data in members:
            member.size = len(data) if member.isreg() else member.size
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return file


def refusal(file: Path, home: Path, folder: Path) -> str:
    """Why it is refused; nothing of it may be left."""
    with pytest.raises(BundleRefused) as caught, reading.unpacked(file, folder, check_of(home)):
        raise AssertionError("it was taken")
    assert not list(folder.glob("*")) if folder.exists() else True
    assert caught.value.facts["why_zh"]
    return str(caught.value.facts["why"])


def test_what_was_put_in_comes_out_with_its_modes(bundle: Path, home: Path, tmp_path: Path) -> None:
    with reading.unpacked(bundle, tmp_path / "out", check_of(home)) as (table, root):
        assert table.listings == ["a/b@1.0.0"]
        assert (root / "blobs/aa").read_bytes() == b"weights" * 1000
        assert (root / "install.sh").stat().st_mode & 0o777 == 0o755
    assert not root.exists()


def test_the_same_contents_give_the_same_bytes(bundle: Path, home: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    writing.write(again, EMPTY, FILES, partial(signature.seal, home))
    assert again.read_bytes() == bundle.read_bytes()


def test_every_changed_byte_is_found(bundle: Path, home: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    for at in range(0, len(whole) - 11 * 512, 997):
        changed = bytearray(whole)
        changed[at] ^= 1
        bundle.write_bytes(changed)
        try:
            with reading.unpacked(bundle, tmp_path / "out", check_of(home)) as (table, root):
                # Padding and times carry nothing: what is taken must be what was signed.
                assert {p: (root / p).read_bytes() for p in FILES} == {
                    p: part.source for p, part in FILES.items()
                }
                assert table.listings == EMPTY.listings
        except (BundleRefused, VerificationFailed):
            continue


def test_a_bundle_that_is_cut_off_names_what_is_missing(bundle: Path, home: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    for size in (0, 100, 600, 4000, len(whole) // 2, len(whole) - 11000):
        bundle.write_bytes(whole[:size])
        assert refusal(bundle, home, tmp_path / "out")


@pytest.mark.parametrize("what", ["other bytes", "missing", "more", "twice", "link", "renamed", "folder"])
def test_members_that_are_not_in_the_table(what: str, bundle: Path, home: Path, tmp_path: Path) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        first, data = members[3]
        extra = tarfile.TarInfo("../evil")
        match what:
            case "other bytes":
                members[3] = first, data[:-1] + b"X"
            case "missing":
                del members[3]
            case "more":
                members.append((extra, b"evil"))
            case "twice":
                members.insert(4, members[3])
            case "renamed":
                first.name = "/etc/evil"
            case "link" | "folder":
                first.type = tarfile.SYMTYPE if what == "link" else tarfile.DIRTYPE
                first.linkname, first.size = "/etc/passwd", 0

    assert refusal(rewritten(bundle, change), home, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_an_enormous_header_is_not_read(bundle: Path, home: Path, tmp_path: Path) -> None:
    header = tarfile.TarInfo("./PaxHeaders/x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    bundle.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))
    assert "header" in refusal(bundle, home, tmp_path / "out")


def test_only_keys_that_are_known_or_accepted_count(bundle: Path, home: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    asked: list[str] = []

    def check(answer: bool) -> reading.Check:
        def ask(fingerprint: str) -> bool:
            asked.append(fingerprint)
            return answer

        return lambda *told: signature.holds(*told, known=known_keys(stranger), file="x", ask=ask)

    with pytest.raises(VerificationFailed):
        reading.look(bundle, check(answer=False))
    assert reading.look(bundle, check(answer=True)).product == "1"
    assert asked == [signing.fingerprint(home)] * 2


def test_a_table_signed_by_another_key_than_it_brings(bundle: Path, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    signing.ensure_key(other)

    def swap(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        names = [member.name for member, _ in members]
        assert names[:3] == [TABLE, ENVELOPE, KEY]
        members[2] = members[2][0], signing.public_key(other).read_bytes()

    rewritten(bundle, swap)
    with pytest.raises(VerificationFailed):
        reading.look(bundle, lambda *told: signature.holds(*told, known=[], file="x", ask=lambda _: True))


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../up"},
        {"path": "/abs"},
        {"path": "a//b"},
        {"path": "a\x00b"},
        {"path": ""},
        {"path": "blobs/aa/inner"},
        {"sha256": "0" * 63},
        {"size": -1},
        {"size": True},
        {"mode": 0o4755},
        {"owner": 0},
    ],
)
def test_tables_that_lie(change: dict[str, object]) -> None:
    item = asdict(Item("x", "0" * 64, 1)) | change
    told = json.loads(replace(EMPTY, items=[Item("blobs/aa", "0" * 64, 1)]).encode())
    told["items"].append(item)
    with pytest.raises(BundleRefused):
        contents.decode(json.dumps(told).encode(), "x.tar")


@pytest.mark.parametrize(
    "junk", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"schema":"opc-market/bundle/2"}']
)
def test_what_is_no_table(junk: bytes) -> None:
    with pytest.raises(BundleRefused):
        contents.decode(junk, "x.tar")


def test_a_file_that_changes_while_it_is_written(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"now")
    with pytest.raises(BundleRefused):
        writing.write(
            tmp_path / "b.tar", EMPTY, {"x": Part(source, sha256="0" * 64)}, partial(signature.seal, home)
        )
    assert not (tmp_path / "b.tar").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"home", "source"}


def test_what_cannot_be_opened_is_refused_by_name(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tar").mkdir()
    assert "cannot be read" in refusal(tmp_path / "a.tar", home, tmp_path / "out")
    assert "no such file" in refusal(tmp_path / "b.tar", home, tmp_path / "out")
    assert not reading.is_bundle(tmp_path / "a.tar")


def test_a_header_that_makes_no_sense_is_refused(bundle: Path, home: Path, tmp_path: Path) -> None:
    told = {"GNU.sparse.map": "x", "GNU.sparse.major": "0", "GNU.sparse.minor": "1"}
    header = tarfile.TarInfo._create_pax_generic_header(told, tarfile.XHDTYPE, "utf-8")  # type: ignore[attr-defined]
    bundle.write_bytes(header + bundle.read_bytes())
    assert "no whole tar" in refusal(bundle, home, tmp_path / "out")
    assert not reading.is_bundle(bundle)


def test_what_a_killed_install_left_goes_with_the_next(bundle: Path, home: Path, tmp_path: Path) -> None:
    assert reading.is_bundle(bundle)
    (tmp_path / "out" / ".bundle-left" / "blobs").mkdir(parents=True)
    with reading.unpacked(bundle, tmp_path / "out", check_of(home)) as (_, root):
        assert list((tmp_path / "out").iterdir()) == [root]


@pytest.mark.parametrize("change", [{"predicateType": "https://slsa.dev/provenance/v1"}, {"subject": []}])
def test_a_signature_that_was_made_for_something_else(change: dict[str, object], home: Path) -> None:
    content = EMPTY.encode()
    envelope, public = signature.seal(home, content)
    assert signature.holds(content, envelope, public, known=[public], file="x")
    told = attestation.check(envelope, [public]).statement | change
    envelope = attestation.sign(canonical(told), partial(signing.sign_bytes, home), public)
    with pytest.raises(BundleRefused, match="something else"):
        signature.holds(content, envelope, public, known=[public], file="x")


def test_a_fingerprint_that_is_given_counts_before_keys_that_are_known(
    bundle: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_HOME", str(home))
    other = tmp_path / "other"
    signing.ensure_key(other)
    own = signing.fingerprint(home)
    for fingerprint in (None, "", own, own.upper()):
        check = Signer(bundle, None, fingerprint)
        reading.look(bundle, check)
        assert check.fingerprint == own
    with pytest.raises(VerificationFailed, match="not the one that --fingerprint names"):
        reading.look(bundle, Signer(bundle, None, signing.fingerprint(other)))
    with pytest.raises(VerificationFailed):
        reading.look(bundle, Signer(bundle, signing.public_key(other), None))


def test_a_key_is_trusted_from_then_on(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    signing.ensure_key(other)
    public = signing.public_key(other).read_bytes()
    assert public not in known_keys(home)
    assert [trust(home, public) for _ in range(2)] == [signing.fingerprint(other)] * 2
    assert known_keys(home).count(public) == 1
    with pytest.raises(ValueError, match="PEM"):
        trust(home, b"no key")
    assert len(list((home / "keys" / "trusted").iterdir())) == 1
