"""Class names from wherever a model carries them: a file, the options, or the graph's metadata.

In this order: the file `labels` (JSON), options.labels, options.id2label, the file `config` (a config.json
with id2label), JSON in the metadata's `labels`, the lines of `character` in PaddlePaddle's metadata. Each is
a list, or an object of numbers to names as in id2label.
"""

import json
from typing import Any

from deployer.server.errors import BadModel
from deployer.server.graph import Graph
from deployer.server.model import Model, metadata


def labels_of(model: Model, graph: Graph) -> list[str]:
    """The name of each class, from class 0; refuses a model without any, and numbers that leave gaps."""
    names = names_of(model, graph)
    if not names:
        raise BadModel("no labels: give a file `labels`, options.labels or metadata in the graph")
    if sorted(names) != list(range(len(names))):
        raise BadModel(f"the labels' numbers are {sorted(names)[:20]}, not 0 to {len(names) - 1}")
    return [names[number] for number in range(len(names))]


def names_of(model: Model, graph: Graph) -> dict[int, str]:
    """Names by the number of their class, with gaps where it has them; empty when there are none."""
    found = _found(model, graph)
    if isinstance(found, list):
        return {number: str(name) for number, name in enumerate(found)}
    if not isinstance(found, dict) or not all(_is_number(key) for key in found):
        raise BadModel("labels are neither a list nor an object of numbers to names")
    return {int(key): str(name) for key, name in found.items()}


def _found(model: Model, graph: Graph) -> Any:
    options = model.options
    if model.has("labels"):
        return model.json("labels")
    for name in ("labels", "id2label"):
        if name in options:
            return options[name]
    if model.has("config"):
        config = model.json("config")
        if isinstance(config, dict) and "id2label" in config:
            return config["id2label"]
    carried = metadata(graph)
    if "labels" in carried:
        return json.loads(carried["labels"])
    return [line for line in carried.get("character", "").split("\n") if line]


def _is_number(key: Any) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 7
