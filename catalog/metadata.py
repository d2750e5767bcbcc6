"""Whether what a manifest says is what its files hold: tensors, types, size, vocabulary, labels, words."""

import json
import re
from pathlib import Path
from typing import Any

from catalog import taxonomy
from catalog.contents import Contents, Tensor, dtype_name, read_graph, read_safetensors, read_tokenizer
from catalog.progress import Progress, silent
from catalog.scan import Row, Verdict

ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "automatic-speech-recognition": (("encoder",), ("decoder",), ("tokenizer",)),
    "document-layout": (("model",),),
    "feature-extraction": (("model",), ("tokenizer",)),
    "file-type": (("model",), ("config",), ("content_types",)),
    "image-classification": (("model",),),
    "image-segmentation": (("model",),),
    "image-to-text": (("detector",), ("recognizer",)),
    "object-detection": (("model",),),
    "sentence-similarity": (("model",), ("tokenizer",)),
    "tabular-classification": (("model",),),
    "tabular-regression": (("model",),),
    "text-classification": (("model",),),
    "text-to-speech": (("model",), ("lexicon",), ("vocab",)),
    "token-classification": (("model",), ("tokenizer", "transitions")),
    "voice-activity-detection": (("model",),),
}
"""Roles that the server's pipeline of each task needs; in each group one of them."""
LABELLED = frozenset({"image-classification", "text-classification", "token-classification"})
LEAST_HAN = 100  # Chinese words below which a vocabulary does not know the language
FEW, MANY = 1.5, 2.5  # times that a claimed number of parameters may be off
_PARAMETERS = re.compile(r"(?<![a-z0-9.])(\d{1,4}(?:\.\d{1,2})?)(m|b)(?:illion)?(?![a-z0-9])", re.IGNORECASE)
_TYPES = {
    "int8": ("int8", "uint8"),
    "uint8": ("uint8", "int8"),
    "q8": ("int8", "uint8"),
    "int4": ("int4", "uint4", "uint8"),  # packed by two where a graph has no type of four bits
    "q4": ("int4", "uint4", "uint8"),
    "fp16": ("float16",),
    "float16": ("float16",),
    "bf16": ("bfloat16",),
    "fp32": ("float32",),
    "float32": ("float32",),
}
_TYPE = re.compile(rf"(?<![a-z0-9])({'|'.join(_TYPES)})(?![a-z0-9])", re.IGNORECASE)
_OPSET = re.compile(r"opset[-_ ]?(\d{1,2})(?!\d)", re.IGNORECASE)
LEAST_SHARE = 0.2  # of the weights that must have a claimed type: tables of words often keep theirs


def check(
    folder: str, manifest: dict[str, Any], words: dict[str, Any], progress: Progress = silent
) -> list[dict[str, Any]]:
    """Rows of the check `metadata` as JSON."""
    look = _Look(Path(folder), manifest, words)
    for number, step in enumerate(look.steps()):
        progress(number, len(look.steps()), step.__name__.strip("_"))
        step()
    rows = look.rows or [Row("metadata", Verdict.passed, facts=look.facts())]
    return [row.to_json() for row in rows]


