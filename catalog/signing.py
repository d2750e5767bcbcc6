"""Signatures over model folders, in the OpenSSF model signing format, with a key of this home.

They can be verified offline, by this shop or by the `model_signing` tool with the public key. A
signature lies beside the version, never inside its manifest: the digest must not depend on the key.
"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import SignatureInvalid
from catalog.storage import only_one


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


def fingerprint(home: Path) -> str:
    """sha256 of the home's public key in DER, in hex; "" when there is no key yet."""
    from cryptography.hazmat.primitives import serialization

    _, public = _keys(home)
    if not public.exists():
        return ""
    key = serialization.load_pem_public_key(public.read_bytes())
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def signature_path(home: Path, digest: str) -> Path:
    """Where the signature of the version with this digest lies."""
    return home / "signatures" / f"{digest.removeprefix('sha256:')}.json"


def signature_of(home: Path, digest: str) -> Signature | None:
    """The signature of a version, if it has one; does not verify it."""
    path = signature_path(home, digest)
    return Signature(path, fingerprint(home)) if path.exists() else None


def sign(home: Path, model_dir: Path, digest: str) -> Signature:
    """Sign every file of a model folder; signing again replaces the signature. Raises SignatureInvalid."""
    key = ensure_key(home)
    path = signature_path(home, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    # In a process of its own: the library brings sigstore, 60 MB and a second that the shop needs not keep.
    command = [sys.executable, "-P", "-m", "catalog.signing", str(key), str(model_dir), str(half)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no cause given"])[-1]
        raise SignatureInvalid(digest=digest, why=f"signing ended with exit {done.returncode}: {last}")
    half.replace(path)
    return Signature(path, fingerprint(home))


def verify(home: Path, model_dir: Path, digest: str) -> Signature:
    """Check a model folder against its signature; raises SignatureInvalid with the reason."""
    from model_signing import verifying

    found = signature_of(home, digest)
    if found is None:
        raise SignatureInvalid(digest=digest, why="there is no signature")
    _, public = _keys(home)
    try:
        verifier = verifying.Config()  # type: ignore[no-untyped-call]
        verifier.use_elliptic_key_verifier(public_key=public).verify(model_dir, found.path)
    except Exception as error:  # the library raises ValueError and others, all of them mean "no"
        raise SignatureInvalid(digest=digest, why=str(error) or type(error).__name__) from error
    return found


def _sign_here(key: str, model_dir: str, path: str) -> None:
    from model_signing import signing

    signer = signing.Config()  # type: ignore[no-untyped-call]
    signer.use_elliptic_key_signer(private_key=key).sign(model_dir, path)


if __name__ == "__main__":
    _sign_here(*sys.argv[1:])
