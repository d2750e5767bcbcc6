"""Sample projects for phones: whole, understood by grammars, and calculating as the server does."""

import base64
import json
import plistlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto
from PIL import Image

from deployer.errors import TerminalNotSupported
from deployer.optimizer.targets.players import npm
from deployer.packager.release import Release, Workshop, of_folder
from deployer.server.predictor import Predictor, finish, load
from deployer.spec import silent
from deployer.terminals import phone, phone_source
from tests.deployer.terminals.projects import (
    HOSTILE,
    compiled,
    faults,
    maps_folder,
    picture_folder,
    release_of,
    run_java,
    table_folder,
)
from tests.shelf_files import model_dir
from tests.shop import CACHE

ANDROID_RUNTIME = "1.24.3"
NAMED = [f"{text} {number}" for number, text in enumerate(HOSTILE)]
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder for each way of preparing inputs, by a name."""
    root = tmp_path_factory.mktemp("folders")
    titles = {"label_titles": {label: {"zh": label, "en": label} for label in NAMED}}
    return {
        "orientation": model_dir("doc-orientation"),
        "sentiment": model_dir("zh-sentiment"),
        "selfie": model_dir("selfie-segmentation"),
        "minilm": model_dir("en-minilm-l6-int8"),
        "hostile": picture_folder(
            root / "hostile",
            [40, 50, 3],
            NAMED,
            layout="NHWC",
            channels="BGR",
            scale=1,
            mean=[104, 117, 123],
            **titles,
        ),
        "cubic": picture_folder(
            root / "cubic",
            [3, 30, 40],
            ["a", "b"],
            resize_short=48,
            crop=[30, 40],
            filter="bicubic",
            **IMAGENET,
        ),
        "nearest": picture_folder(
            root / "nearest",
            [31, 33, 1],
            ["a", "b"],
            TensorProto.UINT8,
            layout="NHWC",
            channels="L",
            filter="nearest",
            resize=[41, 37],
            crop=[31, 33],
        ),
        "maps": maps_folder(root / "maps", ["red", "green", "blue"], background=["blue"]),
        "table": table_folder(root / "table"),
    }


@pytest.fixture(scope="module")
def built(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """An Android and an iOS project of each."""
    found: dict[str, dict[str, Path]] = {"android": {}, "ios": {}}
    for name, folder in folders.items():
        title = HOSTILE[0] + HOSTILE[1] + HOSTILE[2] + HOSTILE[3] if name == "hostile" else name
        for device, build in (("android", phone.build_android), ("ios", phone.build_ios)):
            if device == "ios" and name in ("cubic", "nearest"):
                continue
            out = tmp_path_factory.mktemp(f"{device}-{name}")
            facts = build(Workshop(out), release_of(folder, title), out, silent)
            assert facts["grade"] == "checked" and facts["model_bytes"] > 0, facts
            found[device][name] = out
    return found


def _files(folder: Path, *suffixes: str) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in suffixes and path.is_file():
            yield path


# The projects as they lie there


@pytest.mark.network
@pytest.mark.parametrize("device", ["android", "ios"])
def test_sources_are_understood_by_the_grammars(built: dict[str, dict[str, Path]], device: str) -> None:
    looked = 0
    for folder in built[device].values():
        for path in _files(folder, ".kt", ".kts", ".swift"):
            assert faults(path) == []
            looked += 1
    assert looked > 7 * 8


def test_the_grammars_see_a_fault(tmp_path: Path) -> None:
    for name, text in (("A.kt", 'val a = "b" c"'), ("A.swift", 'let a = "b\nlet b = ')):
        (tmp_path / name).write_text(text)
        assert faults(tmp_path / name)


@pytest.mark.network
def test_android_projects_hang_together(built: dict[str, dict[str, Path]]) -> None:
    android = "{http://schemas.android.com/apk/res/android}"
    for folder in built["android"].values():
        main = folder / "app" / "src" / "main"
        assert 'include(":app")' in (folder / "settings.gradle.kts").read_text()
        assert (folder / "app" / "build.gradle.kts").is_file() and (folder / "build.gradle.kts").is_file()
        trees = {path: ElementTree.parse(path).getroot() for path in _files(main, ".xml")}
        manifest = trees[main / "AndroidManifest.xml"]
        assert manifest.find("uses-permission") is None
        activity = manifest.find("application/activity")
        assert activity is not None and activity.get(f"{android}name") == ".MainActivity"
        used = set()
        for path, root in trees.items():
            values = [value for element in root.iter() for value in element.attrib.values()]
            used |= {value for value in values if value.startswith(("@string/", "@drawable/", "@layout/"))}
            assert path.is_file()
        for language in ("values", "values-zh"):
            words = {one.get("name") for one in trees[main / "res" / language / "strings.xml"]}
            code = "".join(path.read_text() for path in _files(main, ".kt"))
            wanted = {name.removeprefix("@string/") for name in used if name.startswith("@string/")}
            assert words >= wanted | set(re.findall(r"R\.string\.(\w+)", code))
        assert (main / "res" / "drawable" / "icon.xml") in trees and "@drawable/icon" in used
        spec = (main / "java" / "market" / "sample" / "ModelSpec.kt").read_text()
        example = re.search(r'const val EXAMPLE = "(.*)"', spec)
        assert example and (not example[1] or (main / "assets" / example[1]).is_file())
        assert phone.CONFIG in (folder / "README.md").read_text() and (folder / phone.CONFIG).is_file()


@pytest.mark.network
def test_xcode_projects_hang_together(built: dict[str, dict[str, Path]]) -> None:
    for folder in built["ios"].values():
        plain = plistlib.loads((folder / "Sample.xcodeproj" / "project.pbxproj").read_bytes())
        objects = plain["objects"]
        assert objects[plain["rootObject"]]["isa"] == "PBXProject"
        refers = re.compile(r"[0-9A-F]{24}")
        for one in objects.values():
            for value in one.values():
                for each in value if isinstance(value, list) else [value]:
                    assert not (isinstance(each, str) and refers.fullmatch(each)) or each in objects
        listed = {one["path"] for one in objects.values() if one["isa"] == "PBXFileReference"} - {
            "Sample.app"
        }
        there = {
            str(path.relative_to(folder / "Sample"))
            for path in (folder / "Sample").rglob("*")
            if path.is_file()
        }
        assert listed == there
        compiled_here = {
            objects[objects[built]["fileRef"]]["path"]
            for one in objects.values()
            if one["isa"] == "PBXSourcesBuildPhase"
            for built in one["files"]
        }
        assert compiled_here == {name for name in there if name.endswith(".swift")}
        assert "model.ort" in there
        for path in _files(folder, ".strings"):
            for text in path.read_text().splitlines():
                assert re.fullmatch(r'("\w+"|\w+) = "([^"\\]|\\.)*";', text), text


@pytest.mark.network
def test_texts_of_strangers_stay_texts(built: dict[str, dict[str, Path]]) -> None:
    folder = built["android"]["hostile"]
    strings = ElementTree.parse(folder / "app/src/main/res/values/strings.xml").getroot()
    assert len(strings) == 10 and strings[0].get("name") == "app_name"
    labels = (folder / "app/src/main/assets/labels.tsv").read_text().split("\n")
    assert len(labels) == len(NAMED) + 1 and all(line.count("\t") == 2 for line in labels[:-1])
    for path in (*_files(folder, ".kt"), *_files(built["ios"]["hostile"], ".swift")):
        assert "System.exit" not in path.read_text()


def test_literals_hold_any_text() -> None:
    for text in (*HOSTILE, "\ud800", "", "\x7f"):
        assert re.fullmatch(r'"([^"\\$\n\r]|\\.)*"', phone_source.kotlin(text))
        assert re.fullmatch(
            r'"([^"\\\n\r]|\\.)*"', phone_source.swift(text)
        ) and "\\(" not in phone_source.swift(text.replace("\\", ""))
        assert "\n" not in phone_source.line(text) and phone_source.line(text)
    assert phone_source.identifier("9 Ünter-Fahrt.exe") == "m_9_nter_fahrt_exe"


# The model in .ort form


@pytest.mark.network
def test_the_ort_file_answers_in_the_phones_own_version(
    built: dict[str, dict[str, Path]], tmp_path: Path
) -> None:
    """Onnxruntime of the version that the Android project names, here on a processor, beside ours."""
    library = _old_runtime()
    for name in ("orientation", "selfie", "minilm", "table"):
        graph = built["android"][name] / "app/src/main/assets/model.ort"
        session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        feeds = {}
        for spec in session.get_inputs():
            shape = [
                axis if isinstance(axis, int) else 7 if place else 1 for place, axis in enumerate(spec.shape)
            ]
            kind = np.int64 if "int64" in spec.type else np.float32
            feeds[spec.name] = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(kind)
        np.savez(tmp_path / "feeds.npz", **feeds)
        code = (
            "import sys, numpy as np, onnxruntime as ort\n"
            "assert ort.__version__ == sys.argv[3], ort.__version__\n"
            "session = ort.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
            "outputs = session.run(None, dict(np.load(sys.argv[2] + '/feeds.npz')))\n"
            "np.savez(sys.argv[2] + '/outputs.npz', *outputs)\n"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(graph), str(tmp_path), ANDROID_RUNTIME],
            env={"PYTHONPATH": str(library), "ORT_DISABLE_TELEMETRY": "1"},
            check=True,
        )
        theirs = np.load(tmp_path / "outputs.npz")
        for ours, their in zip(session.run(None, feeds), theirs.values(), strict=True):
            assert np.allclose(ours, their, rtol=1e-3, atol=1e-4), name


def _old_runtime() -> Path:
    home = CACHE / f"onnxruntime-{ANDROID_RUNTIME}"
    if not home.is_dir():
        partial = CACHE / f".onnxruntime-{ANDROID_RUNTIME}"
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(partial)),
                f"onnxruntime=={ANDROID_RUNTIME}",
            ],
            check=True,
        )
        for wheel in partial.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(partial)
            wheel.unlink()
        partial.rename(home)
    return home


@pytest.mark.network
def test_the_same_release_gives_the_same_bytes(
    folders: dict[str, Path], built: dict[str, dict[str, Path]], tmp_path: Path
) -> None:
    for device, build in (("android", phone.build_android), ("ios", phone.build_ios)):
        again, before = tmp_path / device, built[device]["orientation"]
        again.mkdir()
        build(Workshop(again), release_of(folders["orientation"], "orientation"), again, silent)
        names = [path.relative_to(again) for path in again.rglob("*") if path.is_file()]
        assert len(names) > 15
        assert [name for name in names if (again / name).read_bytes() != (before / name).read_bytes()] == []


@pytest.mark.network
def test_weights_that_are_packed_stay_packed(built: dict[str, dict[str, Path]]) -> None:
    packed = (model_dir("en-minilm-l6-int8") / "model.onnx").stat().st_size
    assert (built["ios"]["minilm"] / "Sample/model.ort").stat().st_size < 1.1 * packed


@pytest.mark.network
def test_the_operators_are_listed(built: dict[str, dict[str, Path]]) -> None:
    text = (built["android"]["orientation"] / phone.CONFIG).read_text()
    assert str(built["android"]["orientation"]) not in text
    assert re.search(r"^ai\.onnx;\d+;", text, re.MULTILINE) and "Conv" in text


# The code, run: Kotlin on a JVM


@pytest.fixture(scope="module")
def classes(built: dict[str, dict[str, Path]]) -> str:
    """All Android projects compiled against stubs of Android and ONNX Runtime, warnings being errors."""
    if not (shutil.which("javac") and npm()):
        pytest.skip("this machine has no Java compiler or no npm")
    texts = {"sentiment": "CheckText.kt", "minilm": "CheckText.kt"}
    pictures = dict.fromkeys(
        ("orientation", "selfie", "hostile", "cubic", "nearest", "maps"), "CheckPicture.kt"
    )
    whole = ("orientation", "selfie", "sentiment", "minilm", "table")
    return compiled(built["android"], {**texts, **pictures}, whole)


def _picture(folder: Path, size: tuple[int, int]) -> Path:
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    path = folder / f"{size[0]}.png"
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.network
@pytest.mark.parametrize("name", ["orientation", "selfie", "hostile", "cubic", "nearest", "maps"])
@pytest.mark.parametrize("size", [(301, 200), (28, 44), (90, 500)])
def test_pictures_become_the_servers_very_numbers(
    classes: str,
    folders: dict[str, Path],
    built: dict[str, dict[str, Path]],
    tmp_path: Path,
    name: str,
    size: tuple[int, int],
) -> None:
    path = _picture(tmp_path, size)
    predictor = load(folders[name])
    seen = []

    def watch(run):
        seen.append(run.feeds)
        outputs = run.graph.run(run)
        seen.append(outputs)
        return outputs

    body = {"image": {"base64": base64.b64encode(path.read_bytes()).decode()}}
    answer = finish(predictor.predict(body), watch)
    (wanted,), (scores,) = (list(one.values()) for one in seen[:2])
    (tmp_path / "scores").write_bytes(scores.astype("<f4").tobytes())
    said = run_java(
        classes,
        f"market.{name}.CheckPictureKt",
        str(path),
        str(tmp_path / "input"),
        str(tmp_path / "scores"),
        ",".join(map(str, scores.shape)),
        str(built["android"][name] / "app/src/main/assets/labels.tsv"),
    )
    assert said[0] == ",".join(map(str, wanted.shape))
    found = np.frombuffer((tmp_path / "input").read_bytes(), wanted.dtype).reshape(wanted.shape)
    assert np.array_equal(found, wanted) or np.abs(found - wanted).max() < 1e-6
    labels = [" ".join(result["label"].split()) for result in answer["results"]]
    shares = [result.get("area", result["score"]) for result in answer["results"]]
    titles = _titles(built["android"][name])
    assert said[1:] == [
        f"{titles[label]}  {share * 100:.1f} %" for label, share in zip(labels, shares, strict=True)
    ]


def _titles(project: Path) -> dict[str, str]:
    lines = (project / "app/src/main/assets/labels.tsv").read_text().split("\n")[:-1]
    return {name: english for name, _, english in (line.split("\t") for line in lines)}


TEXTS = (
    "物流很快，包装完好，质量比想象中好，下次还会再来。",
    "Ｆｕｌｌ　width, and ﬁne ligatures… İstanbul ẞ straße",
    "Ünïcödé naïve café — “quotes” don't e-mail a.b@c.de $5.00 100% C++",
    "",
    "   blanks\\n\\tand\\u3000more \u00a0 \u2003 lines   ",
    "混合 mixed 文字text🙂👩‍🔬 emoji",
    "pneumonoultramicroscopicsilicovolcanoconiosis " + "x" * 120,
    "한국어 कुत्ता ไทย עברית العربية",
    "soft\u00adhyphen zero\u200bwidth \ufffd bell\u0007",
)


@pytest.mark.network
@pytest.mark.parametrize("name", ["sentiment", "minilm"])
def test_texts_become_the_servers_very_tokens(
    classes: str, folders: dict[str, Path], built: dict[str, dict[str, Path]], tmp_path: Path, name: str
) -> None:
    (tmp_path / "texts").write_text("\n".join(TEXTS))
    assets = built["android"][name] / "app/src/main/assets"
    said = run_java(classes, f"market.{name}.CheckTextKt", str(assets), str(tmp_path / "texts"))
    assert len(said) == len(TEXTS)
    predictor = load(folders[name])
    for text, line in zip(TEXTS, said, strict=True):
        wanted = _feeds(predictor, text.replace("\\n", "\n"))
        for part, spec in zip(line.split(";"), predictor.inputs, strict=True):
            found = [float(cell) for cell in part.split(",")]
            assert np.allclose(found, wanted[spec.name][0], atol=1e-7), (text, spec.name)


def _feeds(predictor: Predictor, text: str) -> dict[str, np.ndarray]:
    seen = {}

    def watch(run):
        seen.update(run.feeds)
        return run.graph.run(run)

    if getattr(predictor, "analyzer", None) is not None:
        ids, weights = predictor.analyzer.batch([text])
        return {"ids": ids, "weights": weights}
    items = predictor.encoder.encode([text], where="text", truncate=True)
    return predictor.encoder.feeds(items)


# What is refused


@pytest.mark.network
@pytest.mark.parametrize("listing", ["ocr-ppocrv6-small", "filetype-magika", "vad-silero-6"])
def test_tasks_that_the_samples_do_not_prepare_are_refused_at_once(listing: str) -> None:
    with pytest.raises(TerminalNotSupported) as refused:
        phone.supports(of_folder(model_dir(listing)))
    assert refused.value.facts["why"] and refused.value.facts["why_zh"]


def test_a_graph_of_a_newer_opset_is_refused(tmp_path: Path) -> None:
    folder = table_folder(tmp_path / "model")
    import onnx

    model = onnx.load(folder / "model.onnx")
    model.opset_import[0].version = 26
    onnx.save(model, folder / "model.onnx")
    (tmp_path / "out").mkdir()
    with pytest.raises(TerminalNotSupported) as refused:
        phone.build_android(Workshop(tmp_path), of_folder(folder), tmp_path / "out", silent)
    assert "opset 26" in str(refused.value.facts["why"])


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = table_folder(tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    told = json.loads((folder / "manifest.json").read_text())
    told["files"]["tokenizer"] = "tokenizer.json"
    (folder / "manifest.json").write_text(json.dumps({**told, "task": "text-classification"}))
    release: Release = of_folder(folder)
    with pytest.raises(TerminalNotSupported) as refused:
        phone.supports(release)
    assert "WordPiece" in str(refused.value.facts["why"])
