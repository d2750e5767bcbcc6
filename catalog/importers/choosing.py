"""Which files of a repository make the model: one graph and what belongs to it, not everything that is there.

Repositories hold the same model in many forms. The order here is that of what runs at once: a package of ours
as it is, then ONNX in full precision, then ONNX quantised, then what can be converted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from catalog.importers.errors import ImportNotInferred

OWN = ("market.yaml", "manifest.json")
GRAPHS = (
    "onnx/model.onnx",
    "model.onnx",
    "onnx/model_fp16.onnx",
    "onnx/model_quantized.onnx",
    "model_quantized.onnx",
    "onnx/model_int8.onnx",
    "onnx/model_uint8.onnx",
)
"""Names that exporters give, the first that is there is taken."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
OTHERS = (".gguf", ".tflite", ".skops", ".pth", ".pt")
BESIDE = (
    "README.md",
    "1_Pooling/config.json",
    "config.json",
    "labels.json",
    "modules.json",
    "preprocessor_config.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""What tells how a graph is used; taken where it lies beside the graph or at the top."""
MOST = 2000  # files of a package of ours
SMALL = 64 << 20  # bytes of one of BESIDE; larger ones are none


@dataclass(frozen=True)
class Chosen:
    """Paths of a repository to take: each as it is there, and as it is to lie here."""

    files: dict[str, str]
    model: str = ""  # the graph or weights, as it is to lie here; "" where a package says it itself


def choose(sizes: dict[str, int | None], inner: str, source: str) -> Chosen:
    """Choose among files by path and size; `inner` narrows to a folder, or names the model's file.

    Raises ImportNotInferred, which names what there is to choose from.
    """
    top, model = "", ""
    if inner in sizes:
        model = inner
    elif inner:
        top = inner.rstrip("/") + "/"
        if not any(path.startswith(top) for path in sizes):
            raise _unclear(source, f"it has no {inner}", f"其中没有 {inner}")
    own = [name for name in OWN if top + name in sizes]
    if own and not model:
        inside = [path for path in sizes if path.startswith(top) and _plain(path)]
        found = {path: path.removeprefix(top) for path in inside}
        # What another shop proves of its own version is not about the one that is made here.
        found = {path: here for path, here in found.items() if not here.startswith("passport/")}
        if len(found) > MOST:
            raise _unclear(source, f"it holds more than {MOST} files", f"文件超过 {MOST} 个")
        return Chosen(found)
    model = model or top + _model([p.removeprefix(top) for p in sizes if p.startswith(top)], source)
    return _with_company(sizes, top, model)


def _model(paths: Sequence[str], source: str) -> str:
    present = set(paths)
    for name in (*GRAPHS, *WEIGHTS):
        if name in present and (name not in WEIGHTS or "config.json" in present):
            return name
    for ending in (".onnx", ".safetensors", *OTHERS):
        found = sorted(path for path in paths if path.endswith(ending))
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(found[:8])
            en = f"it holds {len(found)} models ({listed}); name one behind the source"
            raise _unclear(source, en, f"其中有 {len(found)} 个模型（{listed}）；请在来源后写明其中一个")
    listed = ", ".join(sorted(paths)[:8]) or "-"
    en = f"none of its files is a model that can be used here ({listed})"
    raise _unclear(source, en, f"其中没有可用的模型文件（{listed}）")


def _with_company(sizes: dict[str, int | None], top: str, model: str) -> Chosen:
    """The model, its external data, and what tells how it is used."""
    folder = str(PurePosixPath(model).parent).removeprefix(".")
    folder = f"{folder}/" if folder else ""
    found = {model: PurePosixPath(model).name}
    for path in sizes:
        name = path.removeprefix(folder)
        if path.startswith(folder) and "/" not in name and _is_data(name, found[model]):
            found[path] = name
    for place in dict.fromkeys((folder, _parent(folder) if folder != top else top, top, "")):
        for name in BESIDE:
            path = place + name
            if path in sizes and (sizes[path] or 0) <= SMALL and name not in found.values():
                found[path] = name
    return Chosen(found, found[model])


def _is_data(name: str, model: str) -> bool:
    """External data as exporters name it: model.onnx_data, model.onnx.data, model.onnx_data_1 …"""
    stem = model.removesuffix(".onnx")
    return (
        model.endswith(".onnx")
        and name != model
        and (name.startswith((model + "_data", model + ".data")) or name == stem + ".data")
    )


def _parent(folder: str) -> str:
    above = str(PurePosixPath(folder).parent)
    return "" if above == "." else above + "/"


def _plain(path: str) -> bool:
    """Not a hidden file, such as .gitattributes."""
    return not any(part.startswith(".") for part in path.split("/"))


def fits(paths: Iterable[str], inner: str) -> list[str]:
    """Those of an archive's paths that a file's name, a folder or a pattern means, in their order."""
    from fnmatch import fnmatchcase

    found = sorted(paths)
    if not inner:
        return [path for path in found if _plain(path)]
    if inner in found:
        return [inner]
    if any(sign in inner for sign in "*?["):
        return [path for path in found if fnmatchcase(path, inner)]
    return [path for path in found if path.startswith(inner.rstrip("/") + "/")]


def _unclear(source: str, why: str, why_zh: str) -> ImportNotInferred:
    return ImportNotInferred(source=source, why=why, why_zh=why_zh)
