"""The passport of a version: where it comes from, what it holds, what was checked and measured, signed.

It is a package that carries no weights: the signed statement with the documents that it speaks of, in a
folder or a .zip, verified like every other package. The same facts give the same bytes.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployer.packager import attestation, provenance
from deployer.packager import bom as bills
from deployer.packager.attestation import refusal
from deployer.packager.evidence import MANIFEST_TYPE
from deployer.packager.release import MANIFEST, Release, Sign

PASSPORT, BILL, SIGNATURE = provenance.PASSPORT, provenance.MODEL_BILL, provenance.MODEL_SIGNATURE
CARD, KEY = "card.md", provenance.KEY
MEDIA_TYPES = {
    PASSPORT: "application/vnd.in-toto+json",
    BILL: bills.MEDIA_TYPE,
    SIGNATURE: provenance.SIGNATURE_TYPE,
    MANIFEST: MANIFEST_TYPE,
    CARD: provenance.CARD_TYPE,
    KEY: provenance.KEY_TYPE,
}
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # as early as a .zip can say


def chain_of(
    release: Release,
    *,
    checks: Mapping[str, Any] | None = None,
    measurement: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> provenance.Chain:
    """The chain of a release as far as it is known, with what was checked and measured of its files.

    `checks` {rules, checked, rows}; `measurement` {claimed, measured}; `facts` say who lists it, since when.
    """
    chain = provenance.chain_of(release)
    files = [
        {"path": path, "sha256": sha256} for path, sha256 in sorted(provenance.artifacts_of(release).items())
    ]
    told = {"checks": checks, "measurement": measurement}
    more = [{"step": step, "in": files, **found} for step, found in told.items() if found is not None]
    known = {**chain, "steps": [*chain["steps"], *more]}
    return provenance.with_package(
        known, release, terminal=provenance.MODEL_PASSPORT, facts=dict(facts or {})
    )


def documents(
    release: Release, chain: provenance.Chain, signer: Sign | None, public_key: bytes
) -> dict[str, bytes]:
    """The passport's files by name; the signed statement speaks of all others."""
    plain = json.dumps(release.manifest, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    found = {MANIFEST: plain.encode(), BILL: bills.bom(release, chain=chain)}
    if release.card:
        found[CARD] = release.card.encode()
    if release.model_signature:
        found[SIGNATURE] = release.model_signature.read_bytes()
    if public_key:
        found[KEY] = public_key
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    statement = provenance.statement(
        chain,
        sorted(sums.items()),
        release=release,
        byproducts=[
            {"name": name, "mediaType": MEDIA_TYPES[name], "sha256": sha256}
            for name, sha256 in sorted(sums.items())
            if name != KEY
        ],
    )
    return {PASSPORT: attestation.sign(statement, signer, public_key), **found}


def require_files(manifest: bytes, folder: Path, subject: str) -> int:
    """Compare the files that a passport's manifest names with those of a folder; gives how many there are.

    Raises VerificationFailed for one that is missing or another; what else lies there is not looked at. The
    manifest is one whose signature was seen to hold.
    """
    files = {str(one["path"]): str(one["sha256"]) for one in json.loads(manifest)["artifacts"]}
    for path, sha256 in sorted(files.items()):
        place = folder / path
        if not place.is_file():
            raise refusal(subject, "content", f"{path} is missing", f"缺少 {path}")
        with place.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise refusal(subject, "content", f"{path} was changed", f"{path} 被改动过")
    return len(files)


def archive(files: Mapping[str, bytes], folder: str) -> bytes:
    """All of it as a .zip with one folder; the same files give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in sorted(files):
            info = zipfile.ZipInfo(f"{folder}/{name}", FIRST_DAY)
            info.external_attr = 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(info, files[name])
    return out.getvalue()
