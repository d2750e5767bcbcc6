"""What is offered, at every door: what newer rules refuse, what is deprecated, what was taken off."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog import listings, review
from catalog.errors import CatalogError
from catalog.models import ListingKind, Version, VersionState
from catalog.scan import Row, Verdict
from marketplace import checks, releases
from marketplace.bundles.making import make
from marketplace.db import read_session, transaction
from marketplace.having import require_may_have
from marketplace.models import Account
from tests.marketplace import shelves
from tests.marketplace.inside import Inside, shop_inside
from tests.marketplace.test_publishing import (
    GRAPH,
    LABELS,
    begin,
    change,
    key_of,
    offer,
    passed,
    prove,
    upload,
    vendor_of,
)
from tests.marketplace.test_ratings import deploy

NAME = "acme/reader"


@pytest.fixture
def shop(tmp_path: Path, engine: Engine) -> Iterator[Inside]:
    with shop_inside(tmp_path / "home", engine) as opened:
        yield opened


@pytest.fixture
def maker(shop: Inside) -> Account:
    account = vendor_of(shop, "maker", "acme")
    prove(shop)
    return account


def listed(shop: Inside, maker: Account, number: str = "1.0.0") -> Version:
    version = begin(shop, maker, offer(number))
    if number == "1.0.0":
        for content in (GRAPH, LABELS):
            upload(shop, maker, content)
    passed(shop, version, VersionState.listed)
    return version


def refuse(shop: Inside, version: Version) -> None:
    """What a check by newer rules leaves behind when it refuses a version of the shelf."""
    with transaction(shop.engine) as db:
        row = db.get_one(Version, version.id)
        found = Row("licence", Verdict.failed, "licence-unreadable")
        checks.add_row(db, row.id, 0, found)
        checks.settle(row, [found], {})
        db.add(row)
        db.flush()
        review.write_words(db, row.listing_id)


def names(answer: Any, field: str = "name") -> list[str]:
    told = answer.json()
    return [item[field] for item in (told["items"] if isinstance(told, dict) else told)]


def file_of(shop: Inside, revision: str, token: str = "") -> Any:
    return shop.ask("GET", f"/hf/{NAME}/resolve/{revision}/model.onnx", token=token)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(CatalogError) as refused:
        call()
    return refused.value.code


def test_what_newer_rules_refuse_is_offered_nowhere(shop: Inside, maker: Account, tmp_path: Path) -> None:
    version = listed(shop, maker)
    assert names(shop.ask("GET", "/api/listings")) == [NAME]
    assert file_of(shop, "main").status_code == 200
    refuse(shop, version)
    assert names(shop.ask("GET", "/api/listings")) == []
    assert names(shop.ask("GET", "/hf/api/models"), "id") == []
    assert names(shop.ask("GET", "/hf/api/models?filter=license:apache-2.0"), "id") == []
    assert shop.ask("GET", f"/hf/api/models/{NAME}/refs").json()["tags"] == []
    for revision in ("main", "1.0.0"):
        assert file_of(shop, revision).json()["code"] == "version-not-ready"
    home = shop.services.settings.home
    with read_session(shop.engine) as db:
        assert refusal(lambda: releases.describe(home, db, NAME)) == "version-not-ready"
    workshop = releases.workshop_of(shop.services.settings)
    target = tmp_path / "it.bundle"

    def bundle() -> object:
        return make(shop.engine, workshop, [NAME], target, with_shop=False, with_image=False)

    assert refusal(bundle) == "version-not-ready"
    assert not target.exists()


def test_its_page_stays_and_says_so(shop: Inside, maker: Account) -> None:
    refuse(shop, listed(shop, maker))
    buyer = shop.account("buyer", "opc")
    with transaction(shop.engine) as db:
        deploy(db, db.get_one(Account, buyer.id), listings.get_listing(db, NAME))
    for lang, words in (("en", "Newer checks refuse it"), ("zh", "未通过较新的检查，已停止提供")):
        seen = shop.page("GET", f"/listings/{NAME}", shop.cookie(buyer), headers={"Accept-Language": lang})
        assert (seen.status_code, words in seen.text) == (200, True)
        assert f'action="/listings/{NAME}/deploy"' not in seen.text
        assert 'id="cli"' not in seen.text
        assert "/deployments/d-" in seen.text  # what one has stays in sight
    own = shop.page("GET", f"/vendor/listings/{NAME}/1.0.0", shop.cookie(maker))
    assert "publish it under a new number" in own.text  # this one stands for what was listed
    told = shop.ask("GET", f"/api/listings/{NAME}").json()
    assert [(v["number"], v["refused"]) for v in told["versions"]] == [("1.0.0", True)]


def test_the_version_before_it_is_offered_instead(shop: Inside, maker: Account) -> None:
    listed(shop, maker)
    refuse(shop, listed(shop, maker, "2.0.0"))
    assert names(shop.ask("GET", "/api/listings"), "version") == ["1.0.0"]
    assert shop.ask("GET", f"/api/listings/{NAME}").json()["version"] == "1.0.0"
    assert file_of(shop, "main").status_code == 200
    seen = shop.page("GET", f"/listings/{NAME}")
    command = f"<span>market</span> <span>deploy</span> <span>{NAME}</span>"  # words apart, so that they wrap
    assert command in seen.text and "newer checks refuse it" in seen.text


def test_an_agent_that_newer_rules_refuse_is_as_good_as_deleted(shop: Inside) -> None:
    with transaction(shop.engine) as db:
        listing, version = shelves.listed(db, "acme/agent")
        listing.kind = ListingKind.agent
        db.add(listing)
    assert len(shop.ask("GET", "/v0.1/servers").json()["servers"]) == 1
    refuse(shop, version)
    assert shop.ask("GET", "/v0.1/servers").json()["servers"] == []
    assert len(shop.ask("GET", "/v0.1/servers?include_deleted=true").json()["servers"]) == 1


def test_what_is_only_deprecated_is_what_its_name_means(shop: Inside, maker: Account) -> None:
    listed(shop, maker)
    assert change(shop, maker, "deprecate").status_code == 200
    told = shop.ask("GET", f"/api/listings/{NAME}").json()
    assert (told["version"], told["versions"][0]["state"]) == ("1.0.0", "deprecated")
    assert shop.page("GET", f"/listings/{NAME}").status_code == 200
    assert shop.ask("GET", f"/api/listings/{NAME}/related").status_code == 200
    with read_session(shop.engine) as db:
        require_may_have(db, *listings.get_version(db, NAME))


# Taken off


def test_what_an_operator_took_off_is_given_to_nobody_new(shop: Inside, maker: Account) -> None:
    version = listed(shop, maker)
    buyer, late = shop.account("buyer", "opc"), shop.account("late", "opc")
    with transaction(shop.engine) as db:
        row = deploy(db, db.get_one(Account, buyer.id), listings.get_listing(db, NAME))
        row.version_digest = db.get_one(Version, version.id).digest
        db.add(row)
    operator = shop.account("operator", "operator")
    assert change(shop, operator, "yank", "it steals keys").status_code == 200
    for token in ("", key_of(shop, late), key_of(shop, maker)):
        refused = file_of(shop, "1.0.0", token)
        assert (refused.status_code, refused.json()["code"]) == (403, "version-withheld")
        assert refused.json()["facts"]["why"] == "it steals keys"
    assert file_of(shop, "1.0.0", key_of(shop, buyer)).content == GRAPH
    home = shop.services.settings.home
    with read_session(shop.engine) as db:
        found = listings.get_version(db, f"{NAME}@1.0.0", late.id)
        assert refusal(lambda: require_may_have(db, *found, late.id)) == "version-withheld"
        require_may_have(db, *found, buyer.id)
        asked = f"{NAME}@1.0.0"
        assert refusal(lambda: releases.describe(home, db, asked, asker=late.id)) == "version-withheld"
        releases.describe(home, db, asked, asker=buyer.id)


def test_what_its_vendor_took_off_is_there_by_its_number(shop: Inside, maker: Account) -> None:
    listed(shop, maker)
    assert change(shop, maker, "yank").status_code == 200
    assert file_of(shop, "1.0.0").status_code == 200
    with read_session(shop.engine) as db:
        require_may_have(db, *listings.get_version(db, f"{NAME}@1.0.0"))
