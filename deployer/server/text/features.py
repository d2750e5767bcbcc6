"""Hashed character n-grams: the features of linear text models, the same in training and in serving.

For each text: the n-grams of its normalised characters are counted by bucket, the counts dampened to
1 + ln(count) and scaled to unit length. Bucket = FNV-1a (32 bits) over the n-gram's UTF-8, modulo
`buckets`, plus 1; id 0 is padding. Stand-alone: numpy and the standard library only.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

ANALYZER = "char-ngram-hash"


@lru_cache(maxsize=1 << 17)
def fnv1a(text: str) -> int:
    """FNV-1a, 32 bits, over the text's UTF-8; lone surrogates count as their code units."""
    value = 0x811C9DC5
    for byte in text.encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


@dataclass(frozen=True)
class NgramAnalyzer:
    """Settings of the analyzer, as they stand in a manifest's options."""

    ngrams: tuple[int, int] = (1, 2)
    buckets: int = 262_144
    normalize: str = "NFKC"
    lowercase: bool = True

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "NgramAnalyzer":
        """Read the options; refuses another analyzer, an empty range or no buckets."""
        if options.get("analyzer") != ANALYZER:
            raise ValueError(f"analyzer must be {ANALYZER!r}, not {options.get('analyzer')!r}")
        low, high = options.get("ngrams", (1, 2))
        buckets = int(options.get("buckets", 262_144))
        form = str(options.get("normalize", "NFKC"))
        if not 1 <= low <= high <= 8 or buckets < 1 or form not in ("NFC", "NFD", "NFKC", "NFKD"):
            raise ValueError(f"n-grams {low} to {high}, {buckets} buckets, form {form}: out of range")
        return cls((int(low), int(high)), buckets, form, bool(options.get("lowercase", True)))

    def options(self) -> dict[str, Any]:
        """The settings as a manifest holds them."""
        return {
            "analyzer": ANALYZER,
            "ngrams": list(self.ngrams),
            "buckets": self.buckets,
            "normalize": self.normalize,
            "lowercase": self.lowercase,
        }

    def clean(self, text: str) -> str:
        """Normalised Unicode, lower case, every run of white space as one blank."""
        text = unicodedata.normalize(self.normalize, text)  # type: ignore[arg-type]  # checked on reading
        return " ".join((text.lower() if self.lowercase else text).split())

    def features(self, text: str) -> tuple[list[int], list[float]]:
        """Bucket ids in rising order with their weights; both empty for a text without characters."""
        text = self.clean(text)
        low, high = self.ngrams
        counts = Counter(
            fnv1a(text[start : start + size]) % self.buckets + 1
            for size in range(low, high + 1)
            for start in range(len(text) - size + 1)
        )
        ids = sorted(counts)
        weights = [1.0 + math.log(counts[bucket]) for bucket in ids]
        norm = math.sqrt(sum(weight * weight for weight in weights)) or 1.0
        return ids, [weight / norm for weight in weights]

    def batch(self, texts: Iterable[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """`ids` int64 [batch, n] and `weights` float32 [batch, n], padded with 0 to the longest, n ≥ 1."""
        rows: Sequence[tuple[list[int], list[float]]] = [self.features(text) for text in texts]
        width = max((len(ids) for ids, _ in rows), default=0) or 1
        ids = np.zeros((len(rows), width), np.int64)
        weights = np.zeros((len(rows), width), np.float32)
        for row, (buckets, values) in enumerate(rows):
            ids[row, : len(buckets)] = buckets
            weights[row, : len(values)] = values
        return ids, weights
