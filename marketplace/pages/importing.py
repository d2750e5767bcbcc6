"""Bring a model in from elsewhere, and watch it come."""

from typing import Any

handlers: list[Any] = []
