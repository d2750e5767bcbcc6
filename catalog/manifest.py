"""The manifest of a version: checked, brought into one canonical form, and named by its digest.

Two manifests that say the same have the same bytes in canonical form, and so the same digest.
"""

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog import taxonomy
from catalog.errors import InvalidManifest, UnknownTask

FILE_NAME = "manifest.json"
SCHEMA = 1
NAME = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?/[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
NUMBER = r"^(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})$"


def _inner_path(path: str) -> str:
    """Refuse what is not a plain relative path, or would hide the manifest itself."""
    pure = PurePosixPath(path)
    plain = not pure.is_absolute() and ".." not in pure.parts and str(pure) == path and path != "."
    if not plain or not re.fullmatch(r"[^\x00-\x1f\\:]{1,255}", path):
        raise ValueError("not a plain relative path")
    if path == FILE_NAME:
        raise ValueError(f"{FILE_NAME} is written by the catalogue")
    return path


def _known_task(name: str) -> str:
    try:
        found = taxonomy.task(name).id
    except UnknownTask:
        raise ValueError(f"{name} is not a task of the catalogue") from None
    if found != name:
        raise ValueError(f"write {found} instead of {name}")
    return name


InnerPath = Annotated[str, AfterValidator(_inner_path)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ManifestArtifact(_Strict):
    """One file of the version."""

    path: InnerPath
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class ManifestExample(_Strict):
    """A request that people can send, and what the right answer to it looks like."""

    title_zh: str = Field(min_length=1, max_length=100)
    title_en: str = Field(min_length=1, max_length=100)
    request: dict[str, Any]
    expect: Any = None


class Manifest(_Strict):
    """What a version is: its task, its files by role, how they are used, and examples."""

    number_of_schema: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    name: str = Field(pattern=NAME, max_length=130)
    version: str = Field(pattern=NUMBER)
    task: Annotated[str, AfterValidator(_known_task)]
    files: dict[str, InnerPath]
    options: dict[str, Any] = Field(default_factory=dict)
    examples: list[ManifestExample] = Field(default_factory=list)
    artifacts: list[ManifestArtifact] = Field(min_length=1)

    @model_validator(mode="after")
    def _hold_together(self) -> "Manifest":
        paths = [a.path for a in self.artifacts]
        for path in paths:
            if paths.count(path) > 1:
                raise ValueError(f"{path} occurs twice among the artifacts")
            if any(other.startswith(path + "/") for other in paths):
                raise ValueError(f"{path} is both a file and a folder")
        for role, path in self.files.items():
            if path not in paths:
                raise ValueError(f"files.{role} names {path}, which is not among the artifacts")
        return self


def is_number(text: str) -> bool:
    """Whether a text is a version's number, such as 1.0.0."""
    return re.fullmatch(NUMBER, text) is not None


def validate(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest in canonical order; raises InvalidManifest with the place and the reason."""
    try:
        checked = Manifest.model_validate(manifest)
        plain = checked.model_dump(by_alias=True)
        plain["artifacts"].sort(key=lambda a: a["path"])
        canonical(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise InvalidManifest(path=place, why=first["msg"]) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidManifest(path="manifest", why=str(error)) from None
    return plain


def canonical(manifest: dict[str, Any]) -> bytes:
    """The manifest's canonical bytes: UTF-8 JSON, keys sorted, no spaces."""
    text = json.dumps(manifest, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def digest(manifest: dict[str, Any]) -> str:
    """sha256:<hex> of the canonical bytes."""
    return f"sha256:{hashlib.sha256(canonical(manifest)).hexdigest()}"


def size(manifest: dict[str, Any]) -> int:
    """Bytes of all files."""
    return sum(int(a["size"]) for a in manifest["artifacts"])
