"""First examples of a listing: what a request of each task looks like, and what may be expected of it.

`deployer.examples` holds answers against expectations; its matchers are told here to those who write them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MATCHERS = {
    "en": (
        "What must be true of the answer, and no more: objects may have further keys, lists have as many "
        "items. In place of a value: {$near: 0.93, $abs: 0.01} a number no further away than that; "
        "{$min: x} and {$max: x} bounds; {$contains: part} of a text or list; {$start: [...]} how a list "
        "begins; {$len: n}; {$any: [...]} each is matched by some item of a list"
    ),
    "zh": (
        "只写回答中必须成立的部分：对象可以有别的键，列表的项数须相同。值的位置上可以写："
        "{$near: 0.93, $abs: 0.01} 相差不超过 0.01；{$min: x}、{$max: x} 上下限；"
        "{$contains: 片段} 文本或列表包含它；{$start: [...]} 列表的开头；{$len: n} 长度；"
        "{$any: [...]} 列表中各有一项符合"
    ),
}
ANY_LABEL = {"$any": [{"label": "…", "score": {"$min": 0.5}}]}
_TEXT, _PICTURE, _SOUND = {"text": "…"}, {"image": {"$file": "photo.jpg"}}, {"audio": {"$file": "speech.wav"}}
TEMPLATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text-classification": (_TEXT, {"results": [{"label": "…", "score": {"$min": 0.5}}]}),
    "token-classification": (
        _TEXT,
        {"results": [{"entities": {"$any": [{"text": "…", "label": "…"}]}}]},
    ),
    "feature-extraction": (_TEXT, {"dimensions": 384, "embeddings": {"$len": 1}}),
    "sentence-similarity": (
        {"source": "…", "sentences": ["…", "…"]},
        {"scores": [{"$min": 0.5}, {"$max": 0.5}]},
    ),
    "text-to-speech": (_TEXT, {"duration": {"$min": 0.5}}),
    "image-classification": (_PICTURE, {"results": {"$start": [{"label": "…", "score": {"$min": 0.5}}]}}),
    "object-detection": (_PICTURE, {"results": ANY_LABEL}),
    "image-segmentation": (_PICTURE, {"results": ANY_LABEL}),
    "document-layout": (_PICTURE, {"regions": ANY_LABEL}),
    "image-to-text": (_PICTURE, {"lines": {"$any": [{"text": "…", "score": {"$min": 0.5}}]}}),
    "automatic-speech-recognition": (_SOUND, {"text": {"$contains": "…"}}),
    "voice-activity-detection": (_SOUND, {"segments": [{"start": {"$near": 0.3, "$abs": 0.1}}]}),
    "file-type": ({"file": {"$file": "table.csv"}}, {"label": "csv", "score": {"$min": 0.5}}),
    "tabular-classification": ({"rows": [[5.1, 3.5]]}, {"results": [{"label": "…"}]}),
    "tabular-regression": ({"rows": [[5.1, 3.5]]}, {"results": [{"value": {"$near": 1.5, "$abs": 0.1}}]}),
    "tensors": (
        {"inputs": {"x": [[0.5, 0.5, 0.5]]}},
        {"outputs": {"y": [[{"$near": 0.93, "$abs": 0.01}, {"$min": 0}, {"$max": 1}]]}},
    ),
}
"""A request of each task, and an expectation: `…` and the numbers are to be replaced."""
_SAYINGS = {
    "zh": ("快递第二天就到了，包装完好，很满意。", "包裹很快，没有破损。", "今天下雨。"),
    "en": ("It arrived the next day, well packed.", "The parcel came fast and whole.", "It rains today."),
}
_MEDIA = {
    "image": (".png", ".jpg", ".jpeg", ".webp"),
    "audio": (".wav", ".flac", ".mp3"),
    "file": (".csv", ".md", ".txt", ".json"),
}
LARGEST_MEDIA = 60_000  # bytes, as in catalog.offer
MOST_VALUES = 4096  # of a request's tensors
LONGEST_TEXT = 200  # characters of an answer's text that are expected
MOST_ITEMS, FIRST_ITEMS = 8, 4  # of a list that is expected whole, and otherwise from its start
LONGEST_EXPECT = 8000  # characters as JSON
DEEPEST = 16
HUGE = 1e300  # numbers beyond it cannot be rounded up


def example(request: Mapping[str, Any], expect: Any = None) -> dict[str, Any]:
    """As market.yaml has it."""
    told = {"title": {"zh": "示例", "en": "An example"}, "request": dict(request)}
    return told if expect is None else {**told, "expect": expect}


def template(task: str) -> dict[str, Any]:
    """An example of a task to fill in; one of tensors where it has none of its own."""
    return example(*TEMPLATES.get(task, TEMPLATES["tensors"]))


def request_for(task: str, folder: Path, language: str) -> dict[str, Any] | None:
    """Something to send to a model of this task: a sentence, or a small file that lies beside the model."""
    if task not in TEMPLATES:
        return None
    request = TEMPLATES[task][0]
    one, *others = _SAYINGS["zh" if language == "zh" else "en"]
    if "text" in request:
        return {"text": one}
    if "source" in request:
        return {"source": one, "sentences": others}
    kind = next(iter(request))
    for path in sorted(folder.iterdir()) if kind in _MEDIA else ():
        plain = path.is_file() and not path.is_symlink() and 0 < path.stat().st_size <= LARGEST_MEDIA
        if plain and path.suffix.lower() in _MEDIA[kind] and not path.name.startswith(("card.", ".")):
            return {kind: {"$file": path.name}}
    return None


def request_of_tensors(inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Plain values for each input (name, dtype, shape; a free axis is None); None where they are too many."""
    found, values = {}, 0
    for tensor in inputs:
        shape = [1 if axis is None else int(axis) for axis in tensor["shape"]]
        values += math.prod(shape)
        if values > MOST_VALUES or len(shape) > DEEPEST:
            return None
        found[str(tensor["name"])] = _filled(_value(str(tensor["dtype"])), shape)
    if not found:
        return None
    return {"rows": next(iter(found.values()))} if len(found) == 1 else {"inputs": found}


