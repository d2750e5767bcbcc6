"""Olive on the same graphs: its one-command optimiser, and its search with our rows, metric and bound.

It is installed into an environment of its own among the tests' downloads. `auto-opt` is what its CLI does
with an ONNX file, a CPU and int8; `optimize`, which is to replace it, wants a text data set from a hub for
any ONNX file and a CUDA device to calibrate with. The search is a workflow of Olive's quantisation pass with
a goal of at most one point lost and latency first, where the rows to choose by are answered by the real
pipeline: an evaluator of our own, since 0.13 crashes on metrics of type custom. Both treat one graph at a
time, as Olive does; telemetry is off.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import httpx
from packaging.requirements import Requirement

from catalog.storage import only_one
from deployer.optimizer import folders
from tests.benchmarks.optimizing.beside import Contender
from tests.benchmarks.optimizing.jobs import MAX_DROP, ROOT, Finished
from tests.shelf_files import cache_dir

HERE = Path(__file__).parent
WAYS = ("Olive auto-opt", "Olive search")
# Plain `olive-ai[cpu]` does not import: it needs requests and does not say so. Torch of this version comes
# without CUDA where an index has such a build; the same ONNX Runtime for everybody.
ORDINARY = ("olive-ai[cpu]==0.13.0", "transformers==5.24.0")
REQUIREMENTS = (
    *ORDINARY,
    "torch==2.13.0",
    "requests",
    *(f"{name}=={version(name)}" for name in ("onnxruntime", "numpy")),
)
_LONGEST = 900.0
SEARCHED = 240  # seconds that Olive's search may take for a graph: as long as our whole job
_SAMPLES = 24
NOTHING = "nothing within the bound"


class Unavailable(Exception):
    """Olive cannot be installed here; the message says why."""


@dataclass(frozen=True)
class Installed:
    """MB on the disk for Olive and for us, and what an ordinary installation of Olive downloads."""

    olive: float
    seconds: float
    torch: str
    ordinary: float | None
    ours: float

    def text(self, language: str) -> str:
        """A sentence about it."""
        whole = "?" if self.ordinary is None else f"{self.ordinary / 1000:.1f}"
        if language == "zh":
            return (
                f"安装体积：Olive {self.olive:.0f} MB（torch {self.torch}，安装 {self.seconds:.0f} 秒；"
                f"按其文档普通安装需下载 {whole} GB），本项目连同商店共 {self.ours:.0f} MB。"
            )
        return (
            f"Installed: Olive {self.olive:.0f} MB (torch {self.torch}, {self.seconds:.0f} s to install; an "
            f"ordinary installation by its documentation downloads {whole} GB), ours {self.ours:.0f} MB with "
            "the whole shop."
        )


def _home() -> Path:
    mark = hashlib.sha256("\n".join([sys.version, *REQUIREMENTS]).encode()).hexdigest()[:12]
    return cache_dir() / "peers" / f"olive-{mark}"


def install() -> Path:
    """Olive's environment, made at the first use; raises Unavailable."""
    home = _home()
    with only_one(home.parent / ".olive.lock"):
        if (home / "ready.json").exists():
            return home
        for old in home.parent.glob("olive-????????????"):
            shutil.rmtree(old)
        print("installing olive for the comparison", file=sys.stderr, flush=True)
        began = time.monotonic()
        _call(sys.executable, "-m", "venv", str(home))
        _call(str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *REQUIREMENTS)
        told = {"seconds": time.monotonic() - began, "bytes": _size(home), "torch": _torch(home)}
        told["ordinary"] = _ordinary(home)
        (home / "ready.json").write_text(json.dumps(told))
    return home


def installed() -> Installed:
    """Sizes, as they were when it was installed."""
    told = json.loads((install() / "ready.json").read_text())
    ordinary = told["ordinary"] / 1e6 if told["ordinary"] else None
    return Installed(told["bytes"] / 1e6, told["seconds"], told["torch"], ordinary, _ours() / 1e6)


