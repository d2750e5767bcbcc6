"""The table of a bundle: which files it has, what they are for, and for which machines it is."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, NoReturn

from deployer.errors import BundleRefused

TABLE, ENVELOPE, KEY = "bundle.json", "bundle.dsse.json", "signing.pub.pem"
SCHEMA = "opc-market/bundle/1"
LARGEST_TABLE = 16 << 20  # bytes
MOST_FILES = 200_000
MEDIA_TYPE = "application/vnd.opc-market.bundle.v1.tar"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Item:
    """One file of a bundle: where it lies in it, its SHA-256 in hex, its size in bytes and its mode."""

    path: str
    sha256: str
    size: int
    mode: int = 0o644


@dataclass(frozen=True)
class Table:
    """What a bundle holds; `machine` says where the shop's wheels and the image run."""

    product: str
    """Version of the shop that made it, and that it brings."""
    listings: list[str]
    """vendor/name@version, in the order in which they are installed and tried."""
    machine: dict[str, str] = field(default_factory=dict)
    """`python` (3.11), `platform` (linux/amd64)."""
    image: str = ""
    """Name of the runtime image in `images/`; "" when none is carried."""
    items: list[Item] = field(default_factory=list)

    def encode(self) -> bytes:
        """Its canonical bytes, which are what is signed."""
        told = {"schema": SCHEMA, **asdict(self)}
        return json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.items)


def digest(content: bytes) -> str:
    """Hex SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def decode(content: bytes, file: str) -> Table:
    """The table out of its bytes; raises BundleRefused for anything else."""
    try:
        told = json.loads(content)
        if not isinstance(told, dict) or told.pop("schema", None) != SCHEMA:
            raise ValueError("its form is not known to this version")
        items = [_item(each) for each in told.pop("items")]
        table = Table(**told, items=items)
        _check(table)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        refuse(file, f"its table cannot be read: {error}", f"目录表无法读取：{error}")
    return table


def _item(told: dict[str, Any]) -> Item:
    item = Item(**told)
    path = item.path
    pure = PurePosixPath(path)
    if pure.is_absolute() or str(pure) != path or ".." in pure.parts or not path or len(path) > 500:
        raise ValueError(f"{path[:80]!r} is no plain relative path")
    if any(not c.isprintable() or c == "\\" for c in path):
        raise ValueError(f"{path[:80]!r} has characters that no file of a bundle has")
    if not _SHA256.fullmatch(item.sha256) or type(item.size) is not int or item.size < 0:
        raise ValueError(f"{path} has no proper digest and size")
    if item.mode not in (0o644, 0o755):
        raise ValueError(f"{path} has the mode {item.mode:o}")
    return item


def _check(table: Table) -> None:
    paths = [item.path for item in table.items]
    if len(paths) > MOST_FILES:
        raise ValueError("too many files")
    if len(set(paths)) != len(paths):
        raise ValueError("a file occurs twice")
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    if clash := folders.intersection(paths):
        raise ValueError(f"{min(clash)} is both a file and a folder")
    if not all(isinstance(name, str) for name in [*table.listings, table.product, table.image]):
        raise ValueError("its names are no text")


def refuse(file: str, why: str, why_zh: str) -> NoReturn:
    """Refuse a bundle."""
    raise BundleRefused(file=file, why=why, why_zh=why_zh)
