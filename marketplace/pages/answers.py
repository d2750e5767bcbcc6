"""The try-it box: from what a person filled in to a request, and from an answer to something readable."""

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

SHOWN_WIDTH = 960  # pixels of a picture that is shown with its answer
MOST_PIXELS = 50_000_000  # of a picture that the shop itself decodes: what the person at the page has sent
MOST_LINES = 32
NUMBERS_SHOWN = 6
MASKS_SHOWN = 6
LETTERS_SHOWN = 2000


# What reading an answer of another form raises, or the pictures in it.
_UNREADABLE = (OSError, UnidentifiedImageError, Image.DecompressionBombError)
_UNFIT = (KeyError, IndexError, TypeError, ValueError, AttributeError, *_UNREADABLE)


@dataclass(frozen=True)
class Picture:
    """A picture made small enough to show; `scale` leads from its own pixels to the shown ones."""

    uri: str
    width: int
    height: int
    scale: float


@dataclass
class Shown:
    """An answer prepared for the template: which form, its values, and the raw JSON."""

    form: str
    values: dict[str, Any] = field(default_factory=dict)
    raw: Any = None


def lines_of(text: str) -> str | list[str]:
    """Several lines are several texts, one line is one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()][:MOST_LINES]
    return lines if len(lines) > 1 else text.strip()


def text_of(request: dict[str, Any]) -> str:
    """The text of an example as the text area takes it."""
    text = request.get("text", "")
    return "\n".join(text) if isinstance(text, list) else str(text)


def to_text(request: dict[str, Any]) -> str:
    """A request as JSON that a person can change."""
    return json.dumps(request, ensure_ascii=False, indent=2)


def media_of(request: dict[str, Any], name: str) -> bytes | None:
    """The bytes of a picture, recording or file in a request."""
    value = request.get(name)
    encoded = value.get("base64") if isinstance(value, dict) else value
    if not isinstance(encoded, str):
        return None
    try:
        return base64.b64decode(encoded)
    except ValueError:
        return None


def encode_media(content: bytes) -> dict[str, str]:
    """Bytes as /predict takes them in JSON."""
    return {"base64": base64.b64encode(content).decode()}


def thumbnail(content: bytes, width: int) -> bytes | None:
    """A small WebP of a picture, or None when it is none, or too large to be drawn here."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                return None
            opened.thumbnail((width, width))
            out = io.BytesIO()
            opened.convert("RGB").save(out, "WEBP", quality=70)
            return out.getvalue()
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def picture(content: bytes | None) -> Picture | None:
    """The picture that was sent, to draw an answer upon."""
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content)) as opened:
            own_width = opened.width
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    small = thumbnail(content, SHOWN_WIDTH)
    if small is None:
        return None
    with Image.open(io.BytesIO(small)) as shown:
        width, height = shown.size
    uri = "data:image/webp;base64," + base64.b64encode(small).decode()
    return Picture(uri, width, height, width / own_width)


@dataclass(frozen=True)
class CutOut:
    """What a mask leaves of a picture, the mask itself (both as shown), and what is said of it."""

    uri: str
    mask: str
    label: str
    score: float
    area: float


def cut_out(content: bytes, result: dict[str, Any]) -> CutOut:
    """The part of a picture that a result's mask shows, the rest transparent; raises what Pillow raises."""
    with (
        Image.open(io.BytesIO(content)) as sent,
        Image.open(io.BytesIO(media_of(result, "mask") or b"")) as kept,
    ):
        if sent.width * sent.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        upright = ImageOps.exif_transpose(sent).convert("RGB")
        upright.thumbnail((SHOWN_WIDTH, SHOWN_WIDTH))
        mask = kept.convert("L").resize(upright.size)
    upright.putalpha(mask)
    return CutOut(_uri(upright), _uri(mask), result["label"], float(result["score"]), float(result["area"]))


