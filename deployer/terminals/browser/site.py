"""The folder's files: model, engine, scripts, page, and the list that the service worker keeps them by.

Everything is written in a fixed order from the release and our own files, without times: the same release
gives the same bytes.
"""

import hashlib
import html
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from deployer.errors import ContentCorrupted, PackagingFailed
from deployer.optimizer.targets import graphs
from deployer.packager.layout import roomy
from deployer.packager.release import MANIFEST, Release
from deployer.terminals.browser import npm
from deployer.terminals.browser.recipe import Recipe

HERE = Path(__file__).parent
STATIC = HERE / "static"
ENGINE = "runtime/ort.wasm.packed"
TOKENIZERS = "runtime/tokenizers.js"
NOTICES = "ThirdPartyNotices.txt"
_ENTRIES = ("market.js", "worker.js", "page/page.js")
_PLAIN = ("icon.svg", "page/page.css")
_IMPORTS = re.compile(r'\bfrom "(\.[^"]+)"')
_SHORT = 12  # letters that a home screen has room for


def write(release: Release, recipe: Recipe, packages: Path, folder: Path) -> dict[str, Any]:
    """Fill the folder; returns its facts. Raises DiskFull and PackagingFailed."""
    try:
        with roomy(folder, release.size):
            return _write(release, recipe, packages, folder)
    except OSError as error:
        raise PackagingFailed(image=release.name, why=str(error)) from error


def _write(release: Release, recipe: Recipe, packages: Path, folder: Path) -> dict[str, Any]:
    recipe = _model(release, recipe, folder)
    scripts = _scripts(recipe)
    for path in [*scripts, *_PLAIN]:
        _put(folder / path, (STATIC / path).read_bytes())
    tokenizes = "text/tokens.js" in scripts
    _engine(packages, folder, tokenizes)
    _put(folder / "recipe.json", _json(recipe))
    loads = [ENGINE, *sorted(f"model/{path}" for path in [recipe["graph"], *recipe["external"]])]
    loads += ["model/tokenizer.json"] if tokenizes else []
    _put(folder / "release.json", _json(_release(release, folder, loads)))
    _page(release, folder)
    _guide(release, folder)
    kept = _listed(folder)
    _put(folder / "sw.js", _service_worker(kept))
    _licences(release, packages, folder, tokenizes)
    written = [path for path in folder.rglob("*") if path.is_file()]
    return {
        "engine": f"{npm.RUNTIME} {npm.PACKAGES[npm.RUNTIME]}",
        "threads": 1,
        "files": len(written),
        "bytes": sum(path.stat().st_size for path in written),
        "first_visit_bytes": sum(size for size, _ in kept.values()),
        "engine_bytes": (folder / ENGINE).stat().st_size,
        "packages": npm.purls(tokenizes),
    }


def _model(release: Release, recipe: Recipe, folder: Path) -> Recipe:
    """Put the graph, what lies beside it, the tokenizer and the manifest; the recipe with their names."""
    files = release.manifest["files"]
    graph = release.folder / files["model"]
    external = graphs.external_files(graph)
    target = folder / "model"
    _copy(release, files["model"], target / graph.name)
    for name in external:
        _copy(release, (Path(files["model"]).parent / name).as_posix(), target / name)
    if "encoder" in recipe:
        _copy(release, files["tokenizer"], folder / "model" / "tokenizer.json")
        recipe = {**recipe, "encoder": {**recipe["encoder"], "file": "model/tokenizer.json"}}
    shutil.copyfile(release.folder / MANIFEST, target / MANIFEST)
    return {**recipe, "graph": graph.name, "external": external}


