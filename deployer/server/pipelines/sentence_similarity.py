"""sentence-similarity: how near sentences lie to one text in meaning, by the cosine of their vectors.

A folder of feature-extraction, with the same options; /v1/embeddings is answered too.
"""

from typing import Any

import numpy as np

from deployer.server.fields import Body, bool_field, text_field, texts_field
from deployer.server.model import Model
from deployer.server.pipelines.feature_extraction import FeatureExtraction
from deployer.server.predictor import Work
from deployer.server.signature import Array

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["source", "sentences"],
    "x-field": "source",
    "properties": {
        "source": {"type": "string", "minLength": 1},
        "sentences": {
            "type": ["array", "string"],
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
            "maxItems": 256,
        },
        "truncate": {"type": "boolean", "default": False},
    },
}


class SentenceSimilarity(FeatureExtraction):
    """An encoder whose vectors are held against each other."""

    task = "sentence-similarity"
    schema = _SCHEMA

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """{"source", "sentences"} → a score from -1 to 1 for each sentence, in their order."""
        source, sentences = text_field(body, "source"), texts_field(body, "sentences")
        truncate = bool_field(body, "truncate", False)
        items = self.encoder.encode([source], where="source", truncate=truncate)
        items += self.encoder.encode(sentences, where="sentences", truncate=truncate)
        vectors = yield from self.vectors(items)
        scores = [round(score, 6) for score in cosines(vectors[0], vectors[1:]).tolist()]
        return {"scores": scores, "usage": {"prompt_tokens": sum(len(item.ids) for item in items)}}


def load(model: Model) -> SentenceSimilarity:
    """A folder with the roles `model` and `tokenizer`."""
    return SentenceSimilarity(model)


def cosines(one: Array, others: Array) -> Array:
    """The cosine of a vector [d] with each of others [n, d]; 0 where a vector is empty."""
    one, others = one.astype(np.float64), others.astype(np.float64)
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(one)
    return np.asarray(np.clip(others @ one / np.maximum(lengths, 1e-12), -1.0, 1.0))
