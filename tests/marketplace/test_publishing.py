"""Drafts, files and states over the shop's real application; the checks themselves run elsewhere."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import select

from catalog import blobs, review, uploads, vendors
from catalog.errors import CatalogError, VersionStateRefused, VersionTaken
from catalog.models import (
    Artifact,
    Check,
    CheckState,
    ImportJob,
    Listing,
    Vendor,
    Version,
    VersionEvent,
    VersionState,
    utcnow,
)
from catalog.offer import Offer, parse
from catalog.progress import Progress, silent
from catalog.scan import RULES
from catalog.vendors import NotMember, UnknownVendor
from deployer.runtimes.process import ProcessRuntime
from marketplace import checking, import_work, publishing
from marketplace.db import read_session, transaction
from marketplace.models import Account
from tests.catalog.folders import sheet_of
from tests.marketplace.inside import Inside, shop_inside

GRAPH = b"a graph, or what says that it is one"
LABELS = b"yes\nno\n"


@pytest.fixture
def shop(tmp_path: Path, engine: Engine) -> Iterator[Inside]:
    with shop_inside(tmp_path / "home", engine) as opened:
        yield opened


@pytest.fixture
def maker(shop: Inside) -> Account:
    """An account with a vendor called acme."""
    return vendor_of(shop, "maker", "acme")


def vendor_of(shop: Inside, name: str, vendor: str) -> Account:
    account = shop.account(name, "vendor")
    asked = {"name": vendor, "title_zh": "某商家", "title_en": vendor}
    made = shop.ask("POST", "/api/vendors", token=key_of(shop, account), json=asked)
    assert made.status_code == 201, made.text
    return account


def key_of(shop: Inside, account: Account, *scopes: str) -> str:
    return shop.token(account, *scopes).text


def prove(shop: Inside, vendor: str = "acme") -> None:
    with transaction(shop.engine) as db:
        db.exec(select(Vendor).where(Vendor.name == vendor)).one().verified = True


def artifact(path: str, content: bytes) -> dict[str, Any]:
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def sheet(number: str = "1.0.0", name: str = "acme/reader", **more: Any) -> dict[str, Any]:
    files = [artifact("labels.txt", LABELS), artifact("model.onnx", GRAPH)]
    return sheet_of(name, number, **{"artifacts": files, **more})


def offer(number: str = "1.0.0", **more: Any) -> Offer:
    return parse({"sheet": sheet(number, **more), "cards": {"zh": "# 卡"}})


def begin(shop: Inside, account: Account, offered: Offer) -> Version:
    with transaction(shop.engine) as db:
        row = db.get_one(Account, account.id)
        return publishing.begin(shop.services, db, row, offered)


def upload(shop: Inside, account: Account, content: bytes) -> None:
    with transaction(shop.engine) as db:
        sha = hashlib.sha256(content).hexdigest()
        found = uploads.announce(
            shop.services.settings.home, db, account.id, sha, len(content), limit=1 << 30
        )
        db.commit()
        uploads.append(shop.services.settings.home, db, account.id, str(found.id), 0, content)


def missing(shop: Inside, version: Version) -> list[str]:
    with transaction(shop.engine) as db:
        row = db.get_one(Version, version.id)
        return [a["path"] for a in publishing.missing(shop.services, db, row)]


def collect(shop: Inside, version: Version) -> Path:
    with transaction(shop.engine) as db:
        return publishing.collect(shop.services, db, db.get_one(Version, version.id))


def passed(shop: Inside, version: Version, state: VersionState = VersionState.draft) -> None:
    """What the checks do with a draft that passed them."""
    folder = collect(shop, version)
    home = shop.services.settings.home
    with transaction(shop.engine) as db:
        row = db.get_one(Version, version.id)
        for each in row.manifest["artifacts"]:
            blobs.put(home, folder / each["path"], each["sha256"])
        row.check_state = CheckState.passed
        db.add(row)
        db.flush()
        if state != VersionState.draft:
            review.change(db, row, VersionState.submitted, by=row.created_by)
        if state == VersionState.listed:
            review.change(db, row, VersionState.listed, by=row.created_by)


def state_of(shop: Inside, version: Version) -> str:
    with read_session(shop.engine) as db:
        return db.get_one(Version, version.id).state


# Drafts


def test_a_draft_waits_for_its_files(shop: Inside, maker: Account) -> None:
    version = begin(shop, maker, offer())
    assert (version.state, version.check_state, version.license_weights) == ("draft", "", "Apache-2.0")
    assert version.offer["card_zh"] == "# 卡"
    assert missing(shop, version) == ["labels.txt", "model.onnx"]
    upload(shop, maker, GRAPH)
    assert missing(shop, version) == ["labels.txt"]
    with pytest.raises(publishing.PublicationIncomplete) as refused:
        collect(shop, version)
    assert refused.value.facts["missing"] == ["labels.txt"]
    upload(shop, maker, LABELS)
    folder = collect(shop, version)
    assert (folder / "model.onnx").read_bytes() == GRAPH
    assert (folder / "labels.txt").read_bytes() == LABELS
    assert folder.stat().st_mode & 0o777 == 0o700
    assert collect(shop, version) == folder  # may run twice
    with transaction(shop.engine) as db:
        assert uploads.list_uploads(db, maker.id) == []
        paths = db.exec(select(Artifact.path).where(Artifact.version_id == version.id))
        assert sorted(paths) == ["labels.txt", "model.onnx"]


def test_one_file_under_two_names_is_sent_once(shop: Inside, maker: Account) -> None:
    files = [artifact("a.txt", LABELS), artifact("b/c.txt", LABELS)]
    version = begin(shop, maker, offer(artifacts=files, files={"model": "a.txt"}))
    upload(shop, maker, LABELS)
    folder = collect(shop, version)
    assert (folder / "a.txt").read_bytes() == (folder / "b" / "c.txt").read_bytes() == LABELS
    assert (folder / "a.txt").stat().st_nlink == 1


def test_the_same_offer_again_is_the_same_draft(shop: Inside, maker: Account) -> None:
    first, second = begin(shop, maker, offer()), begin(shop, maker, offer())
    assert first.id == second.id


def test_a_draft_may_be_replaced_under_its_number(shop: Inside, maker: Account) -> None:
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    folder = collect(shop, version)
    with transaction(shop.engine) as db:
        db.add(Check(version_id=version.id, check="manifest", verdict="pass"))
        row = db.get_one(Version, version.id)
        row.check_state = CheckState.failed
    files = [artifact("labels.txt", LABELS), artifact("model.onnx", b"another graph")]
    again = begin(shop, maker, offer(artifacts=files))
    assert again.id == version.id and again.digest != version.digest and again.check_state == ""
    assert [p.name for p in folder.iterdir()] == ["labels.txt"]  # the graph is another one
    assert missing(shop, again) == ["model.onnx"]
    with read_session(shop.engine) as db:
        assert list(db.exec(select(Check))) == []


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_draft_that_is_being_checked_is_left_alone(shop: Inside, maker: Account, state: str) -> None:
    version = begin(shop, maker, offer())
    with transaction(shop.engine) as db:
        db.get_one(Version, version.id).check_state = state
    assert begin(shop, maker, offer()).id == version.id
    with pytest.raises(publishing.VersionBusy):
        begin(shop, maker, offer(source="elsewhere"))


def test_a_number_that_was_submitted_stands_for_the_same_files_for_ever(shop: Inside, maker: Account) -> None:
    prove(shop)
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    passed(shop, version, VersionState.submitted)
    other = offer(artifacts=[artifact("model.onnx", b"another graph")])
    with pytest.raises(VersionTaken):
        begin(shop, maker, other)
    with pytest.raises(VersionTaken):
        begin(shop, maker, offer(summary={"zh": "别的话", "en": "Other words"}))
    with transaction(shop.engine) as db:
        row, listing = db.get_one(Version, version.id), db.exec(select(Listing)).one()
        publishing.withdraw(shop.services, db, db.get_one(Account, maker.id), listing, row)
    with pytest.raises(VersionTaken):
        begin(shop, maker, other)
    words = begin(shop, maker, offer(summary={"zh": "别的话", "en": "Other words"}))
    assert words.id == version.id and words.digest == version.digest
    assert begin(shop, maker, offer("1.0.1", artifacts=[artifact("model.onnx", b"another graph")]))


def test_a_listing_shows_a_new_versions_words_only_once_it_is_listed(shop: Inside, maker: Account) -> None:
    prove(shop)
    first = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    passed(shop, first, VersionState.listed)
    second = begin(shop, maker, offer("1.1.0", title={"zh": "新名", "en": "New name"}, task="file-type"))

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = shop.ask("GET", "/api/listings/acme/reader").json()
        return found

    assert (shown()["title_en"], shown()["task"]) == ("Reader", "tensors")
    passed(shop, second, VersionState.listed)
    assert (shown()["title_en"], shown()["task"]) == ("New name", "file-type")


def test_a_draft_that_was_never_submitted_can_be_removed(shop: Inside, maker: Account) -> None:
    token = key_of(shop, maker, "publish")
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    folder = collect(shop, version)
    assert shop.ask("DELETE", "/api/publications/acme/reader/1.0.0", token=token).status_code == 204
    assert not folder.exists()
    with read_session(shop.engine) as db:
        assert list(db.exec(select(Listing))) == []


# Who may


def test_only_members_publish_under_a_name(shop: Inside, maker: Account) -> None:
    stranger = vendor_of(shop, "stranger", "other")
    with pytest.raises(NotMember):
        begin(shop, stranger, offer())
    with pytest.raises(UnknownVendor):
        begin(shop, maker, offer(name="nobody/reader"))
    with pytest.raises(CatalogError):
        begin(shop, shop.account("owner"), offer(name="opc-market/reader"))


def test_a_publisher_may_publish_and_not_govern(shop: Inside, maker: Account) -> None:
    helper = shop.account("helper", "vendor")
    owner, token = key_of(shop, maker), key_of(shop, helper)
    added = shop.ask("PUT", "/api/vendors/acme/members/helper", token=owner, json={"role": "publisher"})
    assert added.status_code == 200
    assert begin(shop, helper, offer())
    for method, path, body in (
        ("PATCH", "/api/vendors/acme", {"title_zh": "甲", "title_en": "A"}),
        ("PUT", "/api/vendors/acme/members/helper", {"role": "owner"}),
        ("DELETE", "/api/vendors/acme/members/maker", None),
        ("POST", "/api/vendors/acme/proof", {"way": "dns", "domain": "acme.example"}),
    ):
        refused = shop.ask(method, path, token=token, json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "not-a-member"), path
    assert shop.ask("DELETE", "/api/vendors/acme/members/helper", token=token).status_code == 200  # to leave
    with pytest.raises(NotMember):
        begin(shop, helper, offer("1.0.1"))


def test_strangers_learn_nothing_of_drafts(shop: Inside, maker: Account) -> None:
    begin(shop, maker, offer())
    stranger = key_of(shop, vendor_of(shop, "stranger", "other"))
    for path in (
        "/api/publications/acme/reader/1.0.0",
        "/api/publications/acme/reader/1.0.0/events",
        "/api/versions/acme/reader",
        "/api/versions/acme/reader/1.0.0",
        "/api/listings/acme/reader",
    ):
        for token in (stranger, ""):
            answer = shop.ask("GET", path, token=token)
            assert answer.status_code in (401, 404), (path, answer.text)
    assert shop.ask("GET", "/api/publications", token=stranger).json()["total"] == 0
    answer = shop.ask(
        "POST", "/api/publications/acme/reader/1.0.0/checks", token=stranger, json={"wanted": ""}
    )
    assert answer.json()["code"] == "unknown-listing"


def test_nobody_learns_from_a_digest_that_somebody_has_the_file(shop: Inside, maker: Account) -> None:
    prove(shop)
    mine = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    passed(shop, mine)  # in the store now, of a draft
    stranger = vendor_of(shop, "stranger", "other")
    theirs = begin(shop, stranger, offer(name="other/reader"))
    assert missing(shop, theirs) == ["labels.txt", "model.onnx"]
    again = begin(shop, maker, offer("1.0.1"))
    assert missing(shop, again) == []  # of one's own vendor
    with transaction(shop.engine) as db:
        row = db.get_one(Version, mine.id)
        review.change(db, row, VersionState.submitted, by=maker.id)
        review.change(db, row, VersionState.listed, by=maker.id)
    assert missing(shop, theirs) == []  # everybody may have a listed version's files
    assert (collect(shop, theirs) / "model.onnx").read_bytes() == GRAPH


def test_another_member_goes_on_with_a_draft(shop: Inside, maker: Account) -> None:
    prove(shop)
    other = shop.account("other", "vendor")
    asked = {"role": "publisher"}
    shop.ask("PUT", "/api/vendors/acme/members/other", token=key_of(shop, maker), json=asked)
    version = begin(shop, maker, offer())
    upload(shop, other, GRAPH)
    upload(shop, other, LABELS)
    assert begin(shop, other, offer()).id == version.id
    assert missing(shop, version) == []
    passed(shop, version, VersionState.submitted)
    assert begin(shop, maker, offer()).created_by == other.id  # no draft any more


def test_a_draft_that_is_checked_stays_whose_it_is(shop: Inside, maker: Account) -> None:
    other = shop.account("other", "vendor")
    asked = {"role": "publisher"}
    shop.ask("PUT", "/api/vendors/acme/members/other", token=key_of(shop, maker), json=asked)
    version = begin(shop, maker, offer())
    with transaction(shop.engine) as db:
        db.get_one(Version, version.id).check_state = CheckState.running
    assert begin(shop, other, offer()).created_by == maker.id


def test_a_build_pipelines_token_does_what_it_needs_and_nothing_else(shop: Inside, maker: Account) -> None:
    """A token of the preset publish, as a pipeline has it; its account is a vendor and an operator."""
    both = shop.account("both", "vendor", "operator", "opc")
    owner = key_of(shop, maker)
    shop.ask("PUT", "/api/vendors/acme/members/both", token=owner, json={"role": "owner"})
    prove(shop)
    token = key_of(shop, both, "publish")

    def ask(method: str, path: str, **options: Any) -> Any:
        return shop.ask(method, path, token=token, **options)

    begun = ask("POST", "/api/publications", json={"sheet": sheet(), "cards": {}})
    assert begun.status_code == 201, begun.text
    for file in begun.json()["missing"]:
        content = GRAPH if file["path"] == "model.onnx" else LABELS
        announced = {"sha256": file["sha256"], "size": file["size"]}
        told = ask("POST", "/api/uploads", json=announced).json()
        half = len(content) // 2
        for start, piece in ((0, content[:half]), (half, content[half:])):
            headers = {"Upload-Offset": str(start)}
            put = ask("PATCH", f"/api/uploads/{told['id']}", headers=headers, content=piece)
            assert put.status_code == 200, put.text
        head = ask("HEAD", f"/api/uploads/{told['id']}")
        assert (head.status_code, head.headers["upload-offset"]) == (200, str(len(content)))
    found = ask("GET", "/api/publications/acme/reader/1.0.0").json()
    assert (found["missing"], found["state"]) == ([], "draft")
    with read_session(shop.engine) as db:
        version = db.exec(select(Version)).one()
    passed(shop, version)
    done = ask("POST", "/api/publications/acme/reader/1.0.0/checks", json={"wanted": "submitted"})
    assert (done.status_code, done.json()["state"]) == (202, "submitted")
    with ask_events(shop, token) as text:
        assert '"state":"submitted"' in text and "event: end" in text
    back = ask("POST", "/api/publications/acme/reader/1.0.0/withdraw", json={"why": "a typo"})
    assert back.json()["state"] == "draft"

    for method, path, body in (
        ("POST", "/api/publications/acme/reader/1.0.0/checks", {"wanted": "listed"}),
        ("POST", "/api/versions/acme/reader/1.0.0/yank", {"why": "x"}),
        ("POST", "/api/vendors", {"name": "third", "title_zh": "三", "title_en": "Third"}),
        ("PUT", "/api/vendors/acme/members/both", {"role": "owner"}),
        ("POST", "/api/vendors/acme/vouch", None),
        ("GET", "/api/deployments", None),
        ("POST", "/api/deployments", {"listing": "acme/reader"}),
        ("GET", "/api/accounts", None),
        ("GET", "/api/reviews", None),
        ("POST", "/api/tokens", {"name": "more"}),
    ):
        refused = ask(method, path, json=body)
        assert refused.status_code == 403, (method, path, refused.text)


class ask_events:
    """The text of a stream that ends by itself."""

    def __init__(self, shop: Inside, token: str) -> None:
        answer = shop.ask("GET", "/api/publications/acme/reader/1.0.0/events", token=token)
        assert answer.status_code == 200, answer.text
        self.text = answer.text

    def __enter__(self) -> str:
        return self.text

    def __exit__(self, *_: object) -> None:
        pass


# What becomes of versions


@pytest.fixture
def listed(shop: Inside, maker: Account) -> Version:
    prove(shop)
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    passed(shop, version, VersionState.listed)
    return version


def change(shop: Inside, account: Account, what: str, why: str = "because") -> Any:
    path = f"/api/versions/acme/reader/1.0.0/{what}"
    return shop.ask("POST", path, token=key_of(shop, account), json={"why": why})


def test_a_vendor_takes_a_version_off_and_puts_it_back(shop: Inside, maker: Account, listed: Version) -> None:
    for what, state in (("deprecate", "deprecated"), ("yank", "yanked"), ("relist", "listed")):
        answer = change(shop, maker, what)
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    told = shop.ask("GET", "/api/versions/acme/reader").json()["items"][0]
    assert [h["after"] for h in told["history"]] == ["submitted", "listed", "deprecated", "yanked", "listed"]
    assert told["history"][-1]["why"] == "because"
    assert {h["by"] for h in told["history"]} == {""}  # names are for those inside
    inside = shop.ask("GET", "/api/versions/acme/reader", token=key_of(shop, maker)).json()["items"][0]
    assert inside["history"][-1]["by"] == "maker"


def test_a_reason_is_needed(shop: Inside, maker: Account, listed: Version) -> None:
    assert change(shop, maker, "yank", "  ").json()["code"] == "reason-needed"
    assert change(shop, maker, "burn").json()["code"] == "invalid-request"
    assert state_of(shop, listed) == "listed"


def test_strangers_change_nothing(shop: Inside, listed: Version) -> None:
    stranger = vendor_of(shop, "stranger", "other")
    assert change(shop, stranger, "yank").json()["code"] == "not-a-member"
    buyer = shop.account("buyer", "opc")
    assert change(shop, buyer, "yank").status_code == 403
    assert state_of(shop, listed) == "listed"


def test_what_an_operator_took_off_only_an_operator_puts_back(
    shop: Inside, maker: Account, listed: Version
) -> None:
    operator = shop.account("operator", "operator")
    assert change(shop, operator, "yank", "it leaks").json()["state"] == "yanked"
    assert change(shop, maker, "relist").json()["code"] == "taken-off-by-operator"
    assert change(shop, operator, "relist", "mended").json()["state"] == "listed"


def test_its_vendor_does_not_put_it_back_by_a_detour(shop: Inside, maker: Account, listed: Version) -> None:
    operator = shop.account("operator", "operator")
    assert change(shop, operator, "deprecate", "it leaks").status_code == 200
    assert change(shop, maker, "relist").json()["code"] == "taken-off-by-operator"
    assert change(shop, maker, "yank").status_code == 200
    assert change(shop, maker, "relist").json()["code"] == "taken-off-by-operator"
    assert state_of(shop, listed) == "yanked"
    assert change(shop, operator, "relist", "mended").status_code == 200
    for what in ("deprecate", "relist"):
        assert change(shop, maker, what).status_code == 200


def test_a_check_that_came_again_does_not_lock_its_vendor_out(
    shop: Inside, maker: Account, listed: Version
) -> None:
    assert change(shop, maker, "deprecate").status_code == 200
    with transaction(shop.engine) as db:
        note = {"before": "deprecated", "after": "deprecated", "why": "recheck: passed"}
        db.add(VersionEvent(version_id=listed.id, **note))
    assert change(shop, maker, "relist").json()["state"] == "listed"


def test_nothing_of_a_name_that_is_not_proved_any_more_comes_back(
    shop: Inside, maker: Account, listed: Version
) -> None:
    assert change(shop, maker, "yank").status_code == 200
    operator = key_of(shop, shop.account("operator", "operator"))
    unproved = shop.ask("POST", "/api/vendors/acme/unprove", token=operator, json={"why": "another's name"})
    assert unproved.status_code == 200
    assert change(shop, maker, "relist").json()["code"] == "vendor-unproved"
    assert state_of(shop, listed) == "yanked"


def test_what_older_rules_let_through_is_not_approved(shop: Inside, maker: Account) -> None:
    prove(shop)
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    passed(shop, version, VersionState.submitted)
    with transaction(shop.engine) as db:
        db.get_one(Version, version.id).rules = "0"
    with read_session(shop.engine) as db:
        assert [row.id for row in checking.outdated(db)] == [version.id]
    operator = key_of(shop, shop.account("operator", "operator"))
    path = "/api/reviews/acme/reader/1.0.0/approve"
    refused = shop.ask("POST", path, token=operator, json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "checked-by-older-rules")
    with transaction(shop.engine) as db:
        db.get_one(Version, version.id).rules = RULES
    assert shop.ask("POST", path, token=operator, json={}).status_code == 200


def test_only_drafts_are_checked_to_go_on(shop: Inside, listed: Version) -> None:
    with transaction(shop.engine) as db:
        row = db.get_one(Version, listed.id)
        row.check_state = CheckState.failed
        db.add(row)
        db.flush()
        with pytest.raises(VersionStateRefused):
            checking.start(shop.services, db, row)
    with read_session(shop.engine) as db:
        assert db.get_one(Version, listed.id).check_state == CheckState.failed


@dataclass
class Importing:
    """An import that has come to its last step."""

    row: ImportJob
    progress: Progress = silent

    def job(self) -> ImportJob:
        return self.row

    def enter(self, step: str, *, total: int = 0) -> None:
        self.row.step = step

    def note(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self.row, name, value)


def test_importing_what_is_listed_again_leaves_it_as_it_is(
    shop: Inside, maker: Account, listed: Version, tmp_path: Path
) -> None:
    with transaction(shop.engine) as db:
        db.get_one(Version, listed.id).check_state = CheckState.failed
    (tmp_path / "model.onnx").write_bytes(GRAPH)
    (tmp_path / "labels.txt").write_bytes(LABELS)
    job = ImportJob(source="x", name="acme/reader", owner=maker.id, options={"wanted": "submitted"})
    found = import_work._hand_over(shop.services, Importing(job), tmp_path, offer())
    assert (found.id, job.version) == (listed.id, "1.0.0")
    with read_session(shop.engine) as db:
        row = db.get_one(Version, listed.id)
        assert (row.state, row.check_state) == ("listed", "failed")
    assert (tmp_path / "model.onnx").read_bytes() == GRAPH  # nothing was handed to any checks


def test_pages_of_ones_versions(shop: Inside, maker: Account) -> None:
    for number in ("1.0.0", "1.0.1", "1.0.2"):
        begin(shop, maker, offer(number))
    token = key_of(shop, maker)
    for query, shown in (("limit=2", 2), ("limit=2&offset=2", 1), (f"offset={10**20}", 0)):
        told = shop.ask("GET", f"/api/publications?{query}", token=token)
        assert (told.status_code, len(told.json()["items"]), told.json()["total"]) == (200, shown, 3)
    assert shop.ask("GET", "/api/publications?only=listed", token=token).json()["total"] == 0


def test_a_submitted_version_is_not_listed_by_its_vendor(shop: Inside, maker: Account) -> None:
    prove(shop)
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    passed(shop, version, VersionState.submitted)
    assert change(shop, maker, "relist").status_code in (403, 409)
    assert state_of(shop, version) == "submitted"


def test_an_unproved_vendor_drafts_and_does_not_submit(shop: Inside, maker: Account) -> None:
    token = key_of(shop, maker)
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    passed(shop, version)
    path = "/api/publications/acme/reader/1.0.0/checks"
    assert (
        shop.ask("POST", path, token=token, json={"wanted": "submitted"}).json()["code"] == "vendor-unproved"
    )
    assert shop.ask("POST", path, token=token, json={"wanted": ""}).status_code == 202
    assert state_of(shop, version) == "draft"
    operator = key_of(shop, shop.account("operator", "operator"))
    assert shop.ask("POST", "/api/vendors/acme/vouch", token=token).status_code == 403
    vouched = shop.ask("POST", "/api/vendors/acme/vouch", token=operator).json()
    assert (vouched["verified"], vouched["proof"]) == (True, "operator")
    assert shop.ask("POST", path, token=token, json={"wanted": "submitted"}).json()["state"] == "submitted"
    shop.ask("POST", "/api/vendors/acme/unprove", token=operator, json={"why": "a mistake"})
    assert shop.ask("GET", "/api/vendors/acme").json()["verified"] is False


def test_a_name_whose_proof_was_taken_back_is_not_proved_by_its_owner(shop: Inside, maker: Account) -> None:
    token, operator = key_of(shop, maker), key_of(shop, shop.account("operator", "operator"))
    prove(shop)
    path = "/api/vendors/acme"

    def prove_again() -> str:
        asked = {"way": "dns", "domain": "not a domain"}
        return str(shop.ask("POST", f"{path}/proof", token=token, json=asked).json()["code"])

    assert prove_again() == "domain-refused"  # it was looked at
    shop.ask("POST", f"{path}/unprove", token=operator, json={"why": "another's name"})
    assert prove_again() == "proof-withdrawn"
    told = shop.ask("GET", path, token=token).json()
    assert told["withdrawn"] and told["to_prove"] is None
    assert not shop.ask("GET", path).json()["withdrawn"]  # others are told that it is not proved, no more
    home = shop.page("GET", "/vendor", shop.cookie(maker)).text
    assert "An operator took the proof of this name back" in home and "Prove the name" not in home
    assert shop.ask("POST", f"{path}/allow-proof", token=token).status_code == 403
    queue = shop.page("GET", "/reviews", shop.cookie(shop.account("owner"))).text
    assert "/reviews/vendors/acme/allow-proof" in queue
    assert shop.ask("POST", f"{path}/allow-proof", token=operator).json()["withdrawn"] is False
    assert prove_again() == "domain-refused"
    shop.ask("POST", f"{path}/unprove", token=operator, json={"why": "again"})
    done = shop.page("POST", "/reviews/vendors/acme/allow-proof", shop.cookie(shop.account("owner")))
    assert done.status_code == 303 and prove_again() == "domain-refused"


def test_the_domain_stands_wherever_a_name_is_said_to_be_proved(
    shop: Inside, maker: Account, listed: Version
) -> None:
    with transaction(shop.engine) as db:
        vendors.mark_proved(db, vendors.get_vendor(db, "acme"), "dns", "acme.example")
    token = key_of(shop, maker)
    assert shop.ask("GET", "/api/listings/acme/reader").json()["vendor"]["domain"] == "acme.example"
    assert shop.ask("GET", "/api/listings").json()["items"][0]["vendor"]["domain"] == "acme.example"
    assert shop.ask("GET", "/api/vendors/acme", token=token).json()["domain"] == "acme.example"
    for path in ("/search", "/listings/acme/reader"):
        assert "acme.example" in shop.page("GET", path).text, path


# Deploying


@pytest.mark.parametrize(("number", "code"), [("", "unknown-version"), ("@1.0.0", "")])
def test_a_yanked_version_is_deployed_by_its_number_only(
    shop: Inside, maker: Account, listed: Version, number: str, code: str
) -> None:
    change(shop, maker, "yank")
    buyer = key_of(shop, shop.account("buyer", "opc"))
    asked = {"listing": f"acme/reader{number}", "device": "nonsense"}
    refused = shop.ask(
        "POST", "/api/deployments", token=buyer, json={**asked, "device": None, "name": "No Name!"}
    )
    assert refused.json()["code"] == (code or "invalid-name"), refused.text


def test_what_nobody_reviewed_runs_in_a_full_sandbox_only(
    shop: Inside, maker: Account, listed: Version
) -> None:
    both = key_of(shop, shop.account("buyer", "opc"))
    with transaction(shop.engine) as db:
        db.get_one(Version, listed.id).reviewed = False
    settings, runtimes = shop.services.settings, shop.services.runtimes
    assert isinstance(runtimes, dict)
    runtimes["process"] = ProcessRuntime(settings.home, settings.run_dir, sandbox=False)
    refused = shop.ask("POST", "/api/deployments", token=both, json={"listing": "acme/reader"})
    assert (refused.status_code, refused.json()["code"]) == (409, "sandbox-needed"), refused.text
    assert "docker" in refused.json()["next"]


# Bad requests


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sheet": {}},
        {"sheet": sheet(task="ocr")},
        {"sheet": sheet(), "cards": {"fr": "x"}},
        {"sheet": []},
    ],
)
def test_a_wrong_sheet_is_named(shop: Inside, maker: Account, body: dict[str, Any]) -> None:
    answer = shop.ask("POST", "/api/publications", token=key_of(shop, maker), json=body)
    assert 400 <= answer.status_code < 500 and answer.json()["code"] in (
        "invalid-manifest",
        "invalid-request",
    )


@pytest.mark.parametrize(
    "told", [{"sha256": "x", "size": 1}, {"sha256": "A" * 64, "size": 1}, {"sha256": "0" * 64, "size": -1}]
)
def test_a_wrong_announcement_is_named(shop: Inside, maker: Account, told: dict[str, Any]) -> None:
    answer = shop.ask("POST", "/api/uploads", token=key_of(shop, maker), json=told)
    assert (answer.status_code, answer.json()["code"]) == (
        400,
        "invalid-request",
    ) or answer.status_code == 422


@pytest.mark.parametrize("offset", ["", "-1", "x", "1e3", "９", "1" * 40])
def test_a_wrong_offset_is_named(shop: Inside, maker: Account, offset: str) -> None:
    token = key_of(shop, maker)
    told = shop.ask("POST", "/api/uploads", token=token, json={"sha256": "0" * 64, "size": 10}).json()
    headers = {"Upload-Offset": offset.encode()}
    answer = shop.ask("PATCH", f"/api/uploads/{told['id']}", token=token, headers=headers, content=b"x")  # type: ignore[arg-type]
    assert answer.json()["code"] == "invalid-request"


def test_the_json_schema_is_for_everybody(shop: Inside) -> None:
    answer = shop.ask("GET", "/api/market-yaml.schema.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/schema+json")
    assert answer.json()["title"] == "market.yaml"


def test_every_change_stands_in_the_audit_log(shop: Inside, maker: Account, listed: Version) -> None:
    change(shop, maker, "deprecate", "a better one is there")
    operator = key_of(shop, shop.account("operator", "operator"))
    found = shop.ask("GET", "/api/audit?limit=50", token=operator).json()["items"]
    actions = {(item["action"], item["subject"]) for item in found}
    assert ("vendor:create", "acme") in actions
    assert ("version:begin", "acme/reader@1.0.0") in actions
    (last,) = [item for item in found if item["action"] == "version:change"]
    assert (last["account"], last["facts"]["why"]) == ("maker", "a better one is there")


def test_what_people_gave_up_is_tidied_away(shop: Inside, maker: Account) -> None:
    home = shop.services.settings.home
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    folder = collect(shop, version)
    upload(shop, maker, b"never published")
    orphan = home / "staging" / "00000000-0000-0000-0000-000000000000"
    orphan.mkdir()
    publishing.tidy(shop.services)
    assert folder.is_dir() and orphan.is_dir()
    two_days, eight_days = (utcnow() - timedelta(days=days) for days in (2, 8))
    with transaction(shop.engine) as db:
        for row in uploads.list_uploads(db, maker.id):
            row.updated = two_days
            db.add(row)
    for place in (orphan, folder):
        os.utime(place, (two_days.timestamp(), two_days.timestamp()))
    publishing.tidy(shop.services)
    assert not orphan.exists() and folder.is_dir()
    with transaction(shop.engine) as db:
        assert uploads.list_uploads(db, maker.id) == []
    os.utime(folder, (eight_days.timestamp(), eight_days.timestamp()))
    publishing.tidy(shop.services)
    assert not folder.exists()
    assert missing(shop, version) == ["labels.txt", "model.onnx"]


def test_two_who_collect_at_once_get_the_same_files(shop: Inside, maker: Account) -> None:
    version = begin(shop, maker, offer())
    upload(shop, maker, GRAPH)
    upload(shop, maker, LABELS)
    found: list[bytes] = []

    def bring() -> None:
        found.append((collect(shop, version) / "model.onnx").read_bytes())

    threads = [Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [GRAPH] * 4


def test_a_body_nested_without_end_is_refused(shop: Inside, maker: Account) -> None:
    body = b'{"sheet": {"options": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}}"
    answer = shop.ask("POST", "/api/publications", token=key_of(shop, maker), content=body)
    assert answer.status_code in (400, 422), answer.text
