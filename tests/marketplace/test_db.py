import threading
from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlmodel import select

from deployer.deployments import NewDeployment, create_deployment, get_deployment
from marketplace import db
from marketplace.models import Account


def test_migrations_make_the_tables_that_the_code_expects(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": False, "include_name": db.is_modelled}
        )
        assert compare_metadata(context, list(db.METADATA)) == []


def test_newest_names_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(db.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == db.NEWEST


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    with db.transaction(engine) as session:
        session.add(Account(name="a"))
    db.migrate(engine)
    with db.read_session(engine) as session:
        assert [row.name for row in session.exec(select(Account))] == ["a"]


def test_each_migration_can_be_taken_back(engine: Engine) -> None:
    """Down to the first tables with a deployment in them, and up again: it runs its version as it came."""
    new = NewDeployment(
        name="kept",
        listing="a/b",
        version="1.0.0",
        version_digest="sha256:" + "ab" * 32,
        task="tensors",
        runtime="process",
        owner=uuid4(),
    )
    with db.transaction(engine) as session:
        create_deployment(session, new)
    config = Config()
    config.set_main_option("script_location", str(Path(db.__file__).parent / "migrations"))
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    with engine.connect() as connection:
        assert not db.engine_has_table(connection, "variant")
    db.migrate(engine)
    with db.read_session(engine) as session:
        row = get_deployment(session, "kept")
        assert (row.variant, row.state) == ("", "pending")


def test_writers_wait_for_each_other(engine: Engine) -> None:
    """Each reads before it writes, which SQLite refuses at once for a transaction begun as a reader."""
    failures: list[Exception] = []

    def add(first: int) -> None:
        try:
            for number in range(first, first + 20):
                with db.transaction(engine) as session:
                    session.exec(select(Account)).all()
                    session.add(Account(name=str(number)))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=add, args=(start,)) for start in range(0, 100, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with db.read_session(engine) as session:
        assert len(session.exec(select(Account)).all()) == 100


def test_an_error_rolls_back(engine: Engine) -> None:
    try:
        with db.transaction(engine) as session:
            session.add(Account(name="half"))
            session.flush()
            raise KeyError
    except KeyError:
        pass
    with db.read_session(engine) as session:
        assert session.exec(select(Account)).all() == []
