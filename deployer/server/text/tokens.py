"""Text to token ids through a model's tokenizer.json, padded for a batch, never cut unasked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from deployer.server.errors import BadInput, BadModel, Words
from deployer.server.model import Model
from deployer.server.signature import Array, TensorSpec

if TYPE_CHECKING:
    from tokenizers import Encoding

DEFAULT_MAX_TOKENS = 512
TEXTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1},
        "truncate": {"type": "boolean", "default": False},
    },
    "required": ["text"],
    "x-field": "text",
}
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Tokens:
    """One text's ids and segment ids, special tokens included."""

    ids: list[int]
    types: list[int]


class TextEncoder:
    """A tokenizer with the model's effective context and the graph's own choice of inputs."""

    def __init__(self, model: Model, inputs: Sequence[TensorSpec]) -> None:
        from tokenizers import Tokenizer

        self.names = [spec.name for spec in inputs]
        if strange := [name for name in self.names if name not in INPUTS]:
            raise BadModel(f"the graph takes {strange[0]!r}; a text encoder takes {', '.join(INPUTS)}")
        self.max_tokens = int(model.options.get("max_tokens", DEFAULT_MAX_TOKENS))
        self._tokenizer = Tokenizer.from_file(str(model.path("tokenizer")))
        padding = self._tokenizer.padding or {}
        self.pad_id = int(model.options.get("pad_id", padding.get("pad_id", self._pad_token())))
        fill = {"input_ids": self.pad_id, "attention_mask": 0, "token_type_ids": 0}
        # Without a mask the graph could not tell filling from text.
        self.pads = {name: fill[name] for name in self.names} if "attention_mask" in self.names else {}
        # A tokenizer.json may come with settings of its own that cut and pad silently.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def _pad_token(self) -> int:
        for token in ("[PAD]", "<pad>"):
            found = self._tokenizer.token_to_id(token)
            if found is not None:
                return int(found)
        return 0

    @cached_property
    def _cutting(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer

    def encode(self, texts: Sequence[str], *, where: str, truncate: bool = False) -> list[Tokens]:
        """Tokens of each text; a text beyond the context is cut when asked for, else refused."""
        found = self.encodings(texts, where=where, truncate=truncate)
        return [Tokens(item.ids, item.type_ids) for item in found]

    def encodings(self, texts: Sequence[str], *, where: str, truncate: bool = False) -> "list[Encoding]":
        """The same with each token's place in its text, as the tokenizer gives it."""
        tokenizer = self._cutting if truncate else self._tokenizer
        found: list[Encoding] = tokenizer.encode_batch(list(texts))
        for index, item in enumerate(found):
            if len(item) > self.max_tokens:
                place = f"{where}[{index}]" if len(found) > 1 else where
                raise self._too_long(place, len(item))
        return found

    def _too_long(self, place: str, count: int) -> BadInput:
        most = self.max_tokens
        return BadInput(
            place,
            Words(
                f"has {count} tokens; the model reads {most}", f"有 {count} 个 token，模型至多读取 {most} 个"
            ),
            Words(
                f'at most {most} tokens, special ones included, or "truncate": true to cut (in /predict)',
                f'至多 {most} 个 token（含特殊 token），或在 /predict 中用 "truncate": true 截断',
            ),
        )

    def feeds(self, batch: Sequence[Tokens]) -> dict[str, Array]:
        """The graph's inputs, int64 [batch, longest], padded at the end."""
        width = max(len(tokens.ids) for tokens in batch)
        ids = np.full((len(batch), width), self.pad_id, np.int64)
        mask = np.zeros((len(batch), width), np.int64)
        types = np.zeros((len(batch), width), np.int64)
        for row, tokens in enumerate(batch):
            size = len(tokens.ids)
            ids[row, :size] = tokens.ids
            mask[row, :size] = 1
            types[row, :size] = tokens.types
        made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {name: made[name] for name in self.names}


def batches(items: Sequence[Tokens], rows: int = 16) -> list[list[int]]:
    """Indices in groups of like length, so that little is padded and memory stays bounded."""
    order = sorted(range(len(items)), key=lambda index: len(items[index].ids))
    return [order[start : start + rows] for start in range(0, len(order), rows)]
