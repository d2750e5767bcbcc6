"""The signature over a bundle's table: an in-toto statement in a DSSE envelope, by the home that made it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from catalog import signing
from deployer.errors import VerificationFailed
from deployer.packager import attestation
from deployer.packager.layout import canonical
from deployer.packager.provenance import STATEMENT
from marketplace.bundles.contents import TABLE, digest, refuse

PREDICATE = "https://in-toto.io/attestation/release/v0.1"

Ask = Callable[[str], bool]
"""Whether the key of this fingerprint is that of somebody who is trusted."""


def seal(home: Path, content: bytes) -> tuple[bytes, bytes]:
    """The envelope for a table's bytes, and the public key (PEM) that it can be checked with."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": TABLE, "digest": {"sha256": digest(content)}}],
        "predicateType": PREDICATE,
        "predicate": {"purl": "pkg:generic/opc-market-bundle"},
    }
    signing.ensure_key(home)
    public = signing.public_key(home).read_bytes()
    return attestation.sign(canonical(statement), partial(signing.sign_bytes, home), public), public


def holds(
    content: bytes, envelope: bytes, key: bytes, *, known: Sequence[bytes], file: str, ask: Ask | None = None
) -> str:
    """The fingerprint of the key that signed: one that is known, or the bundle's own when `ask` says yes.

    Raises VerificationFailed when it does not hold, and BundleRefused when it is of another table.
    """
    try:
        found = attestation.check(envelope, known, file)
    except VerificationFailed:
        if ask is None or not ask(_fingerprint(key, file)):
            raise
        found = attestation.check(envelope, [key], file)
    told = {key: found.statement.get(key) for key in ("_type", "predicateType", "subject")}
    subjects = [{"name": TABLE, "digest": {"sha256": digest(content)}}]
    if told != {"_type": STATEMENT, "predicateType": PREDICATE, "subject": subjects}:
        refuse(file, "its signature is of something else", "签名对应的是别的内容")
    return found.fingerprint


def _fingerprint(key: bytes, file: str) -> str:
    try:
        return attestation.fingerprint(key)
    except ValueError as error:
        refuse(file, f"its key cannot be read: {error}", f"其中的公钥无法读取：{error}")
