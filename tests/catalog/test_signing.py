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
