"""text-classification: a label for each text, by an encoder with a head or by a linear n-gram model.

With the role `tokenizer` the graph takes token ids; with options.analyzer "char-ngram-hash" it takes
`ids` int64 [batch, n] and `weights` float32 [batch, n]. Its first output is logits [batch, labels].
Options: labels, max_tokens, function (softmax | sigmoid: labels that do not exclude each other).
"""

from typing import Any

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.fields import Body, bool_field, texts_field
from deployer.server.labels import labels_of
from deployer.server.model import Model
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array
from deployer.server.text.features import NgramAnalyzer
from deployer.server.text.tokens import TEXTS_SCHEMA, TextEncoder, batches


class TextClassification(GraphPredictor):
    """A classifier over one graph."""

    task = "text-classification"
    schema = TEXTS_SCHEMA

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.labels = labels_of(model, self.graph)
        self.function = model.options.get("function", "softmax")
        if self.function not in ("softmax", "sigmoid"):
            raise BadModel(f"options.function must be softmax or sigmoid, not {self.function!r}")
        width = self.outputs[0].shape[-1] if self.outputs[0].shape else -1
        if width not in (-1, len(self.labels)):
            raise BadModel(f"the graph gives {width} scores for {len(self.labels)} labels")
        self.analyzer, self.encoder = self._text_side(model)

    def _text_side(self, model: Model) -> tuple[NgramAnalyzer | None, TextEncoder | None]:
        if model.has("tokenizer"):
            return None, TextEncoder(model, self.inputs)
        try:
            analyzer = NgramAnalyzer.from_options(model.options)
        except (ValueError, TypeError) as error:
            raise BadModel(f"neither a file `tokenizer` nor a usable options.analyzer: {error}") from error
        if {spec.name for spec in self.inputs} != {"ids", "weights"}:
            raise BadModel("a graph of hashed n-grams takes `ids` and `weights`")
        return analyzer, None

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """{"text": str | [str]} → one result a text, scores of all labels."""
        texts = texts_field(body, "text")
        truncate = bool_field(body, "truncate", False)
        logits, tokens = yield from self._logits(texts, truncate)
        answer: dict[str, Any] = {"results": [self._result(row) for row in self._scores(logits)]}
        if tokens:
            answer["usage"] = {"prompt_tokens": tokens}
        return answer

    def _logits(self, texts: list[str], truncate: bool) -> Work[tuple[Array, int]]:
        name = self.outputs[0].name
        if self.analyzer is not None:
            ids, weights = self.analyzer.batch(texts)
            features: dict[str, Array] = {"ids": ids, "weights": weights}
            return (yield from self.run(features, [name], {"ids": 0, "weights": 0}))[name], 0
        assert self.encoder is not None
        items = self.encoder.encode(texts, where="text", truncate=truncate)
        logits = np.empty((len(items), len(self.labels)), np.float32)
        for group in batches(items):
            feeds = self.encoder.feeds([items[index] for index in group])
            logits[group] = (yield from self.run(feeds, [name], self.encoder.pads))[name]
        return logits, sum(len(item.ids) for item in items)

    def _scores(self, logits: Array) -> Array:
        logits = logits.astype(np.float64)
        if self.function == "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-logits)))
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def _result(self, scores: Array) -> dict[str, Any]:
        named = {label: round(float(score), 6) for label, score in zip(self.labels, scores, strict=True)}
        best = self.labels[int(scores.argmax())]
        return {"label": best, "score": named[best], "scores": named}


def load(model: Model) -> TextClassification:
    """A folder with the role `model`, labels, and a tokenizer or an analyzer."""
    return TextClassification(model)
