"""Accounts as operators manage them: roles, disabling, the last operator, the home's own key."""

import pytest
from sqlalchemy import Engine

from marketplace import accounts, people, sign_in
from marketplace.db import read_session, transaction
from marketplace.models import Account
from marketplace.people_errors import (
    AccountDisabled,
    AccountExists,
    InvalidAccountName,
    LastOperator,
    UnknownAccount,
    UnknownRole,
)
from tests.marketplace.inside import GOOD, Inside, actor


@pytest.fixture
def owner(engine: Engine) -> Account:
    with transaction(engine) as db:
        return accounts.first_account(db)


@pytest.mark.parametrize("name", ["li-hua", "李华", "a", "x" * 64, "Ops_2", "li.hua"])
def test_names_that_an_account_may_have(name: str, engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        made = people.create_account(db, actor(owner), f" {name} ", ["opc", "vendor", "opc"])
        assert (made.name, made.roles, made.password) == (name, ["opc", "vendor"], "")
        assert people.get_account(db, name.upper()).id == made.id


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "-x", ".", "x" * 65, "a\nb", "<b>", "a@b"])
def test_names_that_it_may_not_have(name: str, engine: Engine, owner: Account) -> None:
    with transaction(engine) as db, pytest.raises(InvalidAccountName):
        people.create_account(db, actor(owner), name, [])


@pytest.mark.parametrize("name", ["owner", "Owner", "OWNER"])
def test_a_name_is_given_once_in_whatever_letters(name: str, engine: Engine, owner: Account) -> None:
    with transaction(engine) as db, pytest.raises(AccountExists):
        people.create_account(db, actor(owner), name, [])


