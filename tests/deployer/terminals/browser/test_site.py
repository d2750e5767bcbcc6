"""The folder for the browser: what is refused, what is in it, and that it comes out the same again."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from tokenizers import models

from deployer.errors import ContentCorrupted, PackagingFailed, TerminalNotSupported
from deployer.packager.release import Workshop, of_folder
from deployer.spec import silent
from deployer.terminals import browser
from deployer.terminals.browser import npm
from deployer.terminals.browser.recipe import SETTLED
from deployer.terminals.browser.site import STATIC
from tests.deployer.terminals.browser.sites import classifier_of_texts, segmenter, shelf, site, workshop

network = pytest.mark.network
BARE = {"README.md", "sw.js"}  # are not kept by the service worker
HOST = re.compile(rb"(?:https?:)?//[a-z0-9-]+\.[a-z]", re.IGNORECASE)


def bytes_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# What is refused


@pytest.mark.parametrize(
    ("task", "files"),
    [
        ("automatic-speech-recognition", {"model": "model.onnx"}),
        ("text-to-speech", {"model": "model.onnx"}),
        ("image-to-text", {"detector": "model.onnx"}),
        ("token-classification", {"model": "model.onnx", "tokenizer": "tokenizer.json"}),
        ("tensors", {"encoder": "model.onnx"}),
    ],
)
def test_what_is_not_covered_is_refused_with_why(tmp_path: Path, task: str, files: dict[str, str]) -> None:
    bare = segmenter(tmp_path)
    release = replace(bare, manifest={**bare.manifest, "task": task, "files": files})
    with pytest.raises(TerminalNotSupported) as refused:
        browser.supports(release)
    assert refused.value.facts["terminal"] == "browser"
    assert refused.value.facts["task"] == task
    assert refused.value.facts["why"] and re.search("[一-鿿]", str(refused.value.facts["why_zh"]))


def test_a_graph_that_browsers_do_not_take_is_refused_before_any_work(tmp_path: Path) -> None:
    bare = segmenter(tmp_path / "model")
    graph = onnx.load(str(bare.folder / "model.onnx"))
    graph.opset_import[0].version = 99
    onnx.save(graph, str(bare.folder / "model.onnx"))
    (tmp_path / "out").mkdir()
    with pytest.raises(TerminalNotSupported, match="opset 99"):
        browser.build(Workshop(tmp_path / "home"), replace(bare, digest="sha256:99"), tmp_path / "out")
    assert not (tmp_path / "home").exists()
    assert not list((tmp_path / "out").iterdir())


def test_every_pipeline_with_a_recipe_has_its_script() -> None:
    scripts = {path.stem for path in (STATIC / "pipelines").glob("*.js")}
    assert scripts == SETTLED.keys()


@network
def test_a_folder_that_the_server_refuses(tmp_path: Path) -> None:
    release = segmenter(tmp_path / "model", labels=["only", "two"])
    (tmp_path / "out").mkdir()
    with pytest.raises(PackagingFailed, match="maps of 2 labels"):
        browser.build(workshop(), release, tmp_path / "out")


@network
def test_a_model_that_changed_on_disk_is_refused(tmp_path: Path) -> None:
    release = segmenter(tmp_path / "model")
    path = release.folder / "model.onnx"
    graph = onnx.load(str(path))
    graph.doc_string = "another one"
    onnx.save(graph, str(path))
    (tmp_path / "out").mkdir()
    with pytest.raises(ContentCorrupted, match=r"model\.onnx"):
        browser.build(workshop(), release, tmp_path / "out")


@network
def test_a_tokenizer_that_the_page_reads_otherwise_is_refused(tmp_path: Path) -> None:
    release = classifier_of_texts(tmp_path / "model", models.WordLevel)
    (tmp_path / "out").mkdir()
    with pytest.raises(TerminalNotSupported, match="tokenizer"):
        browser.build(workshop(), release, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


FILLS_THE_DISK = """
import resource, sys
from pathlib import Path
from deployer.errors import DiskFull
from deployer.packager.release import Workshop, of_folder
from deployer.terminals import browser
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    browser.build(Workshop(Path(sys.argv[1])), of_folder(Path(sys.argv[2])), Path(sys.argv[3]))
except DiskFull as error:
    print(error.facts["path"])
