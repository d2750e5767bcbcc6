"""The database: engine, sessions and migrations, on SQLite by default and PostgreSQL by URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlmodel import Session, create_engine

from catalog import search_tables
from catalog.models import CatalogTable
from deployer.models import DeployerTable
from marketplace.models import MarketTable

METADATA = (CatalogTable.metadata, DeployerTable.metadata, MarketTable.metadata)


def is_modelled(name: str | None, _kind: str, _parents: Any) -> bool:
    """Whether the metadata describes this part of a database; it cannot describe an index of texts."""
    return not (name or "").startswith(search_tables.UNMODELLED)


def open_engine(url: str) -> Engine:
    """An engine for `url`; SQLite gets WAL, foreign keys and a busy timeout."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 15})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later is refused at once when another one wrote in
    # between, whatever the timeout; so those that mean to write take the lock when they begin.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def read_session(engine: Engine) -> Session:
    """A session for reading; sees one consistent state and never waits for writers."""
    return Session(engine)


def write_session(engine: Engine) -> Session:
    """A session for reading and writing; on SQLite it waits for other writers when it begins."""
    return Session(engine.execution_options(write=True), expire_on_commit=False)


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A write session that commits at the end, or rolls back on an error."""
    with write_session(engine) as db:
        yield db
        db.commit()


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision; does nothing, quickly, when it is there already."""
    # Alembic is imported late: it costs a quarter of a second that only a schema change needs.
    with engine.connect() as connection:
        if _revision(connection) == NEWEST:
            return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


NEWEST = "0006"


def _revision(connection: Connection) -> str | None:
    if not engine_has_table(connection, "alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return row[0] if row else None


def engine_has_table(connection: Connection, name: str) -> bool:
    """Whether the database has the table."""
    return bool(connection.dialect.has_table(connection, name))
