"""Phones: a release as the sample project of an Android or an iOS app, complete but for what its SDK brings.

A project is made of plain Kotlin or Swift files, chosen by what the model does, one file of constants that
is written for the model (ModelSpec), and the model in .ort form. Nothing of it was run on a phone: checked is
that the .ort file answers the examples as the model does, and what the accelerator would take of it.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from deployer import devices
from deployer.errors import DeployerError, PackagingFailed, TerminalNotSupported
from deployer.packager.layout import roomy
from deployer.packager.release import Release, Workshop
from deployer.spec import Progress
from deployer.terminals import phone_source, phone_xcode
from deployer.terminals.phone_source import identifier, line

HERE = Path(__file__).parent
MODEL, CONFIG = "model.ort", "model.required_operators_and_types.config"
TASKS = frozenset(
    {
        "image-classification",
        "image-segmentation",
        "text-classification",
        "feature-extraction",
        "sentence-similarity",
        "tabular-classification",
        "tabular-regression",
    }
)
"""Tasks whose inputs the samples prepare; those without a pipeline of their own take tensors as they are."""
COMMON = {"picture": ["common"], "text": ["common", "entry"], "tensors": ["common", "entry"]}
SWIFT_PACKAGE = "1.24.2"  # the release of onnxruntime's Swift package from which on it may be
SUITS = {
    "yes": ("yes", "适合"),
    "maybe": ("perhaps, in parts", "也许，只能承担一部分"),
    "no": ("no, the processor runs it", "不适合，由处理器运行"),
    "unknown": ("it could not tell", "无法判断"),
}
_WORDPIECE = re.compile(rb'"type"\s*:\s*"WordPiece"')


def supports(release: Release, terminal: str = "android") -> None:
    """Raise TerminalNotSupported for what no sample project can be made of; looks at no graph."""
    files = release.manifest.get("files") or {}
    graphs = [path for path in files.values() if str(path).endswith((".onnx", ".ort"))]
    pipeline = HERE.parent / "server" / "pipelines" / f"{release.task.replace('-', '_')}.py"
    if release.task not in TASKS and (pipeline.is_file() and release.task != "tensors"):
        raise _refused(
            release,
            terminal,
            "the samples have no code yet that prepares this task's inputs",
            "示例工程中还没有为这种任务准备输入的代码",
        )
    if len(graphs) != 1 or not str(files.get("model", "")).endswith(".onnx"):
        raise _refused(release, terminal, "it is not one ONNX graph", "它不是单独一个 ONNX 计算图")
    form = devices.profile(terminal).form
    if form.max_bytes and release.size > form.max_bytes:
        raise _refused(release, terminal, "it is larger than 2 GB", "它大于 2 GB")
    if "tokenizer" in files and not _speaks(release.folder / str(files["tokenizer"])):
        raise _refused(
            release,
            terminal,
            "its tokenizer is not BERT's WordPiece, which alone the samples speak",
            "示例工程只实现了 BERT 的 WordPiece 分词器，这个模型用的是另一种",
        )


def _speaks(tokenizer: Path) -> bool:
    try:
        return _WORDPIECE.search(tokenizer.read_bytes()) is not None
    except OSError:
        return False


def _refused(release: Release, terminal: str, why: str, why_zh: str) -> TerminalNotSupported:
    return TerminalNotSupported(terminal=terminal, task=release.task, why=why, why_zh=why_zh)


def build_android(workshop: Workshop, release: Release, folder: Path, progress: Progress) -> dict[str, Any]:
    """Fill an empty folder with an Android Studio project; returns facts."""
    with roomy(folder):
        assets = folder / "app" / "src" / "main" / "assets"
        told = _prepared(release, "android", assets, progress)
        kinds = told["kinds"]
        sources = folder / "app" / "src" / "main" / "java" / "market" / "sample"
        _sources(HERE / "android" / "kotlin", kinds, sources)
        spec = phone_source.kotlin_spec(told["constants"])
        (sources / "ModelSpec.kt").write_text(spec, encoding="utf-8")
        layout = folder / "app" / "src" / "main" / "res" / "layout" / "main.xml"
        layout.parent.mkdir(parents=True)
        kind = "picture" if kinds[0] == "picture" else "entry"
        shutil.copyfile(HERE / "android" / "layouts" / f"{kind}.xml", layout)
        (assets / CONFIG).rename(folder / CONFIG)
        words = {
            **_words(release, told, assets / MODEL, devices.profile("android").version),
            "project": phone_source.kotlin(release.slug),
            "application": phone_source.kotlin(f"market.{identifier(release.slug)}"),
        }
        escapes = {"strings.xml.in": phone_source.xml, "build.gradle.kts.in": str}
        _templates(HERE / "android" / "project", folder, words, escapes)
        return _facts(told, assets / MODEL, folder, words["runtime"])


def build_ios(workshop: Workshop, release: Release, folder: Path, progress: Progress) -> dict[str, Any]:
    """Fill an empty folder with an Xcode project; returns facts."""
    with roomy(folder):
        app = folder / "Sample"
        told = _prepared(release, "ios", app, progress)
        (app / CONFIG).rename(folder / CONFIG)
        _sources(HERE / "ios" / "swift", told["kinds"], app)
        (app / "ModelSpec.swift").write_text(phone_source.swift_spec(told["constants"]), encoding="utf-8")
        files = sorted(path.name for path in app.iterdir())
        words = _words(release, told, app / MODEL, SWIFT_PACKAGE)
        escapes = {
            "Localizable.strings.in": phone_source.strings,
            "InfoPlist.strings.in": phone_source.strings,
        }
        _templates(HERE / "ios" / "project", folder, words, escapes)
        content = phone_xcode.project(
            files,
            ["InfoPlist.strings", "Localizable.strings"],
            bundle=f"market.{identifier(release.slug).replace('_', '-')}",
            version=words["version"],
            runtime=SWIFT_PACKAGE,
        )
        (folder / "Sample.xcodeproj").mkdir()
        (folder / "Sample.xcodeproj" / "project.pbxproj").write_bytes(content)
        return _facts(told, app / MODEL, folder, SWIFT_PACKAGE)


def _prepared(release: Release, device: str, out: Path, progress: Progress) -> dict[str, Any]:
    """The model's files in `out`, written by a child that is shut in; raises PackagingFailed if that ends."""
    from deployer.optimizer import worker
    from deployer.optimizer.errors import WorkerFailed

    supports(release, device)
    out.mkdir(parents=True)
    try:
        done = worker.run(
            "deployer.terminals.phone_model:prepare",
            {"folder": release.folder, "out": out, "device": device},
            read=(release.folder,),
            write=(out,),
            tick=progress,
        )
    except WorkerFailed as error:
        why = f"{error.facts.get('how')}: {error.facts.get('log')}"
        raise PackagingFailed(image=release.slug, why=why) from error
    except DeployerError as error:
        if error.code != TerminalNotSupported.code:
            raise
        raise TerminalNotSupported(**error.facts) from error
    result: dict[str, Any] = done.result
    return result


