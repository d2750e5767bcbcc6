"""Registries for the tests: Debian's docker-registry, and one of our own that can be told to fail.

`debian` is what people run. `Strict` holds to the distribution specification to the letter, has the referrers
API and token sign-in, remembers every request, and does to the next requests what a test asks of it.
"""

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.shop import wait_until

USER, PASSWORD = "tester", "open-sesame-4711"
# The password's bcrypt hash, as htpasswd -B would write it.
HTPASSWD = f"{USER}:$2b$05$aaaaaaaaaaaaaaaaaaaaaOdKMwJnxd.tEgjOAnkyDZx9K5RTer3K6\n"
# This machine, under a name that does not look like it: what is spoken to with https.
ELSEWHERE = "127.1"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Debian:
    """A running docker-registry."""

    host: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def blobs(self) -> dict[str, int]:
        """Size of every blob that it keeps, by digest."""
        kept = (self.folder / "data/docker/registry/v2/blobs/sha256").glob("*/*/data")
        return {f"sha256:{path.parent.name}": path.stat().st_size for path in kept}

    def damage(self, digest: str) -> None:
        """Change one byte of a blob behind its back."""
        name = digest.removeprefix("sha256:")
        path = self.folder / "data/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


@contextlib.contextmanager
def debian(folder: Path, *, protected: bool = False) -> Iterator[Debian]:
    """docker-registry with its data below `folder`; `protected` lets in nobody but USER with PASSWORD."""
    program = shutil.which("docker-registry")
    if program is None:
        (pytest.fail if os.environ.get("REQUIRE_ALL") == "1" else pytest.skip)("no docker-registry here")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", "secret": "not-secret"},
    }
    if protected:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML too
    log = folder / "registry.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    found = None

    def listens() -> "re.Match[str] | None":
        assert process.poll() is None, log.read_text()
        return re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())

    try:
        found = wait_until(listens, within=20, what="docker-registry listens")
        yield Debian(found[1], folder, process)
    finally:
        process.kill()
        process.wait()


def sign_in(folder: Path, host: str, user: str = USER, password: str = PASSWORD) -> Path:
    """A Docker config that knows the registry; its folder is what DOCKER_CONFIG should be."""
    folder.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return folder


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


Fault = Callable[["Handler"], bool]
"""Looks at a request before it is handled; True when it has answered it, or cut it, itself."""


