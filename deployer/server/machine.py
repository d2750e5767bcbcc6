"""What of a machine decides the form of a graph that was prepared on it."""

import hashlib
import os
from pathlib import Path

FORMAT = 1
REPORT = "prepared.json"  # beside the graphs: what was done for each


def name(onnxruntime: str) -> str:
    """A folder's name for this processor and a version of ONNX Runtime."""
    kind = os.uname().machine
    digest = hashlib.sha256(f"{kind} {_abilities()}".encode()).hexdigest()[:12]
    return f"{FORMAT}-{onnxruntime}-{kind}-{digest}"


def _abilities() -> str:
    """The abilities of the first processor, as Linux lists them; empty elsewhere."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as facts:
            for line in facts:
                key, _, value = line.partition(":")
                if key.strip() in ("flags", "Features"):
                    return " ".join(sorted(value.split()))
    except OSError:
        pass
    return ""
