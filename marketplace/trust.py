"""Whose signatures this home believes: its own key, and keys that its owner said yes to."""

from pathlib import Path

from catalog import signing
from deployer.packager import attestation
from deployer.packager.layout import roomy, write_whole


def known_keys(home: Path) -> list[bytes]:
    """PEM of this home's key and of those that are trusted besides."""
    own = signing.public_key(home)
    trusted = sorted((home / "keys" / "trusted").glob("*.pem"))
    return [path.read_bytes() for path in [own, *trusted] if path.is_file()]


def trust(home: Path, public_key: bytes) -> str:
    """Believe a key (PEM) from now on; its fingerprint. Raises ValueError when it is none."""
    fingerprint = attestation.fingerprint(public_key)
    folder = home / "keys" / "trusted"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with roomy(folder):
        write_whole(folder / f"{fingerprint}.pem", public_key)
    return fingerprint
