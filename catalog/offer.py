"""What a vendor offers: market.yaml and the files beside it, read without trusting either.

An offer travels to a shop as JSON (`to_json`, `parse`): the sheet with its examples and cards inside and its
files by digest. A folder becomes one by `read`, a version becomes one again by `of_version`.
"""

import base64
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog import manifest as manifests
from catalog import plain_yaml
from catalog.errors import InvalidManifest
from catalog.models import Listing, Version
from catalog.offer_schema import FILE_NAME, MOST_FILES, MarketYaml, checked, json_schema
from catalog.progress import Progress, silent
from catalog.storage import sha256_of

__all__ = ["FILE_NAME", "Offer", "json_schema", "of_version", "parse", "read", "to_files"]

EXAMPLE_LIMIT = 60_000  # bytes of one example file: examples travel inside the manifest
EXAMPLES_LIMIT = 600_000  # bytes of all
CARD_LIMIT = 256 << 10  # bytes of one card
MANIFEST_LIMIT = 2 << 20  # bytes of its canonical form
LANGUAGES = ("zh", "en")


@dataclass(frozen=True)
class Offer:
    """A checked sheet with its files hashed and its examples and cards inside."""

    sheet: MarketYaml
    cards: dict[str, str]
    folder: Path | None = None

    @property
    def name(self) -> str:
        """vendor/name."""
        return self.sheet.name

    @property
    def vendor(self) -> str:
        """The first half of the name."""
        return self.name.partition("/")[0]

    @property
    def number(self) -> str:
        """The version's number."""
        return self.sheet.version

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        """Its files: path, sha256, size."""
        return [a.model_dump() for a in self.sheet.artifacts or []]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(a.size for a in self.sheet.artifacts or [])

    @property
    def licenses(self) -> dict[str, str]:
        """package, weights and base as SPDX expressions; base may be empty."""
        found = self.sheet.license
        return {"package": found.package, "weights": found.weights, "base": found.base or ""}

    @property
    def claims(self) -> dict[str, Any]:
        """What the vendor says that it does; no more than was said."""
        return self.sheet.claims.model_dump(exclude_none=True)

    def manifest(self) -> dict[str, Any]:
        """The catalogue's manifest in canonical order; raises InvalidManifest."""
        sheet = self.sheet
        examples = [
            {"title_zh": e.title.zh, "title_en": e.title.en, "request": e.request, "expect": e.expect}
            for e in sheet.examples
        ]
        plain = {
            "schema": manifests.SCHEMA,
            "name": sheet.name,
            "version": sheet.version,
            "task": sheet.task,
            "files": dict(sheet.files),
            "options": sheet.options,
            "examples": examples,
            "artifacts": self.artifacts,
        }
        return manifests.validate(plain)

    def words(self) -> dict[str, Any]:
        """What people read (catalog.review.WORDS), with signature and needs, as `Version.offer` keeps it."""
        sheet = self.sheet
        return {
            "kind": sheet.kind,
            "title_zh": sheet.title.zh,
            "title_en": sheet.title.en,
            "summary_zh": sheet.summary.zh,
            "summary_en": sheet.summary.en,
            "card_zh": self.cards.get("zh", ""),
            "card_en": self.cards.get("en", ""),
            "verticals": list(sheet.verticals),
            "languages": list(sheet.languages),
            "gated": sheet.gated,
            "price": sheet.price.model_dump(),
            "needs": sheet.needs.model_dump(exclude_none=True),
            "signature": sheet.signature.model_dump() if sheet.signature else None,
        }

    def to_json(self) -> dict[str, Any]:
        """The offer as a shop takes it: {"sheet": …, "cards": {"zh": …, "en": …}}."""
        sheet = self.sheet.model_dump(by_alias=True, exclude_none=True, exclude={"card", "examples"})
        sheet["examples"] = [e.model_dump() for e in self.sheet.examples]
        return {"sheet": sheet, "cards": dict(self.cards)}


