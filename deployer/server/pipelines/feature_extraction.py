"""feature-extraction: texts to vectors, by a BERT-like encoder with mean or first-token pooling.

Options: pooling (mean | cls), normalize (L2), max_tokens (the effective context), output (which of the
graph's outputs; a rank-2 output is taken as pooled already).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.fields import Body, bool_field, texts_field
from deployer.server.model import Model
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array
from deployer.server.text.tokens import TEXTS_SCHEMA, TextEncoder, Tokens, batches


class FeatureExtraction(GraphPredictor):
    """An encoder over one graph."""

    task = "feature-extraction"
    schema = TEXTS_SCHEMA

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        options = model.options
        self.encoder = TextEncoder(model, self.inputs)
        self.pooling = options.get("pooling", "mean")
        self.normalize = bool(options.get("normalize", True))
        self.output = str(options.get("output", self.outputs[0].name))
        if self.pooling not in ("mean", "cls"):
            raise BadModel(f"options.pooling must be mean or cls, not {self.pooling!r}")
        if self.output not in [spec.name for spec in self.outputs]:
            raise BadModel(f"options.output names no output of the graph: {self.output!r}")

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """{"text": str | [str]} → embeddings in the same order."""
        truncate = bool_field(body, "truncate", False)
        vectors, tokens = yield from self.embed(texts_field(body, "text"), where="text", truncate=truncate)
        return {
            "embeddings": vectors,
            "dimensions": vectors.shape[1],
            "usage": {"prompt_tokens": tokens},
        }

    def embed(self, texts: list[str], *, where: str, truncate: bool) -> Work[tuple[Array, int]]:
        """Vectors float32 [n, d] in the order of the texts, and the number of tokens read."""
        items = self.encoder.encode(texts, where=where, truncate=truncate)
        return (yield from self.vectors(items)), sum(len(item.ids) for item in items)

    def vectors(self, items: Sequence[Tokens]) -> Work[Array]:
        """Vectors float32 [n, d] of texts that are tokens already, in their order."""
        rows: list[Array] = [np.empty(0)] * len(items)
        for group in batches(items):
            feeds = self.encoder.feeds([items[index] for index in group])
            hidden = (yield from self.run(feeds, [self.output], self.encoder.pads))[self.output]
            pooled = self._pool(hidden, feeds.get("attention_mask", np.ones(hidden.shape[:2])))
            for index, vector in zip(group, pooled, strict=True):
                rows[index] = vector
        return np.stack(rows).astype(np.float32)

    def _pool(self, hidden: Array, mask: Array) -> Array:
        hidden = hidden.astype(np.float32)
        if hidden.ndim == 2:
            vectors = hidden
        elif self.pooling == "cls":
            vectors = hidden[:, 0]
        else:
            weights = mask[..., None].astype(np.float32)
            vectors = (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
        if self.normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.asarray(vectors)


def load(model: Model) -> FeatureExtraction:
    """A folder with the roles `model` and `tokenizer`."""
    return FeatureExtraction(model)
