"""Where a version comes from, what was checked and measured, on one page; and ratings."""

from typing import Any

handlers: list[Any] = []
