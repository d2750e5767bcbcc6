"""Makes an ONNX graph of what scikit-learn has trained, by skl2onnx (extra `convert-sklearn`).

Two forms are read. A .skops file names the types in it, and only those of scikit-learn and numpy are taken. A
pickle or joblib file runs whatever it likes while it is read, so it is refused unless the options say
`allow_pickle`; even then it is read in a child that has no network and sees no other files.

The graph is held against the source before it is given out: on `examples` of the caller (an .npz with an
array for each input) where there are some, and on made-up rows. What the source predicts must come out again.
"""

import importlib
import importlib.util
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.checking import runner
from deployer.optimizer.convert.nodes import OPSET, save
from deployer.optimizer.convert.weights import refuse
from deployer.spec import Progress

Array = npt.NDArray[Any]
KNOWN = ("allow_pickle", "columns", "bound")
_TRUSTED = ("sklearn.", "numpy.", "scipy.", "collections.")
_KINDS = ("float", "integer", "text")
_ROWS = 64
_LOCALE = "C.UTF-8"
_CHOICES = 0.98  # of the made-up rows; some of them lie on an edge between two leaves of a tree


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write model.onnx into `out`; raises ConversionFailed.

    `inputs`: `model`, and `examples` if there are any. Options: allow_pickle; columns, an object of names to
    float, integer or text for models that take a table of mixed columns; bound, the largest difference of
    a probability or value that is allowed (relative to 1; 1e-4).
    """
    path = inputs["model"]
    if unknown := sorted(set(options) - set(KNOWN)):
        raise refuse("options", f"unknown options: {unknown}", f"未知的选项：{unknown}")
    _require(path, "skl2onnx", "sklearn")
    fitted = _read(path, bool(options.get("allow_pickle", False)))
    progress(1, 3)
    columns = _columns(path, fitted, options.get("columns"))
    model = _to_onnx(path, fitted, columns)
    target = save(model, out)
    progress(2, 3)
    _check(fitted, target, columns, inputs.get("examples"), float(options.get("bound", 1e-4)))
    progress(3, 3)


def _require(path: Path, *packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        listed = ", ".join(missing)
        en = f"needs {listed}: pip install 'opc-market[convert-sklearn]'"
        zh = f"需要 {listed}：pip install 'opc-market[convert-sklearn]'"
        raise refuse(path, en, zh, missing=missing)


def _read(path: Path, allow_pickle: bool) -> Any:
    """The estimator; a pickle only if that is allowed."""
    if zipfile.is_zipfile(path):
        return _read_skops(path)
    if not allow_pickle:
        en = "a pickle runs code while it is read: use skops.io.dump, or set allow_pickle if you trust it"
        zh = "pickle 在读取时会执行代码；请用 skops.io.dump 保存，或确认来源可信后设置 allow_pickle"
        raise refuse(path, en, zh, option="allow_pickle")
    try:
        if importlib.util.find_spec("joblib"):
            return importlib.import_module("joblib").load(path)
        with path.open("rb") as file:  # the caller's own word for it, and no network to misuse
            return pickle.load(file)  # noqa: S301
    except Exception as error:  # a pickle raises what it likes
        raise _unreadable(path, error) from None


def _read_skops(path: Path) -> Any:
    _require(path, "skops")
    skops = importlib.import_module("skops.io")
    try:
        types = skops.get_untrusted_types(file=path)
        strange = [name for name in types if not name.startswith(_TRUSTED)]
        if strange:
            listed = ", ".join(strange[:5])
            en, zh = "holds types that are not scikit-learn's", "含有不属于 scikit-learn 的类型"
            raise refuse(path, f"{en}: {listed}", f"{zh}：{listed}", types=strange[:20])
        return skops.load(path, trusted=types)
    except ConversionFailed:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ConversionFailed:
    cause = f"{type(error).__name__}: {error}"[:300]
    return refuse(path, f"cannot be read: {cause}", f"读不出来：{cause}")


def _columns(path: Path, fitted: Any, given: Any) -> dict[str, str]:
    """The graph's inputs: names of columns with their kinds; none for one matrix of floats."""
    if not hasattr(fitted, "predict") and not hasattr(fitted, "transform"):
        kind = type(fitted).__name__
        raise refuse(path, f"a {kind}, which neither predicts nor transforms", f"{kind} 不是模型或变换")
    if given is None:
        return {"text": "text"} if _takes_texts(fitted) else {}
    if not isinstance(given, dict) or not given or not set(given.values()) <= set(_KINDS):
        choices = " | ".join(_KINDS)
        en, zh = f"columns: name → {choices}; not {given}", f"columns：列名 → {choices}；不是 {given}"
        raise refuse("options", en, zh)
    return {str(name): kind for name, kind in given.items()}


def _takes_texts(fitted: Any) -> bool:
    """Whether its first step makes numbers of texts."""
    first = fitted.steps[0][1] if getattr(fitted, "steps", None) else fitted
    return hasattr(first, "vocabulary_")


def _to_onnx(path: Path, fitted: Any, columns: dict[str, str]) -> onnx.ModelProto:
    to_onnx = importlib.import_module("skl2onnx").to_onnx
    types = importlib.import_module("skl2onnx.common.data_types")
    names = {"float": "FloatTensorType", "integer": "Int64TensorType", "text": "StringTensorType"}
    form = [(name, getattr(types, names[kind])([None, 1])) for name, kind in columns.items()]
    if not form:
        form = [("X", types.FloatTensorType([None, _features(path, fitted)]))]
    options = {"zipmap": False} if hasattr(fitted, "predict_proba") else None
    try:
        made: onnx.ModelProto = to_onnx(fitted, initial_types=form, options=options, target_opset=OPSET)
    except Exception as error:  # skl2onnx raises a kind of its own for each cause
        cause = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise refuse(path, f"skl2onnx cannot convert it: {cause}", f"skl2onnx 无法转换：{cause}") from None
    for node in made.graph.node:
        if node.op_type == "StringNormalizer":  # skl2onnx writes en_US.UTF-8, which slim systems do not have
            kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("locale", _LOCALE)])
    return made


