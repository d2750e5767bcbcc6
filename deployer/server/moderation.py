"""Moderation by a classifier: which of its labels stand for which of OpenAI's categories.

options.moderation: {"categories": {label: category}, "threshold": 0.5}. The score of a category is that of
its label, or the highest of several; from the threshold on it is flagged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployer.server.errors import BadModel


@dataclass(frozen=True)
class Moderation:
    """Categories by label, and the score from which one is flagged."""

    categories: Mapping[str, str]
    threshold: float

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Moderation | None":
        """The option of a manifest, None when it has none; raises BadModel for one that makes no sense."""
        given = options.get("moderation")
        if given is None:
            return None
        categories = given.get("categories") if isinstance(given, dict) else None
        if not isinstance(categories, dict) or not all(isinstance(c, str) for c in categories.values()):
            raise BadModel("options.moderation names no categories by label")
        threshold = given.get("threshold", 0.5)
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
            raise BadModel(f"options.moderation.threshold is {threshold!r}, not between 0 and 1")
        return cls(categories, float(threshold))

    def judge(self, scores: Mapping[str, float], kind: str) -> dict[str, Any]:
        """A result in OpenAI's shape for scores by label of a text or an image (`kind`)."""
        found: dict[str, float] = {}
        for label, category in self.categories.items():
            found[category] = max(found.get(category, 0.0), float(scores.get(label, 0.0)))
        flags = {category: score >= self.threshold for category, score in found.items()}
        return {
            "flagged": any(flags.values()),
            "categories": flags,
            "category_scores": found,
            "category_applied_input_types": {category: [kind] for category in found},
        }
