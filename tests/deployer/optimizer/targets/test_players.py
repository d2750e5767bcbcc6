"""Real models on real runtimes of other devices, held against this machine's own answers."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from deployer import devices
from deployer.optimizer.targets import Executor, TargetRefused, executor, is_prepared, prepare
from tests.deployer.optimizer.targets.graphs import home, integer_product, need, network, relu
from tests.shelf_files import model_dir

RNG = np.random.default_rng(0)
Opener = Callable[[str], Executor]


@pytest.fixture
def play() -> Iterator[Opener]:
    opened: list[Executor] = []

    def start(device: str) -> Executor:
        opened.append(executor(device, home()))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def texts(rows: int, length: int) -> dict[str, Any]:
    ids = RNG.integers(1000, 20000, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def picture(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def both(play: Opener, device: str, graph: Path, feeds: dict[str, Any]) -> tuple[Any, Any]:
    """The first output here and there."""
    answers = []
    for each in ("cpu", device):
        target = play(each)
        target.open("model", graph)
        answers.append(next(iter(target.run("model", feeds)[0].values())))
    return answers[0], answers[1]


@pytest.fixture(scope="module")
def minilm_qdq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM with its products quantised statically."""

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter([texts(1, 16) for _ in range(3)])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.rows, None)

    out = tmp_path_factory.mktemp("qdq") / "model.onnx"
    source = model_dir("en-minilm-l6-fp32") / "model.onnx"
    quantize_static(
        str(source), str(out), Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["MatMul"]
    )
    return out


@pytest.mark.network
def test_browser_answers_as_here(play: Opener, minilm_qdq: Path) -> None:
    prepare("browser-wasm", home())
    assert is_prepared("browser-wasm", home())
    browser = play("browser-wasm")
    assert browser.versions["onnxruntime-web"] == devices.profile("browser-wasm").version
    here, there = both(play, "browser-wasm", model_dir("en-minilm-l6-fp32") / "model.onnx", texts(2, 24))
    np.testing.assert_allclose(there, here, atol=1e-5)
    here, there = both(play, "browser-wasm", minilm_qdq, texts(1, 16))
    np.testing.assert_array_equal(there, here)


@pytest.mark.network
def test_browser_refuses_with_its_own_words_and_goes_on(play: Opener, tmp_path: Path) -> None:
    browser = play("browser-wasm")
    with pytest.raises(TargetRefused, match="opset") as refused:
        browser.open("model", relu(tmp_path / "new.onnx", opset=27))
    assert refused.value.facts["stage"] == "open"
    browser.open("model", relu(tmp_path / "model.onnx", batch="n"))
    with pytest.raises(TargetRefused, match="dimensions") as refused:
        browser.run("model", {"x": np.zeros((2, 5), np.float32)})
    assert refused.value.facts["stage"] == "run"
    outputs, seconds = browser.run("model", {"x": np.float32([[-1, 0, 2]])})
    assert outputs["y"].tolist() == [[0, 0, 2]] and seconds > 0


STARTER = """
import sys
from pathlib import Path
from deployer.optimizer.targets import executor
browser = executor("browser-wasm", Path(sys.argv[1]))
browser.open("model", Path(sys.argv[2]))
print(browser.child.pid, flush=True)
import numpy
while True:
    browser.run("model", {"x": numpy.zeros((1, 3, 800, 800), "float32")})
"""


@pytest.mark.network
def test_browser_ends_with_who_started_it_in_the_midst_of_a_graph() -> None:
    graph = model_dir("ocr-ppocrv6-small") / "detector.onnx"
    command = [sys.executable, "-c", STARTER, str(home()), str(graph)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        gone, left = psutil.wait_procs([child], timeout=20)
        assert gone and not left


@pytest.mark.network
def test_openvino_agrees_on_letters(play: Opener, tmp_path: Path) -> None:
    graph = model_dir("ocr-ppocrv6-small") / "recognizer.onnx"
    here, there = both(play, "openvino", graph, {"x": picture(1, 3, 48, 160)})
    np.testing.assert_array_equal(there.argmax(-1), here.argmax(-1))
    np.testing.assert_allclose(there, here, atol=1e-4)
    openvino = play("openvino")
    assert openvino.versions["onnxruntime"] == devices.profile("openvino").version
    assert openvino.versions["openvino"]
    with pytest.raises(TargetRefused, match="opset"):  # which our own onnxruntime loads
        openvino.open("model", relu(tmp_path / "new.onnx", opset=26))


@pytest.mark.network
def test_arm64_agrees_on_names(play: Opener) -> None:
    need("qemu-aarch64")
    graph = model_dir("zh-lac-ner") / "lac_encoder.onnx"
    feeds = {"token_ids": RNG.integers(0, 5000, (1, 24)), "length": np.array([24])}
    here, there = both(play, "arm64", graph, feeds)
    np.testing.assert_array_equal(there.argmax(-1), here.argmax(-1))
    np.testing.assert_allclose(there, here, atol=1e-3)


@pytest.mark.network
def test_rknn_agrees_on_a_picture(play: Opener, tmp_path: Path) -> None:
    graph = model_dir("doc-orientation") / "model.onnx"
    here, there = both(play, "rknn", graph, {"x": picture(1, 3, 224, 224)})
    assert there.argmax(-1) == here.argmax(-1)
    np.testing.assert_allclose(there, here, atol=5e-3)
    here, there = both(play, "rknn", network(tmp_path / "model.onnx"), {"x": picture(1, 3, 16, 16)})
    np.testing.assert_allclose(there, here, atol=2e-2)
    rknn = play("rknn")
    with pytest.raises(TargetRefused) as refused:
        rknn.open("model", relu(tmp_path / "new.onnx", opset=25))
    assert refused.value.facts["stage"] == "open" and refused.value.facts["log"]


def test_x86_64_without_vnni_cuts_sums_as_such_processors_do(play: Opener, tmp_path: Path) -> None:
    if devices.profile("x86-64").runs_here == "emulated":
        need("qemu-x86_64")
    feeds = {"a": np.full((1, 8), 255, np.uint8)}
    here, there = both(play, "x86-64", integer_product(tmp_path / "full.onnx", 127), feeds)
    assert there.tolist() == [[4 * 0x7FFF] * 4]
    if devices.has_vnni():
        assert here.tolist() == [[8 * 255 * 127] * 4]
    here, there = both(play, "x86-64", integer_product(tmp_path / "reduced.onnx", 63), feeds)
    np.testing.assert_array_equal(there, here)
