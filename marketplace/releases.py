"""Releases out of the catalogue, as the packager takes them: words, licences, files, and what is behind them.

A version, or a variant of one, becomes a `Release`; a folder without a catalogue becomes one too, once its
files are in the home's store.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlmodel import Session

from catalog import blobs, shelf, signing
from catalog import manifest as manifests
from catalog.listings import get_version
from catalog.models import Listing, Version
from deployer import optimizations
from deployer.models import Variant
from deployer.optimizer import certificate
from deployer.packager import provenance
from deployer.packager.release import Release, Workshop
from marketplace import workflows
from marketplace.having import require_may_have
from marketplace.services import Services
from marketplace.settings import Settings

BASE = "debian"  # unless the settings name an image
BARE_VERSION = "0.0.0"  # of a folder whose manifest names none
BARE_VENDOR = "local"
_SHORT = 12  # hex digits of a variant's digest that stand in its version


def base_of(settings: Settings) -> str:
    """The base of images to carry away; it never depends on what answers just now."""
    return BASE if settings.runtime_base == "auto" else settings.runtime_base


def workshop_of(settings: Settings) -> Workshop:
    """The workshop of the shop's home, with its key."""
    home = settings.home
    signing.ensure_key(home)
    return Workshop(
        home=home,
        base=base_of(settings),
        sign=partial(signing.sign_bytes, home),
        public_key=signing.public_key(home).read_bytes(),
    )


def describe(
    home: Path,
    db: Session,
    listing: str,
    variant: str = "",
    *,
    asker: UUID | None = None,
    all_states: bool = False,
) -> Release:
    """The release of vendor/name[@version] or of a variant of it; its folder may not be there yet.

    Raises UnknownListing, UnknownVersion, UnknownVariant, VariantMismatch, VersionNotReady and
    VersionWithheld.
    """
    offer, version = get_version(db, listing, asker, all_states=all_states)
    require_may_have(db, offer, version, asker)
    made = optimizations.get_variant(db, variant) if variant else None
    if made is not None:
        optimizations.require_match(
            made, listing=offer.name, version_digest=version.digest, device=made.device
        )
    return of_version(home, offer, version, made)


def of_version(home: Path, offer: Listing, version: Version, made: Variant | None = None) -> Release:
    """The release of a version that is at hand, or of a variant of it."""
    digest = made.digest if made else version.digest
    signature = signing.signature_of(home, digest)
    return Release(
        folder=blobs.model_dir(home, digest),
        name=offer.name,
        version=_number(version, made),
        digest=digest,
        manifest=made.manifest if made else version.manifest,
        title_zh=offer.title_zh,
        title_en=offer.title_en,
        summary_zh=offer.summary_zh,
        summary_en=offer.summary_en,
        license_package=version.license_package,
        license_weights=version.license_weights,
        card="\n\n".join(card.strip() for card in (offer.card_zh, offer.card_en) if card.strip()),
        languages=tuple(offer.languages),
        chain=_origin(offer, version),
        model_signature=signature.path if signature else None,
    )


def _number(version: Version, made: Variant | None) -> str:
    """1.0.0, or 1.0.0-<beginning of the digest> of a variant: a tag stands for one thing only."""
    short = made.digest.removeprefix("sha256:")[:_SHORT] if made else ""
    return f"{version.number}-{short}" if short else version.number


def lay_out(services: Services, release: Release, *, certified: bool, progress: Callable[..., None]) -> None:
    """Lay the release's folder out of checked files; a variant must show that its certificate holds."""
    files = workflows.Files(release.name, release.digest, dict(release.manifest), certified)
    folder = workflows.lay_out(services, files, progress)
    if certified:
        signing.verify(services.settings.home, folder, release.digest)
        certificate.check(folder)


def _origin(offer: Listing, version: Version) -> dict[str, Any]:
    """The chain from where the version's files came to what was made of them before it was published."""
    artifacts = version.manifest["artifacts"]
    entry = next((each for each in shelf.load_entries() if each.name == offer.name), None)
    if entry is None or not _is_of(version, entry):
        return provenance.source_chain(artifacts, (), (), (), version=provenance.version())
    builds = [
        {
            "builder": build.builder,
            "inputs": {name: asdict(source) for name, source in build.inputs.items()},
            "paths": build.paths,
            "options": build.options,
        }
        for build in entry.builds
    ]
    return provenance.source_chain(
        artifacts,
        [asdict(archive) for archive in entry.archives],
        [asdict(source) for source in entry.files],
        builds,
        version=provenance.version(),
    )


def _is_of(version: Version, entry: shelf.Entry) -> bool:
    """Whether a version came from the entry as it is now: how an older one was made is not known any more."""
    has = {artifact["path"]: artifact["sha256"] for artifact in version.manifest["artifacts"]}
    built = {path for build in entry.builds for path in build.paths}
    return built <= has.keys() and all(has.get(file.path) == file.sha256 for file in entry.files)


# Without a catalogue


def release_of_folder(home: Path, folder: Path, beside: tuple[str, ...] = ()) -> Release:
    """The release of a model folder that no shop knows; its files are put into the home's store and signed.

    A manifest that lacks name, version or files gets them; `beside` names files that are not the model's.
    Raises InvalidManifest, DigestMismatch, StorageFull, SignatureInvalid and OSError.
    """
    manifest = _completed(folder, beside)
    for artifact in manifest["artifacts"]:
        blobs.put(home, folder / artifact["path"], artifact["sha256"])
    digest = manifests.digest(manifest)
    laid_out = blobs.materialize(home, manifest, digest)
    signature = signing.signature_of(home, digest) or signing.sign(home, laid_out, digest)
    if certificate.ROLE in manifest["files"]:
        certificate.check(laid_out)
    return Release(
        folder=laid_out,
        name=manifest["name"],
        version=manifest["version"],
        digest=digest,
        manifest=manifest,
        model_signature=signature.path,
    )


def _completed(folder: Path, beside: tuple[str, ...]) -> dict[str, Any]:
    """The folder's manifest in the catalogue's form."""
    import json
    import re

    from catalog.errors import InvalidManifest
    from catalog.storage import sha256_of

    try:
        told = json.loads((folder / manifests.FILE_NAME).read_bytes())
        name = str(told.get("name") or folder.name)
    except (ValueError, AttributeError) as error:
        raise InvalidManifest(path=manifests.FILE_NAME, why=str(error)) from error
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.rpartition("/")[2].lower()).strip("-._") or "model"
    if not re.match(manifests.NAME, name):
        name = f"{BARE_VENDOR}/{plain[:60].rstrip('-._')}"
    if not told.get("artifacts"):
        left_out = {manifests.FILE_NAME, *beside}
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()]
        told["artifacts"] = [
            {"path": str(p.relative_to(folder)), "sha256": sha256_of(p), "size": p.stat().st_size}
            for p in files
            if str(p.relative_to(folder)) not in left_out
        ]
    known = ("task", "files", "options", "examples", "artifacts")
    return manifests.validate(
        {
            "schema": manifests.SCHEMA,
            "name": name,
            "version": str(told.get("version") or BARE_VERSION),
            **{field: told[field] for field in known if field in told},
        }
    )
