"""Guards around the libraries that do the arithmetic: telemetry, noise, temporary files, loading."""

import contextlib
import io
import logging
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime

_ALONE = threading.RLock()  # what `guarded` changes belongs to the whole process


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Libraries inside print, warn and log nothing, and put temporary files into `folder`.

    What they raise comes through. One thread at a time: streams, handlers and the folder are the process's.
    """
    root = logging.getLogger()
    with _ALONE:
        handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
        previous, tempfile.tempdir = tempfile.tempdir, str(folder)
        root.addHandler(logging.NullHandler())  # else their first message would set up logging for us
        logging.disable(logging.CRITICAL)
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                yield
        finally:
            tempfile.tempdir = previous
            root.handlers[:] = handlers
            root.setLevel(level)
            logging.disable(disabled)


def session_options(**entries: str) -> "onnxruntime.SessionOptions":
    """Settings of a session on one thread that neither spins nor logs; `entries` are its config entries."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # what fails is raised
    # The arena keeps and doubles what it once took; here graphs run a few times, on inputs of all sizes.
    settings.enable_cpu_mem_arena = False
    settings.enable_mem_pattern = False
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, value in entries.items():
        settings.add_session_config_entry(f"session.{name}", value)
    return settings


def session(path: Path, settings: Any = None) -> "onnxruntime.InferenceSession":
    """A session on the CPU; raises what ONNX Runtime raises."""
    import onnxruntime as ort

    return ort.InferenceSession(str(path), settings or session_options(), providers=["CPUExecutionProvider"])


def cause(error: BaseException) -> str:
    """The gist of what a library raised: one line, without source paths."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    words = [word for word in text.split() if not (word.startswith("/") and word.count("/") > 2)]
    return " ".join(words)[:300]
