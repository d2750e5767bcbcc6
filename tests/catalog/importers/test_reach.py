import pytest

from catalog.errors import SourceUnreachable
from catalog.importers.errors import AddressRefused, UrlRefused
from catalog.importers.reach import Reach, place_of, read_reach

NEVER = [
    "0.0.0.0",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]
PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "203.0.113.7",
    "::1",
    "fc00::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2001:0:53aa:64c::1",
]
PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


def _allows(reach: Reach, *addresses: str, host: str = "models.example") -> bool:
    found = Reach(reach.private, reach.hosts, reach.networks, lambda _host, _port: list(addresses))
    try:
        found.addresses(host, 443, "it")
    except AddressRefused as refusal:
        assert refusal.facts["host"] == host
        return False
    return True


@pytest.mark.parametrize("address", NEVER + PRIVATE)
def test_no_private_or_special_address_is_gone_to(address: str) -> None:
    assert not _allows(read_reach("no"), address)
    # One bad address among good ones is enough: which is taken would be chance.
    assert not _allows(read_reach("no"), "8.8.8.8", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are(address: str) -> None:
    assert _allows(read_reach("no"), address)


@pytest.mark.parametrize("address", NEVER)
def test_yes_opens_no_metadata_service(address: str) -> None:
    assert not _allows(read_reach("yes"), address)


@pytest.mark.parametrize("address", PRIVATE)
def test_yes_opens_private_networks(address: str) -> None:
    assert _allows(read_reach("yes"), address)


def test_single_hosts_and_networks_are_opened() -> None:
    reach = read_reach("mirror.lan, 10.1.0.0/16,::1")
    assert _allows(reach, "10.1.2.3") and _allows(reach, "::1")
    assert not _allows(reach, "10.2.0.1")
    assert _allows(reach, "192.168.1.1", host="mirror.lan")
    assert not _allows(reach, "192.168.1.1", host="sub.mirror.lan")


def test_a_name_without_addresses_is_unreachable() -> None:
    with pytest.raises(SourceUnreachable):
        Reach(resolver=lambda _host, _port: []).addresses("nowhere.example", 80, "it")


@pytest.mark.parametrize("text", ["yes,a", "a b", "10.0.0.1/8", "-x"])
def test_a_reach_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_reach(text)


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://127.0.0.1.5/",
        "http://[::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://user@models.example/",
        "http://user:word@models.example/",
        "http://models.example@127.0.0.1/",
        "http://models.example\\@127.0.0.1/",
        "http://models.example/\r\nHost: other",
        "http://models .example/",
        "http:///x",
        "ftp://models.example/x",
        "file:///etc/passwd",
        "gopher://models.example/",
        "models.example/x",
        "http://models.example:22/",
        "http://models.example:25/",
        "http://models.example:6379/",
        "http://models.example:0/",
        "http://models.example:99999/",
        "http://models..example/",
        "http://" + "a" * 5000,
    ],
)
def test_addresses_that_two_readers_take_differently_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        place_of(url)
    assert "word" not in str(refusal.value.facts["source"])


def test_a_place_has_one_form() -> None:
    place = place_of("HTTP://Models.Example.:80/a?key=secret#x")
    assert (place.host, place.port, place.authority) == ("models.example", 80, "models.example")
    assert place.url == "http://models.example/a?key=secret"
    assert "secret" not in place.shown
    assert place_of("http://①②⑦.⓪.⓪.①/").host == "127.0.0.1"
    assert place_of("https://例子.测试/文件").host == "xn--fsqu00a.xn--0zwm56d"
    assert place_of("http://[::FFFF:127.0.0.1]:8080/").authority == "[::ffff:7f00:1]:8080"