def _call(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()
        raise Unavailable(said[-1] if said else f"{command[:4]} failed") from error


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _torch(home: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('torch'))"
    return _call(str(home / "bin" / "python"), "-c", code).strip()


def _ordinary(home: Path) -> int | None:
    """Bytes of the wheels that an ordinary installation into an empty environment would bring."""
    plan = home / "plan.json"
    command = ("install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(plan), *ORDINARY)
    try:
        _call(str(home / "bin" / "python"), "-m", "pip", *command)
        wanted = json.loads(plan.read_text())["install"]
        with httpx.Client(follow_redirects=True, timeout=60) as client:
            return sum(_bytes(client, one["download_info"]["url"]) for one in wanted)
    except (Unavailable, OSError, ValueError, httpx.HTTPError):
        return None


def _bytes(client: httpx.Client, url: str) -> int:
    parts = urlparse(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).stat().st_size
    answer = client.head(url)
    answer.raise_for_status()
    return int(answer.headers["content-length"])


def _ours() -> int:
    """Bytes of everything that this project needs at run time, itself included."""
    waiting, seen, whole = [("opc-market", frozenset[str]())], set[str](), 0
    while waiting:
        name, extras = waiting.pop()
        try:
            found: Distribution = distribution(name)
        except PackageNotFoundError:
            continue
        key = found.metadata["Name"].lower().replace("_", "-")
        wanted = [Requirement(text) for text in found.requires or []]
        waiting += [
            (one.name, frozenset(one.extras))
            for one in wanted
            if key not in seen
            and (one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras | {""}))
        ]
        if key in seen:
            continue
        seen.add(key)
        whole += sum(_file_size(found, file) for file in found.files or [])
    return whole + sum(_size(ROOT / part) for part in ("catalog", "deployer", "marketplace", "web/templates"))


def _file_size(found: Distribution, file: Any) -> int:
    try:
        return Path(str(found.locate_file(file))).stat().st_size
    except OSError:
        return 0


def contenders(job: Finished) -> list[Contender]:
    """Olive's two ways on every graph of a model, or why there is nothing."""
    try:
        home = install()
    except Unavailable as error:
        return [Contender(way, {}, f"not installed: {error}"[:160]) for way in WAYS]
    return [_contender(job, way, make, home) for way, make in zip(WAYS, (_auto_opt, _search), strict=True)]


def _contender(job: Finished, way: str, make: Any, home: Path) -> Contender:
    began, made = time.monotonic(), {}
    for role, source in folders.graphs_of(job.base).items():
        place = job.work / "olive" / way.split()[-1] / role
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            made[role] = make(job, role, source, place, home)
        except _Failed as error:
            return Contender(way, {}, f"{role}: {error}"[:160], time.monotonic() - began)
    return Contender(way, {k: v for k, v in made.items() if v}, seconds=time.monotonic() - began)


class _Failed(Exception):
    """Olive made nothing; the message is its last line."""


def _auto_opt(job: Finished, role: str, source: Path, place: Path, home: Path) -> Path:
    """`olive auto-opt` for int8 on a CPU."""
    target = ("--device", "cpu", "--provider", "CPUExecutionProvider", "--precision", "int8")
    out = ("-o", str(place / "out"), "--disable_telemetry")
    _olive(home, place, "auto-opt", "-m", str(source), *target, *out)
    return _made(place)


def _search(job: Finished, role: str, source: Path, place: Path, home: Path) -> Path:
    """A search of Olive's quantisation pass under our bound, with our metric on the rows to choose by."""
    asked = {
        "python": sys.executable,
        "root": str(ROOT),
        "job": str(job.work),
        "role": role,
        "feeds": str(job.space / "feeds" / role),
        "scratch": str(place / "scored"),
    }
    (place / "asked.json").write_text(json.dumps(asked))
    script = place / "user_script.py"
    shutil.copyfile(HERE / "olive_script.py", script)
    (place / "config.json").write_text(json.dumps(_workflow(source, script, place / "out")))
    _olive(home, place, "run", "--config", str(place / "config.json"), "--disable_telemetry")
    return _made(place)


def _workflow(source: Path, script: Path, out: Path) -> dict[str, Any]:
    """Olive's configuration: quality first within the bound, then latency."""
    data = {
        "name": "rows",
        "user_script": str(script),
        "load_dataset_config": {"type": "recorded_feeds"},
        "dataloader_config": {"type": "one_by_one"},
    }
    quality = {
        "name": "quality",
        "type": "accuracy",
        "sub_types": [
            {"name": "accuracy_score", "priority": 2, "goal": {"type": "max-degradation", "value": MAX_DROP}}
        ],
    }
    latency = {"name": "latency", "type": "latency", "sub_types": [{"name": "avg", "priority": 1}]}
    evaluator = {"type": "our_rows", "user_script": str(script), "metrics": [quality, latency]}
    return {
        "input_model": {"type": "ONNXModel", "model_path": str(source)},
        "systems": {
            "here": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "data_configs": [data],
        "evaluators": {"rows": evaluator},
        "passes": {"quantization": {"type": "OnnxQuantization", "data_config": "rows"}},
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "tpe",
            "sampler_config": {"max_samples": _SAMPLES, "seed": 0},
            "max_time": SEARCHED,
            "output_model_num": 1,
        },
        "evaluator": "rows",
        "host": "here",
        "target": "here",
        "output_dir": str(out),
        "cache_dir": str(out.parent / "cache"),
    }


def _olive(home: Path, place: Path, *arguments: str) -> None:
    environment = {
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "HOME": str(place),
        "TMPDIR": str(place),
        "OLIVE_DISABLE_TELEMETRY": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [str(home / "bin" / "olive"), *arguments]
    log = place / "log.txt"
    with log.open("wb") as out:
        try:
            done = subprocess.run(
                command, cwd=place, env=environment, stdout=out, stderr=subprocess.STDOUT, timeout=_LONGEST
            )
        except subprocess.TimeoutExpired:
            raise _Failed(f"not done after {_LONGEST:.0f} s") from None
    if done.returncode:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        raise _Failed(lines[-1] if lines else f"exit {done.returncode}")


def _made(place: Path) -> Path:
    """The graph that Olive left; the first of several."""
    found = sorted((place / "out").rglob("*.onnx"))
    if not found:
        said = (place / "log.txt").read_text("utf-8", "replace")
        if "There is no expected candidates" in said:
            raise _Failed(NOTHING)
        lines = said.strip().splitlines()
        raise _Failed(lines[-1] if lines else "no graph")
    return found[0]
