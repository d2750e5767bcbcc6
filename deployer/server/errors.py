"""What a server refuses: a caller's input or a vendor's model folder, said in English and Chinese."""

from typing import NamedTuple


class Words(NamedTuple):
    """One thing said in English and in Chinese."""

    en: str
    zh: str

    def pick(self, language: str) -> str:
        """The words in the reader's language: zh or anything else."""
        return self.zh if language == "zh" else self.en


class BadInput(Exception):
    """The caller's input cannot be answered: where it is wrong, why, and what was expected."""

    def __init__(self, where: str, why: Words, expected: Words | str = "") -> None:
        super().__init__(where, why, expected)
        self.where = where
        self.why = why
        self.expected = Words(expected, expected) if isinstance(expected, str) else expected

    def __str__(self) -> str:
        """For logs: in English."""
        return f"{self.where}: {self.why.en}"


class BadModel(Exception):
    """The model folder cannot be served; the message says which file or option is wrong."""


class Terminated(Exception):
    """A run was ended from outside before it was done."""
