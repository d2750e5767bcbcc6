"""What commands share that do their work in this process, with or without a shop beside them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from marketplace.cli.options import FAILED
from marketplace.terminal import data_json, hint, language, problem_text

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from deployer.spec import Progress


@contextmanager
def database() -> "Iterator[Engine]":
    """The home's database, brought to the newest form."""
    from marketplace.db import migrate, open_engine
    from marketplace.serve import CannotServe, prepare_home
    from marketplace.settings import load

    settings = load()
    try:
        prepare_home(settings)
    except CannotServe as refusal:
        raise click.ClickException(str(refusal)) from None
    engine = open_engine(settings.database_url)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def named_errors(json_out: bool = False) -> Iterator[None]:
    """End with the words of a named refusal, and as JSON where that was asked for."""
    from catalog.errors import CatalogError
    from deployer.errors import DeployerError
    from marketplace.errors import MarketError
    from marketplace.problems import problem_of

    try:
        yield
    except (CatalogError, DeployerError, MarketError) as error:
        problem = problem_of(error, language()).to_dict()
        if json_out:
            data_json({"error": problem})
        hint(problem_text(problem), problem_text(problem))
        sys.exit(FAILED)


@contextmanager
def watched(title: str) -> "Iterator[Progress]":
    """A Progress that draws a bar where a terminal is there."""
    from deployer.spec import silent

    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}", markup=False)
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        bar = bars.add_task(title, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bars.update(bar, completed=done, total=total or None, note=note[-60:])

        yield report
