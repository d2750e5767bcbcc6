"""Phones' files answer as the graph that they were made of."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from deployer.optimizer.targets import TargetUnavailable, executor, mobile
from tests.deployer.optimizer.targets.graphs import network
from tests.shelf_files import model_dir


def test_an_ort_file_loads_and_answers_alike(tmp_path: Path) -> None:
    graph = model_dir("doc-orientation") / "model.onnx"
    written = mobile.to_ort(graph, tmp_path)
    assert written.name == "model.ort" and written.read_bytes()[4:8] == b"ORTM"
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)}
    expected, got = (onnxruntime.InferenceSession(str(path)).run(None, feeds)[0] for path in (graph, written))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_plain_network_suits_an_accelerator(tmp_path: Path) -> None:
    graph = network(tmp_path / "model.onnx")
    assert mobile.suitability("android", graph) == ("NNAPI", "yes")
    assert mobile.suitability("ios", graph)[0] == "CoreML"
    assert mobile.cannot_convert(graph) == ""


@pytest.mark.parametrize("device", ["android", "ios", "cuda", "qnn", "browser-webgpu"])
def test_what_can_only_be_checked_is_not_played(tmp_path: Path, device: str) -> None:
    with pytest.raises(TargetUnavailable) as refused:
        executor(device, tmp_path)
    assert refused.value.facts["device"] == device and "检查" in str(refused.value.facts["why_zh"])
