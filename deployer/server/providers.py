"""Execution providers: where the graphs run, by the device's id. On the processor unless told otherwise.

ONNX Runtime goes on without a provider that it lacks or cannot start, with a warning at most, and leaves to
the processor what the provider does not take. Who asked for a device is not served on another one in
silence: so the provider is looked for before the model is read, each session is looked at once it is made,
and the nodes are counted by the provider that took them.
"""

import importlib
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime

CPU = "CPUExecutionProvider"
PLACE = re.compile(r"^(\S+ : \d+ : \S+ : )?\S+\.(cc|h):\d+ .*?\)\s+")


class DeviceUnavailable(Exception):
    """The wanted device cannot run this model here: its provider is missing, fails, or takes no node."""


@dataclass(frozen=True)
class Plan:
    """What a session is to have: threads of one run, runs at the same time, a folder for compiled graphs."""

    threads: int
    streams: int
    engines: Path | None


Options = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """How a device's provider is asked for."""

    provider: str
    options: Callable[[Plan], Options] = lambda _: {}
    beside: tuple[str, ...] = ()
    """Providers for what it does not take, before the processor."""
    plugin: str = ""
    """The package that brings the provider as a library of its own; "": it is part of onnxruntime."""


def _openvino(plan: Plan) -> Options:
    # f32 is said, since a processor with AMX would otherwise calculate in bfloat16.
    cpu = {
        "INFERENCE_NUM_THREADS": str(plan.threads * plan.streams),
        "NUM_STREAMS": str(plan.streams),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return {"device_type": "CPU", "load_config": json.dumps({"CPU": cpu})}


def _tensorrt(plan: Plan) -> Options:
    if plan.engines is None:
        return {}
    kept = str(plan.engines)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": kept,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": kept,
    }


def _migraphx(plan: Plan) -> Options:
    return {"migraphx_model_cache_dir": str(plan.engines)} if plan.engines else {}


def _qnn(_: Plan) -> Options:
    return {"backend_path": str(importlib.import_module("onnxruntime_qnn").get_qnn_htp_path())}


KINDS: dict[str, Kind] = {
    "cpu": Kind(CPU),
    "openvino": Kind("OpenVINOExecutionProvider", _openvino),
    "cuda": Kind("CUDAExecutionProvider"),
    "tensorrt": Kind("TensorrtExecutionProvider", _tensorrt, beside=("CUDAExecutionProvider",)),
    "migraphx": Kind("MIGraphXExecutionProvider", _migraphx),
    "cann": Kind("CANNExecutionProvider"),
    "qnn": Kind("QNNExecutionProvider", _qnn, plugin="onnxruntime_qnn"),
}
"""By the device's id; every one of them lets the processor run what it does not take."""


@dataclass
class Device:
    """A device that sessions are opened on, with what is known of them."""

    id: str = "cpu"
    engines: Path | None = None
    """Where compiled graphs are kept; None: each start compiles anew."""
    nodes: Counter[str] = field(default_factory=Counter)
    """Nodes of all sessions by the provider that took them; not counted on the processor alone."""

    @property
    def provider(self) -> str:
        """The execution provider's name."""
        return KINDS[self.id].provider

    @property
    def is_processor(self) -> bool:
        """Whether graphs run on the processor, without any other provider."""
        return self.provider == CPU

    def start(self) -> None:
        """Find the provider, and load the library of one that is no part of onnxruntime.

        Raises DeviceUnavailable.
        """
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise self._unavailable(f"onnxruntime cannot be imported: {_said(error)}") from error
        if plugin := KINDS[self.id].plugin:
            try:
                package = importlib.import_module(plugin)
                ort.register_execution_provider_library(self.provider, package.get_library_path())
            except Exception as error:
                raise self._unavailable(f"{plugin} cannot be loaded: {_said(error)}") from error
            known = [each.ep_name for each in ort.get_ep_devices()]
        else:
            known = ort.get_available_providers()
        if self.provider not in known:
            raise self._unavailable(
                f"onnxruntime {ort.__version__} has {', '.join(dict.fromkeys(known))} here"
            )

    def open(
        self, path: Path, settings: "onnxruntime.SessionOptions", *, threads: int = 1, streams: int = 1
    ) -> "onnxruntime.InferenceSession":
        """A session of a graph; raises DeviceUnavailable when it would run without the provider."""
        import onnxruntime as ort

        if self.is_processor:
            return ort.InferenceSession(str(path), settings, providers=[CPU])
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            session = ort.InferenceSession(
                str(path),
                settings,
                enable_fallback=0,
                **self._wanted(settings, Plan(threads, streams, self.engines)),
            )
        except Exception as error:
            raise self._unavailable(f"it does not take {path.name}: {_said(error)}") from error
        if self.provider not in session.get_providers():
            raise self._unavailable("its libraries or its hardware are missing: it did not start")
        for part in session.get_provider_graph_assignment_info():
            self.nodes[part.ep_name] += len(part.get_nodes())
        return session

    def _wanted(self, settings: "onnxruntime.SessionOptions", plan: Plan) -> dict[str, Any]:
        """The session's arguments; a plug-in is asked for in its settings instead."""
        import onnxruntime as ort

        kind = KINDS[self.id]
        if not kind.plugin:
            chain = (kind.provider, *kind.beside, CPU)
            return {
                "providers": list(chain),
                "provider_options": [kind.options(plan), *({} for _ in chain[1:])],
            }
        found = [each for each in ort.get_ep_devices() if each.ep_name == kind.provider]
        found.sort(key=lambda each: each.device.type != ort.OrtHardwareDeviceType.NPU)
        settings.add_provider_for_devices(found[:1], kind.options(plan))
        return {}

    def check(self) -> None:
        """Refuse a device that took no node of any graph; raises DeviceUnavailable."""
        if not self.is_processor and self.nodes and not self.nodes[self.provider]:
            raise self._unavailable("it takes no node of this model, which runs on the processor alone")

    def _unavailable(self, why: str) -> DeviceUnavailable:
        return DeviceUnavailable(f"{self.id} needs {self.provider}, and {why}")


def _said(error: Exception) -> str:
    """The last that an error says, without the place in the sources that it begins with."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return PLACE.sub("", lines[-1])[:300]
