import subprocess
import sys
from pathlib import Path

import pytest

from catalog import signing
from catalog.errors import SignatureInvalid

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "deep" / "words.txt").write_bytes(b"words")
    return folder


def test_sign_and_verify(tmp_path: Path, model: Path) -> None:
    home = tmp_path / "home"
    made = signing.sign(home, model, DIGEST)
    assert made == signing.signature_of(home, DIGEST) == signing.verify(home, model, DIGEST)
    assert len(made.fingerprint) == 64
    key = signing.ensure_key(home)
    assert key.stat().st_mode & 0o777 == 0o600
    assert signing.sign(home, model, DIGEST).fingerprint == made.fingerprint


@pytest.mark.parametrize("harm", ["changed", "gone", "extra"])
def test_any_change_is_seen(tmp_path: Path, model: Path, harm: str) -> None:
    home = tmp_path / "home"
    signing.sign(home, model, DIGEST)
    if harm == "changed":
        (model / "model.onnx").write_bytes(b"wEights")
    elif harm == "gone":
        (model / "deep" / "words.txt").unlink()
    else:
        (model / "more").write_bytes(b"")
    with pytest.raises(SignatureInvalid) as refusal:
        signing.verify(home, model, DIGEST)
    assert refusal.value.facts["digest"] == DIGEST


def test_other_key_and_no_signature(tmp_path: Path, model: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    assert signing.signature_of(home, DIGEST) is None
    assert signing.fingerprint(home) == ""
    with pytest.raises(SignatureInvalid):
        signing.verify(home, model, DIGEST)
    made = signing.sign(home, model, DIGEST)
    signing.sign(other, model, DIGEST)
    signing.signature_path(other, DIGEST).write_bytes(made.path.read_bytes())
    with pytest.raises(SignatureInvalid):
        signing.verify(other, model, DIGEST)


def test_the_tool_of_the_standard_verifies_it(tmp_path: Path, model: Path) -> None:
    home = tmp_path / "home"
    made = signing.sign(home, model, DIGEST)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(model)]
    command += ["--signature", str(made.path), "--public_key", str(home / "keys" / "signing.pub.pem")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bytes_are_signed_the_same_each_time(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = signing.sign_bytes(home, b"said")
    assert signing.sign_bytes(home, b"said") == made != signing.sign_bytes(home, b"done")
    public = signing.public_key(home).read_bytes()
    signing.verify_bytes(public, b"said", made)
    signing.ensure_key(tmp_path / "other")
    other = signing.public_key(tmp_path / "other").read_bytes()
    for key, data, signature in (
        (public, b"sAid", made),
        (public, b"said", made[:-1] + bytes([made[-1] ^ 1])),
        (public, b"said", b""),
        (other, b"said", made),
        (b"no key", b"said", made),
    ):
        with pytest.raises(SignatureInvalid):
            signing.verify_bytes(key, data, signature)


def test_openssl_agrees_with_signed_bytes(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"said")
    (tmp_path / "signature").write_bytes(signing.sign_bytes(tmp_path / "home", b"said"))
    command = ["openssl", "dgst", "-sha256", "-verify", str(signing.public_key(tmp_path / "home"))]
    done = subprocess.run([*command, "-signature", "signature", "data"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_spoiled_private_key_is_named(tmp_path: Path, content: bytes) -> None:
    signing.ensure_key(tmp_path).write_bytes(content)
    with pytest.raises(SignatureInvalid):
        signing.sign_bytes(tmp_path, b"said")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    signing.ensure_key(tmp_path).write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    with pytest.raises(SignatureInvalid):
        signing.sign_bytes(tmp_path, b"said")
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(SignatureInvalid):
        signing.verify_bytes(public, b"said", b"")
