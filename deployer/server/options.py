"""Options of a manifest: each is read with its choices, and refused with its name."""

from collections.abc import Sequence
from typing import Any

from deployer.server.errors import BadModel


def one_of(options: dict[str, Any], name: str, choices: Sequence[str]) -> str:
    """The option, or the first of its choices; refuses another value."""
    value = options.get(name, choices[0])
    if value not in choices:
        raise BadModel(f"options.{name} is {value!r}, not one of {', '.join(choices)}")
    return str(value)


def pair(value: Any, name: str) -> tuple[int, int]:
    """[h, w] of an option, or one number for both."""
    high, wide = value if isinstance(value, list) and len(value) == 2 else (value, value)
    if not all(isinstance(side, int) and 1 <= side <= 4096 for side in (high, wide)):
        raise BadModel(f"options.{name} is {value!r}, not a size in pixels")
    return high, wide