def _features(path: Path, fitted: Any) -> int:
    count = getattr(fitted, "n_features_in_", None)
    if not isinstance(count, int | np.integer) or count < 1:
        en, zh = (
            "has not been fitted, or does not say how many columns it takes",
            "没有训练过，或没有说明有几列",
        )
        raise refuse(path, en, zh)
    return int(count)


def _check(fitted: Any, target: Path, columns: dict[str, str], examples: Path | None, bound: float) -> None:
    """Refuse a graph that does not say what its source says."""
    kinds = columns or {"X": "matrix"}
    if examples is not None:
        with np.load(examples, allow_pickle=False) as kept:
            if set(kept.files) != set(kinds):
                found, wanted = sorted(kept.files), sorted(kinds)
                raise refuse(examples, f"has {found}, not {wanted}", f"其中是 {found}，不是 {wanted}")
            _hold(
                fitted, target, {name: _shaped(kept[name], kind) for name, kind in kinds.items()}, bound, 1.0
            )
    made = _made_up(fitted, kinds)
    if made is not None:
        _hold(fitted, target, made, bound, _CHOICES)
    elif examples is None:
        en = "columns of text need `examples` to be held against: an .npz with an array for each column"
        raise refuse(target, en, "含文字列的模型需要 examples 供核对：每列一个数组的 .npz 文件")


def _hold(fitted: Any, target: Path, feeds: dict[str, Array], bound: float, choices: float) -> None:
    """Compare on these rows: labels by how often they are the same, numbers by how far they are apart."""
    answers = runner(target)(feeds)
    first, *rest = answers
    table = _table(feeds)
    if hasattr(fitted, "classes_"):
        chosen = np.asarray(fitted.predict(table)).astype(str).reshape(-1)
        same = float(np.mean(answers[first].astype(str).reshape(-1) == chosen))
        if same < choices:
            en, zh = "chooses as scikit-learn does in", "与 scikit-learn 的选择一致的占"
            raise refuse(target, f"{en} {same:.1%} of the rows", f"{zh} {same:.1%}", agreement=same)
        if not rest or not hasattr(fitted, "predict_proba"):
            return
        name, values = rest[0], fitted.predict_proba(table)
    else:
        name, values = first, (fitted.predict if hasattr(fitted, "predict") else fitted.transform)(table)
    values = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    gaps = np.abs(values.reshape(len(values), -1) - answers[name].reshape(len(values), -1)).max(axis=1)
    allowed = bound * max(1.0, float(np.abs(values).max(initial=0.0)))
    if float(np.mean(gaps <= allowed)) < choices:
        en, zh = f"differs from scikit-learn by {gaps.max():.3g}", f"与 scikit-learn 相差 {gaps.max():.3g}"
        raise refuse(target, f"{en} (bound {allowed:.3g})", f"{zh}（上限 {allowed:.3g}）", bound=allowed)


def _table(feeds: dict[str, Array]) -> Any:
    """The rows as scikit-learn takes them: a matrix, texts, or columns of mixed kinds."""
    arrays = list(feeds.values())
    if len(arrays) == 1:
        return arrays[0] if arrays[0].dtype != object else [str(text) for text in arrays[0].reshape(-1)]
    table = np.empty((len(arrays[0]), len(arrays)), object)
    for place, column in enumerate(arrays):
        table[:, place] = column.reshape(-1)
    return table


def _shaped(values: Array, kind: str) -> Array:
    """A column [n, 1] of its kind, or a matrix as it is."""
    if kind == "matrix":
        return np.asarray(values, np.float32)
    if kind == "text":
        return values.astype(str).astype(object).reshape(-1, 1)
    return values.astype(np.float32 if kind == "float" else np.int64).reshape(-1, 1)


def _made_up(fitted: Any, kinds: dict[str, str]) -> dict[str, Array] | None:
    """Rows by chance: numbers in the range that a scaler has seen, words that a vectoriser knows."""
    random = np.random.default_rng(0)
    steps = [step for _name, step in getattr(fitted, "steps", [("", fitted)])]
    if kinds == {"X": "matrix"}:
        width = int(fitted.n_features_in_)
        spread = _seen(steps[0], "scale_", 1.0) * 10 ** random.uniform(-1, 1.5, (_ROWS, 1))
        rows = random.normal(_seen(steps[0], "mean_", 0.0), spread, (_ROWS, width))
        return {"X": rows.astype(np.float32)}
    if list(kinds.values()) == ["text"] and (words := sorted(getattr(steps[0], "vocabulary_", ()))):
        texts = [" ".join(random.choice(words, 8)) for _ in range(_ROWS)]
        return {next(iter(kinds)): _shaped(np.array(texts), "text")}
    if "text" in kinds.values():
        return None
    made = {"integer": random.integers(0, 20, _ROWS), "float": random.normal(size=_ROWS)}
    return {name: _shaped(random.permutation(made[kind]), kind) for name, kind in kinds.items()}


def _seen(step: Any, name: str, default: float) -> Any:
    """What a scaler has learnt of its columns."""
    learnt = getattr(step, name, None)
    return default if learnt is None else learnt
