"""Conversions to ONNX, by the names that listings use; importing this loads no heavy library."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from deployer.optimizer.convert import worker
from deployer.spec import Progress

Builder = Callable[[dict[str, Path], Path, dict[str, Any], Progress], None]

BUILDERS: dict[str, Builder] = {
    "bert-encoder": partial(worker.run, "deployer.optimizer.convert.bert"),
    "efficientnet-lite": partial(worker.run, "deployer.optimizer.convert.efficientnet"),
    "gguf": partial(worker.run, "deployer.optimizer.convert.gguf"),
    "join": partial(worker.run, "deployer.optimizer.convert.join"),
    "lexicon-zh": partial(worker.run, "deployer.optimizer.convert.lexicon_zh"),
    "linear-text": partial(worker.run, "deployer.optimizer.convert.linear_text"),
    "tflite": partial(worker.run, "deployer.optimizer.convert.tflite"),
    "whisper": partial(worker.run, "deployer.optimizer.convert.whisper"),
}
