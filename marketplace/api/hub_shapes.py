"""What the Hub API answers, in the fields that huggingface_hub's client reads."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, select

from catalog.models import Check, Listing, Vendor, Verdict, Version
from marketplace.auth import Viewer
from marketplace.hub import commit_of, is_gated, moment_of
from marketplace.hub_files import Folder, RepoFile, card_data, library_of, tags_of

Verdicts = Mapping[str, set[str]]


def model(
    listing: Listing, version: Version, *, full: bool, card: bool, expand: Collection[str] = ()
) -> dict[str, Any]:
    """A model; with `expand` no more than is asked for. Of likes and downloads nothing is known here."""
    changed, listed = moment_of(version.created), moment_of(listing.created)
    described: dict[str, Any] = {
        "_id": listing.id.hex[:24],
        "id": listing.name,
        "modelId": listing.name,
        "author": listing.name.partition("/")[0],
        "sha": commit_of(version),
        "lastModified": changed,
        "createdAt": listed,
        "private": False,
        "gated": "auto" if is_gated(listing, version) else False,
        "disabled": False,
        "tags": tags_of(listing, version),
        "pipeline_tag": version.manifest["task"],
        "usedStorage": version.size,
    }
    if library := library_of(version):
        described["library_name"] = library
    if full:
        described["siblings"] = [{"rfilename": a["path"]} for a in version.manifest["artifacts"]]
    if card or "cardData" in expand:
        described["cardData"] = card_data(listing, version)
    if expand:
        return {key: value for key, value in described.items() if key in ("_id", "id", *expand)}
    return described


def sibling(file: RepoFile, with_blobs: bool) -> dict[str, Any]:
    """A file among the files of a model."""
    if not with_blobs:
        return {"rfilename": file.path}
    described = {"rfilename": file.path, "size": file.size, "blobId": file.blob_id}
    if file.content is None:
        described["lfs"] = {"size": file.size, "sha256": file.sha256, "pointerSize": len(file.pointer)}
    return described


def entry(found: RepoFile | Folder, version: Version, verdicts: Verdicts | None) -> dict[str, Any]:
    """A file or folder of a tree; with verdicts also when it came and whether its checks passed."""
    if isinstance(found, Folder):
        described: dict[str, Any] = {
            "type": "directory",
            "oid": found.tree_id,
            "size": 0,
            "path": found.path,
        }
    else:
        described = {"type": "file", "oid": found.blob_id, "size": found.size, "path": found.path}
        if found.content is None:
            described["lfs"] = {"oid": found.sha256, "size": found.size, "pointerSize": len(found.pointer)}
    if verdicts is not None:
        described["lastCommit"] = {
            "id": commit_of(version),
            "title": title_of(version),
            "date": moment_of(version.created),
        }
        if isinstance(found, RepoFile):
            described["securityFileStatus"] = _file_status(found, verdicts)
    return described


def _file_status(file: RepoFile, verdicts: Verdicts) -> dict[str, Any]:
    status = "safe" if file.content is not None else status_of(verdicts.get(file.path, set()))
    return {"status": status, "avScan": None, "pickleImportScan": None}


def status_of(verdicts: set[str]) -> str:
    """The Hub's word for what checks came to; what was not checked is never called safe."""
    if not verdicts or Verdict.unknown in verdicts:
        return "unscanned"
    if Verdict.failed in verdicts:
        return "unsafe"
    return "suspicious" if Verdict.warned in verdicts else "safe"


def verdicts_of(db: Session, version: Version) -> dict[str, set[str]]:
    """What the checks of each file came to."""
    found: dict[str, set[str]] = {}
    rows = select(Check.path, Check.verdict).where(Check.version_id == version.id, col(Check.path) != "")
    for path, verdict in db.exec(rows):
        found.setdefault(path, set()).add(str(verdict))
    return found


def security(verdicts: Verdicts) -> dict[str, Any]:
    """The state of a whole version."""
    issues = [
        {"path": path, "level": status_of(found)}
        for path, found in sorted(verdicts.items())
        if status_of(found) not in ("safe", "unscanned")
    ]
    return {"scansDone": bool(verdicts), "filesWithIssues": issues}


def ref(kind: str, name: str, version: Version) -> dict[str, str]:
    """A branch or a tag."""
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit_of(version)}


def commit(vendor: str, version: Version, *, formatted: bool) -> dict[str, Any]:
    """A version as a commit."""
    described: dict[str, Any] = {
        "id": commit_of(version),
        "title": title_of(version),
        "message": "",
        "authors": [{"user": vendor}],
        "date": moment_of(version.created),
    }
    if formatted:
        described["formatted"] = {"title": title_of(version), "message": ""}
    return described


def title_of(version: Version) -> str:
    """The title of the commit that stands for a version."""
    return f"Version {version.number}"


def tag(kind: str, id: str, label: str) -> dict[str, str]:
    """A tag that models can be narrowed by."""
    return {"type": kind, "id": id, "label": label}


def person(viewer: Viewer, vendors: Sequence[tuple[Vendor, str]]) -> dict[str, Any]:
    """An account and the vendors that it acts for."""
    return {
        "type": "user",
        "id": str(viewer.account_id),
        "name": viewer.name,
        "fullname": viewer.name,
        "isPro": False,
        "canPay": False,
        "emailVerified": False,
        "orgs": [
            {
                "type": "org",
                "name": vendor.name,
                "fullname": vendor.title_en,
                "roleInOrg": "admin" if role == "owner" else "write",
            }
            for vendor, role in vendors
        ],
        "auth": {"type": "access_token", "accessToken": {"displayName": viewer.name, "role": "read"}},
    }