def _sources(root: Path, kinds: list[str], target: Path) -> None:
    """Copy the source files of the sample's parts."""
    target.mkdir(parents=True, exist_ok=True)
    for part in [*COMMON[kinds[0]], *kinds]:
        for path in sorted((root / part).glob("*.*")):
            shutil.copyfile(path, target / path.name)


def _words(release: Release, told: Mapping[str, Any], model: Path, runtime: str) -> dict[str, str]:
    """What the templates are filled with."""
    suits, suits_zh = SUITS[told["suits"]]
    count = told["examples"]
    return {
        "title_en": line(release.title_en or release.slug),
        "title_zh": line(release.title_zh or release.title_en or release.slug),
        "name": line(release.name),
        "version": re.sub(r"[^0-9.]", "", release.version) or "1.0.0",
        "runtime": runtime,
        "size": str(model.stat().st_size),
        "operators": str(told["operators"]),
        "accelerator": str(told["accelerator"]),
        "suits": suits,
        "suits_zh": suits_zh,
        "checks": f"{count} of them, with the server's own runtime",
        "checks_zh": f"{count} 个，用服务器的运行库",
    }


def _templates(root: Path, folder: Path, words: Mapping[str, str], escapes: Mapping[str, Any]) -> None:
    """Copy a tree of files; those that end in .in are filled, with their words escaped as they need it."""
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            continue
        inner = path.relative_to(root)
        if inner.parts[0].endswith(".lproj"):
            inner = Path("Sample") / inner
        target = folder / str(inner).removesuffix(".in")
        target.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".in":
            escape = escapes.get(path.name, str)
            content = Template(content).substitute({name: escape(word) for name, word in words.items()})
        target.write_text(content, encoding="utf-8")


def _facts(told: Mapping[str, Any], model: Path, folder: Path, runtime: str) -> dict[str, Any]:
    return {
        "grade": "checked",
        "runtime": runtime,
        "model_bytes": model.stat().st_size,
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "operators": told["operators"],
        "accelerator": told["accelerator"],
        "suits": told["suits"],
        "examples": told["examples"],
        "difference": told["difference"],
        "parts": list(told["kinds"]),
    }