def parse(data: Any) -> Offer:
    """The offer in JSON that `to_json` gave, or somebody else wrote; raises InvalidManifest."""
    if not isinstance(data, dict) or not set(data) <= {"sheet", "cards"}:
        raise InvalidManifest(
            path="manifest", why="sheet and cards are expected", why_zh="应含 sheet 与 cards"
        )
    _require_plain(data)
    sheet = checked(data.get("sheet"))
    if sheet.artifacts is None:
        raise InvalidManifest(path="artifacts", why="is missing", why_zh="缺少这一项")
    cards = data.get("cards") or {}
    if not isinstance(cards, dict) or not all(isinstance(text, str) for text in cards.values()):
        raise InvalidManifest(path="cards", why="texts by language are expected", why_zh="应为各语言的文本")
    for language, text in cards.items():
        if language not in LANGUAGES:
            raise InvalidManifest(
                path=f"cards.{language}", why="there is no such field", why_zh="没有这个字段"
            )
        _require_size(f"cards.{language}", len(text.encode()), CARD_LIMIT)
    return _whole(Offer(sheet, {k: v for k, v in cards.items() if v}))


def read(folder: Path, progress: Progress = silent) -> Offer:
    """The offer in a folder with market.yaml; files are hashed unless the sheet names their digests.

    Raises InvalidManifest with the place (file and line) and the reason.
    """
    content = _content(folder, FILE_NAME, plain_yaml.LARGEST, place=FILE_NAME)
    data, lines = plain_yaml.load(content, FILE_NAME)
    sheet = checked(data, lines, FILE_NAME)
    taken: set[str] = set()
    for number, example in enumerate(sheet.examples):
        place = plain_yaml.place_of(
            ("examples", number), lines.get(("examples", number, "request")), FILE_NAME
        )
        example.request = _inline(example.request, folder, place, taken)
    cards = {}
    for language in LANGUAGES:
        path = getattr(sheet.card, language)
        if path:
            place = plain_yaml.place_of(("card", language), lines.get(("card", language)), FILE_NAME)
            cards[language] = _text(_content(folder, path, CARD_LIMIT, place=place), place)
            taken.add(path)
    artifacts = _artifacts(folder, sheet, {*taken, FILE_NAME, manifests.FILE_NAME}, progress)
    whole = sheet.model_dump(by_alias=True, exclude_none=True, exclude={"examples"})
    whole["examples"] = [e.model_dump() for e in sheet.examples]
    whole["artifacts"] = artifacts
    _require_plain(whole)
    made = checked(whole)
    for role, path in made.files.items():
        if path not in {a["path"] for a in artifacts}:
            place = plain_yaml.place_of(("files", role), lines.get(("files", role)), FILE_NAME)
            raise InvalidManifest(
                path=place, why=f"{path} is not in the folder", why_zh=f"文件夹中没有 {path}"
            )
    return _whole(Offer(made, cards, folder))


def of_version(listing: Listing, version: Version) -> Offer:
    """The offer that a version was made of, its words from its listing where it brought none."""
    manifest, words = version.manifest, version.offer

    def word(name: str) -> Any:
        return words[name] if name in words else getattr(listing, name)

    price = word("price")
    sheet: dict[str, Any] = {
        "schema": manifest["schema"],
        "name": manifest["name"],
        "version": manifest["version"],
        "kind": str(word("kind")),
        "task": manifest["task"],
        "title": {"zh": word("title_zh"), "en": word("title_en")},
        "summary": {"zh": word("summary_zh"), "en": word("summary_en")},
        "verticals": word("verticals"),
        "languages": word("languages"),
        "license": {"package": version.license_package, "weights": version.license_weights},
        "files": manifest["files"],
        "options": manifest["options"],
        "examples": [
            {
                "title": {"zh": e["title_zh"], "en": e["title_en"]},
                "request": e["request"],
                "expect": e["expect"],
            }
            for e in manifest["examples"]
        ],
        "claims": version.claims,
        "source": version.source,
        "gated": word("gated"),
        "artifacts": manifest["artifacts"],
    }
    optional = {"needs": words.get("needs"), "signature": words.get("signature"), "price": price}
    sheet |= {name: value for name, value in optional.items() if value}
    if version.license_base:
        sheet["license"]["base"] = version.license_base
    cards = {"zh": word("card_zh"), "en": word("card_en")}
    return Offer(checked(sheet), {k: v for k, v in cards.items() if v})


