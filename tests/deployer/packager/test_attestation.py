"""Envelopes: signed and checked, and every way in which a stranger may spoil one."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from catalog import signing
from deployer.errors import VerificationFailed
from deployer.packager import attestation
from tests.deployer.packager.proved import Key

STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1","subject":[]}'


@pytest.fixture(scope="module")
def key() -> Key:
    return Key()


@pytest.fixture(scope="module")
def envelope(key: Key) -> bytes:
    return attestation.sign(STATEMENT, key.sign, key.public)


def refused(envelope: bytes, *keys: bytes) -> dict[str, Any]:
    with pytest.raises(VerificationFailed) as refusal:
        attestation.check(envelope, keys, "a package")
    facts = refusal.value.facts
    assert (facts["subject"], facts["step"], facts["step_zh"]) == ("a package", "signature", "签名")
    assert facts["why"] and facts["why_zh"]
    return facts


def changed(envelope: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(envelope), **fields}).encode()


def test_the_encoding_that_is_signed_is_that_of_the_standard() -> None:
    """The example of the DSSE protocol's own text."""
    encoded = attestation.pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert attestation.pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_signed_and_checked(key: Key, envelope: bytes) -> None:
    found = attestation.check(envelope, [key.public])
    assert found.statement == json.loads(STATEMENT)
    assert found.fingerprint == attestation.fingerprint(key.public)
    assert json.loads(envelope)["signatures"][0]["keyid"] == found.fingerprint
    assert attestation.sign(STATEMENT, key.sign, key.public) == envelope
    assert attestation.check(envelope, [Key().public, key.public]).fingerprint == found.fingerprint


def test_the_reference_implementation_verifies_it(key: Key, envelope: bytes) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    for own, holds in ((key, True), (Key(), False)):
        public = SSlibKey.from_crypto(
            load_pem_public_key(own.public), keyid=attestation.fingerprint(own.public)
        )
        read = Envelope.from_dict(json.loads(envelope))
        if holds:
            assert read.verify([public], 1)
        else:
            with pytest.raises(VerificationError):
                read.verify([public], 1)


def test_a_home_signs_and_openssl_agrees(tmp_path: Path) -> None:
    home = tmp_path / "home"
    signing.ensure_key(home)
    public = signing.public_key(home)
    made = attestation.sign(STATEMENT, lambda data: signing.sign_bytes(home, data), public.read_bytes())
    assert attestation.check(made, [public.read_bytes()]).fingerprint == signing.fingerprint(home)
    told = json.loads(made)
    (tmp_path / "signature").write_bytes(base64.b64decode(told["signatures"][0]["sig"]))
    (tmp_path / "signed").write_bytes(attestation.pae(told["payloadType"], STATEMENT))
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", "signature", "signed"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def test_any_signature_of_several_is_enough(key: Key, envelope: bytes) -> None:
    other = Key()
    second = json.loads(attestation.sign(STATEMENT, other.sign, other.public))["signatures"]
    both = changed(envelope, signatures=[*second, *json.loads(envelope)["signatures"]])
    for one in (key, other):
        assert attestation.check(both, [one.public]).fingerprint == attestation.fingerprint(one.public)
    refused(both, Key().public)


def test_unsigned_and_no_key(key: Key, envelope: bytes) -> None:
    made = attestation.sign(STATEMENT, None, b"")
    assert refused(made, key.public)["why"] == "it is not signed"
    assert "--key" in refused(envelope)["why"]
    assert attestation.unsigned(made) == json.loads(STATEMENT)


def test_another_key_is_named(key: Key, envelope: bytes) -> None:
    facts = refused(envelope, Key().public)
    assert attestation.fingerprint(key.public)[:16] in str(facts["why"])


def test_one_byte_of_the_statement(key: Key, envelope: bytes) -> None:
    payload = base64.b64encode(STATEMENT.replace(b"[]", b"{}")).decode()
    refused(changed(envelope, payload=payload), key.public)
    refused(changed(envelope, payloadType="text/plain"), key.public)


@pytest.mark.parametrize(
    "spoiled",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"payload":1,"payloadType":"application/vnd.in-toto+json","signatures":[]}',
        b'{"payload":"","payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":{}}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[1]}',
        b'{"payload":"!","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AA=="}]}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"\\u00e9"}]}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"A","keyid":1}]}',
        b'{"payload":NaN,"payloadType":"application/vnd.in-toto+json","signatures":[]}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":['
        + b",".join([b'{"sig":"AA=="}'] * 17)
        + b"]}",
        b" " * (attestation.LARGEST + 1),
    ],
)  # fmt: skip
def test_what_is_no_envelope(key: Key, spoiled: bytes) -> None:
    refused(spoiled, key.public)


def test_a_signed_payload_that_is_no_object(key: Key) -> None:
    for payload in (b"[]", b"{", b'{"a":1,"a":2}'):
        refused(attestation.sign(payload, key.sign, key.public), key.public)


def test_keys_that_are_none(envelope: bytes) -> None:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    others = [
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(*form),
        ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(*form),
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ]
    for other in others:
        assert "no usable key" in str(refused(envelope, other)["why"])


def test_no_signature_fits_by_chance(key: Key, envelope: bytes) -> None:
    for signature in (b"", b"\0" * 64, b"0" * 70, bytes.fromhex("3006020100020100")):
        sig = base64.b64encode(signature).decode()
        refused(changed(envelope, signatures=[{"keyid": "", "sig": sig}]), key.public)
