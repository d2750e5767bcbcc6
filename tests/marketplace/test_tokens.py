"""API tokens: shown once, narrow, over after some days; never more than whoever makes them."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, update
from sqlmodel import col, select

from catalog.models import utcnow
from marketplace import accounts, people, routes, tokens
from marketplace.db import read_session, transaction
from marketplace.gateway.problems import Refusal
from marketplace.gateway.routes import Table
from marketplace.models import Account, ApiKey
from marketplace.people_errors import InvalidToken, ScopeTooWide, UnknownScope, UnknownToken
from marketplace.permissions import PRESETS, Permission, permissions_of
from tests.marketplace.inside import Inside, actor


def maker(account: Account, *scopes: str) -> tokens.Maker:
    has = permissions_of(account.roles)
    if scopes:
        has = has & {Permission(scope) for scope in scopes}
    return tokens.Maker(actor(account), account, has, narrowed=bool(scopes))


@pytest.fixture
def owner(engine: Engine) -> Account:
    with transaction(engine) as db:
        return accounts.first_account(db)


def test_a_token_is_shown_once_and_kept_as_a_digest(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        made = tokens.create_token(db, maker(owner), "  ci   publish ", ["publish"], 30)
    with read_session(engine) as db:
        (row,) = tokens.list_tokens(db, owner.id)
        assert made.text.startswith("mk_") and made.text not in str(row.model_dump())
        assert (row.name, row.hint) == ("ci publish", made.text[-4:])
        assert row.scopes == ["catalogue:browse", "publications:manage"]
        assert row.expires is not None
        assert abs(row.expires - utcnow() - timedelta(days=30)) < timedelta(minutes=1)
        found = accounts.find_key(db, made.text)
        assert found is not None and found.scopes == frozenset(row.scopes)


def test_without_scopes_a_token_may_what_its_account_may(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        assert tokens.create_token(db, maker(owner), "all").row.scopes == []


def test_a_narrowed_maker_hands_on_no_more_than_it_has(engine: Engine, owner: Account) -> None:
    narrow = maker(owner, "self:manage", "catalogue:browse")
    with transaction(engine) as db:
        with pytest.raises(ScopeTooWide) as refused:
            tokens.create_token(db, narrow, "more", ["publish", "audit:read"])
        assert refused.value.facts["scopes"] == ["audit:read", "publications:manage"]
        # No scopes would mean the account's permissions, so they are written out.
        made = tokens.create_token(db, narrow, "same")
        assert made.row.scopes == ["catalogue:browse", "self:manage"]


def test_a_token_does_not_outlive_the_one_it_was_made_with(engine: Engine, owner: Account) -> None:
    soon = utcnow() + timedelta(hours=1)
    by_token = tokens.Maker(actor(owner), owner, permissions_of(owner.roles), True, soon)
    with transaction(engine) as db:
        assert tokens.create_token(db, by_token, "child", days=366).row.expires == soon


def test_roles_bound_what_a_token_can_be_given(engine: Engine) -> None:
    with transaction(engine) as db:
        account = Account(name="li-hua", roles=["opc"])
        db.add(account)
        db.flush()
        with pytest.raises(ScopeTooWide):
            tokens.create_token(db, maker(account), "ci", ["publish"])


@pytest.mark.parametrize(
    ("name", "days"), [("", 1), ("  ", 1), ("x" * 65, 1), ("x", 0), ("x", 367), ("x", -1)]
)
def test_names_and_days_have_bounds(name: str, days: int, engine: Engine, owner: Account) -> None:
    with transaction(engine) as db, pytest.raises(InvalidToken):
        tokens.create_token(db, maker(owner), name, days=days)


@pytest.mark.parametrize("scope", ["everything", "shop:inside", "", "Publish", "publications:"])
def test_unknown_scopes_are_refused(scope: str, engine: Engine, owner: Account) -> None:
    with transaction(engine) as db, pytest.raises(UnknownScope) as refused:
        tokens.create_token(db, maker(owner), "x", [scope])
    assert "publish" in refused.value.facts["known"]  # type: ignore[operator]


def test_only_ones_own_tokens_are_seen_and_revoked(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        other = Account(name="other", roles=["opc"])
        db.add(other)
        db.flush()
        mine = tokens.create_token(db, maker(owner), "mine")
        accounts.create_key(db, owner, "a-deployment")
        accounts.replace_home_key(db, owner)
        assert [row.id for row in tokens.list_tokens(db, owner.id)] == [mine.row.id]
        with pytest.raises(UnknownToken):
            tokens.revoke_token(db, actor(other), other.id, str(mine.row.id))
        tokens.revoke_token(db, actor(owner), owner.id, str(mine.row.id))
        assert tokens.list_tokens(db, owner.id) == []
        assert accounts.find_key(db, mine.text) is None
        with pytest.raises(UnknownToken):
            tokens.revoke_token(db, actor(owner), owner.id, str(mine.row.id))
        for wrong in ("nonsense", ""):
            with pytest.raises(UnknownToken):
                tokens.revoke_token(db, actor(owner), owner.id, wrong)


# At the gateway


def _table(engine: Engine) -> Table:
    with read_session(engine) as db:
        return Table.parse({"version": 1, **routes.snapshot(db, lambda _: "")})


def _key_at(table: Table, token: str) -> str:
    """What the gateway says about a token: the deployments that it opens, or the refusal."""
    try:
        return ",".join(sorted(table.key_of(f"Bearer {token}".encode()).deployments))
    except Refusal as refusal:
        return refusal.code


def test_the_gateway_knows_what_each_key_opens(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        vendor = Account(name="vendor", roles=["vendor"])
        db.add(vendor)
        db.flush()
        found = {
            "whole": tokens.create_token(db, maker(owner), "whole").text,
            "publish": tokens.create_token(db, maker(owner), "ci", ["publish"]).text,
            "deploy": tokens.create_token(db, maker(owner), "d", ["deployments:manage"]).text,
            "vendor": tokens.create_token(db, maker(vendor), "v").text,
            "reader": accounts.create_key(db, owner, "reader"),
            "home": accounts.replace_home_key(db, owner),
        }
    opens = {name: _key_at(_table(engine), token) for name, token in found.items()}
    assert opens == {
        "whole": "*",
        "publish": "",
        "deploy": "*",
        "vendor": "",
        "reader": "reader",
        "home": "*",
    }


def test_expired_revoked_and_disabled_open_nothing_at_the_gateway(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        gone = Account(name="gone", roles=["opc"])
        db.add(gone)
        db.flush()
        soon = tokens.create_token(db, maker(owner), "soon").text
        over, revoked = (tokens.create_token(db, maker(owner), name) for name in ("over", "revoked"))
        tokens.revoke_token(db, actor(owner), owner.id, str(revoked.row.id))
        over.row.expires = utcnow() - timedelta(seconds=1)
        disabled = [tokens.create_token(db, maker(gone), "x").text, accounts.create_key(db, gone, "reader")]
    before = _table(engine)
    assert [_key_at(before, token) for token in disabled] == ["*", "reader"]
    with transaction(engine) as db:
        people.disable(db, actor(owner), "gone")
    table = _table(engine)
    for token in (over.text, revoked.text, *disabled):
        assert _key_at(table, token) == "key-invalid"
    # A key that runs out while the table stands is refused by the clock.
    assert _key_at(table, soon) == "*"
    with transaction(engine) as db:
        db.exec(
            update(ApiKey).where(col(ApiKey.name) == "soon").values(expires=utcnow() + timedelta(hours=1))
        )
    digest = accounts.digest(soon)
    state = _table(engine)
    assert state.keys[digest].expires is not None
    late = Table(1, {}, {digest: type(state.keys[digest])("x", frozenset("*"), 1.0)})
    assert _key_at(late, soon) == "key-invalid"


# Over the API


def test_tokens_are_made_listed_and_revoked_over_the_api(inside: Inside) -> None:
    cookie = inside.cookie(inside.account("owner"))
    made = inside.ask("POST", "/api/tokens", cookie=cookie, json={"name": "ci", "scopes": ["publish"]})
    assert made.status_code == 201
    token = made.json()["token"]
    assert made.json()["scopes"] == sorted(PRESETS["publish"])
    me = inside.ask("GET", "/api/account", token=token)
    assert (me.status_code, me.json()["code"]) == (403, "token-too-narrow")
    listed = inside.ask("GET", "/api/tokens", cookie=cookie).json()
    assert listed["total"] == 1
    assert listed["items"][0]["token"] is None and token not in str(listed)
    gone = inside.ask("DELETE", f"/api/tokens/{listed['items'][0]['id']}", cookie=cookie)
    assert gone.status_code == 204
    assert inside.ask("GET", "/api/deployments", token=token).json()["code"] == "key-refused"


def test_a_token_makes_no_wider_token_over_the_api(inside: Inside) -> None:
    narrow = inside.token(inside.account("owner"), "self:manage").text
    answer = inside.ask("POST", "/api/tokens", token=narrow, json={"name": "x", "scopes": ["publish"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope-too-wide")
    made = inside.ask("POST", "/api/tokens", token=narrow, json={"name": "x"}).json()
    assert made["scopes"] == ["catalogue:browse", "self:manage"]
    assert inside.ask("GET", "/api/audit", token=made["token"]).status_code == 403


@pytest.mark.parametrize("path", ["/settings/password", "/settings/login-link"])
def test_what_opens_the_account_is_not_done_with_a_token(path: str, inside: Inside) -> None:
    token = inside.token(inside.account("owner"), "self:manage").text
    answer = inside.ask("POST", path, token=token, data={"new": "plum rain on tin roofs"})
    assert (answer.status_code, answer.json()["code"]) == (403, "session-needed")


def test_a_narrowed_token_gets_no_sign_in_link_for_the_accounts_that_it_makes(inside: Inside) -> None:
    token = inside.token(inside.account("owner"), "accounts:manage").text
    answer = inside.ask("POST", "/api/accounts", token=token, json={"name": "friend"})
    assert (answer.status_code, answer.json()["url"]) == (201, None)


def test_the_last_use_is_kept_to_the_minute(inside: Inside) -> None:
    made = inside.token(inside.account("owner"))

    def used() -> object:
        with read_session(inside.engine) as db:
            return db.exec(select(ApiKey.used).where(ApiKey.id == made.row.id)).one()

    assert used() is None
    inside.ask("GET", "/api/account", token=made.text)
    first = used()
    assert first is not None
    inside.ask("GET", "/api/account", token=made.text)
    assert used() == first
    with transaction(inside.engine) as db:
        earlier = utcnow() - timedelta(minutes=2)
        db.exec(update(ApiKey).where(col(ApiKey.id) == made.row.id).values(used=earlier))
    inside.ask("GET", "/api/account", token=made.text)
    assert used() not in (first, None) and used() > earlier  # type: ignore[operator]
