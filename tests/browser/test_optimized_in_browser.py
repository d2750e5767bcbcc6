"""A graph answers in a real browser as the target that stands for browsers says."""

import base64
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from deployer.optimizer.targets import environments, executor
from tests.deployer.optimizer.targets.graphs import home
from tests.shelf_files import model_dir

pytestmark = [pytest.mark.browser, pytest.mark.network]

SCRIPT = """
async ([feeds, shape]) => {
  const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = "/node_modules/onnxruntime-web/dist/";
  const session = await ort.InferenceSession.create("/model.onnx", { executionProviders: ["wasm"] });
  const data = Float32Array.from(atob(feeds).match(/[^]{4}/g), (four) => {
    const bytes = Uint8Array.from(four, (letter) => letter.charCodeAt(0));
    return new Float32Array(bytes.buffer)[0];
  });
  const made = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", data, shape) });
  const answer = made[session.outputNames[0]];
  return { version: ort.env.versions.web, dims: [...answer.dims], values: [...answer.data] };
}
"""


class Files(SimpleHTTPRequestHandler):
    """The runtime out of its environment, and one model."""

    extensions_map = {  # noqa: RUF012 (as the base class has it)
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *given: object, model: Path, **named: object) -> None:
        self.model = model
        super().__init__(*given, **named)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        if path == "/model.onnx":
            return str(self.model)
        return super().translate_path(path) if path.startswith("/node_modules/") else "/nowhere"

    def do_GET(self) -> None:
        if self.path == "/":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>model</title>")
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[str]:
    executor("browser-wasm", home()).close()
    handler = functools.partial(
        Files,
        directory=str(environments.folder_of(home(), "browser-wasm")),
        model=model_dir("doc-orientation") / "model.onnx",
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_browser_answers_as_its_target(chromium: Browser, served: str) -> None:
    picture = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    target = executor("browser-wasm", home())
    target.open("model", model_dir("doc-orientation") / "model.onnx")
    expected = next(iter(target.run("model", {"x": picture})[0].values()))
    target.close()
    page = chromium.new_page()
    page.goto(served)
    said = page.evaluate(SCRIPT, [base64.b64encode(picture.tobytes()).decode(), list(picture.shape)])
    page.close()
    assert said["version"] == target.versions["onnxruntime-web"]
    got = np.float32(said["values"]).reshape(said["dims"])
    np.testing.assert_array_equal(got, expected)
