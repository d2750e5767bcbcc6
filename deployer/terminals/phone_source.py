"""Texts of strangers in source code: literals of Kotlin, Swift, XML and .strings, and a model's constants.

A title or label may hold anything; nothing of it may end a literal or start an expression in one.
"""

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

Constants = Mapping[str, Any]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|[\ud800-\udfff]")
_TURNING = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # makes code read other than it is

COMMENTS = {
    "TASK": "The catalogue's name of what the model does.",
    "INPUTS": "What the model takes; -1 is a free axis.",
    "OUTPUTS": "What the model gives.",
    "OUTPUT": "The output that the answer is read from.",
    "WIDTH": "Pixels of the picture before the centre is cut out.",
    "RESIZE_SHORT": "The short side that pictures are scaled to with their sides in proportion; 0: not so.",
    "CROP_WIDTH": "Pixels of the centre that the model sees.",
    "JPEG": "Whether the scaled picture passes through JPEG first.",
    "FILTER": "How pictures are scaled: nearest, bilinear, bicubic or lanczos.",
    "CHANNELS": "The order of the colours, or L for grey.",
    "LAYOUT": "Whether the colours are axis 1 (NCHW) or the last one (NHWC).",
    "SCALE": "The input is (pixel × scale - mean) / std.",
    "ACTIVATION": "How the model's scores become probabilities.",
    "TOP_K": "How many labels are shown.",
    "OUTPUT_LAYOUT": "Whether the labels are axis 1 of the output (NCHW) or the last one (NHWC).",
    "NUMBERED": "Whether the output holds numbers of labels in place of their probabilities.",
    "EXCLUSIVE": "Whether a pixel belongs to the likeliest label alone.",
    "THRESHOLD": "From which probability on a pixel is the label's.",
    "LEAST_AREA": "Labels that take a smaller share of the picture are not shown.",
    "HIDDEN": "Labels of the background.",
    "SHORTEST": "Characters of the shortest n-grams.",
    "LONGEST": "Characters of the longest n-grams.",
    "BUCKETS": "How many n-grams the model tells apart.",
    "FORM": "The form of Unicode that texts are brought into.",
    "FIRST": "The token that begins a text.",
    "LAST": "The token that ends a text.",
    "UNKNOWN": "The token of words that the model does not know.",
    "MOST_TOKENS": "What the model reads; longer texts are cut.",
    "LONGEST_WORD": "Characters of the longest word that is looked up.",
    "SPLIT_CHINESE": "Whether every Chinese character is a word.",
    "POOLING": "How one vector is made of those of all tokens.",
    "NORMALIZE": "Whether vectors are brought to the length 1.",
    "EXAMPLE": "What the app starts with.",
}


# Literals


def kotlin(text: str) -> str:
    """A text as a literal of Kotlin."""
    return _quoted(text, {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n"}, r"\u{:04x}")


def swift(text: str) -> str:
    """A text as a literal of Swift."""
    return _quoted(text, {"\\": "\\\\", '"': '\\"', "\n": "\\n"}, r"\u{{{:x}}}")


def strings(text: str) -> str:
    """A text on one line as a value of a .strings file."""
    return _quoted(line(text), {"\\": "\\\\", '"': '\\"'}, r"\U{:04x}")


def xml(text: str) -> str:
    """A text on one line as a string resource of Android: escaped for XML and for aapt."""
    plain = re.sub(r"([\\'\"@?])", r"\\\1", line(text))
    return escape(plain)


def line(text: str, most: int = 100) -> str:
    """A text on one line, without what no font shows; cut, and never empty."""
    plain = " ".join(_TURNING.sub("", _CONTROL.sub(" ", text)).split())
    return plain[:most] or "OPC Market"


def _quoted(text: str, escapes: Mapping[str, str], code: str) -> str:
    made = []
    for character in text:
        if character in escapes:
            made.append(escapes[character])
        elif "\ud800" <= character <= "\udfff":
            made.append("?")  # half of a character is none
        elif _CONTROL.match(character) or _TURNING.match(character):
            made.append(code.format(ord(character)))
        else:
            made.append(character)
    return f'"{"".join(made)}"'


def identifier(text: str) -> str:
    """A part of an app's id: letters, digits and _, a letter first."""
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return f"m_{plain or 'model'}"[:50]


# Constants


def kotlin_spec(constants: Constants) -> str:
    """ModelSpec.kt"""
    lines = [
        "package market.sample",
        "",
        "/** What this model takes and gives, and how its inputs are prepared. */",
    ]
    lines += ["object ModelSpec {"]
    for name, value in constants.items():
        if name in COMMENTS:
            lines.append(f"    /** {COMMENTS[name]} */")
        lines.append(f"    {_kotlin_constant(name, value)}")
    return "\n".join([*lines, "}", ""])


def _kotlin_constant(name: str, value: Any) -> str:
    if isinstance(value, str):
        return f"const val {name} = {kotlin(value)}"
    if isinstance(value, bool | int | float):
        return f"const val {name} = {_number(value)}"
    if value and isinstance(value[0], float):
        return f"val {name} = doubleArrayOf({', '.join(map(_number, value))})"
    if value and isinstance(value[0], dict):
        rows = [f"        {_kotlin_tensor(one)}," for one in value]
        return "\n".join([f"val {name} = listOf(", *rows, "    )"])
    return f"val {name}: Set<String> = setOf({', '.join(map(kotlin, value))})"


def _kotlin_tensor(told: Mapping[str, Any]) -> str:
    shape = ", ".join(map(str, told["shape"]))
    return f"Tensor({kotlin(told['name'])}, {kotlin(told['datatype'])}, longArrayOf({shape}))"


def swift_spec(constants: Constants) -> str:
    """ModelSpec.swift"""
    lines = ["/// What this model takes and gives, and how its inputs are prepared."]
    lines += ["enum ModelSpec {"]
    for name, value in constants.items():
        if name in COMMENTS:
            lines.append(f"    /// {COMMENTS[name]}")
        lines.append(f"    {_swift_constant(name, value)}")
    return "\n".join([*lines, "}", ""])


def _swift_constant(name: str, value: Any) -> str:
    first, *rest = name.lower().split("_")
    own = first + "".join(part.capitalize() for part in rest)
    if isinstance(value, str):
        return f"static let {own} = {swift(value)}"
    if isinstance(value, float):
        return f"static let {own}: Double = {_number(value)}"
    if isinstance(value, bool | int):
        return f"static let {own} = {_number(value)}"
    if value and isinstance(value[0], float):
        return f"static let {own}: [Double] = [{', '.join(map(_number, value))}]"
    if value and isinstance(value[0], dict):
        rows = [f"        {_swift_tensor(one)}," for one in value]
        return "\n".join([f"static let {own}: [Tensor] = [", *rows, "    ]"])
    return f"static let {own}: Set<String> = [{', '.join(map(swift, value))}]"


def _swift_tensor(told: Mapping[str, Any]) -> str:
    shape = ", ".join(map(str, told["shape"]))
    return f"Tensor(name: {swift(told['name'])}, datatype: {swift(told['datatype'])}, shape: [{shape}])"


def _number(value: float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
