"""Conversions in a process of their own: crashes, cancelling, and a parent that is killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deployer.errors import ConversionFailed
from deployer.optimizer.convert import BUILDERS, worker
from deployer.spec import silent


def reviews(folder: Path, lines: int) -> dict[str, Path]:
    """Two files of made-up reviews, enough of them to keep a conversion busy."""
    paths = {}
    for name, word in (("positive", "好"), ("negative", "坏")):
        paths[name] = folder / f"{name}.txt"
        paths[name].write_text("".join(f"{word}{n}的评论{n * n}{word}\n" for n in range(lines)), "utf-8")
    return paths


def wait_gone(process: psutil.Process, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{process} still runs"
        time.sleep(0.02)


def test_a_crash_is_a_refusal_with_the_log(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="exit 1") as failed:
        worker.run("json", {}, tmp_path, {}, silent)  # a module with no convert
    assert failed.value.facts["source"] == "json"
    assert "AttributeError" in str(failed.value.facts["log"])
    assert failed.value.facts["why_zh"]


def test_a_missing_input_is_named_without_its_folder(tmp_path: Path) -> None:
    inputs = {"weights": tmp_path / "gone.safetensors", "config": tmp_path / "gone.json"}
    with pytest.raises(ConversionFailed, match=r"gone\.json") as failed:
        BUILDERS["bert-encoder"](inputs, tmp_path / "out", {}, silent)
    assert str(tmp_path) not in str(failed.value)


def test_a_watcher_that_raises_ends_the_child(tmp_path: Path) -> None:
    seen: list[psutil.Process] = []

    def cancel(done: int, total: int, note: str = "") -> None:
        seen.extend(psutil.Process().children())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BUILDERS["linear-text"](reviews(tmp_path, 3000), tmp_path / "out", {"held_out": 100}, cancel)
    assert seen
    for child in seen:
        wait_gone(child)
    assert not (tmp_path / "out").exists()


def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    inputs = {name: str(path) for name, path in reviews(tmp_path, 100_000).items()}
    code = f"""
from pathlib import Path
from deployer.optimizer.convert import BUILDERS
inputs = {{name: Path(path) for name, path in {json.dumps(inputs)}.items()}}
BUILDERS["linear-text"](inputs, Path({str(tmp_path / "out")!r}), {{}}, lambda *told: None)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while not (children := psutil.Process(parent.pid).children()):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)
    assert parent.wait() == -signal.SIGKILL
    for child in children:
        wait_gone(child)
    assert not (tmp_path / "out").exists()


def test_the_registry_loads_no_heavy_library() -> None:
    code = "import sys; from deployer.optimizer.convert import BUILDERS; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"onnx", "numpy", "tokenizers", "onnxruntime"} & set(done.stdout.split())
