"""The process that plays a device: it loads graphs in a runtime of its own and runs what it is sent.

It runs by its path, in an environment that has nothing of ours: another Python, another architecture,
another onnxruntime. So it imports the standard library and numpy alone, and the runtime once it is asked to.

A frame is four bytes (big-endian length of the header), a JSON header, and the bytes of the tensors that
the header lists. Requests come on stdin, answers go to a pipe of their own, since runtimes print.
"""

import contextlib
import json
import os
import re
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LONGEST_HEADER = 1 << 20  # bytes
MOST_TENSORS = 512
LARGEST_BODY = 2 << 30  # bytes of all tensors of a frame
TYPES = frozenset(
    [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
    + ["float16", "float32", "float64", "bool"]
)
F_SETSIG = 10
FUSION = re.compile(r"rknn\.api\.rules\.\w+\._p_(\w+)")
MOST_SHAPES = 8  # compiled forms of one graph, where a compiler wants fixed shapes

Feeds = dict[str, Any]  # arrays by name
Read = Callable[[int], bytearray]


class BadFrame(ValueError):
    """A frame is broken or larger than what is taken."""


def encode(header: dict[str, Any], tensors: dict[str, Any]) -> list[Any]:
    """A frame as buffers to be written one after another."""
    specs: list[dict[str, Any]] = []
    bodies: list[Any] = []
    for name, given in tensors.items():
        array = np.asarray(given)
        if array.dtype.kind in "OUS":
            body: Any = json.dumps([str(text) for text in array.ravel().tolist()]).encode()
            kind = "string"
        else:
            body, kind = np.ascontiguousarray(array).data.cast("B") if array.size else b"", str(array.dtype)
            if kind not in TYPES:
                raise BadFrame(f"{name} has the type {kind}")
        specs.append({"name": name, "dtype": kind, "shape": list(array.shape), "bytes": len(body)})
        bodies.append(body)
    if sum(spec["bytes"] for spec in specs) > LARGEST_BODY:
        raise BadFrame(f"more than {LARGEST_BODY} bytes of tensors")
    head = json.dumps({**header, "tensors": specs}).encode()
    if len(head) > LONGEST_HEADER:
        raise BadFrame("the header is too long")
    return [struct.pack(">I", len(head)), head, *bodies]


def decode(read: Read) -> tuple[dict[str, Any], Feeds]:
    """The header and the tensors of the next frame; `read` gives exactly as many bytes as it is asked for."""
    (length,) = struct.unpack(">I", read(4))
    if length > LONGEST_HEADER:
        raise BadFrame("the header is too long")
    header: dict[str, Any] = json.loads(read(length))
    specs = header.pop("tensors", [])
    if len(specs) > MOST_TENSORS or sum(int(spec["bytes"]) for spec in specs) > LARGEST_BODY:
        raise BadFrame("more tensors than a frame may have")
    return header, {spec["name"]: _tensor(spec, read(spec["bytes"])) for spec in specs}


def _tensor(spec: dict[str, Any], body: bytearray) -> Any:
    shape = [int(size) for size in spec["shape"]]
    if spec["dtype"] == "string":
        return np.array(json.loads(body), dtype=object).reshape(shape)
    if spec["dtype"] not in TYPES:
        raise BadFrame(f"{spec['name']} has the type {spec['dtype']}")
    return np.frombuffer(body, spec["dtype"]).reshape(shape)


class Onnx:
    """onnxruntime with one execution provider; nodes that it does not take run on the processor beside it."""

    def __init__(self, provider: str) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        self.runtime = onnxruntime
        self.provider = provider
        self.sessions: dict[str, Any] = {}
        self.versions = {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
        capi = Path(onnxruntime.__file__).parent / "capi"
        for library in sorted(capi.glob("libopenvino.so.*.*.*")):
            self.versions["openvino"] = library.name.removeprefix("libopenvino.so.")
        if provider not in onnxruntime.get_available_providers():
            raise RuntimeError(f"onnxruntime {onnxruntime.__version__} has no {provider}")

    def _options(self) -> list[dict[str, str]]:
        if self.provider != "OpenVINOExecutionProvider":
            return [{}]
        # f32 is said, since a processor with AMX would otherwise calculate in bfloat16.
        cpu = {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
        return [{"device_type": "CPU", "load_config": json.dumps({"CPU": cpu})}]

    def open(self, role: str, path: str) -> None:
        """Load a graph, replacing the role's former one."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.sessions.pop(role, None)
        session = self.runtime.InferenceSession(
            path,
            options,
            providers=[self.provider],
            provider_options=self._options(),
            enable_fallback=0,  # a provider that fails is to be seen, not replaced by the processor
        )
        if session.get_providers()[0] != self.provider:
            raise RuntimeError(f"{self.provider} did not take the graph")
        self.sessions[role] = session

    def run(self, role: str, feeds: Feeds, outputs: Sequence[str]) -> Feeds:
        """Outputs by name; all of them when none is named."""
        session = self.sessions[role]
        names = list(outputs) or [side.name for side in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))


class Rknn:
    """Rockchip's compiler and its simulator of the NPU, for fixed shapes: each new shape is compiled."""

    def __init__(self, platform: str) -> None:
        sys.meta_path.insert(0, _NoTorch())
        import importlib.metadata

        from rknn.api import RKNN  # type: ignore[import-not-found]

        self.make = RKNN
        self.platform = platform
        self.paths: dict[str, str] = {}
        self.outputs: dict[str, list[str]] = {}
        self.compiled: dict[tuple[Any, ...], Any] = {}
        version = importlib.metadata.version("rknn-toolkit2")
        self.versions = {"rknn-toolkit2": version, "numpy": np.__version__}

    def open(self, role: str, path: str) -> None:
        """Compile a graph of fixed shapes; one with free ones is compiled when its first input comes."""
        import onnx

        graph = onnx.load(path, load_external_data=False).graph
        weights = {each.name for each in graph.initializer}
        shapes = {
            each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim]
            for each in graph.input
            if each.name not in weights
        }
        self.paths[role] = path
        self.outputs[role] = [each.name for each in graph.output]
        self.compiled = {key: rknn for key, rknn in self.compiled.items() if key[0] != role}
        if all(size > 0 for shape in shapes.values() for size in shape):
            self._compile(role, shapes)

    def _compile(self, role: str, shapes: dict[str, list[int]]) -> Any:
        key = (role, *((name, *shape) for name, shape in shapes.items()))
        if key in self.compiled:
            return self.compiled[key]
        if len(self.compiled) >= MOST_SHAPES:
            self.compiled.pop(next(iter(self.compiled))).release()
        disabled: list[str] = []
        while True:
            try:
                self.compiled[key] = self._build(role, shapes, disabled)
                return self.compiled[key]
            except Exception as error:
                # A fusion of the compiler that trips is left out, as the compiler itself advises.
                rule = FUSION.search(str(error))
                if rule is None or rule[1] in disabled:
                    raise
                disabled.append(rule[1])

    def _build(self, role: str, shapes: dict[str, list[int]], disabled: list[str]) -> Any:
        rknn = self.make(verbose=False)
        names, sizes = list(shapes), list(shapes.values())
        steps: list[tuple[str, Callable[[], Any]]] = [
            ("config", lambda: rknn.config(target_platform=self.platform, disable_rules=disabled)),
            ("load_onnx", lambda: rknn.load_onnx(self.paths[role], inputs=names, input_size_list=sizes)),
            ("build", lambda: rknn.build(do_quantization=False)),
            ("init_runtime", rknn.init_runtime),
        ]
        for name, step in steps:
            if step():
                raise RuntimeError(f"rknn-toolkit2 refused the graph in {name}")
        return rknn

    def run(self, role: str, feeds: Feeds, outputs: Sequence[str]) -> Feeds:
        """Outputs by name, calculated as the NPU does, in float16."""
        rknn = self._compile(role, {name: list(array.shape) for name, array in feeds.items()})
        given = list(feeds.values())
        layout = ["nchw" if array.ndim == 4 else "undefined" for array in given]
        made = rknn.inference(inputs=given, data_format=layout)
        if made is None:
            raise RuntimeError("rknn-toolkit2's simulator gave nothing")
        whole = dict(zip(self.outputs[role], made, strict=True))
        return {name: whole[name] for name in (outputs or whole)}


class _NoTorch:
    """Stands in for torch, which rknn-toolkit2 imports for its PyTorch front end and ONNX has no need of.

    The real one for Linux brings two gigabytes of CUDA libraries along.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] == "torch" else None  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> Any:
        from types import ModuleType

        class Absent(ModuleType):
            def __getattr__(self, name: str) -> Any:
                if name.startswith("__") and name not in {"__enter__", "__exit__"}:
                    raise AttributeError(name)
                return type(name, (), {}) if name[0].isupper() else Absent(f"{self.__name__}.{name}")

            def __call__(self, *given: Any, **named: Any) -> Any:  # a decorator gives what it is put on
                return given[0] if given and callable(given[0]) else self

        module = Absent(spec.name)
        module.__path__ = []
        module.__dict__["__version__"] = "2.4.0"
        return module

    def exec_module(self, module: Any) -> None:
        """Nothing to execute."""


ENGINES: dict[str, Callable[[str], Any]] = {"onnxruntime": Onnx, "rknn": Rknn}


def _answer(engine: Any, header: dict[str, Any], tensors: Feeds) -> tuple[dict[str, Any], Feeds]:
    wall, cpu = time.perf_counter(), time.process_time()
    made: Feeds = {}
    try:
        if header["op"] == "open":
            engine.open(header["role"], header["path"])
        else:
            made = engine.run(header["role"], tensors, header["outputs"])
    except Exception as error:  # runtimes raise types of their own
        return {"ok": False, "why": str(error)[:4000] or type(error).__name__}, {}
    spent = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {"ok": True, **spent}, made


def leave_with(lifeline: int) -> None:
    """End this process when the other end of the pipe closes, also while the interpreter hangs."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(lifeline, 4096):
                pass
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _exactly(fd: int) -> Read:
    def read(size: int) -> bytearray:
        whole, at = bytearray(size), 0
        view = memoryview(whole)
        while at < size:
            count = os.readv(fd, [view[at : at + (1 << 20)]])
            if not count:
                raise EOFError
            at += count
        return whole

    return read


def main(argv: list[str]) -> None:
    """Serve until stdin ends: ENGINE ARGUMENT ANSWERS-FD LIFELINE-FD."""
    answers, lifeline = int(argv[2]), int(argv[3])
    leave_with(lifeline)

    def say(header: dict[str, Any], tensors: Feeds) -> None:
        for part in encode(header, tensors):
            left = memoryview(part)
            while left:
                left = left[os.write(answers, left) :]

    engine = ENGINES[argv[0]](argv[1])
    say({"ok": True, "versions": {**engine.versions, "python": sys.version.split()[0]}}, {})
    read = _exactly(0)
    while True:
        try:
            header, tensors = decode(read)
        except EOFError:
            os._exit(0)  # threads of a runtime must not keep it
        try:
            say(*_answer(engine, header, tensors))
        except BadFrame as error:
            say({"ok": False, "why": str(error)}, {})


if __name__ == "__main__":
    main(sys.argv[1:])