def _value(dtype: str) -> Any:
    if dtype == "string":
        return "text"
    return False if dtype == "bool" else 1 if "int" in dtype else 0.5


def _filled(value: Any, shape: Sequence[int]) -> Any:
    if not shape:
        return value
    return [_filled(value, shape[1:]) for _place in range(shape[0])]


def expectation_of(answer: Any) -> Any:
    """An answer as an expectation that also holds on another machine; None where little would be left."""
    found = _loosened(answer)
    return found if found and len(json.dumps(found)) <= LONGEST_EXPECT else None


def _loosened(value: Any, depth: int = 0) -> Any:
    """`{}`, which anything matches as an item of a list, stands for what is too long or too deep."""
    if isinstance(value, float) and abs(value) < HUGE:
        room = max(0.002, 0.02 * abs(value))
        return {"$near": float(f"{value:.4g}"), "$abs": float(f"{room:.1g}")}
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else {"$len": {"$min": 1}}
    if isinstance(value, list) and depth < DEEPEST:
        if len(value) > MOST_ITEMS:
            return {"$len": len(value), "$start": [_loosened(v, depth + 1) for v in value[:FIRST_ITEMS]]}
        return [_loosened(item, depth + 1) for item in value]
    if isinstance(value, dict) and depth < DEEPEST:
        # What was used, and the scores of all labels beside the best one's, say nothing about being right.
        left_out = {"usage", "scores"} if "label" in value else {"usage"}
        return {k: _loosened(v, depth + 1) for k, v in value.items() if k not in left_out}
    return {"$len": {"$min": 0}}
