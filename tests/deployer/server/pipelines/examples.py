"""The shelf's examples of a listing, with their files inlined, for the tests of its pipeline."""

import base64
import json
from pathlib import Path
from typing import Any

STARTER = Path(__file__).parents[4] / "catalog" / "starter"


def example_file(listing: str, name: str) -> bytes:
    """One of a listing's example files."""
    return (STARTER / listing / "examples" / name).read_bytes()


def body(field: str, data: bytes, **more: Any) -> dict[str, Any]:
    """A body of /predict with bytes in its main field."""
    return {field: {"base64": base64.b64encode(data).decode()}, **more}


def examples(listing: str) -> list[dict[str, Any]]:
    """The examples as the manifest will hold them."""
    model = json.loads((STARTER / listing / "model.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = model["examples"]
    for example in found:
        for field, value in example["request"].items():
            if isinstance(value, dict) and set(value) == {"$file"}:
                data = (STARTER / listing / value["$file"]).read_bytes()
                assert len(data) <= 40 * 1024
                example["request"] |= body(field, data)
    return found