def to_files(offer: Offer) -> dict[str, bytes]:
    """market.yaml, the cards and the examples' files by path, to lie beside the model's own files."""
    taken = {a["path"] for a in offer.artifacts}
    files: dict[str, bytes] = {}

    def free(path: str) -> str:
        while path in taken or path in files or any(t.startswith(path + "/") for t in taken):
            path = f"_{path}"
        return path

    def outside(value: Any) -> Any:
        if isinstance(value, list):
            return [outside(item) for item in value]
        if not isinstance(value, dict):
            return value
        content = _decoded(value)
        if content is None:
            return {key: outside(item) for key, item in value.items()}
        path = free(f"examples/{len(files) + 1}.{_ending(content)}")
        files[path] = content
        return {"$file": path}

    sheet = offer.to_json()["sheet"]
    for example in sheet["examples"]:
        example["request"] = outside(example["request"])
    card = {}
    for language, text in offer.cards.items():
        card[language] = free(f"card.{language}.md")
        files[card[language]] = text.encode()
    if card:
        sheet["card"] = card
    return {FILE_NAME: plain_yaml.dump(sheet).encode(), **files}


def _decoded(value: dict[str, Any]) -> bytes | None:
    """The bytes of {"base64": …} where writing them again gives the same text."""
    if set(value) != {"base64"} or not isinstance(value["base64"], str):
        return None
    try:
        content = base64.b64decode(value["base64"], validate=True)
    except ValueError:
        return None
    same = base64.b64encode(content).decode() == value["base64"]
    return content if same and 0 < len(content) <= EXAMPLE_LIMIT else None


def _ending(content: bytes) -> str:
    for start, name in ((b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"RIFF", "wav"), (b"%PDF", "pdf")):
        if content.startswith(start):
            return name
    return "bin"


# Files of a folder


def _content(folder: Path, path: str, limit: int, *, place: str) -> bytes:
    """The bytes of a plain file inside a folder that no link leads to."""
    where = folder
    for part in Path(path).parts:
        where = where / part
        if where.is_symlink():
            raise InvalidManifest(path=place, why=f"{path} is a link", why_zh=f"{path} 是链接")
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        why, zh = f"{path} is not in the folder", f"文件夹中没有 {path}"
        raise InvalidManifest(path=place, why=why, why_zh=zh) from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidManifest(path=place, why=f"{path} is no file", why_zh=f"{path} 不是文件")
        content = file.read(limit + 1)
    _require_size(place, len(content), limit)
    return content


def _require_size(place: str, size: int, limit: int) -> None:
    if size > limit:
        raise InvalidManifest(path=place, why=f"larger than {limit} bytes", why_zh=f"超过 {limit} 字节")