"""


@network
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    release = shelf("zh-sentiment")
    site(release)  # so that the packages are there
    given = [str(workshop().home), str(release.folder), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", FILLS_THE_DISK, *given], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(tmp_path), done.stderr


# What is in it


@network
def test_the_same_release_gives_the_same_bytes_in_another_home(tmp_path: Path) -> None:
    release = shelf("zh-sentiment")
    again, copy = tmp_path / "out", shutil.copytree(release.folder, tmp_path / "model")
    again.mkdir()
    packages = npm.fetch(workshop().cache, silent)  # once is enough: they are checked whenever they are used
    shutil.copytree(packages, tmp_path / "home" / "cache" / "environments" / packages.name)
    facts = browser.build(Workshop(tmp_path / "home"), of_folder(copy), again)
    made = bytes_of(again)
    assert made == bytes_of(site(release))
    assert facts["bytes"] == sum(map(len, made.values()))
    assert facts["files"] == len(made)
    assert facts["engine"] == "onnxruntime-web 1.30.0"


@network
def test_the_service_worker_lists_every_file_by_its_digest() -> None:
    made = bytes_of(site(shelf("zh-sentiment")))
    listed = json.loads(re.search(rb"const FILES = (\{.*?\});", made["sw.js"], re.DOTALL)[1])  # type: ignore[index]
    plain = {name for name in made if not name.startswith("licences/")} - BARE
    assert listed.keys() == plain
    for name, (size, sha256) in listed.items():
        assert [size, sha256] == [len(made[name]), hashlib.sha256(made[name]).hexdigest()]


@network
def test_only_what_the_model_needs_is_there() -> None:
    made = bytes_of(site(shelf("zh-sentiment")))
    assert "text/ngrams.js" in made
    strange = {"text/tokens.js", "runtime/tokenizers.js", "vision/picture.js", "model/samples.jsonl"}
    assert not strange & made.keys()
    assert not [name for name in made if name.startswith("pipelines/") and "text_class" not in name]
    embedder = bytes_of(site(shelf("en-minilm-l6-int8")))
    assert {"text/tokens.js", "runtime/tokenizers.js", "model/tokenizer.json"} <= embedder.keys()
    assert b"Apache License" in embedder["licences/tokenizers.txt"]
    assert b"Microsoft" in embedder["licences/onnxruntime-web.txt"]


@network
def test_no_other_host_is_named() -> None:
    """ONNX Runtime's script names one page in the text of an error."""
    known = {"runtime/ort.js": 1, "icon.svg": 1}  # and the name space of SVG
    for name, content in bytes_of(site(shelf("zh-sentiment"))).items():
        if not name.startswith(("licences/", "model/", "runtime/ort.wasm")):
            assert len(HOST.findall(content)) == known.get(name, 0), name


@network
def test_words_of_the_release_are_no_markup(tmp_path: Path) -> None:
    release = replace(shelf("zh-sentiment"), title_zh="<script>alert(1)</script>", digest="sha256:ab")
    browser.build(workshop(), release, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


@network
def test_the_guide_shows_what_to_send() -> None:
    guide = (site(shelf("zh-sentiment")) / "README.md").read_text()
    assert 'predict({ text: "物流很快，包装完好，质量比想象中好，下次还会再来。" })' in guide
    assert "predict({ image: input.files[0] })" in (site(shelf("doc-orientation")) / "README.md").read_text()


# The packages


@network
def test_a_damaged_package_is_fetched_anew(tmp_path: Path) -> None:
    shutil.copytree(npm.fetch(workshop().cache, silent), tmp_path / "environments" / "browser-packages")
    folder = npm.fetch(tmp_path, silent)
    (folder / npm.TOKENIZERS).write_bytes(b"something else")
    assert npm.fetch(tmp_path, silent) == folder
    for name, sha256 in npm.SUMS.items():
        packed = (folder / (npm.PACKED if name == npm.ENGINE else name)).read_bytes()
        content = zlib.decompress(packed) if name == npm.ENGINE else packed
        assert hashlib.sha256(content).hexdigest() == sha256
    assert not (folder / "npm").exists()


def test_the_lockfile_names_no_registry_and_the_versions_that_are_told() -> None:
    lock = json.loads((npm.HERE / "package-lock.json").read_text())
    assert all("resolved" not in each for each in lock["packages"].values())
    assert lock["packages"][""]["dependencies"] == npm.PACKAGES
    from deployer.devices import profile

    assert profile(browser.DEVICE).version == npm.PACKAGES[npm.RUNTIME]
