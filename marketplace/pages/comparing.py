"""Up to four listings side by side by measured numbers."""

from typing import Any

handlers: list[Any] = []
