"""The check of each allowed form, and the end of a file, where a second form could stand."""

from collections.abc import Callable, Iterator

from catalog.scan import (
    archives,
    arrays,
    gguf_file,
    markdown_text,
    onnx_external,
    onnx_file,
    pickles,
    pictures,
    safetensors_file,
    sentencepiece_file,
    sounds,
    templates,
    texts,
)
from catalog.scan.findings import Refused, Report
from catalog.scan.source import Source

Check = Callable[[Source, Report], None]

CHECKS: dict[str, Check] = {
    "onnx": onnx_file.check,
    "safetensors": safetensors_file.check,
    "gguf": gguf_file.check,
    "sentencepiece": sentencepiece_file.check,
    "npy": arrays.npy,
    "npz": arrays.npz,
    "numbers": arrays.numbers,
    "json": texts.json_file,
    "jsonl": texts.json_lines,
    "yaml": texts.yaml_file,
    "toml": texts.toml_file,
    "text": texts.plain,
    "markdown": markdown_text.check,
    "template": templates.template_file,
    "png": pictures.png,
    "jpeg": pictures.jpeg,
    "webp": pictures.webp,
    "wav": sounds.wav,
    "flac": sounds.flac,
    "mp3": sounds.mp3,
}
external = onnx_external.check


_HDF5 = b"\x89HDF\r\n\x1a\n"


def refuse_polyglot(source: Source, form: str) -> None:
    """Refuse a file that is also a zip from its end, a pickle or document at its head, or HDF5 further on."""
    if pickles.is_also_one(source):
        raise Refused("file-polyglot", other="pickle")
    if any(source.mapped[at : at + 8] == _HDF5 for at in _hdf5_places(source.size)):
        raise Refused("file-polyglot", other="HDF5")
    if form != "npz" and archives.ends_as_zip(source):
        raise Refused("file-polyglot", other="zip")
    if b"%PDF-" in source.head[:1024] and form not in ("text", "markdown"):
        raise Refused("file-polyglot", other="pdf")


def _hdf5_places(size: int) -> Iterator[int]:
    """Where that library looks for its mark: at 0, 512, 1024 and so on, twice as far each time."""
    place = 512
    while place < size:
        yield place
        place *= 2
