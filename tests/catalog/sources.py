"""A real package index and file server on the loopback, with the faults that real ones have."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from catalog.importers.indexes import Indexes
from catalog.importers.packages import Archive, Patience

QUICK = Patience(attempts=3, pause=0.001)


@dataclass
class Fault:
    """What goes wrong, for so many requests of a file."""

    times: int = 1
    status: int = 0  # answer with this status
    cut_after: int = -1  # close the line after so many bytes of the body
    headers: dict[str, str] = field(default_factory=dict)


class FileServer:
    """Serves bytes by name: /simple/<project>/ lists them, /files/<name> gives them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.projects: dict[str, list[str]] = {}
        self.faults: list[Fault] = []
        self.ranges = True
        self.lie_about_range = False
        self.requests: list[tuple[str, str]] = []  # path, Range
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "FileServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def indexes(self) -> Indexes:
        return Indexes(urls=(f"{self.url}/simple/",))

    def asked(self, name: str) -> list[str]:
        """The Range headers of the requests of a file, in order."""
        return [span for path, span in self.requests if path.endswith("/" + name)]

    def offer(self, project: str, version: str, file: str, content: bytes) -> Archive:
        """Put a package file on the index."""
        self.files[file] = content
        self.projects.setdefault(project, []).append(file)
        digest = hashlib.sha256(content).hexdigest()
        return Archive("pypi", project, version, file, len(content), digest)

    def _handler(outer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                span = self.headers.get("Range", "")
                outer.requests.append((self.path, span))
                if self.path.startswith("/simple/"):
                    self.index(self.path.removeprefix("/simple/").strip("/"))
                else:
                    self.file(self.path.rpartition("/")[2], span)

            def index(self, project: str) -> None:
                if project not in outer.projects:
                    self.empty(404)
                    return
                links = "".join(f'<a href="/files/{f}">{f}</a>' for f in outer.projects[project])
                body = f"<!doctype html><html><body>{links}</body></html>".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def file(self, name: str, span: str) -> None:
                fault = next((f for f in outer.faults if f.times > 0), None)
                if fault is not None:
                    fault.times -= 1
                    if fault.status:
                        self.empty(fault.status, fault.headers)
                        return
                content = outer.files.get(name)
                if content is None:
                    self.empty(404)
                    return
                first = re.match(r"bytes=(\d+)-$", span)
                start = int(first[1]) if first and outer.ranges else 0
                if start >= len(content) and start:
                    self.empty(416)
                    return
                self.send_response(206 if first and outer.ranges else 200)
                if first and outer.ranges:
                    told = start + (7 if outer.lie_about_range else 0)
                    self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
                body = content[start:]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if fault is not None and fault.cut_after >= 0:
                    self.wfile.write(body[: fault.cut_after])
                    self.wfile.flush()
                    self.close_connection = True
                    return
                self.wfile.write(body)

            def empty(self, status: int, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for key, value in (headers or {}).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def zip_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return out.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as opened:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()
