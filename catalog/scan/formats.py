"""The list of forms that are allowed, and how a file is told: by its content and its name, which must agree.

What is not on the list is refused. What is known to be dangerous or not served is refused with a code of its
own, so that its vendor reads what to do instead.
"""

import re
from pathlib import PurePosixPath

from catalog.scan import archives, pickles
from catalog.scan.findings import Refused
from catalog.scan.source import Source
from catalog.scan.sweep import program_in

BINARY, TEXT = "binary", "text"  # contents that only their check can tell more about

SUFFIXES = {
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".model": "sentencepiece",
    ".spm": "sentencepiece",
    ".npy": "npy",
    ".npz": "npz",
    ".bin": "numbers",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".md": "markdown",
    ".markdown": "markdown",
    ".jinja": "template",
    ".jinja2": "template",
    ".j2": "template",
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".wav": "wav",
    ".flac": "flac",
    ".mp3": "mp3",
    **dict.fromkeys(
        (".txt", ".csv", ".tsv", ".dic", ".dict", ".vocab", ".labels", ".names", ".merges"), TEXT
    ),
    **dict.fromkeys((".cfg", ".ini", ".rst", ".gitattributes", ".lst", ".tokens"), TEXT),
}
_PLAIN_NAMES = re.compile(r"(LICEN[CS]E|NOTICE|README|COPYING|VERSION|AUTHORS|CHANGELOG|CITATION)\b.*", re.I)

REFUSED_SUFFIXES = {
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".pt2", ".mar", ".t7", ".pdparams"),
        "file-pickle",
    ),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), "file-keras"),
    **dict.fromkeys((".pb", ".pbtxt", ".mlmodel", ".pdmodel", ".pdiparams"), "file-saved-model"),
    ".tflite": "file-tflite",
    ".ort": "file-ort",
    **dict.fromkeys(
        (
            ".zip",
            ".tar",
            ".gz",
            ".tgz",
            ".bz2",
            ".xz",
            ".7z",
            ".rar",
            ".zst",
            ".whl",
            ".jar",
            ".apk",
            ".nemo",
        ),
        "file-archive",
    ),
    **dict.fromkeys(
        (".so", ".dll", ".dylib", ".exe", ".o", ".a", ".wasm", ".pyd", ".node", ".pyc", ".class", ".engine"),
        "file-program",
    ),
    **dict.fromkeys(
        (
            ".py",
            ".sh",
            ".bash",
            ".js",
            ".mjs",
            ".bat",
            ".cmd",
            ".ps1",
            ".vbs",
            ".lua",
            ".rb",
            ".pl",
            ".ipynb",
        ),
        "file-script",
    ),
    ".svg": "file-svg",
    **dict.fromkeys((".html", ".htm", ".xhtml", ".xml", ".mhtml"), "file-html"),
    **dict.fromkeys(
        (".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".pdf", ".odt", ".rtf", ".docm"), "file-office"
    ),
    **dict.fromkeys((".gif", ".bmp", ".tiff", ".tif", ".ico", ".heic", ".avif"), "picture-form"),
}

