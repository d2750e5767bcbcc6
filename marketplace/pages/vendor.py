"""The vendor's door: publish, watch the checks, see what becomes of it."""

from typing import Any

handlers: list[Any] = []