def _text(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidManifest(path=place, why="not UTF-8 text", why_zh="不是 UTF-8 文本") from None


def inlined(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A request with the bytes of its files; raises InvalidManifest."""
    found: dict[str, Any] = _inline(request, folder, "examples", set())
    return found


def _inline(value: Any, folder: Path, place: str, taken: set[str]) -> Any:
    """Put the bytes of {"$file": path} in its place as {"base64": …}."""
    if isinstance(value, list):
        return [_inline(item, folder, place, taken) for item in value]
    if not isinstance(value, dict):
        return value
    if "$file" not in value:
        return {key: _inline(item, folder, place, taken) for key, item in value.items()}
    path = value["$file"]
    if len(value) > 1 or not isinstance(path, str) or not _stays_inside(path):
        raise InvalidManifest(
            path=place,
            why="$file names one file of the folder, alone",
            why_zh="$file 须单独写，指文件夹内的文件",
        )
    taken.add(path)
    return {"base64": base64.b64encode(_content(folder, path, EXAMPLE_LIMIT, place=place)).decode()}


def _stays_inside(path: str) -> bool:
    pure = Path(path)
    return bool(path) and "\0" not in path and not pure.is_absolute() and ".." not in pure.parts


def _artifacts(folder: Path, sheet: MarketYaml, others: set[str], progress: Progress) -> list[dict[str, Any]]:
    """The files of the version: as the sheet names them, else all in the folder that are not hidden."""
    if sheet.artifacts is not None:
        found = [a.model_dump() for a in sheet.artifacts]
        for artifact in found:
            file = folder / artifact["path"]
            if file.is_symlink() or not file.is_file() or file.stat().st_size != artifact["size"]:
                path = artifact["path"]
                raise InvalidManifest(
                    path="artifacts",
                    why=f"{path} is not in the folder, or of another size",
                    why_zh=f"文件夹中没有 {path}，或大小不同",
                )
        return found
    paths = [path for path in _walk(folder) if path.relative_to(folder).as_posix() not in others]
    if len(paths) > MOST_FILES:
        why, zh = f"holds more than {MOST_FILES} files", f"文件超过 {MOST_FILES} 个"
        raise InvalidManifest(path=folder.name, why=why, why_zh=zh)
    total, done, found = sum(path.stat().st_size for path in paths), 0, []
    for path in paths:
        inner = path.relative_to(folder).as_posix()
        progress(done, total, inner)
        size = path.stat().st_size
        found.append({"path": inner, "sha256": sha256_of(path), "size": size})
        done += size
    progress(done, total, "")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Plain files in order; hidden ones are left out, links and devices refused."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        path = Path(entry.path)
        if entry.is_symlink():
            raise InvalidManifest(
                path=entry.name, why="is a link; put the file itself here", why_zh="是链接，请放文件本身"
            )
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)
        elif entry.is_file(follow_symlinks=False):
            yield path
        else:
            raise InvalidManifest(path=entry.name, why="is no plain file", why_zh="不是普通文件")


# Bounds of the whole


def _require_plain(value: Any, path: tuple[str | int, ...] = ()) -> None:
    """Refuse what JSON of ours cannot hold: depth, numbers without bounds, half characters."""
    place = plain_yaml.place_of(path)
    if len(path) > plain_yaml.DEEPEST:
        raise InvalidManifest(path=place, why="nested too deep", why_zh="嵌套过深")
    if isinstance(value, dict):
        for key, item in value.items():
            _require_plain(key, (*path, "?"))
            _require_plain(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _require_plain(item, (*path, number))
    elif isinstance(value, float) and not math.isfinite(value):
        why = "NaN and infinity are not allowed"
        raise InvalidManifest(path=place, why=why, why_zh="不允许 NaN 与无穷大")
    elif isinstance(value, int) and abs(value) > plain_yaml.LARGEST_INTEGER:
        raise InvalidManifest(path=place, why="the number is too large", why_zh="数字过大")
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidManifest(path=place, why="holds half of a surrogate pair", why_zh="含有残缺的代理对字符")


def _whole(offer: Offer) -> Offer:
    """The offer after its manifest was checked as a whole."""
    manifest = offer.manifest()
    _require_size(
        "examples", len(manifests.canonical({"examples": manifest["examples"]})), EXAMPLES_LIMIT * 2
    )
    _require_size("manifest", len(manifests.canonical(manifest)), MANIFEST_LIMIT)
    return offer
