"""token-classification: Chinese words with their parts of speech, and people, places, organisations, times.

For models of the LAC family: characters to ids (full-width and traditional ones mapped first), one graph
giving a score for each tag of each character, and a linear-chain CRF decoded here by Viterbi. Roles:
`model`, `words` and `tags` (id, tab, text), `normalize` (from, tab, to), `transitions` (.npy, square: a row
for each line of tags, then stop and start).
"""

from typing import Any

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.fields import Body, text_field
from deployer.server.model import Model
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array

ENTITIES = ("PER", "LOC", "ORG", "TIME")
UNKNOWN = "OOV"
MOST_CHARACTERS = 10_000
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS}},
    "required": ["text"],
    "x-field": "text",
}


class LexicalAnalysis(GraphPredictor):
    """Segmentation, tagging and named entities over characters."""

    task = "token-classification"
    schema = SCHEMA

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        words = _pairs(model, "words")
        self.ids = {word: int(id) for id, word in words}
        if UNKNOWN not in self.ids:
            raise BadModel(f"the file of 'words' has no entry {UNKNOWN}")
        self.unknown = self.ids[UNKNOWN]
        self.normalize = dict(_pairs(model, "normalize")) if model.has("normalize") else {}
        lines = _pairs(model, "tags")
        names = {int(id): tag for id, tag in lines}  # a later line renames a tag: nr-B is PER-B
        count = len(names)
        transitions = model.array("transitions").astype(np.float32)
        if sorted(names) != list(range(count)) or transitions.shape != (len(lines) + 2,) * 2:
            raise BadModel(f"{len(lines)} lines of tags, but transitions of shape {list(transitions.shape)}")
        self.tags = [names[id] for id in range(count)]
        # Paddle's CRF counts the lines and adds a stop and a start; classes without a name never win.
        self.start, self.transitions = transitions[-1, :count], transitions[:count, :count]
        if {spec.name for spec in self.inputs} != {"token_ids", "length"}:
            raise BadModel("a lexical analyser's graph takes `token_ids` and `length`")

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """{"text"} → tokens that tile the text, and the entities among them; offsets in characters."""
        text = text_field(body, "text", limit=MOST_CHARACTERS)
        tokens = yield from self.words(text)
        entities = [
            {"text": token["text"], "label": token["tag"], "start": token["start"], "end": token["end"]}
            for token in tokens
            if token["tag"] in ENTITIES
        ]
        return {"results": [{"tokens": tokens, "entities": entities}]}

    def words(self, text: str) -> Work[list[dict[str, Any]]]:
        """Words with tag and place: a tag that ends in -I goes on with the word before it."""
        scores = yield from self._scores(text)
        tags = [self.tags[index] for index in viterbi(scores, self.transitions, self.start)]
        starts = [place for place, tag in enumerate(tags) if place == 0 or not tag.endswith("-I")]
        ends = [*starts[1:], len(text)]
        return [
            {
                "text": text[start:end],
                "tag": tags[start].rpartition("-")[0] or tags[start],
                "start": start,
                "end": end,
            }
            for start, end in zip(starts, ends, strict=True)
        ]

    def _scores(self, text: str) -> Work[Array]:
        ids = [self.ids.get(self.normalize.get(letter, letter), self.unknown) for letter in text]
        feeds = {"token_ids": np.array([ids], np.int64), "length": np.array([len(ids)], np.int64)}
        name = self.outputs[0].name
        answers = yield from self.run(feeds, [name])
        return np.asarray(answers[name][0, :, : len(self.tags)])


def viterbi(scores: Array, transitions: Array, start: Array) -> list[int]:
    """The best path of tags for scores [length, tags], transitions [from, to] and start [tags]."""
    best = scores[0] + start
    steps = np.empty((len(scores), transitions.shape[0]), np.int32)
    for place in range(1, len(scores)):
        arriving = best[:, None] + transitions
        steps[place] = arriving.argmax(axis=0)
        best = arriving.max(axis=0) + scores[place]
    path = [int(best.argmax())]
    for place in range(len(scores) - 1, 0, -1):
        path.append(int(steps[place, path[-1]]))
    return path[::-1]


def _pairs(model: Model, role: str) -> list[tuple[str, str]]:
    """Lines of two columns; a column may be a blank, so nothing is stripped but the line's end."""
    pairs = []
    for line in model.text(role).split("\n"):
        left, tab, right = line.rstrip("\r").partition("\t")
        if tab:
            pairs.append((left, right))
    return pairs


def load(model: Model) -> LexicalAnalysis:
    """A folder of the LAC family."""
    if not model.has("transitions"):
        raise BadModel("token-classification is served for models with the role `transitions` (LAC) only")
    return LexicalAnalysis(model)
