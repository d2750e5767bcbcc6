"""Requests and responses as plain values, and the bodies that they carry: JSON and multipart forms."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, overload

import msgspec
import numpy as np
import orjson

from deployer.server.errors import BadInput, Words
from deployer.server.problems import Problem

T = TypeVar("T")


@dataclass(slots=True)
class Request:
    """One request; its body is whole once it is handled. Header names in lower case, as the bytes sent."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes = b""

    def header(self, name: bytes, default: str = "") -> str:
        """A header's value as text."""
        value = self.headers.get(name)
        return default if value is None else value.decode("latin-1")

    @property
    def language(self) -> str:
        """zh when the reader asks for it first, else en."""
        return "zh" if self.headers.get(b"accept-language", b"")[:2].lower() == b"zh" else "en"

    @property
    def media_type(self) -> str:
        """The content type without parameters; empty when none was sent."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset that the content type names; empty when it names none."""
        found = re.search(r";\s*charset=\"?([^\s;\"]{1,40})", self.header(b"content-type"), re.IGNORECASE)
        return found[1] if found else ""


@dataclass(slots=True)
class Response:
    """One answer, or with `streams` the head of one whose pieces follow; `tokens` is what the work read."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    tokens: int = 0
    streams: bool = False


def json_response(value: Any, *, tokens: int = 0) -> Response:
    """A value as JSON, numpy arrays in it as lists; NaN and infinities become null."""
    return Response(to_json(value), tokens=tokens)


def to_json(value: Any) -> bytes:
    """The bytes of a value as JSON; float32 takes as few digits as it needs to come back the same."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=_as_list)


def _as_list(value: Any) -> Any:
    """What orjson leaves to us: arrays that are not contiguous, or hold texts."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON")


@overload
def read_json(data: bytes) -> Any: ...
@overload
def read_json(data: bytes, kind: type[T]) -> T: ...
def read_json(data: bytes, kind: Any = Any) -> Any:
    """Decode JSON, strictly: no NaN, no depth beyond Python's stack; names the place that is wrong."""
    try:
        return _decoder(kind).decode(data)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$")
        where = place.rstrip("`").lstrip(".") or "body"
        raise Problem.of(BadInput(where, Words(said[0].lower() + said[1:], f"格式不符（{said}）"))) from error
    except RecursionError as error:
        raise Problem("bad-json", Words("It is nested too deeply.", "嵌套层数过多。")) from error
    except UnicodeDecodeError as error:
        raise Problem("bad-json", Words("It is not UTF-8.", "不是 UTF-8 编码。")) from error
    except msgspec.DecodeError as error:
        said = str(error).removeprefix("JSON is malformed: ")
        raise Problem("bad-json", Words(f"{said}.", f"{said}。")) from error


@lru_cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def read_object(data: bytes) -> dict[str, Any]:
    """Decode a JSON object; refuses any other value."""
    value = read_json(data)
    if not isinstance(value, dict):
        raise Problem.of(BadInput("body", Words("is not a JSON object", "不是 JSON 对象"), "{…}"))
    return value


def read_form(request: Request) -> dict[str, Any]:
    """A multipart/form-data body: parts with a file name as bytes, the others as text."""
    found = re.search(r'boundary=(?:"([^"]{1,70})"|([^;\s]{1,70}))', request.header(b"content-type"))
    if not found:
        raise Problem("bad-multipart", Words("It names no boundary.", "没有给出 boundary。"))
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
    pieces = (b"\r\n" + request.body).split(delimiter, 66)
    if len(pieces) > 66:
        raise Problem("bad-multipart", Words("It has more than 64 parts.", "超过 64 个部分。"))
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise Problem("bad-multipart", Words("Its last boundary is missing.", "缺少结尾的 boundary。"))
    form: dict[str, Any] = {}
    for piece in pieces[1:-1]:
        name, value = _part(piece)
        if name in form and not name.endswith("[]"):  # how clients send lists; the last one counts
            raise Problem.of(BadInput(name, Words("is sent twice", "重复出现"), ""))
        form[name] = value
    return form


def _part(piece: bytes) -> tuple[str, str | bytes]:
    head, separator, data = piece.partition(b"\r\n\r\n")
    disposition = re.search(rb"(?im)^content-disposition:\s*form-data\s*;(.*)$", head.replace(b"\r\n", b"\n"))
    name = re.search(rb'(?:^|[;\s])name="([^"]{1,200})"', disposition[1]) if disposition else None
    if not separator or not disposition or not name:
        raise Problem("bad-multipart", Words("A part has no name.", "有一部分没有名称。"))
    if b"filename=" in disposition[1] or b"filename*=" in disposition[1]:
        return name[1].decode("utf-8", "replace"), data
    try:
        return name[1].decode("utf-8"), data.decode("utf-8")
    except UnicodeDecodeError as error:
        cause = Words("A text part is not UTF-8.", "文本部分不是 UTF-8 编码。")
        raise Problem("bad-multipart", cause) from error
