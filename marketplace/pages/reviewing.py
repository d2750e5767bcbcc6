"""The operator's queue of submitted versions."""

from typing import Any

handlers: list[Any] = []
