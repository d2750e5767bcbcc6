"""Model folders for sample projects, and tools that look at what was generated: grammars and a compiler."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tree_sitter
import tree_sitter_kotlin
import tree_sitter_swift
from filelock import FileLock
from onnx import TensorProto, helper, save

from deployer.optimizer.targets.players import npm
from deployer.packager.release import Release, of_folder
from tests.shop import CACHE

KOTLIN = "kotlin-compiler-2.4.20"
KOTLIN_SHA256 = "c23dab400d7ce5ea8b6c909947c0ca5454189e4bb1108695b5f464500e5e950f"
HERE = Path(__file__).parent / "kotlin"
GRAMMARS = {".kt": tree_sitter_kotlin, ".kts": tree_sitter_kotlin, ".swift": tree_sitter_swift}

FOREIGN = re.compile(r"^import (android|ai\.onnxruntime)|Activity", re.MULTILINE)

HOSTILE = (
    'He said "no" ${System.exit(1)} $x \\(exit(0)) \\u0022',
    "line\nbreak\r\nand\ttab\u2028and\u0000nul",
    "</string><string name='x'>&amp;]]> <!--",
    "👩‍🔬 \u202etxt.exe\u202c 'quote' @string/x ?attr/y 50% s 30% d",
    "中文“引号”／＊ */ // #",
)


def model_folder(
    folder: Path,
    graph: Any,
    task: str,
    options: dict[str, Any],
    *,
    files: dict[str, str] | None = None,
    **more: Any,
) -> Path:
    """A model folder of one graph, opset 17."""
    folder.mkdir(parents=True, exist_ok=True)
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(folder / "model.onnx"),
    )
    named = {"model": "model.onnx", **(files or {})}
    manifest = {
        "schema": 1,
        "name": "tests/a-model",
        "version": "1.2.3",
        "task": task,
        "files": named,
        "options": options,
        "examples": [],
        "artifacts": [
            {"path": path, "sha256": "0" * 64, "size": (folder / path).stat().st_size}
            for path in named.values()
        ],
        **more,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def picture_folder(
    folder: Path, shape: Sequence[int], labels: Sequence[str], kind: int = TensorProto.FLOAT, **options: Any
) -> Path:
    """An image classifier whose scores are the means of the picture for each label, times its number."""
    nodes = [
        helper.make_node("Cast", ["x"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["one"]),
        helper.make_node("MatMul", ["one", "weights"], ["scores"]),
    ]
    weights = np.arange(len(labels), dtype=np.float32)[None] / 10
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", kind, ["n", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(labels)])],
        [
            helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
            helper.make_tensor("weights", TensorProto.FLOAT, list(weights.shape), weights.reshape(-1)),
        ],
    )
    return model_folder(folder, graph, "image-classification", {"labels": list(labels), **options})


def maps_folder(folder: Path, labels: Sequence[str], **options: Any) -> Path:
    """An image segmenter whose labels' maps are the picture's three colours."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "four"], ["maps"])],
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 24, 32])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 3, 24, 32])],
        [helper.make_tensor("four", TensorProto.FLOAT, [], [4.0])],
    )
    return model_folder(folder, graph, "image-segmentation", {"labels": list(labels), **options})


def table_folder(folder: Path) -> Path:
    """A regression over three columns."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    example = {"title_zh": "一行", "title_en": "A row", "request": {"rows": [[1, 2, 3.5]]}}
    example["expect"] = {"results": [{"value": 6.5}]}
    return model_folder(folder, graph, "tabular-regression", {}, examples=[example])


def release_of(folder: Path, title: str = "A model") -> Release:
    """A release with these words for people."""
    from dataclasses import replace

    return replace(of_folder(folder), title_en=title, title_zh=title)


def faults(path: Path) -> list[str]:
    """Where a grammar does not understand a source file."""
    grammar = GRAMMARS[path.suffix]
    tree = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(path.read_bytes())
    found: list[str] = []

    def look(node: tree_sitter.Node) -> None:
        if node.type == "ERROR" or node.is_missing:
            found.append(f"{path.name}:{node.start_point[0] + 1}")
        elif node.has_error:
            for child in node.children:
                look(child)

    look(tree.root_node)
    return found


# Kotlin's compiler, and Java's for the few classes of Android and ONNX Runtime that the samples call


def _compiler() -> Path:
    """Kotlin's compiler out of its npm package, kept between runs."""
    home = CACHE / KOTLIN
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f".{KOTLIN}.lock"):
        if not (home / "package" / "lib").is_dir():
            file = CACHE / f"{KOTLIN}.tgz"
            subprocess.run(
                [*(npm() or ()), "pack", "--silent", KOTLIN.replace("compiler-", "compiler@")],
                cwd=CACHE,
                check=True,
            )
            assert hashlib.sha256(file.read_bytes()).hexdigest() == KOTLIN_SHA256
            partial = CACHE / f".{KOTLIN}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.unpack_archive(file, partial, filter="data")
            partial.rename(home)
            file.unlink()
    return home / "package" / "lib"