class _Look:
    def __init__(self, folder: Path, manifest: dict[str, Any], words: dict[str, Any]) -> None:
        self.folder, self.manifest, self.words = folder, manifest, words
        self.files: dict[str, str] = manifest["files"]
        self.rows: list[Row] = []
        self.graphs = {
            path: read_graph(folder / path) for path in self._paths() if path.lower().endswith(".onnx")
        }
        self.arrays = [
            read_safetensors(folder / path) for path in self._paths() if path.lower().endswith(".safetensors")
        ]

    def steps(self) -> list[Any]:
        return [
            self._roles,
            self._signature,
            self._types,
            self._parameters,
            self._opset,
            self._broken,
            self._vocabulary,
            self._labels,
            self._task_words,
        ]

    def facts(self) -> dict[str, Any]:
        """What is inside, for the row of a version that says the truth."""
        return {
            "parameters": sum(each.parameters for each in self._all()),
            "opset": max((graph.opset for graph in self.graphs.values()), default=0),
            "types": sorted({name for each in self._all() for name in each.weights}),
        }

    def _paths(self) -> list[str]:
        return [str(a["path"]) for a in self.manifest["artifacts"]]

    def _all(self) -> list[Contents]:
        return [*self.graphs.values(), *self.arrays]

    def _main(self) -> Contents | None:
        """The graph that the signature and the labels are about."""
        path = self.files.get("model") or self.files.get("classifier") or ""
        if path in self.graphs:
            return self.graphs[path]
        return next(iter(self.graphs.values())) if len(self.graphs) == 1 else None

    def _say(self, verdict: Verdict, code: str, path: str = "", **facts: Any) -> None:
        self.rows.append(Row("metadata", verdict, code, path, facts))

    def _claimed_words(self) -> str:
        titles = (str(self.words.get(name) or "") for name in ("title_zh", "title_en"))
        return " ".join([str(self.manifest["name"]).partition("/")[2], *titles])

    def _roles(self) -> None:
        """The task's pipeline needs certain files."""
        for group in ROLES.get(self.manifest["task"], ()):
            if not any(role in self.files for role in group) and not self._graph_brings(group):
                facts = {"role": " / ".join(group), "task": self.manifest["task"]}
                self._say(Verdict.failed, "metadata-role-missing", **facts)

    def _graph_brings(self, group: tuple[str, ...]) -> bool:
        return group == ("vocab",) and "vocab" in self.manifest.get("options", {})

    def _signature(self) -> None:
        """Named tensors of the sheet against those of the graph."""
        said = self.words.get("signature")
        if not said:
            return
        graph = self._main()
        if graph is None:
            self._say(Verdict.warned, "metadata-signature-unchecked")
            return
        for side, real in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            claimed = {str(each["name"]): each for each in said.get(side) or []}
            actual = {tensor.name: tensor for tensor in real}
            for name in [*claimed, *(n for n in actual if n not in claimed)]:
                if fault := _differs(claimed.get(name), actual.get(name)):
                    facts = {"tensor": name[:80], "claimed": fault[0], "found": fault[1]}
                    self._say(Verdict.failed, "metadata-signature", **facts)
                    return

    def _types(self) -> None:
        """A type of weights in the name, such as int8."""
        weights = sum((each.weights for each in self._all()), start=type(Contents().weights)())
        total = sum(weights.values())
        for claimed in dict.fromkeys(m.lower() for m in _TYPE.findall(self._claimed_words())):
            share = sum(weights[name] for name in _TYPES[claimed]) / total if total else 1.0
            if share < LEAST_SHARE:
                most = weights.most_common(1)[0][0]
                facts = {"claimed": claimed, "found": most, "share": f"{share:.0%}"}
                self._say(Verdict.failed, "metadata-type", **facts)

    def _parameters(self) -> None:
        """A size in the name, such as 82m or 7b."""
        here = sum(each.parameters for each in self._all())
        match = _PARAMETERS.search(str(self.manifest["name"]).partition("/")[2])
        if not match or not here:
            return
        claimed = float(match[1]) * (1e9 if match[2].lower() == "b" else 1e6)
        times = max(claimed / here, here / claimed) if claimed else MANY + 1
        facts = {"claimed": match[0], "found": f"{here / 1e6:.3g} M"}
        if times > MANY:
            self._say(Verdict.failed, "metadata-parameters", **facts)
        elif times > FEW:
            self._say(Verdict.warned, "metadata-parameters-near", **facts)

    def _opset(self) -> None:
        """An opset in the name."""
        match = _OPSET.search(self._claimed_words())
        if match and self.graphs and all(g.opset != int(match[1]) for g in self.graphs.values()):
            found = max(g.opset for g in self.graphs.values())
            self._say(Verdict.failed, "metadata-opset", claimed=int(match[1]), found=found)

    def _broken(self) -> None:
        """Weights that are no numbers."""
        for path, graph in self.graphs.items():
            if graph.broken:
                self._say(Verdict.failed, "metadata-nan-weights", path, tensor=graph.broken)

    def _vocabulary(self) -> None:
        """Every id that the tokenizer gives must be in the graph's table."""
        path = self.files.get("tokenizer", "")
        if not path.lower().endswith(".json"):
            return
        vocabulary = read_tokenizer(self.folder / path)
        if vocabulary is None:
            self._say(Verdict.failed, "metadata-tokenizer", path)
            return
        rows = max((graph.embedding for graph in self.graphs.values()), default=0)
        if rows and vocabulary.size > rows:
            facts = {"tokens": vocabulary.size, "rows": rows}
            self._say(Verdict.failed, "metadata-vocabulary", path, **facts)
        languages = self.words.get("languages") or []
        if "zh" in languages and not vocabulary.by_bytes and vocabulary.han < LEAST_HAN:
            self._say(Verdict.warned, "metadata-language", path, found=vocabulary.han)

    def _labels(self) -> None:
        """As many labels as the graph gives scores."""
        graph = self._main()
        if self.manifest["task"] not in LABELLED or graph is None or not graph.outputs:
            return
        count, shape = self._label_count(graph), graph.outputs[0].shape
        width = shape[-1] if shape else None
        if count and width and count != width and not (count == 2 and width == 1):
            self._say(Verdict.failed, "metadata-labels", labels=count, scores=width)

    def _label_count(self, graph: Contents) -> int:
        options = self.manifest.get("options", {})
        found: Any = None
        if "labels" in self.files:
            found = json.loads((self.folder / self.files["labels"]).read_text("utf-8"))
        for name in ("labels", "id2label"):
            found = found if found is not None else options.get(name)
        if found is None and self.files.get("config", "").lower().endswith(".json"):
            config = json.loads((self.folder / self.files["config"]).read_text("utf-8"))
            found = config.get("id2label") if isinstance(config, dict) else None
        if found is None and "labels" in graph.metadata:
            found = json.loads(graph.metadata["labels"])
        return len(found) if isinstance(found, list | dict) else 0

    def _task_words(self) -> None:
        """A name that promises another task than the one that is there."""
        own = self.manifest["task"]
        parts = set(re.split(r"[-_. ]+", str(self.manifest["name"]).partition("/")[2].lower()))
        mine = {own, *own.split("-"), *taxonomy.TASKS[own].aliases}
        if parts & mine:
            return
        for task in taxonomy.TASKS.values():
            named = parts & {alias for alias in task.aliases if alias.isascii()}
            if task.id != own and named and not _related(task.id, own):
                facts = {"word": sorted(named)[0], "task": own, "other": task.id}
                self._say(Verdict.warned, "metadata-task-words", **facts)
                return


