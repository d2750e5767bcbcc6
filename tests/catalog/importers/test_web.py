from dataclasses import replace
from pathlib import Path

import pytest

from catalog.errors import SourceUnreachable
from catalog.importers.errors import AddressRefused, RedirectsEndless, SourceTooLarge, UrlRefused
from catalog.importers.reach import Reach, read_reach
from catalog.importers.web import REDIRECTS, open_web
from tests.catalog.importers.servers import Answer, certificate, little

LOOPBACK = read_reach("127.0.0.1")


def _ok(path: str, headers: dict[str, str]) -> Answer:
    return 200, {}, b"content"


def _read(url: str, reach: Reach = LOOPBACK, **options: object) -> bytes:
    with open_web(url, reach=reach, **options) as answer:  # type: ignore[arg-type]
        assert answer.status == 200
        return answer.read()


def test_the_loopback_is_for_those_who_may() -> None:
    with little(_ok) as server:
        assert _read(server.url) == b"content"
        with pytest.raises(AddressRefused):
            _read(server.url, Reach())
        assert len(server.asked) == 1


def test_the_name_goes_to_the_server_and_the_connection_to_the_judged_address() -> None:
    reach = replace(LOOPBACK, resolver=lambda _host, _port: ["127.0.0.1"])
    with little(_ok) as server:
        assert _read(f"http://models.example:{server.port}/a?b=c", reach) == b"content"
        path, headers = server.asked[0]
    assert (path, headers["host"]) == ("/a?b=c", f"models.example:{server.port}")


def test_a_resolver_that_changes_its_answer_is_asked_once() -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"]]
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), 2) - 1]

    with little(_ok) as server:
        # What was judged is what is connected to: nobody listens there, and the loopback is never reached.
        reach = Reach(resolver=lambda _host, _port: ["127.0.0.1"])
        with pytest.raises(AddressRefused):
            _read(f"http://rebind.example:{server.port}/", reach)
        first = Reach(networks=read_reach("192.0.2.0/24").networks, resolver=rebinding)
        answers[0] = ["192.0.2.1"]
        with pytest.raises(SourceUnreachable):
            _read(f"http://rebind.example:{server.port}/", first, seconds=0.5)
        assert asked == ["rebind.example"] and server.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_a_redirect_into_a_private_network_is_refused(target: str) -> None:
    with little(lambda p, h: (302, {"Location": target}, b"")) as server, pytest.raises(AddressRefused):
        _read(server.url)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://2130706433/", "http://a@127.0.0.1/", "//127.0.0.1:22/"]
)
def test_a_redirect_to_what_is_no_plain_address_is_refused(target: str) -> None:
    with little(lambda p, h: (301, {"Location": target}, b"")) as server, pytest.raises(UrlRefused):
        _read(server.url)


def test_redirects_are_followed_and_end() -> None:
    def hop(path: str, headers: dict[str, str]) -> Answer:
        number = int(path.strip("/") or 0)
        return (302, {"Location": f"/{number + 1}"}, b"") if number < REDIRECTS else (200, {}, b"there")

    with little(hop) as server:
        assert _read(server.url + "/0") == b"there"
    with (
        little(lambda p, h: (302, {"Location": "/again"}, b"")) as server,
        pytest.raises(RedirectsEndless),
    ):
        _read(server.url)


def test_credentials_stay_with_their_origin() -> None:
    with (
        little(_ok) as other,
        little(lambda p, h: (302, {"Location": other.url + "/x"}, b"")) as first,
    ):
        _read(first.url, headers={"authorization": "Bearer word"})
        assert first.asked[0][1]["authorization"] == "Bearer word"
        assert "authorization" not in other.asked[0][1]


def test_answers_are_bounded_whatever_they_declare() -> None:
    with little(lambda p, h: (200, {}, b"x" * 5000)) as server, pytest.raises(SourceTooLarge):
        _read(server.url, limit=4000)

    def untold(path: str, headers: dict[str, str]) -> Answer:
        return 200, {"Content-Length": "", "Connection": "close"}, b"x" * 5000

    with little(untold) as server, pytest.raises((SourceTooLarge, SourceUnreachable)):
        _read(server.url, limit=4000)


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with little(_ok) as proxy, little(_ok) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert _read(server.url) == b"content"
        assert proxy.asked == []


def test_the_certificate_is_held_against_the_name(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "models.example")
    reach = replace(LOOPBACK, resolver=lambda _host, _port: ["127.0.0.1"], certificates=str(public))
    with little(_ok, context) as server:
        assert _read(f"https://models.example:{server.port}/", reach) == b"content"
        for url, seen in ((f"https://other.example:{server.port}/", reach), (server.url, LOOPBACK)):
            with pytest.raises(SourceUnreachable) as refusal:
                _read(url.replace("http://", "https://"), seen)
            assert "certificate" in str(refusal.value.facts["why"])


def test_nothing_leads_from_https_to_http(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "models.example")
    reach = replace(LOOPBACK, resolver=lambda _host, _port: ["127.0.0.1"], certificates=str(public))
    with (
        little(_ok) as plain,
        little(lambda p, h: (302, {"Location": plain.url}, b""), context) as server,
        pytest.raises(UrlRefused),
    ):
        _read(f"https://models.example:{server.port}/", reach)
