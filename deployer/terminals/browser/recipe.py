"""What a page has to know of a model, settled by the server's own pipeline: `python -m … recipe FOLDER`.

The pipeline of the server reads the folder with all its rules and defaults; here its settled values are
written down as JSON, so that the page's scripts interpret no option again and cannot read one differently.
It runs in a process of its own, for it opens the graph: what a graph does to it is not done to the caller.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deployer.errors import PackagingFailed

SECONDS = 120.0
Recipe = dict[str, Any]


def settle(name: str, folder: Path) -> Recipe:
    """The recipe of a model folder, made in a child; raises PackagingFailed with the server's reason."""
    try:
        done = subprocess.run(  # noqa: S603 (our own module)
            [sys.executable, "-m", __name__, str(folder)],
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PackagingFailed(image=name, why=f"the model did not load within {SECONDS:.0f} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise PackagingFailed(image=name, why=said[-1] if said else f"exit code {done.returncode}")
    recipe: Recipe = json.loads(done.stdout)
    return recipe


def _specs(specs: Any) -> list[dict[str, Any]]:
    return [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in specs]


def _pixels(predictor: Any) -> Recipe:
    made = predictor.pixels
    return {
        "pixels": {
            "layout": made.layout,
            "channels": made.channels,
            "mean": made.mean,
            "std": made.std,
            "scale": made.scale,
        },
        "filter": predictor.filter.name.lower(),
    }


def _classifier(predictor: Any) -> Recipe:
    names = ("labels", "activation", "jpeg", "size", "short", "crop", "top_k")
    return {**_pixels(predictor), **{name: getattr(predictor, name) for name in names}}


def _segmenter(predictor: Any) -> Recipe:
    names = ("labels", "size", "layout", "activation", "numbered", "exclusive", "threshold", "soft", "least")
    told = {name: getattr(predictor, name) for name in names}
    return {
        **_pixels(predictor),
        **told,
        "hidden": sorted(predictor.hidden),
        "output": predictor.output.name,
    }


def _detector(predictor: Any) -> Recipe:
    names = ("labels", "size", "size_input", "fit", "fill", "least", "overlap")
    decoder = predictor.decoder
    if hasattr(decoder, "roles"):
        read = {
            name: getattr(decoder, name) for name in ("roles", "classes", "form", "normalized", "activation")
        }
    else:
        read = {"outputs": decoder.outputs}
    return {**_pixels(predictor), **{name: getattr(predictor, name) for name in names}, "decoder": read}


def _encoder(encoder: Any) -> Recipe:
    return {"names": encoder.names, "max_tokens": encoder.max_tokens, "pad_id": encoder.pad_id}


def _embedder(predictor: Any) -> Recipe:
    told = {name: getattr(predictor, name) for name in ("pooling", "normalize", "output")}
    return {**told, "encoder": _encoder(predictor.encoder)}


def _text_classifier(predictor: Any) -> Recipe:
    told = {"labels": predictor.labels, "function": predictor.function}
    if predictor.analyzer is not None:
        return {**told, "analyzer": predictor.analyzer.options()}
    return {**told, "encoder": _encoder(predictor.encoder)}


def _lexical(predictor: Any) -> Recipe:
    from deployer.server.pipelines.token_classification import ENTITIES

    told = {name: getattr(predictor, name) for name in ("unknown", "normalize", "tags")}
    letters = {*predictor.normalize.values()}  # what a letter may become; all other words are never looked up
    told["ids"] = {word: id for word, id in predictor.ids.items() if len(word) == 1 or word in letters}
    scores = {"start": predictor.start.tolist(), "transitions": predictor.transitions.tolist()}
    return {**told, **scores, "entities": list(ENTITIES)}


def _file_types(predictor: Any) -> Recipe:
    return {"config": predictor.config, "kinds": predictor.kinds}


def _table(predictor: Any) -> Recipe:
    """The columns as they fill the graph's inputs; a default of ... (none) is left out."""
    parts = []
    for spec, slots in zip(predictor.table.inputs, predictor.table.slots, strict=True):
        columns = []
        for slot in slots:
            told = {"name": slot.column.name, "type": slot.column.type, "encode": slot.column.encode}
            told |= {"categories": list(slot.column.categories), "codes": slot._codes}
            if slot.column.default is not ...:
                told["default"] = slot.column.default
            columns.append(told)
        parts.append({"name": spec.name, "flat": len(spec.shape) == 1, "columns": columns})
    return {"columns": predictor.table.names, "parts": parts, "at_once": predictor.table.at_once}


def _regression(predictor: Any) -> Recipe:
    return {**_table(predictor), "output": predictor.wanted[0], "targets": predictor.targets}


def _tabular_classifier(predictor: Any) -> Recipe:
    told = {name: getattr(predictor, name) for name in ("label", "scores", "labels", "activation")}
    names = {str(number): name for number, name in predictor.names.items()}
    return {**_table(predictor), **told, "names": names, "wanted": predictor.wanted}


def _nothing(predictor: Any) -> Recipe:
    return {}


SETTLED: dict[str, Callable[[Any], Recipe]] = {
    "image_classification": _classifier,
    "image_segmentation": _segmenter,
    "object_detection": _detector,
    "document_layout": _detector,
    "feature_extraction": _embedder,
    "sentence_similarity": _embedder,
    "text_classification": _text_classifier,
    "token_classification": _lexical,
    "file_type": _file_types,
    "tabular_classification": _tabular_classifier,
    "tabular_regression": _regression,
    "tensors": _nothing,
}
"""By the server's pipelines; those that are not here are not covered."""


def _main(folder: Path) -> None:
    from deployer.server.errors import BadModel
    from deployer.server.predictor import load

    try:
        predictor = load(folder)
    except BadModel as error:
        sys.exit(str(error))
    pipeline = type(predictor).__module__.rpartition(".")[2]
    recipe = {
        "pipeline": pipeline,
        "inputs": _specs(predictor.inputs),
        "outputs": _specs(predictor.outputs),
        "schema": predictor.schema,
        **SETTLED[pipeline](predictor),
    }
    json.dump(recipe, sys.stdout, ensure_ascii=False, allow_nan=False, sort_keys=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
