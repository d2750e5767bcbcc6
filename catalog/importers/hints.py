"""What a source tells of a model beside its files; apart, because who reads files needs no more of us."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hints:
    """What a source says of a model beside its files."""

    license: str = ""
    languages: tuple[str, ...] = ()
    task: str = ""
    base: str = ""  # the model that it was made from
    title: str = ""
    tags: tuple[str, ...] = ()