_RELATED = (
    {"feature-extraction", "sentence-similarity", "text-classification"},
    {"document-layout", "object-detection", "image-to-text", "image-classification", "image-segmentation"},
)


def _related(one: str, other: str) -> bool:
    """Whether models of one task often serve another."""
    return any({one, other} <= group for group in _RELATED)


def _differs(claimed: dict[str, Any] | None, real: Tensor | None) -> tuple[str, str] | None:
    """What was claimed of a tensor and what it is, where they differ."""
    if claimed is None or real is None:
        return (_tell(claimed), "–" if real is None else f"{real.dtype} {_axes(real.shape)}")
    shape = claimed.get("shape") or []
    same_type = dtype_name(str(claimed["dtype"])) == real.dtype
    fixed = [
        isinstance(said, int) and said >= 0 and there is not None and said != there
        for said, there in zip(shape, real.shape, strict=False)
    ]
    if same_type and len(shape) == len(real.shape) and not any(fixed):
        return None
    return _tell(claimed), f"{real.dtype} {_axes(real.shape)}"


def _tell(claimed: dict[str, Any] | None) -> str:
    return "–" if claimed is None else f"{claimed['dtype']} {_axes(claimed.get('shape') or [])}"


def _axes(shape: Any) -> str:
    return "[" + ", ".join("?" if axis in (None, -1) else str(axis)[:40] for axis in shape) + "]"
