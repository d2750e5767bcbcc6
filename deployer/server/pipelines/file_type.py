"""What a file is, by its content: Google's Magika model over the first and the last bytes.

The file's ends, stripped of white space, are laid side by side as numbers (256 where there is no byte).
Files: `model`, `config` (sizes, labels, thresholds) and `content_types` (MIME type, group and description
of each label). A guess below its label's threshold is answered with plain `txt` or `unknown` instead.
"""

from typing import Any

import numpy as np

from deployer.server.errors import BadInput, BadModel, Words
from deployer.server.fields import Body, bytes_field, text_field
from deployer.server.model import Model
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array

_BASE64 = {"type": "string", "contentEncoding": "base64"}
_GENERIC = ("txt", "unknown")  # labels that say nothing about a name
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["file"],
    "x-field": "file",
    "properties": {
        "file": {
            "description": "any file",
            "x-accepts": ["*/*"],
            "anyOf": [
                {"type": "object", "required": ["base64"], "properties": {"base64": _BASE64}},
                _BASE64,
            ],
        },
        "name": {"type": "string", "description": "its name, to be held against its content"},
    },
}


class FileTypes(GraphPredictor):
    """One graph from bytes to labels."""

    task = "file-type"
    schema = _SCHEMA

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.config: dict[str, Any] = model.json("config")
        self.kinds: dict[str, dict[str, Any]] = model.json("content_types")
        self.labels: list[str] = self.config["target_labels_space"]
        if self.config.get("mid_size") or self.config.get("use_inputs_at_offsets"):
            raise BadModel("config: features from a file's middle are not supported")
        if self.outputs[0].shape[-1] != len(self.labels):
            raise BadModel(f"the graph has {self.outputs[0].shape[-1]} labels, config {len(self.labels)}")

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """The label with its score, MIME type, group and description; with `name`, whether that fits."""
        data = bytes_field(body, "file")
        label, score = yield from self.guess(data)
        kind = self.kinds.get(label, {})
        endings = kind.get("extensions") or []
        answer = {
            "label": label,
            "score": round(score, 4),
            "mime": kind.get("mime_type") or "application/octet-stream",
            "group": kind.get("group") or "unknown",
            "description": kind.get("description") or label,
            "extensions": endings,
        }
        if "name" in body:
            name = text_field(body, "name", limit=1024).lower()
            told = endings and label not in _GENERIC
            answer["name_fits"] = any(name.endswith("." + ending) for ending in endings) if told else None
        return answer

    def guess(self, data: bytes) -> Work[tuple[str, float]]:
        """Label and score of a file; a few bytes are told apart without the model."""
        numbers = self.features(data)
        least = self.config["min_file_size_for_dl"]
        if len(data) < least or numbers[least - 1] == self.config["padding_token"]:
            return _few_bytes(data[: self.config["block_size"]]), 1.0
        answer = yield from self.run({self.inputs[0].name: numbers[None]}, [self.outputs[0].name])
        scores = answer[self.outputs[0].name][0]
        best = int(scores.argmax())
        return self.trusted(self.labels[best], float(scores[best])), float(scores[best])

    def features(self, data: bytes) -> Array:
        """int32 [first + last bytes]: both ends of the file, padded at the seam."""
        block, first, last = (self.config[name] for name in ("block_size", "beg_size", "end_size"))
        numbers = np.full(first + last, self.config["padding_token"], np.int32)
        head = data[:block].lstrip()[:first]
        tail = data[-block:].rstrip()[-last:]
        numbers[: len(head)] = np.frombuffer(head, np.uint8)
        numbers[first + last - len(tail) :] = np.frombuffer(tail, np.uint8)
        return numbers

    def trusted(self, label: str, score: float) -> str:
        """The label to answer: the guess, a plainer name for it, or only text or not when it is unsure."""
        answer = str(self.config["overwrite_map"].get(label, label))
        if score >= self.config["thresholds"].get(label, self.config["medium_confidence_threshold"]):
            return answer
        return "txt" if self.kinds.get(answer, {}).get("is_text") else "unknown"


def load(model: Model) -> FileTypes:
    """Read the files `model`, `config` and `content_types`."""
    return FileTypes(model)


def _few_bytes(data: bytes) -> str:
    if not data:
        raise BadInput("file", Words("is empty", "是空的"))
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown"
    return "txt"
