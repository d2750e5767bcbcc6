"""token-classification: words or their parts with tags, and the people, places, dates … among them.

With the role `tokenizer`: any encoder whose output is scores [batch, tokens, labels]. Options: labels (see
`deployer.server.labels`) as BIO, BILOU or BIOES tags or plain ones, outside (those that are nothing, ["O"]),
aggregation (simple | first | none, see `deployer.server.text.spans`), max_tokens, output.

With the role `transitions`: models of the LAC family for Chinese. Characters to ids (full-width and
traditional ones mapped first), one graph giving a score for each tag of each character, and a linear-chain
CRF decoded here by Viterbi. Roles: `model`, `words` and `tags` (id, tab, text), `normalize` (from, tab, to),
`transitions` (.npy, square: a row for each line of tags, then stop and start).
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.fields import Body, bool_field, choice_field, text_field, texts_field
from deployer.server.labels import labels_of
from deployer.server.model import Model
from deployer.server.options import one_of
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array
from deployer.server.text.spans import AGGREGATIONS, Token, described, entities, read_tags, whole_words
from deployer.server.text.tokens import TEXTS_SCHEMA, TextEncoder, Tokens, batches

if TYPE_CHECKING:
    from tokenizers import Encoding

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


class EncoderTagger(GraphPredictor):
    """One graph from tokens to the scores of their tags."""

    task = "token-classification"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        options = model.options
        self.encoder = TextEncoder(model, self.inputs)
        self.labels = labels_of(model, self.graph)
        outside = options.get("outside", ["O"])
        if not isinstance(outside, list) or not all(one in [*self.labels, "O"] for one in outside):
            raise BadModel(f"options.outside is {outside!r}, not a list of labels")
        self.tags = read_tags(self.labels, outside)
        self.aggregation = one_of(options, "aggregation", AGGREGATIONS)
        self.output = str(options.get("output", self.outputs[0].name))
        shapes = {spec.name: spec.shape for spec in self.outputs}
        shape = shapes.get(self.output, ())
        if len(shape) != 3 or shape[2] not in (-1, len(self.labels)):
            raise BadModel(f"{self.output} has shape {list(shape)}, not scores of {len(self.labels)} labels")
        self.schema = {
            **TEXTS_SCHEMA,
            "x-labels": sorted({tag.kind for tag in self.tags if tag.kind}),
            "x-label-titles": options.get("label_titles", {}),
            "properties": {
                **TEXTS_SCHEMA["properties"],
                "aggregation": {"enum": list(AGGREGATIONS), "default": self.aggregation},
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """{"text": str | [str]} → for each text its tokens and entities; offsets in its characters."""
        texts = texts_field(body, "text")
        truncate = bool_field(body, "truncate", False)
        aggregation = choice_field(body, "aggregation", self.aggregation, AGGREGATIONS)
        found = self.encoder.encodings(texts, where="text", truncate=truncate)
        scores = yield from self.score([Tokens(one.ids, one.type_ids) for one in found])
        results = [
            self._result(text, _tokens(text, one, rows), aggregation)
            for text, one, rows in zip(texts, found, scores, strict=True)
        ]
        return {"results": results, "usage": {"prompt_tokens": sum(map(len, found))}}

    def score(self, items: list[Tokens]) -> Work[list[Array]]:
        """Probabilities [tokens, labels] of each text."""
        scores: list[Array] = [np.empty(0)] * len(items)
        for group in batches(items):
            feeds = self.encoder.feeds([items[index] for index in group])
            logits = (yield from self.run(feeds, [self.output], self.encoder.pads))[self.output]
            for index, rows in zip(group, logits.astype(np.float64), strict=True):
                rows = rows[: len(items[index].ids)]
                powers = np.exp(rows - rows.max(axis=1, keepdims=True))
                scores[index] = powers / powers.sum(axis=1, keepdims=True)
        return scores

    def _result(self, text: str, tokens: list[Token], aggregation: str) -> dict[str, Any]:
        if aggregation == "first":
            tokens = whole_words(tokens)
        if aggregation == "none":
            tagged = [token for token in tokens if self.tags[token.tag].kind]
            found = described(text, tagged, self.labels, "label")
        else:
            found = entities(text, tokens, self.tags)
        return {"tokens": described(text, tokens, self.labels, "tag"), "entities": found}


def _tokens(text: str, encoding: "Encoding", scores: Array) -> list[Token]:
    """The tokens that stand for some of the text, without the blanks that some tokenizers count to them."""
    tokens = []
    best = scores.argmax(axis=1)
    parts = zip(encoding.offsets, encoding.special_tokens_mask, encoding.word_ids, strict=True)
    for place, ((start, end), special, word) in enumerate(parts):
        part = text[start:end]
        start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
        if start < end and not special:
            tag = int(best[place])
            tokens.append(Token(tag, float(scores[place, tag]), start, end, word))
    return tokens


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


def load(model: Model) -> "LexicalAnalysis | EncoderTagger":
    """An encoder with its tokenizer, or a folder of the LAC family."""
    if model.has("tokenizer"):
        return EncoderTagger(model)
    if not model.has("transitions"):
        raise BadModel(
            "neither the role `tokenizer` nor the role `transitions` (of models like LAC) is there"
        )
    return LexicalAnalysis(model)
