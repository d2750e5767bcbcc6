"""Fields of a body: each is read with its bounds, and refused with its place in the caller's words."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from deployer.server.errors import BadInput, Words

Body = dict[str, Any]


def text_field(body: Body, name: str, *, limit: int = 100_000) -> str:
    """One text that is not empty, of at most `limit` characters."""
    value = body.get(name)
    if not isinstance(value, str):
        raise BadInput(name, Words("is not a text", "不是文本"), "string")
    return _text(value, name, limit)


def texts_field(body: Body, name: str, *, most: int = 256, limit: int = 100_000) -> list[str]:
    """A text or a list of them: at least one, at most `most`."""
    value = body.get(name)
    if isinstance(value, str):
        return [_text(value, name, limit)]
    if not isinstance(value, list) or not value:
        why = Words("is neither a text nor a list of texts", "既不是文本，也不是文本列表")
        raise BadInput(name, why, "string | [string, …]")
    if len(value) > most:
        why = Words(f"has {len(value)} texts", f"含有 {len(value)} 条文本")
        raise BadInput(name, why, Words(f"at most {most} texts in a request", f"每次请求至多 {most} 条文本"))
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise BadInput(f"{name}[{index}]", Words("is not a text", "不是文本"), "string")
    return [_text(item, f"{name}[{index}]", limit) for index, item in enumerate(value)]


def bytes_field(body: Body, name: str) -> bytes:
    """Bytes sent as {"base64": …}, as a base64 text, as a data: URL, or as a part of a multipart body."""
    value = body.get(name)
    if isinstance(value, dict) and set(value) == {"base64"}:
        value = value["base64"]
    if isinstance(value, bytes):
        data = value
    elif isinstance(value, str):
        encoded = value.partition(",")[2] if value.startswith("data:") else value
        try:
            data = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            why = Words("is not valid base64", "不是有效的 base64")
            raise BadInput(name, why, '{"base64": "…"}') from error
    else:
        raise BadInput(name, Words("holds no bytes", "没有数据"), '{"base64": "…"}')
    if not data:
        raise BadInput(name, Words("is empty", "是空的"), '{"base64": "…"}')
    return data


def int_field(body: Body, name: str, default: int, *, least: int, most: int) -> int:
    """A whole number between bounds; `default` when it is absent (a multipart body sends digits)."""
    value: Any = body.get(name, default)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        why = Words("is not a whole number in range", "不是范围内的整数")
        raise BadInput(name, why, f"{least} … {most}")
    return value


def float_field(body: Body, name: str, default: float, *, least: float, most: float) -> float:
    """A number between bounds; `default` when it is absent (a multipart body sends digits)."""
    value: Any = body.get(name, default)
    if isinstance(value, str) and len(value) < 32:
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadInput(name, Words("is not a number in range", "不是范围内的数"), f"{least} … {most}")
    return float(value)


def bool_field(body: Body, name: str, default: bool) -> bool:
    """true or false; `default` when it is absent."""
    value = body.get(name, default)
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise BadInput(name, Words("is neither true nor false", "既不是 true 也不是 false"), "true | false")
    return value


def choice_field(body: Body, name: str, default: str, choices: Sequence[str]) -> str:
    """One of a few words; `default` when it is absent."""
    value = body.get(name, default)
    if not isinstance(value, str) or value not in choices:
        raise BadInput(name, Words("is none of its choices", "不在可选值之列"), " | ".join(choices))
    return value


def utf8(data: bytes, where: str) -> str:
    """Bytes as text; refuses what is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(where, Words("is not UTF-8", "不是 UTF-8 文本"), "UTF-8") from error


def _text(value: str, where: str, limit: int) -> str:
    if not value.strip():
        raise BadInput(where, Words("is empty", "是空的"), "string")
    if len(value) > limit:
        why = Words(f"has {len(value)} characters", f"有 {len(value)} 个字符")
        raise BadInput(where, why, Words(f"at most {limit} characters", f"至多 {limit} 个字符"))
    return value
