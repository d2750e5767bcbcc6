"""What the tests of the Hub API put into a running shop: models with real files, some gated or hidden."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from sqlmodel import Session
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from catalog import blobs, listings, signing
from catalog import manifest as manifests
from catalog.listings import NewListing
from catalog.models import ListingKind, Version, VersionState
from marketplace.db import open_engine, transaction
from tests.marketplace.peers import Raw
from tests.shop import Shop

WORDS = NewListing(
    "读票",
    "Invoice reader",
    "读发票上的字。",
    "Reads what is on an invoice.",
    card_zh="## 用法\n上传图片。",
    card_en="## Use\nUpload a picture.",
    verticals=["finance_and_business"],
    languages=["zh", "en"],
)


@contextmanager
def database(shop: Shop) -> Iterator[Session]:
    """The database of a running shop, to be written; commits at the end."""
    engine = open_engine(f"sqlite:///{shop.home / 'market.db'}")
    with transaction(engine) as db:
        yield db
    engine.dispose()


def put(
    shop: Shop,
    folder: Path,
    files: dict[str, bytes],
    name: str,
    number: str = "1.0.0",
    *,
    task: str = "tensors",
    state: str = VersionState.listed,
    kind: str = ListingKind.model,
    gated: bool = False,
    licence: str = "Apache-2.0",
    signed: bool = True,
) -> str:
    """Publish a version with these files, as filling the shelf does; its digest."""
    artifacts = []
    for path, content in files.items():
        file = folder / "one"
        file.write_bytes(content)
        sha256 = blobs.put(shop.home, file)
        artifacts.append({"path": path, "sha256": sha256, "size": len(content)})
    manifest = manifests.validate(
        {
            "schema": 1,
            "name": name,
            "version": number,
            "task": task,
            "files": {"model": next(iter(files))},
            "artifacts": artifacts,
        }
    )
    digest = manifests.digest(manifest)
    if signed:
        signing.sign(shop.home, blobs.materialize(shop.home, manifest, digest), digest)
    with database(shop) as db:
        vendor = listings.ensure_vendor(db, name.partition("/")[0], title_zh="甲", title_en="Acme")
        words = NewListing(**{**vars(WORDS), "kind": kind})
        version = listings.publish_version(
            db, vendor, words, manifest, license_package="MIT", license_weights=licence, state=state
        )
        row = listings.get_listing(db, name)
        row.gated = gated
        db.add(row)
        db.add(version)
    return digest


def become(shop: Shop, name: str, number: str, state: str) -> None:
    """Bring a version to a state, whatever it was."""
    with database(shop) as db:
        listing = listings.get_listing(db, name)
        version = next(v for v in listings.versions_of(db, listing) if v.number == number)
        version.state = state
        db.add(version)


def version_of(db: Session, name: str, number: str) -> Version:
    """The version's row."""
    listing = listings.get_listing(db, name)
    return next(v for v in listings.versions_of(db, listing) if v.number == number)


def tokenizer_files() -> dict[str, bytes]:
    """The files that transformers reads for a tokenizer and a configuration."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "hello": 1, "world": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    told: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    config = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": json.dumps(told).encode(),
        "config.json": json.dumps(config).encode(),
    }


def api_of(shop: Shop, *, token: str | bool = False) -> HfApi:
    """The real client for a shop; without a token unless one is given."""
    return HfApi(endpoint=f"{shop.url}/hf", token=token)


class Line:
    """A line to a shop that keeps what is asked over it, and can break in the middle of an answer."""

    def __init__(self, shop: Shop) -> None:
        self._port = int(shop.url.rpartition(":")[2])
        self._asked = bytearray()
        self._limit = self._armed = 0
        self.stalled, self._mended = threading.Event(), threading.Event()
        self._raw = Raw(self._pass_on)
        self.url = f"http://{self._raw.address.removeprefix('tcp:')}"

    @property
    def asked(self) -> list[str]:
        """The heads of all requests so far."""
        return [head for head in self._asked.decode("latin-1").split("\r\n\r\n") if head]

    def forget(self) -> None:
        """Begin to keep requests anew."""
        self._asked.clear()

    def break_after(self, size: int, *, stall: bool = False) -> None:
        """Break once a connection has carried that many bytes from now on; with `stall` when it is mended."""
        self.stalled.clear()
        self._mended.clear()
        if not stall:
            self._mended.set()
        self._limit = size
        self._armed += 1

    def mend(self) -> None:
        """Let go of a connection that stalls."""
        self._mended.set()

    def close(self) -> None:
        self.mend()
        self._raw.close()

    def _pass_on(self, client: socket.socket, _number: int) -> None:
        client.settimeout(None)
        with socket.create_connection(("127.0.0.1", self._port)) as shop:
            upwards = threading.Thread(target=self._up, args=(client, shop))
            upwards.start()
            try:
                self._down(shop, client)
            finally:
                for end in (client, shop):
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
                upwards.join()

    def _up(self, client: socket.socket, shop: socket.socket) -> None:
        with suppress(OSError):
            while piece := client.recv(1 << 16):
                self._asked += piece
                shop.sendall(piece)
        with suppress(OSError):
            shop.shutdown(socket.SHUT_WR)

    def _down(self, shop: socket.socket, client: socket.socket) -> None:
        carried, armed = 0, self._armed
        while piece := shop.recv(1 << 16):
            if armed != self._armed:  # clients keep connections: what they carried before does not count
                carried, armed = 0, self._armed
            carried += len(piece)
            if 0 < self._limit < carried:
                self._limit = 0
                self.stalled.set()
                self._mended.wait()
                return
            client.sendall(piece)


@contextmanager
def line(shop: Shop) -> Iterator[Line]:
    """A Line that is closed at the end."""
    built = Line(shop)
    try:
        yield built
    finally:
        built.close()
