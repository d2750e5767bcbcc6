"""Coverage-guided fuzzing of what reads strangers' bytes.

`python -m tests.deployer.server.fuzz_codecs TARGET` goes on until something is found.

Arguments of libFuzzer may follow, such as -max_total_time=60. A decoder may answer or refuse; anything else
that it raises is a finding, printed with the input that caused it.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import atheris

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

with atheris.instrument_imports(include=["deployer"]):
    from deployer.server import openinference
    from deployer.server.errors import BadInput
    from deployer.server.http import Request, read_form, read_object
    from deployer.server.problems import Problem
    from deployer.server.signature import TensorSpec
    from deployer.server.sound import audio
    from deployer.server.vision import images

SPECS = {
    spec.name: spec for spec in (TensorSpec(kind.lower(), kind, (-1, 2)) for kind in openinference.DTYPES)
}


def infer(data: bytes) -> None:
    """A body of the Open Inference Protocol whose first byte says how long its JSON is."""
    length = min(data[0] * 4, len(data) - 1) if data else 0
    headers = {openinference.HEADER_LENGTH: b"%d" % length} if length % 8 else {}
    head, tail = openinference._split(Request("POST", "/", headers, data[1:]))
    asked = openinference.read_json(head, openinference.InferRequest)
    openinference._inputs(asked.inputs, tail, SPECS)


def tensor(data: bytes) -> None:
    """One tensor, its datatype by the first byte, as raw bytes."""
    kinds = list(SPECS.values())
    spec = kinds[data[0] % len(kinds)] if data else kinds[0]
    array = openinference.from_binary(spec, memoryview(data)[1:], [max(0, len(data) - 1) // 2, 2])
    openinference.to_binary(array, spec.datatype)


def form(data: bytes) -> None:
    """A multipart form."""
    read_form(Request("POST", "/", {b"content-type": b"multipart/form-data; boundary=b"}, data))


TARGETS: dict[str, Callable[[bytes], Any]] = {
    "infer": infer,
    "tensor": tensor,
    "form": form,
    "json": read_object,
    "sound": lambda data: audio.decode(b"RIFF\0\0\0\0WAVE" + data),
    "picture": images.decode,
}


def main() -> None:
    """Fuzz until the time is over or something is found."""
    target = TARGETS[sys.argv.pop(1)]

    def once(data: bytes) -> None:
        with contextlib.suppress(BadInput, Problem):
            target(data)

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
