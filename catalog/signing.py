"""Signatures over model folders, in the OpenSSF model signing format, with a key of this home.

They can be verified offline, by this shop or by the `model_signing` tool with the public key. A
signature lies beside the version, never inside its manifest: the digest must not depend on the key.
"""

import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import SignatureInvalid
from catalog.storage import only_one

_DIGESTS = re.compile(r": Expected 'Digest\(.*?\)', Actual 'Digest\(.*?\)'")  # 200 characters of bytes


@dataclass(frozen=True)
class Signature:
    """A version's signature: its file, and the fingerprint of the key of this home."""

    path: Path
    fingerprint: str


def _keys(home: Path) -> tuple[Path, Path]:
    return home / "keys" / "signing.pem", home / "keys" / "signing.pub.pem"


def ensure_key(home: Path) -> Path:
    """The home's private signing key (P-256), made at the first call; readable by its owner alone."""
    # Loaded here: most processes never sign.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private, public = _keys(home)
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with only_one(private.parent / ".lock"):
        if private.exists() and public.exists():
            return private
        key = ec.generate_private_key(ec.SECP256R1())
        public.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        half = private.with_suffix(".half")
        half.touch(mode=0o600)
        half.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        half.replace(private)
    return private


def public_key(home: Path) -> Path:
    """Where the home's public key lies, in PEM; others verify with it."""
    return _keys(home)[1]


def fingerprint(home: Path) -> str:
    """sha256 of the home's public key in DER, in hex; "" when there is no key yet."""
    public = public_key(home)
    return fingerprint_of(public) if public.exists() else ""


def fingerprint_of(public: Path) -> str:
    """sha256 of a public key (a PEM file) in DER, in hex; raises SignatureInvalid when it is none."""
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(public.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise SignatureInvalid(digest=public.name, why=f"no public key: {error}") from error
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def sign_bytes(home: Path, data: bytes) -> bytes:
    """The home's signature over bytes: ECDSA P-256, SHA-256, DER. The same bytes give the same signature."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = ensure_key(home)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SignatureInvalid(digest=path.name, why=f"no private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SignatureInvalid(digest=path.name, why="not a key on an elliptic curve")
    return key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def verify_bytes(public: bytes, data: bytes, signature: bytes) -> None:
    """Check a signature of `sign_bytes` with somebody's public key (PEM); raises SignatureInvalid."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(public)
    except (ValueError, TypeError) as error:
        raise SignatureInvalid(digest="key", why=f"no public key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SignatureInvalid(digest="key", why="not a key on an elliptic curve")
    try:
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise SignatureInvalid(
            digest=hashlib.sha256(data).hexdigest(), why="not signed with this key, or changed since"
        ) from error


def signature_path(home: Path, digest: str) -> Path:
    """Where the signature of the version with this digest lies."""
    return home / "signatures" / f"{digest.removeprefix('sha256:')}.json"


def signature_of(home: Path, digest: str) -> Signature | None:
    """The signature of a version, if it has one; does not verify it."""
    path = signature_path(home, digest)
    return Signature(path, fingerprint(home)) if path.exists() else None


def sign(home: Path, model_dir: Path, digest: str) -> Signature:
    """Sign every file of a model folder; signing again replaces the signature. Raises SignatureInvalid."""
    path = signature_path(home, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    sign_folder(home, model_dir, path, digest)
    return Signature(path, fingerprint(home))


def sign_folder(home: Path, model_dir: Path, path: Path, subject: str) -> None:
    """Sign every file of a folder with the home's key into `path`; raises SignatureInvalid."""
    key = ensure_key(home)
    half = path.with_suffix(".half")
    _in_a_child("sign", key, model_dir, half, subject=subject)
    half.replace(path)


def verify(home: Path, model_dir: Path, digest: str) -> Signature:
    """Check a model folder against its signature; raises SignatureInvalid with the reason."""
    found = signature_of(home, digest)
    if found is None:
        raise SignatureInvalid(digest=digest, why="there is no signature")
    verify_folder(model_dir, found.path, public_key(home), subject=digest)
    return found


def verify_folder(
    model_dir: Path, signature: Path, public: Path, *, subject: str, beside: Sequence[Path] = ()
) -> None:
    """Check a folder against a signature with somebody's public key; raises SignatureInvalid.

    `beside` names what lies in the folder and was not signed, such as the signature itself.
    """
    fingerprint_of(public)
    _in_a_child("verify", public, model_dir, signature, *beside, subject=subject)


def _in_a_child(what: str, key: Path, model_dir: Path, signature: Path, *beside: Path, subject: str) -> None:
    """Sign or verify in a process of its own: the library brings sigstore, 60 MB that nobody need keep."""
    command = [sys.executable, "-P", "-m", "catalog.signing", what]
    command += map(str, (key, model_dir, signature, *beside))
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"{what} ended with exit {done.returncode}"])[-1]
        why = _DIGESTS.sub("", last.partition(": ")[2] or last)
        raise SignatureInvalid(digest=subject, why=why)


def _main(what: str, key: str, model_dir: str, signature: str, *beside: str) -> None:
    from model_signing import hashing, signing, verifying

    config = hashing.Config()  # type: ignore[no-untyped-call]
    if beside:
        config.set_ignored_paths(paths=[*beside], ignore_git_paths=True)
    if what == "sign":
        signer = signing.Config()  # type: ignore[no-untyped-call]
        signer.use_elliptic_key_signer(private_key=key).set_hashing_config(config).sign(model_dir, signature)
        return
    verifier = verifying.Config()  # type: ignore[no-untyped-call]
    verifier.use_elliptic_key_verifier(public_key=key).set_hashing_config(config)
    verifier.verify(model_dir, signature)


if __name__ == "__main__":
    _main(*sys.argv[1:])
