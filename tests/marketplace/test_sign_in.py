"""Signing in by password and by link, the wait between wrong attempts, browsers, and changing a password."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import Engine, update
from sqlmodel import col, select

from catalog.models import utcnow
from marketplace import accounts, passwords, people, sign_in
from marketplace.accounts import Client
from marketplace.audit import AuditAction
from marketplace.auth import COOKIE
from marketplace.db import read_session, transaction
from marketplace.errors import InvalidLoginLink
from marketplace.models import Account, AuditEvent, SignInFailure, WebSession
from marketplace.people_errors import InvalidPassword, TooManyAttempts, WrongPassword, WrongSignIn
from tests.marketplace.inside import ADDRESS, GOOD, Inside, actor

HERE = Client("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", ADDRESS)


@pytest.fixture
def owner(engine: Engine) -> Account:
    with transaction(engine) as db:
        account = accounts.first_account(db)
    sign_in.change_password(engine, actor(account), GOOD, "", "")
    with read_session(engine) as db:
        row = db.get(Account, account.id)
        assert row is not None
        return row


def enter(engine: Engine, name: str, password: str, address: str = ADDRESS) -> sign_in.SignedIn:
    return sign_in.by_password(engine, name, password, Client("x", address))


def failures(engine: Engine) -> dict[str, int]:
    with read_session(engine) as db:
        return {row.key: row.count for row in db.exec(select(SignInFailure))}


def let_time_pass(engine: Engine, seconds: float) -> None:
    """As if so much time had passed since the last attempt."""
    with transaction(engine) as db:
        for row in db.exec(select(SignInFailure)):
            row.updated -= timedelta(seconds=seconds)
            if row.until is not None:
                row.until -= timedelta(seconds=seconds)


# Passwords


def test_a_password_is_kept_as_a_salted_argon2id_hash(owner: Account) -> None:
    assert owner.password.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert passwords.hash_password(GOOD) != owner.password
    assert passwords.verify_password(owner.password, GOOD)
    assert not passwords.verify_password(owner.password, GOOD + " ")
    assert not passwords.verify_password("", GOOD)
    assert not passwords.verify_password("no hash at all", GOOD)


def test_however_it_is_typed_it_is_the_same_password() -> None:
    stored = passwords.hash_password("cafe\u0301 au lait")
    assert passwords.verify_password(stored, "caf\u00e9 au lait")


@pytest.mark.parametrize(
    "password",
    ["", "short", "123456789", "x" * 129, "li-hua-the-vendor", "LI-HUA-THE-VENDOR", "li-hua-the-vendor12"],
)
def test_bad_passwords_are_refused(password: str) -> None:
    with pytest.raises(InvalidPassword):
        passwords.require_good(password, "li-hua-the-vendor")


@pytest.mark.parametrize(
    "password", ["1234567890", "x" * 128, "一二三四五六七八九十", "li-hua-the-vendor 1234"]
)
def test_no_kind_of_character_is_asked_for(password: str) -> None:
    passwords.require_good(password, "li-hua-the-vendor")


def test_a_hash_of_other_parameters_is_renewed_at_sign_in(engine: Engine, owner: Account) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD)
    with transaction(engine) as db:
        db.exec(update(Account).values(password=weak))
    enter(engine, "owner", GOOD)
    with read_session(engine) as db:
        (stored,) = db.exec(select(Account.password))
    assert stored != weak and "m=65536" in stored
    enter(engine, "owner", GOOD)


# Signing in


def test_name_and_password_open_a_session(engine: Engine, owner: Account) -> None:
    entered = sign_in.by_password(engine, "Owner", GOOD, HERE)
    with read_session(engine) as db:
        account = accounts.account_of_session(db, entered.cookie)
        assert account is not None and account.id == owner.id
        (row,) = accounts.sessions_of(db, owner.id)
        assert (row.agent, row.address) == (HERE.agent, ADDRESS)
    assert failures(engine) == {f"address:{ADDRESS}": 0}


def test_the_cookie_is_renewed_at_every_sign_in(engine: Engine, owner: Account) -> None:
    first = enter(engine, "owner", GOOD)
    second = sign_in.by_password(engine, "owner", GOOD, HERE, first.cookie)
    assert second.cookie != first.cookie
    with read_session(engine) as db:
        assert accounts.account_of_session(db, first.cookie) is None
        assert accounts.account_of_session(db, second.cookie) is not None


@pytest.mark.parametrize(
    ("name", "password"), [("owner", "wrong"), ("nobody", GOOD), ("", ""), ("owner", "")]
)
def test_what_is_wrong_is_not_said(name: str, password: str, engine: Engine, owner: Account) -> None:
    with pytest.raises(WrongSignIn) as refused:
        enter(engine, name, password)
    assert refused.value.facts == {}


def test_who_has_no_password_or_is_disabled_gets_the_same_answer(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        people.create_account(db, actor(owner), "by-link", ["opc"])
        gone = people.create_account(db, actor(owner), "gone", ["opc"])
    sign_in.change_password(engine, actor(gone), GOOD, "", "")
    with transaction(engine) as db:
        people.disable(db, actor(owner), "gone")
    for name in ("by-link", "gone"):
        for password in (GOOD, ""):
            with pytest.raises(WrongSignIn):
                enter(engine, name, password)


def test_unknown_names_cost_as_much_work_as_known_ones(
    engine: Engine, owner: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    verify = PasswordHasher.verify

    def watched(self: PasswordHasher, stored: str, password: str) -> object:
        looked.append(stored.rpartition("$")[0].rpartition("$")[0])
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", watched)
    for name in ("owner", "nobody"):
        with pytest.raises(WrongSignIn):
            enter(engine, name, "a wrong password")
    assert not passwords.is_outdated(passwords.NOBODYS)
    assert looked == ["$argon2id$v=19$m=65536,t=3,p=1"] * 2


# The wait between wrong attempts


@pytest.mark.parametrize("name", ["owner", "nobody-of-this-name"])
def test_the_wait_grows_and_is_told(name: str, engine: Engine, owner: Account) -> None:
    for _ in range(5):
        with pytest.raises(WrongSignIn):
            enter(engine, name, "wrong", address="")
    waits = []
    for _ in range(7):
        with pytest.raises(TooManyAttempts) as refused:
            enter(engine, name, GOOD, address="")
        waits.append(int(str(refused.value.facts["seconds"])))
        let_time_pass(engine, waits[-1] + 1)
        with pytest.raises(WrongSignIn):
            enter(engine, name, "wrong", address="")
    expected = [30, 60, 120, 240, 480, 900, 900]
    assert all(abs(wait - wanted) <= 2 for wait, wanted in zip(waits, expected, strict=True)), waits


def test_a_right_password_ends_the_count(engine: Engine, owner: Account) -> None:
    for _ in range(4):
        with pytest.raises(WrongSignIn):
            enter(engine, "owner", "wrong")
    enter(engine, "OWNER", GOOD)
    assert failures(engine) == {f"address:{ADDRESS}": 4}
    for _ in range(4):
        with pytest.raises(WrongSignIn):
            enter(engine, "owner", "wrong")
    enter(engine, "owner", GOOD)


def test_a_day_later_all_is_forgotten(engine: Engine, owner: Account) -> None:
    for _ in range(5):
        with pytest.raises(WrongSignIn):
            enter(engine, "owner", "wrong")
    let_time_pass(engine, 86_401)
    with pytest.raises(WrongSignIn):
        enter(engine, "owner", "wrong")
    assert set(failures(engine).values()) == {1}


def test_one_address_may_not_try_many_names(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        db.add(SignInFailure(key=f"address:{ADDRESS}", count=19))
    with pytest.raises(WrongSignIn):
        enter(engine, "someone", "wrong")
    with pytest.raises(TooManyAttempts):
        enter(engine, "someone-else", "wrong")
    with pytest.raises(TooManyAttempts):
        enter(engine, "owner", GOOD)
    assert "account:someone-else" not in failures(engine)  # who must wait fills no table
    enter(engine, "owner", GOOD, address="198.51.100.4")  # others are not concerned


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str, engine: Engine) -> None:
    with pytest.raises(WrongSignIn):
        enter(engine, "nobody", "wrong", address=address)
    assert f"address:{counted}" in failures(engine)


def test_many_attempts_at_once_gain_nothing(engine: Engine, owner: Account) -> None:
    def attempt(_: int) -> str:
        try:
            enter(engine, "owner", "wrong", address="")
        except (WrongSignIn, TooManyAttempts) as error:
            return error.code
        return "in"

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(attempt, range(12)))
    assert sorted(answers) == ["too-many-attempts"] * 7 + ["wrong-sign-in"] * 5


def test_a_link_lets_in_who_must_wait(engine: Engine, owner: Account) -> None:
    for _ in range(5):
        with pytest.raises(WrongSignIn):
            enter(engine, "owner", "wrong")
    with transaction(engine) as db:
        token = accounts.create_login_link(db, owner)
    assert sign_in.by_link(engine, token, HERE).account.id == owner.id


def test_guessed_links_are_counted_too(engine: Engine) -> None:
    for _ in range(20):
        with pytest.raises(InvalidLoginLink):
            sign_in.by_link(engine, "guessed", HERE)
    with pytest.raises(TooManyAttempts):
        sign_in.by_link(engine, "guessed", HERE)
    with read_session(engine) as db:
        refused = select(AuditEvent).where(AuditEvent.action == AuditAction.refuse_sign_in)
        assert len(db.exec(refused).all()) == 20


def test_a_disabled_accounts_link_does_not_work(engine: Engine, owner: Account) -> None:
    with transaction(engine) as db:
        friend = people.create_account(db, actor(owner), "friend", [])
        token = people.link_for(db, actor(owner), friend)
        db.exec(update(Account).where(col(Account.name) == "friend").values(disabled=utcnow()))
    with pytest.raises(InvalidLoginLink):
        sign_in.by_link(engine, token, HERE)


# Changing a password


def test_changing_asks_for_the_present_one_and_ends_other_browsers(engine: Engine, owner: Account) -> None:
    here, other = enter(engine, "owner", GOOD), enter(engine, "owner", GOOD)
    with transaction(engine) as db:
        link = accounts.create_login_link(db, owner)
    new = "seven quiet lanterns"
    for present in ("", "not this one"):
        with pytest.raises(WrongPassword):
            sign_in.change_password(engine, actor(owner), new, present, here.cookie)
    assert sign_in.change_password(engine, actor(owner), new, GOOD, here.cookie) == 1
    with read_session(engine) as db:
        assert accounts.account_of_session(db, here.cookie) is not None
        assert accounts.account_of_session(db, other.cookie) is None
    with pytest.raises(InvalidLoginLink):
        sign_in.by_link(engine, link, HERE)
    with pytest.raises(WrongSignIn):
        enter(engine, "owner", GOOD)
    enter(engine, "owner", new)


def test_guessing_the_present_password_must_wait_too(engine: Engine, owner: Account) -> None:
    for _ in range(5):
        with pytest.raises(WrongPassword):
            sign_in.change_password(engine, actor(owner), "seven quiet lanterns", "wrong", "")
    with pytest.raises(TooManyAttempts):
        sign_in.change_password(engine, actor(owner), "seven quiet lanterns", GOOD, "")


# In the browser


def test_the_login_form_signs_in_and_leads_on(inside: Inside) -> None:
    owner = inside.account("owner")
    assert 'name="password"' not in inside.page("GET", "/login").text  # nobody has one yet
    sign_in.change_password(inside.engine, actor(owner), GOOD, "", "")
    assert 'name="password"' in inside.page("GET", "/login?next=/deployments").text
    form = {"name": "owner", "password": GOOD, "next": "/deployments"}
    answer = inside.page("POST", "/login/password", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/deployments")
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=lax", "Path=/")), cookie
    value = answer.cookies[COOKIE]
    assert inside.page("GET", "/login?next=/settings", value).headers["location"] == "/settings"
    elsewhere = inside.page("POST", "/login/password", data=form | {"next": "https://elsewhere.example/"})
    assert elsewhere.headers["location"] == "/"


def test_a_wrong_password_is_said_on_the_form_and_so_is_the_wait(inside: Inside) -> None:
    owner = inside.account("owner")
    sign_in.change_password(inside.engine, actor(owner), GOOD, "", "")
    form = {"name": "owner", "password": "wrong", "next": "/settings"}
    for _ in range(5):
        answer = inside.page("POST", "/login/password", data=form)
        assert answer.status_code == 401
    assert "Name or password is not right" in answer.text
    assert 'value="owner"' in answer.text and 'value="/settings"' in answer.text
    assert "wrong" not in answer.text.replace("wrong-", "")
    waiting = inside.page("POST", "/login/password", data=form | {"password": GOOD})
    assert waiting.status_code == 429
    assert 0 < int(waiting.headers["retry-after"]) <= 30
    assert f"in {waiting.headers['retry-after']} seconds" in waiting.text


def test_browsers_are_listed_and_signed_out(inside: Inside) -> None:
    owner = inside.account("owner")
    here = inside.cookie(owner, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
    chrome = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"
    there, third = inside.cookie(owner, chrome), inside.cookie(owner)
    shown = inside.page("GET", "/settings", here).text
    assert "Firefox · Linux" in shown and "Chrome · Windows" in shown and "unknown browser" in shown
    listed = inside.ask("GET", "/api/sessions", cookie=here).json()["items"]
    assert [item["current"] for item in listed].count(True) == 1
    assert all(item["address"] == ADDRESS for item in listed)
    assert here not in str(listed) and accounts.digest(here) not in str(listed)
    identity = next(item["id"] for item in listed if "Chrome" in item["agent"])
    assert inside.page("POST", f"/settings/sessions/{identity}/end", here).status_code == 303
    assert inside.ask("GET", "/api/account", cookie=there).status_code == 401
    assert inside.ask("DELETE", f"/api/sessions/{identity}", cookie=here).status_code == 404
    assert inside.page("POST", "/settings/sessions/end-others", here).status_code == 303
    assert inside.ask("GET", "/api/account", cookie=third).status_code == 401
    assert inside.ask("GET", "/api/account", cookie=here).status_code == 200


def test_nobody_signs_out_the_browsers_of_others(inside: Inside) -> None:
    theirs = inside.cookie(inside.account("owner"))
    mine = inside.cookie(inside.account("other", "opc"))
    identity = accounts.digest(theirs)[:16]
    assert inside.ask("DELETE", f"/api/sessions/{identity}", cookie=mine).status_code == 404
    assert inside.ask("DELETE", "/api/sessions", cookie=mine).status_code == 204
    assert inside.ask("GET", "/api/account", cookie=theirs).status_code == 200


def test_the_address_is_what_the_gateway_says(inside: Inside) -> None:
    owner = inside.account("owner")
    with transaction(inside.engine) as db:
        token = accounts.create_login_link(db, owner)
    forged = {"Forwarded": "for=192.0.2.1", "X-Real-IP": "192.0.2.1"}
    inside.page("GET", f"/login/{token}", headers=forged, address="198.51.100.9")
    with read_session(inside.engine) as db:
        assert db.exec(select(WebSession.address)).all() == ["198.51.100.9"]


def test_the_settings_form_sets_and_changes_the_password(inside: Inside) -> None:
    cookie = inside.cookie(inside.account("owner"))
    assert 'name="present"' not in inside.page("GET", "/settings", cookie).text
    short = inside.page("POST", "/settings/password", cookie, data={"new": "short"})
    assert short.status_code == 422 and "This password is not taken" in short.text
    done = inside.page("POST", "/settings/password", cookie, data={"new": GOOD})
    assert done.status_code == 200 and 'name="present"' in done.text
    new = {"new": "seven quiet lanterns", "present": "wrong"}
    assert inside.page("POST", "/settings/password", cookie, data=new).status_code == 403
    assert inside.page("POST", "/settings/password", cookie, data=new | {"present": GOOD}).status_code == 200