def test_roles_are_those_of_the_list(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        with pytest.raises(UnknownRole):
            people.create_account(db, actor(owner), "x", ["root"])
        with pytest.raises(UnknownRole):
            people.change_roles(db, actor(owner), "owner", ["operator", "Vendor"])
        with pytest.raises(UnknownAccount):
            people.change_roles(db, actor(owner), "nobody", ["opc"])


def test_the_last_operator_stays(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        people.create_account(db, actor(owner), "vendor", ["vendor"])
        with pytest.raises(LastOperator):
            people.disable(db, actor(owner), "owner")
        with pytest.raises(LastOperator):
            people.change_roles(db, actor(owner), "owner", ["opc", "vendor"])
        people.create_account(db, actor(owner), "second", ["operator"])
        people.disable(db, actor(owner), "second")
        with pytest.raises(LastOperator):  # one who cannot sign in does not count
            people.disable(db, actor(owner), "owner")
        people.change_roles(db, actor(owner), "second", ["opc"])  # harmless: disabled already
        people.change_roles(db, actor(owner), "second", ["operator"])
        people.enable(db, actor(owner), "second")
        people.disable(db, actor(owner), "owner")
        with pytest.raises(LastOperator):
            people.change_roles(db, actor(owner), "second", [])


def test_disabling_shuts_out_at_once_and_enabling_lets_tokens_in_again(inside: Inside) -> None:
    owner, friend = inside.account("owner"), inside.account("friend", "opc")
    cookie, token = inside.cookie(friend), inside.token(friend).text
    sign_in.change_password(inside.engine, actor(friend), GOOD, "", cookie)
    by = {"cookie": inside.cookie(owner)}
    assert inside.ask("POST", "/api/accounts/friend/disable", **by).json()["disabled"]
    assert inside.ask("GET", "/api/account", cookie=cookie).status_code == 401
    assert inside.ask("GET", "/api/account", token=token).json()["code"] == "key-refused"
    link = inside.ask("POST", "/api/accounts/friend/login-link", **by)
    assert (link.status_code, link.json()["code"]) == (409, "account-disabled")
    assert inside.ask("POST", "/api/accounts/friend/enable", **by).json()["disabled"] is None
    assert inside.ask("GET", "/api/account", cookie=cookie).status_code == 401
    assert inside.ask("GET", "/api/account", token=token).status_code == 200


def test_the_homes_key_follows_the_owner_of_the_machine(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        key = accounts.replace_home_key(db, owner)
        second = people.create_account(db, actor(owner), "second", ["operator"])
        assert accounts.first_account(db).id == owner.id
        people.disable(db, actor(second), "owner")
    with read_session(engine) as db:
        found = accounts.find_key(db, key)
        assert found is not None and found.account.name == "second"
        assert accounts.first_account(db).name == "second"


def test_a_forgotten_password_is_taken_away(inside: Inside) -> None:
    owner, friend = inside.account("owner"), inside.account("friend", "opc")
    cookie = inside.cookie(friend)
    sign_in.change_password(inside.engine, actor(friend), GOOD, "", cookie)
    answer = inside.ask("POST", "/api/accounts/friend/reset-password", cookie=inside.cookie(owner))
    assert answer.json()["has_password"] is False
    assert inside.ask("GET", "/api/account", cookie=cookie).status_code == 401


def test_accounts_over_the_api(inside: Inside) -> None:
    by = {"cookie": inside.cookie(inside.account("owner"))}
    made = inside.ask("POST", "/api/accounts", json={"name": "李华", "roles": ["vendor"]}, **by)  # type: ignore[arg-type]
    assert made.status_code == 201 and "/login/" in made.json()["url"]
    path = made.json()["url"].partition("://")[2].partition("/")[2]
    assert inside.page("GET", f"/{path}").status_code == 303
    roles = inside.ask("PUT", "/api/accounts/李华/roles", json={"roles": ["opc", "vendor"]}, **by)  # type: ignore[arg-type]
    assert roles.json()["roles"] == ["opc", "vendor"]
    listed = inside.ask("GET", "/api/accounts", **by).json()
    assert [(item["name"], item["roles"]) for item in listed["items"]] == [
        ("owner", ["opc", "operator", "vendor"]),
        ("李华", ["opc", "vendor"]),
    ]
    assert "argon2" not in str(listed) and "'password'" not in str(listed)
    refused = inside.ask("POST", "/api/accounts/owner/disable", **by)
    assert (refused.status_code, refused.json()["code"]) == (409, "last-operator")


def test_no_link_is_made_for_a_disabled_account(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        friend = people.create_account(db, actor(owner), "friend", [])
        people.disable(db, actor(owner), "friend")
        with pytest.raises(AccountDisabled):
            people.link_for(db, actor(owner), friend)


# The page


def test_the_accounts_page_makes_changes_and_says_what_is_refused(inside: Inside) -> None:
    cookie = inside.cookie(inside.account("owner"))
    made = inside.page("POST", "/accounts", cookie, data={"name": "friend", "role": ["opc", "vendor"]})
    assert made.status_code == 200 and "/login/" in made.text and "friend" in made.text
    again = inside.page("POST", "/accounts", cookie, data={"name": "Friend", "role": "opc"})
    assert again.status_code == 409 and "The name is in use" in again.text
    assert inside.page("POST", "/accounts/friend/roles", cookie, data={"role": "operator"}).status_code == 303
    assert inside.page("POST", "/accounts/friend/roles", cookie, data={}).status_code == 303
    last = inside.page("POST", "/accounts/owner/disable", cookie)
    assert last.status_code == 409 and "Somebody must run the shop" in last.text
    assert inside.page("POST", "/accounts/friend/disable", cookie).status_code == 303
    assert "✕ disabled" in inside.page("GET", "/accounts", cookie).text
    assert inside.page("POST", "/accounts/friend/enable", cookie).status_code == 303
    link = inside.page("POST", "/accounts/friend/login-link", cookie)
    assert link.status_code == 200 and "Give this link to friend" in link.text
    assert inside.page("POST", "/accounts/friend/reset-password", cookie).status_code == 303
    with read_session(inside.engine) as db:
        assert people.get_account(db, "friend").roles == []


def test_who_may_not_see_accounts_is_told_which_role_it_takes(inside: Inside) -> None:
    cookie = inside.cookie(inside.account("only", "opc"))
    answer = inside.page("GET", "/accounts", cookie)
    assert answer.status_code == 403 and "operator" in answer.text
    settings = inside.page("GET", "/settings", cookie).text
    assert 'href="/accounts"' not in settings and "MARKET_HOME" not in settings


@pytest.mark.parametrize(
    "scopes", [("sign-in-links:create",), ("sign-in-links:create", "accounts:manage"), ()]
)
@pytest.mark.parametrize(
    "path", ["/api/login-links", "/api/accounts/owner/login-link", "/accounts/owner/login-link"]
)
def test_no_token_makes_a_sign_in_link(path: str, scopes: tuple[str, ...], inside: Inside) -> None:
    """A link opens every permission of its account for weeks, whatever the token may do, and for how long."""
    token = inside.token(inside.account("owner"), *scopes, days=1).text
    answer = inside.ask("POST", path, token=token)
    assert (answer.status_code, answer.json()["code"]) == (403, "session-needed")


@pytest.mark.parametrize("scopes", [("sign-in-links:create", "accounts:manage"), ()])
def test_a_token_makes_accounts_without_a_link(scopes: tuple[str, ...], inside: Inside) -> None:
    token = inside.token(inside.account("owner"), *scopes).text
    made = inside.ask("POST", "/api/accounts", token=token, json={"name": "friend"})
    assert (made.status_code, made.json()["url"]) == (201, None)
    page = inside.page("POST", "/accounts", token=token, data={"name": "other"})
    assert page.status_code == 403 and "/login/" not in page.text


def test_the_home_key_makes_sign_in_links(inside: Inside) -> None:
    with transaction(inside.engine) as db:
        key = accounts.replace_home_key(db, accounts.first_account(db))
    for path in ("/api/login-links", "/api/accounts/owner/login-link"):
        assert "/login/" in inside.ask("POST", path, token=key).json()["url"]