def _uri(shown: Image.Image) -> str:
    """A picture as WebP in a data address."""
    out = io.BytesIO()
    shown.save(out, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def present(task: str, request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    """An answer of a task in the form that people read; a form that does not fit falls back to JSON."""
    make = _FORMS.get(task)
    if make is None:
        return Shown("json", raw=answer)
    try:
        shown = make(request, answer)
    except _UNFIT:
        return Shown("json", raw=shorten(answer))
    shown.raw = shorten(answer)
    return shown


def shorten(value: Any) -> Any:
    """Long lists of numbers and long texts cut to their beginnings, so that JSON stays readable."""
    if isinstance(value, str) and len(value) > LETTERS_SHOWN:
        return f"{value[:LETTERS_SHOWN]} … {len(value)}"
    if isinstance(value, dict):
        return {key: shorten(inner) for key, inner in value.items()}
    if isinstance(value, list):
        if len(value) > NUMBERS_SHOWN and all(isinstance(v, int | float) for v in value):
            return [*value[:NUMBERS_SHOWN], f"… {len(value)}"]
        return [shorten(inner) for inner in value]
    return value


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine similarity; 0 where a vector is empty."""
    norm = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else 0.0


def _texts(request: dict[str, Any]) -> list[str]:
    text = request["text"]
    return text if isinstance(text, list) else [text]


def _similarity(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    vectors = answer["embeddings"]
    return Shown(
        "similarity",
        {
            "texts": _texts(request),
            "matrix": [[cosine(a, b) for b in vectors] for a in vectors],
            "dimensions": answer["dimensions"],
            "first": [round(x, 4) for x in vectors[0][:NUMBERS_SHOWN]],
        },
    )


def _text_labels(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    rows = []
    for text, result in zip(_texts(request), answer["results"], strict=True):
        scores = result.get("scores") or {result["label"]: result["score"]}
        ordered = sorted(scores.items(), key=lambda item: -item[1])
        rows.append({"text": text, "label": result["label"], "scores": ordered})
    return Shown("labels", {"rows": rows, "picture": None})


def _image_labels(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    scores = [(r["label"], r["score"]) for r in answer["results"]]
    return Shown(
        "labels",
        {
            "rows": [{"text": "", "label": scores[0][0], "scores": scores}],
            "picture": picture(media_of(request, "image")),
        },
    )


def _entities(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    rows = []
    for text, result in zip(_texts(request), answer["results"], strict=True):
        rows.append({"pieces": _pieces(text, result["entities"]), "tokens": result["tokens"]})
    return Shown("entities", {"rows": rows})


def _pieces(text: str, entities: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The text cut at its entities: (part, label or nothing)."""
    pieces, at = [], 0
    for entity in sorted(entities, key=lambda e: e["start"]):
        if entity["start"] < at:
            continue
        pieces += [(text[at : entity["start"]], ""), (text[entity["start"] : entity["end"]], entity["label"])]
        at = entity["end"]
    pieces.append((text[at:], ""))
    return [(part, label) for part, label in pieces if part]


def _points(box: list[list[float]], scale: float) -> str:
    return " ".join(f"{x * scale:.1f},{y * scale:.1f}" for x, y in box)


def _read_lines(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    sent = picture(media_of(request, "image"))
    boxes = [_points(line["box"], sent.scale) for line in answer["lines"]] if sent else []
    return Shown(
        "reading", {"text": answer["text"], "lines": answer["lines"], "picture": sent, "polygons": boxes}
    )


def _objects(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    sides = ("xmin", "ymin", "xmax", "ymax")
    regions = [{**found, "box": [found["box"][side] for side in sides]} for found in answer["results"]]
    return _regions(request, {"regions": regions})


def _masks(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    content = media_of(request, "image")
    if content is None:
        raise ValueError("no picture")
    parts = [cut_out(content, result) for result in answer["results"][:MASKS_SHOWN]]
    return Shown("masks", {"parts": parts, "more": len(answer["results"]) - len(parts)})


def _likeness(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    sentences = request["sentences"]
    pairs = zip(sentences if isinstance(sentences, list) else [sentences], answer["scores"], strict=True)
    ordered = sorted(pairs, key=lambda pair: -pair[1])
    row = {"text": request["source"], "label": ordered[0][0], "scores": ordered}
    return Shown("labels", {"rows": [row], "picture": None})


def _rows(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    """Each row with what the model makes of it: a value, or a label with its score."""
    given = request["rows"]
    rows = []
    for row, result in zip(given if isinstance(given, list) else [given], answer["results"], strict=True):
        told = row.items() if isinstance(row, dict) else enumerate(row, 1)
        rows.append({"cells": [f"{name}: {value}" for name, value in told], **result})
    return Shown("rows", {"rows": rows})


def _spoken(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    sound = media_of(answer, "audio")
    if not sound or not sound.startswith(b"RIFF"):
        raise ValueError("no sound")
    uri = f"data:audio/wav;base64,{answer['audio']['base64']}"
    return Shown("sound", {"uri": uri, "duration": float(answer["duration"]), "voice": answer["voice"]})


def _regions(request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    sent = picture(media_of(request, "image"))
    boxes = []
    for number, region in enumerate(answer["regions"], 1):
        x0, y0, x1, y1 = region["box"]
        scale = sent.scale if sent else 1.0
        corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
        boxes.append({"points": _points(corners, scale), "x": x0 * scale, "y": y0 * scale, "number": number})
    return Shown("regions", {"regions": answer["regions"], "picture": sent, "boxes": boxes})


def _speech(_request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    duration = float(answer["duration"]) or 1.0
    bars = [
        {"x": 1000 * s["start"] / duration, "width": max(2.0, 1000 * (s["end"] - s["start"]) / duration)}
        for s in answer["segments"]
    ]
    return Shown(
        "speech",
        {
            "segments": answer["segments"],
            "bars": bars,
            "duration": duration,
            "ratio": answer["speech_ratio"],
        },
    )


def _file_type(_request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    keys = ("label", "description", "mime", "group", "score")
    return Shown("filetype", {key: answer.get(key) for key in keys})


def _heard(_request: dict[str, Any], answer: dict[str, Any]) -> Shown:
    lines = [{"start": s["start"], "end": s["end"], "text": s["text"]} for s in answer["segments"]]
    values = {"text": answer["text"], "lines": lines, "language": answer["language"]}
    return Shown("heard", values | {"duration": float(answer["duration"])})


_FORMS = {
    "automatic-speech-recognition": _heard,
    "feature-extraction": _similarity,
    "text-classification": _text_labels,
    "image-classification": _image_labels,
    "token-classification": _entities,
    "image-segmentation": _masks,
    "image-to-text": _read_lines,
    "document-layout": _regions,
    "object-detection": _objects,
    "sentence-similarity": _likeness,
    "tabular-classification": _rows,
    "tabular-regression": _rows,
    "text-to-speech": _spoken,
    "voice-activity-detection": _speech,
    "file-type": _file_type,
}
