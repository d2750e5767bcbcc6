"""Passports, ratings and analytics over HTTP: who gets what, and what is written down about it."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import select

from catalog.models import CheckState, Listing, VersionState
from marketplace import passports
from marketplace.db import read_session, transaction
from marketplace.models import Account, AuditEvent
from tests.marketplace import shelves
from tests.marketplace.inside import Inside, shop_inside
from tests.marketplace.test_ratings import deploy

NAME = "acme/reader"
FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


@pytest.fixture
def inside(tmp_path: Path, engine: Engine) -> Iterator[Inside]:
    with shop_inside(tmp_path / "home", engine) as shop:
        yield shop


@pytest.fixture
def goods(inside: Inside) -> Iterator[dict[str, str]]:
    """Cookies: mai acts for the vendor, li has deployed the listing, wu has not, shen is an operator."""
    people = {
        "mai": inside.account("mai", "vendor", "opc"),
        "li": inside.account("li", "opc"),
        "wu": inside.account("wu", "opc"),
        "shen": inside.account("shen", "operator"),
    }
    with transaction(inside.engine) as db:
        listing, version = shelves.listed(db, NAME)
        version.check_state = CheckState.passed
        shelves.join(db, listing, people["mai"])
        deploy(db, people["li"], listing)
    yield {name: inside.cookie(account) for name, account in people.items()}


def actions(inside: Inside) -> list[str]:
    with read_session(inside.engine) as db:
        return [event.action for event in db.exec(select(AuditEvent)) if event.action.startswith("rating:")]


def test_only_who_has_deployed_rates_and_only_an_operator_hides(
    inside: Inside, goods: dict[str, str]
) -> None:
    path = f"/api/ratings/{NAME}"
    body = {"stars": 4, "text": "quick"}
    assert inside.ask("PUT", path, json=body).status_code == 401
    assert inside.ask("PUT", path, cookie=goods["wu"], json=body).json()["code"] == "rating-not-deployed"
    assert inside.ask("PUT", path, cookie=goods["mai"], json=body).json()["code"] == "rating-own-listing"
    assert inside.ask("PUT", path, cookie=goods["li"], json={"stars": 9}).json()["code"] == "rating-invalid"
    made = inside.ask("PUT", path, cookie=goods["li"], json=body).json()
    seen = inside.ask("GET", path).json()
    assert (seen["total"], seen["mean"]) == (1, 4.0)
    assert [each["author"] for each in seen["items"]] == ["li"] and not seen["items"][0]["own"]
    hide = f"{path}/{made['id']}/hidden"
    assert inside.ask("POST", hide, cookie=goods["mai"], json={}).status_code == 403
    assert inside.ask("POST", hide, cookie=goods["shen"], json={}).json()["hidden"]
    assert inside.ask("GET", path).json()["items"] == []
    assert len(inside.ask("GET", path, cookie=goods["shen"]).json()["items"]) == 1
    assert inside.ask("DELETE", path, cookie=goods["li"]).status_code == 204
    assert inside.ask("DELETE", path, cookie=goods["li"]).json()["code"] == "unknown-rating"
    assert actions(inside) == ["rating:write", "rating:hide", "rating:remove"]


def test_analytics_are_for_the_vendor_and_for_operators(inside: Inside, goods: dict[str, str]) -> None:
    path = f"/api/analytics/{NAME}"
    assert inside.ask("GET", path).status_code == 401
    assert inside.ask("GET", path, cookie=goods["li"]).json()["code"] == "not-allowed"
    for _ in range(2):
        inside.page("GET", f"/listings/{NAME}", headers=FIREFOX)
    inside.page("GET", f"/listings/{NAME}", headers={"User-Agent": "curl/8"})
    for who in ("mai", "shen"):
        found = inside.ask("GET", path, cookie=goods[who]).json()
        assert len(found["days"]) == 30
        assert (found["totals"]["views"], found["totals"]["deployments"]) == (2, 1)


def test_a_passport_is_there_for_everybody_in_every_form(inside: Inside, goods: dict[str, str]) -> None:
    path = f"/api/passports/{NAME}/1.0.0"
    told = inside.ask("GET", path).json()
    assert told["chain"]["steps"][-1]["facts"]["vendor"]["name"] == "acme"
    with zipfile.ZipFile(io.BytesIO(inside.ask("GET", f"{path}/archive").content)) as archive:
        packed = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    for file in told["files"]:
        answer = inside.ask("GET", f"{path}/files/{file['name']}")
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        assert answer.content == packed[file["name"]]
        assert "attachment" in answer.headers["content-disposition"]
    assert inside.ask("GET", f"{path}/files/manifest.txt").status_code == 404
    assert inside.page("GET", f"/listings/{NAME}/versions/1.0.0/passport").status_code == 200


def test_a_draft_s_passport_is_for_those_who_make_it(inside: Inside, goods: dict[str, str]) -> None:
    path = f"/api/passports/{NAME}/1.1.0"
    with transaction(inside.engine) as db:
        _, version = shelves.listed(db, NAME, "1.1.0")
        version.state, version.check_state = VersionState.draft, CheckState.running
    assert inside.ask("GET", path).status_code == 404
    assert inside.ask("GET", path, cookie=goods["li"]).status_code == 404
    assert inside.ask("GET", path, cookie=goods["mai"]).json()["code"] == passports.NoPassport.code
    assert inside.ask("GET", path, cookie=goods["shen"]).status_code == 409


def test_pages_of_a_vendor_are_not_for_others(inside: Inside, goods: dict[str, str]) -> None:
    for path in (f"/vendor/listings/{NAME}", f"/vendor/listings/{NAME}/1.0.0"):
        assert inside.page("GET", path, goods["mai"]).status_code == 200
        assert inside.page("GET", path, goods["shen"]).status_code == 200
        assert inside.page("GET", path, goods["li"]).status_code == 403
    assert inside.page("GET", "/reviews", goods["mai"]).status_code == 403
    yank = f"/vendor/listings/{NAME}/1.0.0/yank"
    assert inside.page("POST", yank, goods["li"], data={"why": "x"}).status_code == 403
    assert inside.page("POST", yank, goods["mai"], data={"why": ""}).status_code >= 400
    with read_session(inside.engine) as db:
        assert db.exec(select(Listing).where(Listing.name == NAME)).one()
        assert db.exec(select(Account).where(Account.name == "mai")).one()


def test_the_page_asks_for_the_permission_that_the_api_asks_for(inside: Inside, tmp_path: Path) -> None:
    mai = inside.account("mai", "vendor", "opc")
    with transaction(inside.engine) as db:
        listing, version = shelves.listed(db, NAME)
        version.state, version.check_state = VersionState.draft, CheckState.passed
        shelves.join(db, listing, mai)
    token = inside.token(mai, "versions:change").text
    for act in ("submit", "withdraw", "discard"):
        path = f"/vendor/listings/{NAME}/1.0.0/{act}"
        answer = inside.page("POST", path, token=token, data={"why": "x"})
        assert answer.status_code == 403, act
    # Its name is not proved: the page refuses what the API refuses.
    refused = inside.page("POST", f"/vendor/listings/{NAME}/1.0.0/submit", inside.cookie(mai), data={})
    assert refused.status_code == 409 and "prove" in refused.text


def test_a_deprecated_listing_is_shown_with_its_reason(inside: Inside, goods: dict[str, str]) -> None:
    answer = inside.page(
        "POST", f"/vendor/listings/{NAME}/1.0.0/deprecate", goods["mai"], data={"why": "too old by now"}
    )
    assert answer.status_code == 303
    seen = inside.page("GET", f"/listings/{NAME}")
    assert seen.status_code == 200 and "too old by now" in seen.text