def compiled(projects: dict[str, Path], checks: dict[str, str], whole: Collection[str]) -> str:
    """Compile Android projects by name, each with a program of tests/…/kotlin; the class path.

    All go through the compiler at once, so each has a package of its own; of those that are not named in
    `whole` only what calls neither Android nor ONNX Runtime. Kept by what they are made of.
    """
    sources: dict[str, str] = {}
    for name, project in projects.items():
        found = sorted((project / "app" / "src" / "main" / "java").rglob("*.kt"))
        if name not in whole:
            found = [path for path in found if not FOREIGN.search(path.read_text())]
        for path in [*found, *([HERE / checks[name]] if name in checks else [])]:
            text = path.read_text()
            assert text.startswith("package market.sample\n") or "\npackage market.sample\n" in text
            sources[f"{name}/{path.name}"] = text.replace("package market.sample", f"package market.{name}")
        sources[f"{name}/R.java"] = _resources(name, project)
    for path in sorted((HERE / "stubs").rglob("*.java")):
        sources[f"stubs/{path.relative_to(HERE / 'stubs')}"] = path.read_text()
    key = hashlib.sha256(json.dumps([KOTLIN, sources], sort_keys=True).encode()).hexdigest()[:24]
    library = _compiler()
    out = CACHE / "kotlin-classes" / key
    out.parent.mkdir(exist_ok=True)
    with FileLock(out.parent / f".{key}.lock"):
        if not out.is_dir():
            _compile(sources, out, library)
    return f"{out}:{library / 'kotlin-stdlib.jar'}"


def _compile(sources: dict[str, str], out: Path, library: Path) -> None:
    work = out.with_suffix(".partial")
    shutil.rmtree(work, ignore_errors=True)
    for name, text in sources.items():
        path = work / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    java = [str(path) for path in (work / "sources").rglob("*.java")]
    kotlin = [str(path) for path in (work / "sources").rglob("*.kt")]
    classes = work / "classes"
    subprocess.run(["javac", "-d", str(classes), *java], check=True, capture_output=True, text=True)
    names = ("compiler", "stdlib", "script-runtime", "reflect")
    jars = [library / f"kotlin-{name}.jar" for name in names]
    jars += [library / "kotlinx-coroutines-core-jvm.jar", library / "annotations-13.0.jar"]
    done = subprocess.run(
        [
            *(
                "java",
                "-Xmx1g",
                "-cp",
                ":".join(map(str, jars)),
                "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
            ),
            *("-no-reflect", "-no-stdlib", "-Werror", "-kotlin-home", str(library.parent)),
            *("-cp", f"{classes}:{library / 'kotlin-stdlib.jar'}", "-d", str(classes), *kotlin),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    classes.rename(out)
    shutil.rmtree(work)


def _resources(name: str, project: Path) -> str:
    """R, which Android's build writes: a number for each id, layout and string of the resources."""
    res = project / "app" / "src" / "main" / "res"
    ids = re.findall(r'"@\+id/(\w+)"', "".join(path.read_text() for path in (res / "layout").glob("*.xml")))
    words = re.findall(r'<string name="(\w+)"', (res / "values" / "strings.xml").read_text())
    layouts = [path.stem for path in (res / "layout").glob("*.xml")]
    kinds = {"id": ids, "string": words, "layout": layouts}
    inner = "".join(
        f"public static class {kind} {{ "
        + "".join(f"public static final int {one} = {number}; " for number, one in enumerate(names))
        + "}\n"
        for kind, names in kinds.items()
    )
    return f"package market.{name};\npublic class R {{\n{inner}}}\n"


def run_java(class_path: str, main: str, *arguments: str) -> list[str]:
    """The lines that a compiled program says."""
    done = subprocess.run(
        ["java", "-Xmx512m", "-cp", class_path, main, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
