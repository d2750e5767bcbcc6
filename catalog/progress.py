"""How long work of the catalogue reports where it stands."""

from typing import Protocol


class Progress(Protocol):
    """Called with bytes or items done and in all, and a short note; total 0 means not known."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Take the new state; called often, so it must be quick."""


def silent(done: int, total: int, note: str = "") -> None:
    """A Progress that nobody watches."""