def _copy(release: Release, name: str, target: Path) -> None:
    """Copy a file of the release, which has to be what its manifest says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(release.folder / name, target)
    expected = next((each["sha256"] for each in release.manifest["artifacts"] if each["path"] == name), "")
    got = _sum(target)[1]
    if got != expected:
        raise ContentCorrupted(
            what=f"{release.name}: {name}", expected=f"sha256:{expected}", got=f"sha256:{got}"
        )


def _scripts(recipe: Recipe) -> list[str]:
    """Our modules that this model needs: the entries, its pipeline, and all that these import."""
    waiting = [*_ENTRIES, f"pipelines/{recipe['pipeline']}.js"]
    if "encoder" in recipe:
        waiting.append("text/tokens.js")
    found: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in found or path.startswith("runtime/"):
            continue
        found.add(path)
        source = STATIC / path
        imported = _IMPORTS.findall(source.read_text("utf-8"))
        waiting += [os.path.normpath(source.parent.relative_to(STATIC) / name) for name in imported]
    return sorted(found)


def _engine(packages: Path, folder: Path, tokenizes: bool) -> None:
    _put(folder / "runtime" / "ort.js", _unmapped(packages / npm.GLUE))
    shutil.copyfile(packages / npm.PACKED, folder / ENGINE)
    if tokenizes:
        _put(folder / TOKENIZERS, _unmapped(packages / npm.TOKENIZERS))


def _unmapped(path: Path) -> bytes:
    """A script without its pointer to a source map, which is not served."""
    lines = path.read_bytes().splitlines(keepends=True)
    return b"".join(line for line in lines if b"sourceMappingURL" not in line[:40])


def _release(release: Release, folder: Path, loads: list[str]) -> dict[str, Any]:
    """The facts that the page shows, and the files that have to be there before the model answers."""
    vendor, _, slug = release.name.rpartition("/")
    return {
        "name": release.name,
        "vendor": vendor,
        "version": release.version,
        "digest": release.digest,
        "task": release.task,
        "title": {"zh": release.title_zh or slug, "en": release.title_en or slug},
        "summary": {"zh": release.summary_zh, "en": release.summary_en},
        "license": {"package": release.license_package, "weights": release.license_weights},
        "engine": f"{npm.RUNTIME} {npm.PACKAGES[npm.RUNTIME]}",
        "size": sum((folder / path).stat().st_size for path in loads if path != ENGINE),
        "loads": [_entry(folder, path) for path in loads],
    }


def _entry(folder: Path, path: str) -> dict[str, Any]:
    size, sha256 = _sum(folder / path)
    return {"path": path, "size": size, "sha256": sha256}


def _page(release: Release, folder: Path) -> None:
    slug = release.slug
    title = release.title_zh or release.title_en or slug
    page = (STATIC / "index.html").read_text("utf-8")
    page = page.replace("{{title}}", html.escape(title)).replace("{{name}}", html.escape(release.name))
    _put(folder / "index.html", page.encode())
    app = {
        "name": title,
        "short_name": title if len(title) <= _SHORT else slug,
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#faf8f3",
        "theme_color": "#faf8f3",
        "icons": [{"src": "icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"}],
    }
    _put(folder / "app.webmanifest", _json(app))


def _guide(release: Release, folder: Path) -> None:
    """README.md, with the release's first example as what to send."""
    examples = release.manifest.get("examples") or [{}]
    request = examples[0].get("request") or {}
    body = {name: _sent(name, value) for name, value in request.items()}
    inner = ", ".join(f"{name}: {value}" for name, value in body.items())
    guide = (HERE / "guide.md").read_text("utf-8")
    for name, value in {"name": release.name, "version": release.version, "body": inner or "…"}.items():
        guide = guide.replace(f"{{{{{name}}}}}", value)
    _put(folder / "README.md", guide.encode())


def _sent(name: str, value: Any) -> str:
    """A field of an example as JavaScript; bytes as the file that a visitor has chosen."""
    if name in ("image", "file"):
        return "input.files[0]"
    return json.dumps(value, ensure_ascii=False)


def _listed(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and sha256 of every file that the page needs, by its path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    return {path.relative_to(folder).as_posix(): _sum(path) for path in paths}


def _service_worker(kept: dict[str, tuple[int, str]]) -> bytes:
    listed = json.dumps(kept, sort_keys=True, indent=1)
    release = hashlib.sha256(listed.encode()).hexdigest()
    source = (STATIC / "sw.js").read_text("utf-8")
    return source.replace("{{release}}", release).replace("{{files}}", listed).encode()


def _licences(release: Release, packages: Path, folder: Path, tokenizes: bool) -> None:
    """Beside the files: the licences of what is in them, and the model's card."""
    _put(
        folder / "licences" / "onnxruntime-web.txt", (HERE / "licences" / "onnxruntime-web.txt").read_bytes()
    )
    if notices := _notices():
        _put(folder / "licences" / "onnxruntime-web-third-party.txt", notices)
    if tokenizes:
        _put(folder / "licences" / "tokenizers.txt", (packages / npm.TOKENIZERS_LICENCE).read_bytes())
    if release.card:
        _put(folder / "card.md", release.card.encode())


def _notices() -> bytes:
    """What ONNX Runtime says of the libraries inside it: its wheel has it, its npm package leaves it out."""
    found = importlib.util.find_spec("onnxruntime")
    path = Path(found.origin).with_name(NOTICES) if found is not None and found.origin else None
    return path.read_bytes() if path is not None and path.is_file() else b""


def _sum(path: Path) -> tuple[int, str]:
    with path.open("rb") as opened:
        return path.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
