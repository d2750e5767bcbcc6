"""Every route of the shop × everybody who may ask: who is let in stands in one enum, and nowhere else."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from litestar import Litestar, Response, get
from sqlalchemy import Engine, event, update
from sqlmodel import col

from catalog.models import utcnow
from marketplace import auth, problems
from marketplace.auth import AnyRequest, refuse_foreign, require_permissions
from marketplace.db import migrate, open_engine, transaction
from marketplace.models import Account, ApiKey
from marketplace.permissions import ANYONE, PRESETS, ROLES, Permission, permissions_of
from tests.marketplace.inside import Inside, shop_inside

LET_IN = 418

FROZEN = {
    "nobody": "catalogue:browse shop:inside",
    "opc": (
        "catalogue:browse deployments:manage imports:manage optimizations:manage packages:manage "
        "ratings:write self:manage shop:inside"
    ),
    "operator": (
        "accounts:manage audit:read catalogue:browse deployments:manage imports:manage reviews:decide "
        "self:manage settings:read shop:inside sign-in-links:create vendors:vouch versions:change"
    ),
    "vendor": (
        "catalogue:browse imports:manage publications:manage self:manage shop:inside vendors:manage "
        "versions:change"
    ),
    "publish": "catalogue:browse publications:manage shop:inside",
    "read": "catalogue:browse shop:inside",
}
"""What everybody may do. A change of permissions.py is to be seen here, and said in the changelog."""


@dataclass(frozen=True)
class Asker:
    """Somebody at the door: what is shown there, and what it should open."""

    shown: dict[str, str]
    may: frozenset[Permission]
    signed_in: bool = True
    narrowed_from: frozenset[Permission] = frozenset()


@dataclass(frozen=True)
class Door:
    """A route as it is asked, and the permission that it names."""

    method: str
    path: str
    permission: Permission


def doors(app: Litestar) -> Iterator[Door]:
    for route in app.routes:
        for handler in route.route_handlers:  # type: ignore[union-attr]
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield Door(str(method), _filled(route.path), handler.opt["permission"])


def _filled(path: str) -> str:
    samples = {"int": "1", "uuid": "5f0c9a0e-6d1e-4a57-9a3c-0c3a7f0e8a11"}
    return re.sub(r"\{[^}:]*:?([^}]*)\}", lambda m: samples.get(m[1], "x"), path)


async def stop_here(request: AnyRequest) -> Response[str]:
    """Instead of the handler: whoever comes so far is let in."""
    refuse_foreign(request)
    return Response("let in", status_code=LET_IN)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    home = tmp_path_factory.mktemp("matrix")
    engine = open_engine(f"sqlite:///{home / 'market.db'}")
    migrate(engine)
    with shop_inside(home / "home", engine) as inside:
        inside.app.before_request = stop_here
        yield inside
    engine.dispose()


@pytest.fixture(scope="module")
def askers(shop: Inside) -> dict[str, Asker]:
    return everybody(shop)


def everybody(shop: Inside) -> dict[str, Asker]:
    owner = shop.account("owner")
    everything = permissions_of(owner.roles)
    found = {"nobody": Asker({}, ANYONE, signed_in=False)}
    for role in ROLES:
        account = shop.account(f"only-{role}", role)
        found[role] = Asker({"cookie": shop.cookie(account)}, permissions_of([role]))
        found[f"{role} by token"] = Asker({"token": shop.token(account).text}, permissions_of([role]))
    found["no role"] = Asker({"cookie": shop.cookie(shop.account("guest"))}, permissions_of([]))
    found["owner"] = Asker({"cookie": shop.cookie(owner)}, everything)
    for preset, scopes in PRESETS.items():
        token = shop.token(owner, preset).text
        found[f"token {preset}"] = Asker({"token": token}, ANYONE | scopes, narrowed_from=everything)
    found["forged key"] = Asker({"token": "mk_forged"}, ANYONE, signed_in=False)
    found["forged cookie"] = Asker({"cookie": "forged"}, ANYONE, signed_in=False)
    expired, revoked = shop.token(owner), shop.token(owner)
    gone = shop.account("gone", *ROLES)
    for name, shown in {"cookie": shop.cookie(gone), "token": shop.token(gone).text}.items():
        found[f"disabled, {name}"] = Asker({name: shown}, ANYONE, signed_in=False)
    found["expired token"] = Asker({"token": expired.text}, ANYONE, signed_in=False)
    found["revoked token"] = Asker({"token": revoked.text}, ANYONE, signed_in=False)
    now = utcnow()
    with transaction(shop.engine) as db:
        # Not by the functions that also clear sessions away: the look-up alone must refuse them.
        db.exec(update(Account).where(col(Account.name) == "gone").values(disabled=now))
        db.exec(update(ApiKey).where(col(ApiKey.id) == revoked.row.id).values(revoked=now))
        before = now - timedelta(seconds=1)
        db.exec(update(ApiKey).where(col(ApiKey.id) == expired.row.id).values(expires=before))
    return found


ASKERS = [
    "nobody",
    *(f"{role}{how}" for role in ROLES for how in ("", " by token")),
    "no role",
    "owner",
    *(f"token {preset}" for preset in PRESETS),
    "forged key",
    "forged cookie",
    "disabled, cookie",
    "disabled, token",
    "expired token",
    "revoked token",
]


def expected(door: Door, asker: Asker) -> tuple[int, str]:
    """What the enum says; all requests come through the gateway."""
    if door.permission is Permission.use_socket:
        return 404, "not-found"
    if door.permission in asker.may:
        return LET_IN, ""
    if not asker.signed_in:
        return 401, "key-refused" if "token" in asker.shown else "sign-in-needed"
    return 403, "token-too-narrow" if door.permission in asker.narrowed_from else "not-allowed"


def test_the_list_of_askers_is_whole(askers: dict[str, Asker]) -> None:
    assert sorted(askers) == sorted(ASKERS)


@pytest.mark.parametrize("who", ASKERS)
def test_every_route_lets_in_whom_the_enum_says(who: str, shop: Inside, askers: dict[str, Asker]) -> None:
    asker, wrong = askers[who], []
    for door in doors(shop.app):
        answer = shop.ask(door.method, door.path, **asker.shown)  # type: ignore[arg-type]
        code = answer.json()["code"] if answer.status_code != LET_IN and door.method != "HEAD" else ""
        status, wanted = expected(door, asker)
        if answer.status_code != status or (door.method != "HEAD" and code != wanted):
            wrong.append(f"{door.method} {door.path}: {answer.status_code} {code}, not {status} {wanted}")
    assert not wrong


def test_there_are_routes_of_every_kind(shop: Inside) -> None:
    found = list(doors(shop.app))
    assert len(found) > 100
    assert {door.permission for door in found} >= {
        Permission.browse,
        Permission.manage_accounts,
        Permission.manage_deployments,
        Permission.manage_self,
        Permission.read_audit,
        Permission.use_socket,
    }


def test_a_refusal_names_role_and_permission(shop: Inside, askers: dict[str, Asker]) -> None:
    answer = shop.ask("GET", "/api/accounts", **askers["opc"].shown)  # type: ignore[arg-type]
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.json()["facts"] == {"role": "operator", "permission": "accounts:manage"}
    assert "operator" in answer.json()["detail"]
    answer = shop.ask("GET", "/api/accounts")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_home_processes_are_let_in_over_the_socket_only(shop: Inside) -> None:
    inner = [door for door in doors(shop.app) if door.permission is Permission.use_socket]
    assert {door.path for door in inner} >= {"/internal/routes", "/internal/usage", "/internal/login-link"}
    for door in inner:
        assert shop.ask(door.method, door.path, address="").status_code == LET_IN
        assert shop.ask(door.method, door.path).status_code == 404


def test_what_each_role_may_do_is_frozen() -> None:
    found = {role: permissions_of([role]) for role in ROLES}
    found |= {preset: ANYONE | scopes for preset, scopes in PRESETS.items()} | {"nobody": ANYONE}
    assert {name: " ".join(sorted(has)) for name, has in found.items()} == FROZEN


def test_permissions_are_in_alphabetical_order() -> None:
    assert [str(each) for each in Permission] == sorted(str(each) for each in Permission)


# Without a permission nothing starts


def test_a_route_without_a_permission_does_not_start() -> None:
    @get("/open", sync_to_thread=False)
    def forgotten() -> str:
        return "open"

    with pytest.raises(RuntimeError, match="GET /open"):
        require_permissions(Litestar([forgotten], openapi_config=None))


def test_a_route_without_a_permission_is_shut_all_the_same(shop: Inside) -> None:
    @get("/open", sync_to_thread=False)
    def forgotten() -> str:
        return "open"

    shop.app.register(forgotten)
    cookie = shop.cookie(shop.account("owner"))
    try:
        assert shop.ask("GET", "/open", cookie=cookie).status_code == 403
    finally:
        shop.app.routes[:] = [route for route in shop.app.routes if route.path != "/open"]


# Changes come from our own pages


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda h: " ".join(h.values()))
def test_no_change_is_taken_from_another_site(
    headers: dict[str, str], shop: Inside, askers: dict[str, Asker]
) -> None:
    wrong = []
    for door in doors(shop.app):
        if door.method in auth.SAFE or door.permission is Permission.use_socket:
            continue
        cookie = askers["owner"].shown["cookie"]
        answer = shop.ask(door.method, door.path, cookie=cookie, headers=headers)
        if answer.status_code != 403 or answer.json()["code"] != "foreign-request":
            wrong.append(f"{door.method} {door.path}: {answer.status_code}")
        if shop.ask(door.method, door.path, cookie=cookie, headers=OWN).status_code != LET_IN:
            wrong.append(f"{door.method} {door.path}: our own page is refused")
    assert not wrong


OWN = {"Sec-Fetch-Site": "same-origin", "Origin": "http://shop"}


@pytest.mark.parametrize("path", ["/login", "/login/password"])
def test_nobody_is_signed_in_by_another_site(path: str, shop: Inside) -> None:
    answer = shop.ask("POST", path, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.json()["code"] == "foreign-request"
    assert shop.ask("POST", path, headers=OWN).status_code == LET_IN
    assert shop.ask("POST", path).status_code == LET_IN  # no browser


def test_a_program_with_a_token_is_not_concerned(shop: Inside, askers: dict[str, Asker]) -> None:
    token = askers["opc by token"].shown["token"]
    headers = {"Sec-Fetch-Site": "cross-site"}  # no browser sends a token by itself
    assert shop.ask("POST", "/api/deployments", token=token, headers=headers).status_code == LET_IN


# Browsers are led to sign in, and back


def test_a_browser_that_must_sign_in_is_led_there_and_back(shop: Inside) -> None:
    answer = shop.page("GET", "/deployments?x=%E4%B8%AD%26b")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fdeployments%3Fx%3D%25E4%25B8%25AD%2526b"
    from_page = {"Referer": "http://shop/listings/opc-market/x?tab=1"}
    answer = shop.page("POST", "/listings/opc-market/x/deploy", headers=from_page)
    assert answer.headers["location"] == "/login?next=%2Flistings%2Fopc-market%2Fx%3Ftab%3D1"
    elsewhere = {"Referer": "http://elsewhere.example/x"}
    assert shop.page("POST", "/listings/opc-market/x/deploy", headers=elsewhere).status_code == 401
    assert shop.page("GET", "/deployments", headers={"HX-Request": "true"}).status_code == 401
    assert shop.ask("GET", "/deployments").status_code == 401  # no browser


# One look into the database a request


@pytest.mark.parametrize("by", ["cookie", "token"])
def test_the_database_is_asked_once_who_somebody_is(by: str, inside: Inside) -> None:
    owner = inside.account("owner")
    shown: dict[str, Any] = {"cookie": inside.cookie(owner)} if by == "cookie" else {}
    if by == "token":
        shown = {"token": inside.token(owner).text}
    inside.ask("GET", "/api/account", **shown)  # the token's first use is written down
    table = "web_session" if by == "cookie" else "api_key"
    statements = _statements(inside.engine)
    assert inside.ask("GET", "/api/account", **shown).json()["name"] == "owner"
    assert len([each for each in statements if f"FROM {table}" in each]) == 1
    assert not [each for each in statements if each.startswith("UPDATE")]


def _statements(engine: Engine) -> list[str]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    return seen


def test_who_shows_nothing_costs_no_look_into_the_database(inside: Inside) -> None:
    statements = _statements(inside.engine)
    assert inside.ask("GET", "/healthz").status_code == 200
    assert statements == []
