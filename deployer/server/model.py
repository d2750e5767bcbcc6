"""A model folder with its manifest: the files by role, the options, the graphs opened for serving."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.graph import ROWS, Graph
from deployer.server.providers import Device
from deployer.server.signature import Array

if TYPE_CHECKING:
    import onnxruntime

MANIFEST = "manifest.json"

log = logging.getLogger("market.server")


@dataclass
class Model:
    """A model folder with its manifest; opens the files that the manifest names by role."""

    dir: Path
    manifest: dict[str, Any]
    threads: int = 1
    prepared: Path | None = None
    """Folder that may hold the graphs in the form prepared for this machine's processor."""
    device: Device = field(default_factory=Device)
    """Where the graphs run."""

    @classmethod
    def open(
        cls, folder: Path, threads: int = 1, prepared: Path | None = None, device: Device | None = None
    ) -> "Model":
        """Read the manifest; refuses a folder without a readable one."""
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadModel(f"{MANIFEST} cannot be read: {error}") from error
        if not isinstance(manifest, dict):
            raise BadModel(f"{MANIFEST} is not a JSON object")
        return cls(folder, manifest, threads, prepared, device or Device())

    @property
    def task(self) -> str:
        """The task by its pipeline name; `tensors` when the manifest names none."""
        return str(self.manifest.get("task") or "tensors")

    @property
    def options(self) -> dict[str, Any]:
        """Settings of pre- and post-processing."""
        return dict(self.manifest.get("options") or {})

    def has(self, role: str) -> bool:
        """Whether the manifest names a file for this role."""
        return role in (self.manifest.get("files") or {})

    def path(self, role: str) -> Path:
        """The file of a role; refuses one that is missing or lies outside the folder."""
        name = (self.manifest.get("files") or {}).get(role)
        if not isinstance(name, str):
            raise BadModel(f"{MANIFEST} names no file for the role {role!r}")
        path = (self.dir / name).absolute()
        if ".." in Path(name).parts or not path.is_relative_to(self.dir.absolute()):
            raise BadModel(f"the file of {role!r} lies outside the model folder: {name}")
        if not path.is_file():
            raise BadModel(f"the file of {role!r} is missing: {name}")
        return path

    def text(self, role: str) -> str:
        """A text file of the folder."""
        return self.path(role).read_text(encoding="utf-8")

    def json(self, role: str) -> Any:
        """A JSON file of the folder."""
        return json.loads(self.text(role))

    def array(self, role: str) -> Array:
        """A .npy file of the folder; pickled objects are refused."""
        return np.asarray(np.load(self.path(role), allow_pickle=False))

    def graph(self, role: str = "model", *, exclusive: bool = False) -> Graph:
        """The graph of a role, on one thread for each run, or exclusively on all of them.

        options.max_batch bounds the rows of one run; options.batching says that its runs may be joined
        (true) or may not (false), which is otherwise found out.
        """
        rows, joins = self.options.get("max_batch", ROWS), self.options.get("batching")
        if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= 4096:
            raise BadModel(f"options.max_batch is {rows!r}, not a number of rows")
        if joins is not None and not isinstance(joins, bool):
            raise BadModel(f"options.batching is {joins!r}, neither true nor false")
        session = self._session(role, exclusive)
        return Graph(session, rows=rows, joins=joins, exclusive=exclusive, role=role)

    def _session(self, role: str, exclusive: bool) -> "onnxruntime.InferenceSession":
        """A session with explicit threads and no spinning (spinning doubles the CPU)."""
        threads, streams = (self.threads, 1) if exclusive else (1, self.threads)
        path = self.path(role)
        if (ready := self._prepared(role)) is not None:
            import onnxruntime as ort

            settings = session_options(threads)
            settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            try:
                return self.device.open(ready, settings)
            except Exception as error:
                log.warning("prepared graph cannot be used", extra={"role": role, "cause": str(error)[:300]})
        return self.device.open(path, session_options(threads), threads=threads, streams=streams)

    def _prepared(self, role: str) -> Path | None:
        """The graph in the form for this processor; other devices compile the graph as it came."""
        if self.prepared is None or not self.device.is_processor:
            return None
        ready = self.prepared / f"{role}.onnx"
        return ready if ready.is_file() else None


def session_options(threads: int) -> "onnxruntime.SessionOptions":
    """Settings that every session of ours has."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # what fails is raised, and logged by whom it concerns
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings


def metadata(graph: Graph | None) -> dict[str, str]:
    """The texts that a graph carries beside its nodes."""
    return {} if graph is None else dict(graph.session.get_modelmeta().custom_metadata_map)
