"""A decision is about what its reviewer has read."""

from catalog.models import Version, VersionState
from marketplace.db import read_session, transaction
from tests.marketplace.inside import Inside
from tests.marketplace.test_publishing import GRAPH, LABELS, begin, offer, passed, prove, upload, vendor_of

PATH = "/reviews/acme/reader/1.0.0"


def submitted(inside: Inside) -> Version:
    maker = vendor_of(inside, "maker", "acme")
    prove(inside)
    version = begin(inside, maker, offer())
    for content in (GRAPH, LABELS):
        upload(inside, maker, content)
    passed(inside, version, VersionState.submitted)
    return version


def test_what_was_changed_after_it_was_read_is_not_approved(inside: Inside) -> None:
    version, cookie = submitted(inside), inside.cookie(inside.account("shen", "operator"))
    read = inside.ask("GET", f"/api{PATH}", cookie=cookie).json()["seen"]
    assert f'value="{read}"' in inside.page("GET", PATH, cookie).text
    with transaction(inside.engine) as db:
        row = db.get_one(Version, version.id)
        row.offer = row.offer | {"title_en": "Official Bank Model"}
        db.add(row)
    refused = inside.ask("POST", f"/api{PATH}/approve", cookie=cookie, json={"seen": read})
    assert (refused.status_code, refused.json()["code"]) == (409, "changed-meanwhile")
    again = inside.page("POST", f"{PATH}/approve", cookie, data={"seen": read})
    now = inside.ask("GET", f"/api{PATH}", cookie=cookie).json()["seen"]
    assert again.status_code == 409 and f'value="{now}"' in again.text and now != read
    assert inside.page("POST", f"{PATH}/approve", cookie, data={}).status_code == 409
    assert inside.page("POST", f"{PATH}/approve", cookie, data={"seen": now}).status_code == 303
    with read_session(inside.engine) as db:
        assert db.get_one(Version, version.id).state == VersionState.listed