_REFUSED_CONTENT = {
    "pickle": "file-pickle",
    "hdf5": "file-keras",
    "tflite": "file-tflite",
    "ort": "file-ort",
    "archive": "file-archive",
    "program": "file-program",
    "script": "file-script",
    "svg": "file-svg",
    "html": "file-html",
    "office": "file-office",
    "picture": "picture-form",
}
_MARKS = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office"),
    (b"%PDF-", "office"),
    (b"{\\rtf", "office"),
    (b"\x1f\x8b", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\x00", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),
    (b"\x04\x22\x4d\x18", "archive"),
    (b"\x02\x21\x4c\x18", "archive"),
    (b"LZIP\x01", "archive"),
    (b"MSCF\x00\x00\x00\x00", "archive"),
    (b"xar!\x00", "archive"),
    (b"\xed\xab\xee\xdb", "archive"),
    (b"\x00asm", "program"),
    (b"\xca\xfe\xba\xbe", "program"),
    (b"MZ", "program"),
    (b"!<arch>\n", "program"),
    (b"#!", "script"),
    (b"GGUF", "gguf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "picture"),
    (b"II*\x00", "picture"),
    (b"MM\x00*", "picture"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
    (b"\x93NUMPY", "npy"),
    (b"LEXICON1", "lexicon"),
)
_TEXTS = {TEXT, "json", "jsonl", "yaml", "toml", "markdown", "template"}
_CONTENTS = {
    "onnx": {BINARY},
    "sentencepiece": {BINARY},
    "numbers": {BINARY, "lexicon"},
    "mp3": {BINARY, "mp3"},
    **{form: {TEXT} for form in _TEXTS},
}
"""What a form's content may look like at its head; a form that is not here looks like itself."""
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_HTML = re.compile(rb"<(!doctype\s+html|html|head|body|script|iframe|object|embed)\b", re.I)
_SVG = re.compile(rb"<svg\b", re.I)


def form_of(source: Source, path: str, *, external: bool = False) -> str:
    """The form that a file's name and content agree on; refuses all others.

    `external`: a graph names the file as its data, so it may have any name that means nothing else.
    """
    content = content_of(source)
    if code := _REFUSED_CONTENT.get(content):
        raise _refusal(code, source, path)
    form = _named(path, external)
    if content in _CONTENTS.get(form, {form}) or (form == "external" and content in {BINARY, TEXT}):
        return form
    if form in _TEXTS and content == BINARY:
        raise Refused("text-not-utf8")
    raise Refused("file-name-content", name=form, content=content)


def _refusal(code: str, source: Source, path: str) -> Refused:
    if code == "file-archive":  # what its name tells is told better: how a pickle or a document is packed
        code = REFUSED_SUFFIXES.get(PurePosixPath(path).suffix.lower(), code)
    if code != "file-pickle":
        return Refused(code)
    found = pickles.read(source)
    suffix = PurePosixPath(path).suffix
    known = REFUSED_SUFFIXES.get(suffix.lower()) == code
    plain = suffix if known else f"pickle ≠ {suffix}" if suffix else "pickle"
    return Refused(code, names=(found.names[:5] if found else []) or [plain])


def _named(path: str, external: bool) -> str:
    name = PurePosixPath(path).name
    suffix = PurePosixPath(path).suffix.lower() or (name if name.startswith(".") else "")
    if code := REFUSED_SUFFIXES.get(suffix):
        raise Refused(code, names=[suffix])
    if name.startswith(("variables.data-", "saved_model")):
        raise Refused("file-saved-model")
    form = SUFFIXES.get(suffix, "")
    if external and form in ("", "numbers", "sentencepiece"):
        return "external"
    if not form and _PLAIN_NAMES.fullmatch(name):
        return TEXT
    if not form:
        raise Refused("file-unknown", suffix=suffix)
    return form


def content_of(source: Source) -> str:
    """What the file's bytes say that it is, whatever it is called."""
    head = source.head
    if program_in(head[:4096]) and head[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe"):
        return "program"
    for mark, content in _MARKS:
        if head.startswith(mark):
            return content
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02"):
        return archives.content(source)
    if head[4:8] in (b"TFL3", b"ORTM"):
        return {b"TFL3": "tflite", b"ORTM": "ort"}[head[4:8]]
    if head[:4] == b"RIFF":
        return {b"WAVE": "wav", b"WEBP": "webp"}.get(head[8:12], BINARY)
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if archives.is_tar(head) or archives.is_packed(head):
        return "archive"
    if pickles.read(source) is not None:
        return "pickle"
    return _text_or_binary(head, whole=source.size == len(head))


def _text_or_binary(head: bytes, whole: bool) -> str:
    if _CONTROL.search(head):
        return BINARY
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 4:
            return BINARY
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:2048]
    if start.startswith(b"<"):
        if _SVG.search(start):
            return "svg"
        if _HTML.search(start) or start.startswith(b"<?xml"):
            return "html"
    return TEXT
