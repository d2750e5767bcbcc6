from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlmodel import select

from catalog.models import utcnow
from marketplace import accounts
from marketplace.db import read_session, transaction
from marketplace.errors import InvalidLoginLink
from marketplace.models import LoginLink


def test_first_account_is_made_once_with_every_role(engine: Engine) -> None:
    with transaction(engine) as db:
        first = accounts.first_account(db)
        assert accounts.first_account(db).id == first.id
        assert set(first.roles) == {"opc", "operator", "vendor"}


def test_a_link_works_once(engine: Engine) -> None:
    with transaction(engine) as db:
        token = accounts.create_login_link(db, accounts.first_account(db))
    with transaction(engine) as db:
        cookie = accounts.redeem_link(db, token)
        signed_in = accounts.account_of_session(db, cookie)
        assert signed_in is not None and signed_in.name == "owner"
        with pytest.raises(InvalidLoginLink):
            accounts.redeem_link(db, token)
        accounts.end_session(db, cookie)
        assert accounts.account_of_session(db, cookie) is None


def test_an_old_link_does_not_work(engine: Engine) -> None:
    with transaction(engine) as db:
        token = accounts.create_login_link(db, accounts.first_account(db))
        link = db.exec(select(LoginLink)).one()
        link.expires = utcnow() - timedelta(seconds=1)
    with transaction(engine) as db, pytest.raises(InvalidLoginLink):
        accounts.redeem_link(db, token)


def test_keys_open_what_they_are_for_until_revoked(engine: Engine) -> None:
    with transaction(engine) as db:
        owner = accounts.first_account(db)
        whole, one = accounts.create_key(db, owner), accounts.create_key(db, owner, "reader")
    with transaction(engine) as db:
        found = accounts.find_key(db, whole)
        assert found is not None and found.deployment == ""
        assert accounts.find_key(db, "mk_unknown") is None
        accounts.revoke_keys(db, "reader")
        assert accounts.find_key(db, one) is None
        assert accounts.find_key(db, whole) is not None


def test_no_secret_is_stored_in_plain_text(engine: Engine) -> None:
    with transaction(engine) as db:
        owner = accounts.first_account(db)
        link = accounts.create_login_link(db, owner)
        secrets = [accounts.create_key(db, owner), accounts.redeem_link(db, link), link]
    with read_session(engine) as db:
        stored = " ".join(
            str(row)
            for table in ("api_key", "web_session", "login_link")
            for row in db.exec(text(f"SELECT * FROM {table}"))
        )
    for secret in secrets:
        assert secret not in stored


def test_each_start_replaces_the_homes_key(engine: Engine) -> None:
    with transaction(engine) as db:
        owner = accounts.first_account(db)
        before = accounts.replace_home_key(db, owner)
        after = accounts.replace_home_key(db, owner)
        assert accounts.find_key(db, before) is None
        assert accounts.find_key(db, after) is not None
