"""Behind proxies: who asks, and in which scheme, is told to the shop as the named ones say, and no others."""

import ipaddress
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from marketplace.gateway.proxies import networks, origin
from marketplace.settings import SettingError, load
from tests.marketplace.peers import House, house
from tests.shop import Shop

OURS = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9, 192.0.2.1, 10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", ["192.0.2.1, 10.9.9.9"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, nonsense, 10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:4860::1]:4711"], "2001:4860::1"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("2001:db8::1", ["2001:4860::1"], "2001:4860::1"),
        ("203.0.113.5", ["6.6.6.6"], "203.0.113.5"),
        ("local", ["6.6.6.6"], "local"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_asks(
    peer: str, forwarded: list[str], address: str
) -> None:
    headers = [(b"x-forwarded-for", text.encode()) for text in forwarded]
    assert origin(peer, headers, OURS) == (address, "http")


@pytest.mark.parametrize(
    ("peer", "said", "scheme"),
    [
        ("10.0.0.1", b"https", "https"),
        ("10.0.0.1", b"HTTPS", "https"),
        ("10.0.0.1", b"https, http", "http"),
        ("10.0.0.1", b"gopher", "http"),
        ("10.0.0.1", b"", "http"),
        ("6.6.6.6", b"https", "http"),
    ],
)
def test_the_scheme_is_what_the_proxy_says(peer: str, said: bytes, scheme: str) -> None:
    assert origin(peer, [(b"x-forwarded-proto", said)], OURS) == (peer, scheme)


def test_nobody_is_believed_where_no_proxy_is_named() -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    assert origin("127.0.0.1", headers, networks(load({}).trusted_proxies)) == ("127.0.0.1", "http")


def test_proxies_are_named_by_networks() -> None:
    named = load({"MARKET_TRUSTED_PROXIES": " 10.0.0.0/8, 192.0.2.1,2001:db8::/32 "}).trusted_proxies
    assert list(networks(named)) == OURS
    for wrong in ("10.0.0.0/33", "proxy.example.org", "10.0.0.1/8", "*"):
        with pytest.raises(SettingError, match="MARKET_TRUSTED_PROXIES"):
            load({"MARKET_TRUSTED_PROXIES": wrong})


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as built:
        yield built


def test_the_shop_and_its_replicas_are_told(own: House) -> None:
    own.gateway.proxies = networks(["127.0.0.1/32"])
    for path in ("/d/echo/x", "/page"):
        told = {"X_Forwarded_For": "6.6.6.6, 203.0.113.9", "X_Forwarded_Proto": "https"}
        sent = json.loads(own.call("GET", path, **told)[2])["headers"]
        assert [v for k, v in sent if k == "x-forwarded-for"] == ["203.0.113.9"]
        assert [v for k, v in sent if k == "x-forwarded-proto"] == ["https"]


def test_a_shop_behind_a_proxy_counts_each_visitor_and_leads_to_its_own_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    public = f"http://localhost:{port}"
    told = {"MARKET_PORT": str(port), "MARKET_PUBLIC_URL": public, "MARKET_TRUSTED_PROXIES": "127.0.0.0/8"}
    only = {"MARKET_SHELF_ONLY": "doc-orientation,zh-sentiment"}
    with (
        Shop.start(tmp_path / "home", **told, **only) as shop,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Forwarded-Proto": "https"}) as browser,
    ):
        shop.wait_shelf()
        listed = browser.get("/hf/api/models", params={"limit": 1})
        assert listed.links["next"]["url"].startswith(f"{public}/hf/api/models?limit=1")

        def sign_in(name: str, address: str) -> int:
            wrong = {"name": name, "password": "a wrong one"}
            headers = {"X-Forwarded-For": f"6.6.6.6, {address}"}
            return browser.post("/login", data=wrong, headers=headers).status_code

        codes = [sign_in(f"nobody-{n}", "203.0.113.9") for n in range(22)]
        assert (codes[0], codes[-1]) == (403, 429)
        assert sign_in("somebody", "203.0.113.10") == 403
        with shop.api as api:
            events = api.get("/api/audit", params={"action": "session:refused"}).json()["items"]
        assert {event["address"] for event in events} >= {"203.0.113.9", "203.0.113.10"}