@dataclass
class Strict:
    """What the strict registry holds, and how it shall behave."""

    host: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    fault: Fault = lambda handler: False
    has_referrers: bool = True
    keeps_uploads: bool = True
    """Whether bytes of a broken piece are kept."""
    tokens: bool = False
    """Whether it wants a token, which USER gets with PASSWORD at /token."""
    smallest_chunk: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, method: str, part: str) -> int:
        """Requests so far of a method whose path holds `part`."""
        return sum(one.method == method and part in one.path for one in self.seen)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of callers that hang up."""


@contextlib.contextmanager
def strict(certificate: Path | None = None, **behaviour: object) -> Iterator[Strict]:
    """A registry of our own on a free port, with TLS where there is a certificate; see `certified`."""
    state = Strict(**behaviour)  # type: ignore[arg-type]
    server = _Server(("127.0.0.1", 0), Handler)
    server.state = state  # type: ignore[attr-defined]
    state.host = f"{ELSEWHERE if certificate else '127.0.0.1'}:{server.server_address[1]}"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certified(folder: Path) -> Path:
    """A PEM file with a key and a certificate for ELSEWHERE that nobody signed but itself."""
    path = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", f"/CN={ELSEWHERE}", "-addext", f"subjectAltName=DNS:{ELSEWHERE}", "-days", "2"]
    subprocess.run([*command, "-keyout", path, "-out", folder / "only.pem"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (folder / "only.pem").read_bytes())
    return path


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """The distribution specification, each request on its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    @property
    def state(self) -> Strict:
        return self.server.state  # type: ignore[attr-defined]

    def answer(self, status: int, content: bytes = b"", **headers: str) -> bool:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        return True

    def refuse(self, status: int, code: str, message: str = "", **headers: str) -> bool:
        told = {"errors": [{"code": code, "message": message or code.lower()}]}
        return self.answer(status, json.dumps(told).encode(), **headers)

    def cut(self) -> bool:
        """Reset the connection in the middle."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()
        self.wfile = io.BytesIO()  # the handler flushes it when it ends
        self.rfile.close()
        return True

    def body(self, limit: int | None = None) -> bytes:
        length = int(self.headers.get("Content-Length", 0))
        return self.rfile.read(length if limit is None else min(limit, length))

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        seen = Seen(self.command, url.path, self.query, {k.lower(): v for k, v in self.headers.items()})
        with self.state.lock:
            self.state.seen.append(seen)
        if self.state.fault(self):
            return
        if url.path == "/token":
            self.token()
            return
        if self.state.tokens and self.headers.get("Authorization") != "Bearer let-me-in":
            self.body()
            challenge = (
                f'Bearer realm="http://{self.state.host}/token",service="strict",scope="repository:x:pull"'
            )
            self.refuse(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=challenge)
            return
        found = re.fullmatch(r"/v2/(.+)/(blobs|manifests|referrers)/(.*)", url.path)
        if found is None:
            self.refuse(404, "NOT_FOUND")
            return
        repository, kind, name = found.groups()
        if kind == "blobs" and repository.endswith("/blobs"):  # no such repository in these tests
            raise AssertionError(url.path)
        if kind == "blobs" and name.startswith("uploads/"):
            self.upload(repository, name.removeprefix("uploads/"))
        else:
            getattr(self, kind)(name)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any

    def token(self) -> None:
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.refuse(401, "UNAUTHORIZED", "wrong name or password")
            return
        self.answer(200, json.dumps({"token": "let-me-in"}).encode())

    def blobs(self, digest: str) -> None:
        content = self.state.blobs.get(digest)
        if content is None:
            self.refuse(404, "BLOB_UNKNOWN")
            return
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start:
            first = int(start[1])
            told = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[first:], Content_Range=told)
            return
        self.answer(200, content, Docker_Content_Digest=digest)

    def upload(self, repository: str, name: str) -> None:
        uploads = self.state.uploads
        if self.command == "POST":
            if (digest := self.query.get("mount", [""])[0]) in self.state.blobs and "from" in self.query:
                self.answer(201, Location=f"/v2/{repository}/blobs/{digest}")
                return
            name = secrets.token_hex(8)
            uploads[name] = bytearray()
            self.accepted(202, repository, name)
            return
        if name not in uploads:
            self.body()
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
            return
        if self.command == "GET":
            self.accepted(204, repository, name)
            return
        sent = self.headers.get("Content-Range")
        if sent and not sent.startswith(f"{len(uploads[name])}-"):
            self.body()
            self.refuse(416, "RANGE_INVALID", f"have {len(uploads[name])}")
            return
        content = self.body()
        if self.command == "PATCH" and len(content) < self.state.smallest_chunk:
            self.refuse(416, "RANGE_INVALID", "too small a chunk")
            return
        uploads[name] += content
        if self.command == "PATCH":
            self.accepted(202, repository, name)
            return
        whole, digest = bytes(uploads.pop(name)), self.query["digest"][0]
        if sha256(whole) != digest:
            self.refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            return
        self.state.blobs[digest] = whole
        self.answer(201, Location=f"/v2/{repository}/blobs/{digest}")

    def accepted(self, status: int, repository: str, name: str) -> None:
        extra = {}
        if self.state.smallest_chunk:
            extra["OCI_Chunk_Min_Length"] = str(self.state.smallest_chunk)
        last = max(0, len(self.state.uploads[name]) - 1)
        self.answer(
            status, Location=f"/v2/{repository}/blobs/uploads/{name}?_state=s", Range=f"0-{last}", **extra
        )

    def manifests(self, target: str) -> None:
        known = self.state.manifests
        if self.command == "PUT":
            content = self.body()
            told = json.loads(content)
            parts = [*told.get("layers", ()), *([told["config"]] if "config" in told else ())]
            if any(part["digest"] not in self.state.blobs for part in parts):
                self.refuse(404, "MANIFEST_BLOB_UNKNOWN")
                return
            if any(entry["digest"] not in known for entry in told.get("manifests", ())):
                self.refuse(404, "MANIFEST_UNKNOWN")
                return
            kind = self.headers["Content-Type"]
            known[target] = known[sha256(content)] = (kind, content)
            extra = {}
            if "subject" in told and self.state.has_referrers:
                extra["OCI_Subject"] = told["subject"]["digest"]
            self.answer(201, Docker_Content_Digest=sha256(content), **extra)
            return
        if target not in known:
            self.refuse(404, "MANIFEST_UNKNOWN")
            return
        kind, content = known[target]
        self.answer(200, content, Content_Type=kind, Docker_Content_Digest=sha256(content))

    def referrers(self, digest: str) -> None:
        if not self.state.has_referrers:
            self.refuse(404, "NOT_FOUND")
            return
        found = {}
        for kind, content in self.state.manifests.values():
            told = json.loads(content)
            if told.get("subject", {}).get("digest") == digest:
                found[sha256(content)] = {
                    "mediaType": kind,
                    "digest": sha256(content),
                    "size": len(content),
                    "artifactType": told["artifactType"],
                    "annotations": told.get("annotations", {}),
                }
        page = sorted(found)
        last = self.query.get("last", [""])[0]
        page = [name for name in page if name > last]
        extra = {"Link": f'</v2/x/referrers/{digest}?last={page[0]}>; rel="next"'} if len(page) > 1 else {}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [found[name] for name in page[:1]]}
        self.answer(200, json.dumps(index).encode(), Content_Type=INDEX, **extra)


def skopeo(source: str, target: str) -> None:
    """Copy with skopeo, byte for byte."""
    program = shutil.which("skopeo")
    if program is None:
        (pytest.fail if os.environ.get("REQUIRE_ALL") == "1" else pytest.skip)("no skopeo here")
    options = [
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-oci-accept-uncompressed-layers",
    ]
    command = [program, "--insecure-policy", "copy", *options, source, target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
