"""Manifests in a registry, and the lists of what is attached to them."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from deployer.errors import ContentCorrupted, PackagingFailed, RegistryRefused
from deployer.packager.image import MANIFEST
from deployer.packager.layout import INDEX, Descriptor, canonical
from deployer.packager.registry.blobs import Count
from deployer.packager.registry.connection import LARGEST, Answer, Broken, Connection

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEXES = {INDEX, DOCKER_LIST}
KNOWN = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST)
_WITHOUT_REFERRERS = {400, 404, 405, 501}  # what registries say that know no such address
_PAGES = 20
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


def get(connection: Connection, target: str, *, expected: Sequence[int] = (200,)) -> tuple[Descriptor, bytes]:
    """A manifest by digest or tag, checked; its descriptor has no size when the answer was another status."""
    headers = {"Accept": ", ".join(KNOWN)}
    answer = connection.ask("GET", f"manifests/{target}", headers=headers, expected=expected)
    if answer.status != 200:
        return Descriptor("", "", 0), b""
    digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    promised = target if ":" in target else answer.headers.get("Docker-Content-Digest", digest)
    if digest != promised:
        raise ContentCorrupted(what=f"{connection.reference}", expected=promised, got=digest)
    kind = document(connection, answer.content).get("mediaType") or answer.headers.get("Content-Type", "")
    kind = str(kind).partition(";")[0].strip()
    if kind not in KNOWN:
        raise connection.refused(200, f"{kind[:100] or 'content without a type'} is no manifest known here")
    return Descriptor(kind, digest, len(answer.content)), answer.content


def document(connection: Connection, content: bytes) -> dict[str, Any]:
    """A manifest's JSON; refuses what is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise connection.refused(200, "its manifest is no JSON object")
    return found


def put(connection: Connection, media_type: str, content: bytes, target: str, count: Count) -> Answer:
    """Send a manifest under its digest or a tag."""
    if len(content) > LARGEST:
        raise PackagingFailed(image=str(connection.reference), why=f"a manifest of {len(content)} bytes")
    headers = {"Content-Type": media_type, "Content-Length": str(len(content))}

    def attempt() -> Answer:
        try:
            return connection.ask_once(
                "PUT",
                f"manifests/{target}",
                headers=headers,
                body=lambda: iter((content,)),
                expected=(200, 201, 202),
            )
        except RegistryRefused as refused:
            # docker-registry says so while another push writes one of the manifests that this one lists.
            if "DIGEST_INVALID" in str(refused.facts["why"]):
                raise Broken(refused) from None
            raise

    answer = connection.again(attempt)
    count(len(content))
    return answer


def points_to(connection: Connection, target: str) -> str:
    """The digest under a tag or digest; empty when there is none or the registry does not say."""
    headers = {"Accept": ", ".join(KNOWN)}
    answer = connection.ask("HEAD", f"manifests/{target}", headers=headers, expected=(200, 404))
    return answer.headers.get("Docker-Content-Digest", "") if answer.status == 200 else ""


def referrers(connection: Connection, digest: str) -> list[Descriptor]:
    """What is attached to a manifest, by the registry's own list or by the list under the fallback tag."""
    found: list[Descriptor] = []
    address: Any = f"referrers/{digest}"
    for page in range(_PAGES):
        expected = (200,) if page else (200, *_WITHOUT_REFERRERS)
        answer = connection.ask("GET", address, headers={"Accept": INDEX}, expected=expected)
        if answer.status != 200:
            return _fallback(connection, digest)
        found += _listed(document(connection, answer.content))
        following = _NEXT.search(answer.headers.get("Link", ""))
        if following is None:
            break
        address = connection.base.join(address).join(following[1])
    return found


def note_referrers(connection: Connection, digest: str, added: Sequence[Descriptor], count: Count) -> None:
    """Put what is attached to a manifest on the list under its fallback tag.

    Whoever writes at the same time may overwrite the list, so it is read again until all are on it.
    """
    for _ in range(connection.pace.tries):
        found = _fallback(connection, digest)
        lacking = [one for one in added if one.digest not in {other.digest for other in found}]
        if not lacking:
            return
        entries = sorted([*found, *lacking], key=lambda one: one.digest)
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [one.to_json() for one in entries],
        }
        put(connection, INDEX, canonical(index), _tag(digest), count)
    if {one.digest for one in added} - {one.digest for one in _fallback(connection, digest)}:
        raise connection.refused(409, f"others keep changing the list {_tag(digest)}")


def _tag(digest: str) -> str:
    return digest.replace(":", "-")


def _fallback(connection: Connection, digest: str) -> list[Descriptor]:
    found, content = get(connection, _tag(digest), expected=(200, 404))
    if not content:
        return []
    if found.media_type != INDEX:
        raise connection.refused(200, f"{_tag(digest)} is no list of what is attached")
    return _listed(document(connection, content))


def _listed(index: dict[str, Any]) -> list[Descriptor]:
    entries = index.get("manifests")
    return [Descriptor.of(entry) for entry in entries] if isinstance(entries, list) else []
