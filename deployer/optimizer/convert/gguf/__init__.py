"""Makes an ONNX graph of a language model in a GGUF file, without torch and without losing a bit of it.

Known are the Llama family (Llama, Mistral, SmolLM, TinyLlama and their like) and Qwen2. Weights in blocks of
four or eight bits stay as they are in MatMulNBits; the attention is ONNX Runtime's GroupQueryAttention.
"""

from pathlib import Path
from typing import Any

from deployer.optimizer.convert import worker
from deployer.optimizer.convert.gguf.llama import decoder
from deployer.optimizer.convert.gguf.reader import Gguf
from deployer.optimizer.convert.nodes import save
from deployer.optimizer.convert.weights import refuse
from deployer.spec import Progress

CONTEXT = 4096


def build(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Do `convert` in a process of its own."""
    worker.run(__name__, inputs, out, options, progress)


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write model.onnx into `out`; raises ConversionFailed.

    `inputs` is `model`, a .gguf. Option: context, the most tokens of a conversation (4096, and never more
    than the model knows).
    """
    context = options.get("context", CONTEXT)
    if set(options) - {"context"} or type(context) is not int or not 1 <= context <= 1 << 20:
        en, zh = f"context: 1 … 1048576; not {options}", f"context：1 … 1048576；不是 {options}"
        raise refuse("options", en, zh)
    save(decoder(Gguf.open(inputs["model"]), context, progress), out)
