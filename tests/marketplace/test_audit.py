"""The audit log: what is written, found again, and never written."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlmodel import select

from catalog.models import utcnow
from marketplace import accounts, audit, sign_in
from marketplace.audit import AuditAction, record
from marketplace.db import read_session, transaction
from marketplace.models import Account, AuditEvent
from marketplace.people_words import ACTIONS, PERMISSIONS
from marketplace.permissions import Permission
from tests.marketplace.inside import ADDRESS, GOOD, Inside, actor


@pytest.fixture
def owner(engine: Engine) -> Account:
    with transaction(engine) as db:
        return accounts.first_account(db)


def deeds(engine: Engine) -> list[tuple[str, str, str]]:
    with read_session(engine) as db:
        rows = db.exec(select(AuditEvent).order_by(text("id")))
        return [(row.account, row.action, row.subject) for row in rows]


def test_actions_are_subject_and_verb() -> None:
    for action in AuditAction:
        assert re.fullmatch(r"[a-z-]+:[a-z-]+", action), action
    assert len({str(action) for action in AuditAction}) == len(list(AuditAction))


def test_every_action_and_permission_has_words() -> None:
    assert set(ACTIONS) == {str(action) for action in AuditAction}
    assert set(PERMISSIONS) == {str(permission) for permission in Permission}


def test_a_deed_stands_with_its_change_or_not_at_all(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        record(db, actor(owner), AuditAction.create_token, "ci", scopes=["publish"])
    with pytest.raises(ZeroDivisionError), transaction(engine) as db:
        record(db, owner, AuditAction.revoke_token, "ci")
        raise ZeroDivisionError
    with read_session(engine) as db:
        (event,) = db.exec(select(AuditEvent))
    assert (event.account_id, event.account, event.address) == (owner.id, "owner", ADDRESS)
    assert (event.action, event.subject, event.facts) == ("token:create", "ci", {"scopes": ["publish"]})
    assert abs(event.at - utcnow()) < timedelta(minutes=1)


@pytest.mark.parametrize("name", sorted(audit.SECRETS))
def test_facts_that_are_secrets_by_name_are_refused(name: str, engine: Engine) -> None:
    with transaction(engine) as db, pytest.raises(ValueError, match=name):
        record(db, None, AuditAction.sign_in, "x", **{name: "s3cret"})


def test_long_texts_are_cut(engine: Engine) -> None:
    with transaction(engine) as db:
        record(db, None, AuditAction.sign_in, "x" * 5000, why="y" * 5000)
        (event,) = db.exec(select(AuditEvent))
        assert len(event.subject) == len(event.facts["why"]) == audit.LONGEST


def test_the_log_is_sifted_and_paged(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        for n in range(7):
            record(db, owner, AuditAction.create_token, f"token-{n}")
        record(db, None, AuditAction.refuse_sign_in, "100%_sure")
        record(db, owner, AuditAction.revoke_token, "token-3")
    with read_session(engine) as db:
        newest, total = audit.events(db, limit=3)
        assert ([row.subject for row in newest], total) == (["token-3", "100%_sure", "token-6"], 9)
        older, _ = audit.events(db, limit=3, offset=3)
        assert [row.subject for row in older] == ["token-5", "token-4", "token-3"]
        assert audit.events(db, action="token")[1] == 8
        assert audit.events(db, action="token:create")[1] == 7
        assert audit.events(db, action="tok")[1] == 0
        assert audit.events(db, account="owner", subject="token-3")[1] == 2
        assert audit.events(db, subject="%_")[1] == 1
        assert audit.events(db, since=utcnow() + timedelta(seconds=5))[1] == 0
        assert audit.events(db, until=utcnow() - timedelta(hours=1))[1] == 0


def test_what_people_do_is_written_down_without_a_secret(inside: Inside) -> None:
    """A walk past every door that takes or gives a secret; none of them is in the log, nor in its page."""
    owner = inside.account("owner")
    with transaction(inside.engine) as db:
        link = accounts.create_login_link(db, owner)
    entered = inside.page("GET", f"/login/{link}")
    cookie = entered.cookies["session"]
    mistyped, wrong, new = "my password as a name", "a wrong guess of it", "seven quiet lanterns"
    inside.page("POST", "/login", data={"link": "http://shop/login/guessed-link"})
    inside.page("POST", "/settings/password", cookie, data={"new": GOOD})
    inside.page("POST", "/settings/password", cookie, data={"new": new, "present": GOOD})
    inside.page("POST", "/login/password", data={"name": "owner", "password": wrong})
    inside.page("POST", "/login/password", data={"name": mistyped, "password": wrong})
    second = inside.page("POST", "/login/password", data={"name": "owner", "password": new}).cookies[
        "session"
    ]
    token = inside.ask("POST", "/api/tokens", cookie=cookie, json={"name": "ci"}).json()
    inside.ask("DELETE", f"/api/tokens/{token['id']}", cookie=cookie)
    friend = inside.ask("POST", "/api/accounts", cookie=cookie, json={"name": "friend"}).json()
    own_link = inside.ask("POST", "/api/login-links", cookie=cookie).json()["url"]
    inside.ask("PUT", "/api/accounts/friend/roles", cookie=cookie, json={"roles": ["vendor"]})
    inside.ask("POST", "/api/accounts/friend/disable", cookie=cookie)
    inside.ask("POST", "/api/accounts/friend/enable", cookie=cookie)
    inside.ask("POST", "/api/accounts/friend/reset-password", cookie=cookie)
    inside.page("POST", "/settings/sessions/end-others", cookie)
    assert deeds(inside.engine) == [
        ("owner", "session:sign-in", "owner"),
        ("", "session:refused", ""),
        ("owner", "password:change", "owner"),
        ("owner", "password:change", "owner"),
        ("", "session:refused", "owner"),
        ("", "session:refused", ""),
        ("owner", "session:sign-in", "owner"),
        ("owner", "token:create", "ci"),
        ("owner", "token:revoke", "ci"),
        ("owner", "account:create", "friend"),
        ("owner", "login-link:create", "friend"),
        ("owner", "login-link:create", "owner"),
        ("owner", "account:roles", "friend"),
        ("owner", "account:disable", "friend"),
        ("owner", "account:enable", "friend"),
        ("owner", "password:reset", "friend"),
        ("owner", "session:end", "owner"),
    ]
    with read_session(inside.engine) as db:
        rows = db.exec(select(AuditEvent)).all()
        written = " ".join(str(row.model_dump()) for row in rows)
    assert {row.address for row in rows} == {ADDRESS}
    shown = inside.page("GET", "/audit", cookie).text
    links = (link, friend["url"].rpartition("/")[2], own_link.rpartition("/")[2])
    hashes = [accounts.digest(secret) for secret in (cookie, second, token["token"], *links)]
    for secret in (
        cookie,
        second,
        token["token"],
        *links,
        *hashes,
        GOOD,
        new,
        wrong,
        mistyped,
        "guessed-link",
    ):
        assert secret not in written
        assert secret not in shown
    assert "argon2" not in written


def test_the_log_over_the_api_and_on_the_page(inside: Inside) -> None:
    owner = inside.account("owner")
    cookie = inside.cookie(owner)
    with transaction(inside.engine) as db:
        for n in range(60):
            record(db, actor(owner), AuditAction.create_token, f"<b>token-{n}</b>", scopes=["a", "b"])
    page = inside.ask("GET", "/api/audit?action=token&limit=2&offset=1", cookie=cookie).json()
    assert (page["total"], page["limit"], page["offset"]) == (60, 2, 1)
    assert page["items"][0] | {"id": 0, "at": ""} == {
        "id": 0,
        "at": "",
        "account": "owner",
        "action": "token:create",
        "subject": "<b>token-58</b>",
        "facts": {"scopes": ["a", "b"]},
        "address": ADDRESS,
    }
    for limits in ("limit=0", "limit=-5&offset=-1", "limit=100000", f"offset={10**30}"):
        assert inside.ask("GET", f"/api/audit?{limits}", cookie=cookie).status_code in (200, 400)
    assert inside.ask("GET", "/api/audit?since=yesterday", cookie=cookie).status_code == 400
    assert inside.ask("GET", "/api/audit?since=2999-01-01", cookie=cookie).json()["total"] == 0
    shown = inside.page("GET", "/audit?action=token:create", cookie)
    assert "&lt;b&gt;token-59" in shown.text and "<b>token-59" not in shown.text.replace("<b>&lt;", "")
    assert 'rel="next"' in shown.text and "60 entries" in shown.text
    older = inside.page("GET", "/audit?action=token:create&offset=50", cookie).text
    assert 'rel="prev"' in older and "token-0" in older
    assert inside.page("GET", "/audit?since=nonsense", cookie).status_code == 400
    assert "Nothing like that was done" in inside.page("GET", "/audit?account=nobody", cookie).text
    assert inside.page("GET", "/audit?offset=-1&subject=%25", cookie).status_code == 200


def test_a_sign_in_by_link_is_told_apart_from_one_by_password(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        link = accounts.create_login_link(db, owner)
    sign_in.by_link(engine, link, accounts.Client("x", ADDRESS))
    with read_session(engine) as db:
        (event,) = db.exec(select(AuditEvent))
    assert event.facts == {"method": "link"}
