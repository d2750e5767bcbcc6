"""Which addresses of the network an import may go to.

People name URLs, and the shop fetches them from where it stands: inside somebody's network, beside databases,
routers and a cloud's metadata service. So a URL is taken apart strictly, every address of its host is looked
up and judged here, and the connection is then made to such a judged address (`catalog.importers.web`).
Operators open single hosts and networks, or all private ones, with MARKET_IMPORT_PRIVATE.
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import idna

from catalog.errors import SourceUnreachable
from catalog.importers.errors import AddressRefused, UrlRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], list[str]]

LOW_PORTS = {80, 443}
"""Below 1024 only these; everything else there is some other service."""
OTHER_SERVICES = frozenset(
    {1719, 1720, 1723, 2049, 2375, 2376, 2379, 2380, 3306, 3659, 4045, 4190, 5060, 5061, 5432, 6000, 6379}
    | {6443, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 9200, 10080, 10250, 11211, 27017}
)
"""Ports from 1024 on where databases, cluster managers and the like listen; no mirror does."""
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "100.100.100.200/32",  # metadata, Alibaba Cloud
        "168.63.129.16/32",  # metadata, Azure; looks public
        "192.0.0.192/32",  # metadata, Oracle
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "fd00:ec2::/32",  # metadata, AWS
        "fe80::/10",
        "ff00::/8",
    )
)
"""Not even with `yes`: nobody's mirror stands there. Only a network that names them opens them."""
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "::/8",
        "64:ff9b:1::/48",  # NAT64 inside a network
        "100::/64",
        "2001::/23",  # Teredo among them
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fec0::/10",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


def system_resolver(host: str, port: int) -> list[str]:
    """Every address of a host, as this machine looks it up."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Reach:
    """What may be fetched: the public network, and what an operator opened beside it."""

    private: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    resolver: Resolver = system_resolver
    certificates: str = ""  # file of certificates to trust; "" is what this machine trusts

    def addresses(self, host: str, port: int, source: str) -> list[str]:
        """The host's addresses, all of which may be gone to.

        One that may not refuses the host as a whole. Raises AddressRefused and SourceUnreachable.
        """
        try:
            found = self.resolver(host, port)
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise SourceUnreachable(source=source, why="its name was not found on the network")
        for text in found:
            if not self._open(host, _address(text)):
                raise AddressRefused(source=source, host=host, address=text)
        return found

    def _open(self, host: str, address: Address | None) -> bool:
        if address is None:
            return False
        if host in self.hosts or any(_inside(address, network) for network in self.networks):
            return True
        forms = _forms(address)
        if any(_inside(form, network) for form in forms for network in _NEVER):
            return False
        return self.private or all(_public(form) for form in forms)


def read_reach(text: str) -> Reach:
    """The reach that a setting describes: no, yes, or hosts, addresses and networks with commas between.

    Raises ValueError for what is none of these.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words in ([], ["no"]):
        return Reach()
    if words == ["yes"]:
        return Reach(private=True)
    hosts, networks = set(), []
    for word in words:
        try:
            networks.append(ipaddress.ip_network(word))
        except ValueError:
            if word in ("yes", "no") or not re.fullmatch(r"(?![\d.]+$)[A-Za-z0-9]([A-Za-z0-9.-]*)", word):
                raise ValueError(word) from None
            hosts.add(word.lower().rstrip("."))
    return Reach(hosts=frozenset(hosts), networks=tuple(networks))


@dataclass(frozen=True)
class Place:
    """A URL taken apart and found fit to be fetched."""

    scheme: str
    host: str  # lower case, IDNA, without brackets
    port: int
    target: str  # path and query

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address in its plain form."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def shown(self) -> str:
        """For people and logs: without the query, which may hold a key."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"


def place_of(url: str) -> Place:
    """Take a URL apart; raises UrlRefused for anything that two readers could read in two ways."""
    shown = re.sub(r"[^!-~]|[?#].*", "", re.sub(r"//[^/]*@", "//", url))[:200]
    if len(url) > 4096 or re.search(r"[\x00-\x20\x7f\\]", url):
        why = "it is too long, or holds blanks, control characters or backslashes"
        raise _refused(shown, why, "过长，或含有空白、控制字符或反斜杠")
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise _refused(shown, "it cannot be read as an address", "无法识别为网址") from None
    if split.scheme.lower() not in ("http", "https"):
        raise _refused(shown, "only http and https are fetched", "只支持 http 与 https")
    if "@" in split.netloc:
        raise _refused(shown, "it carries a name or password", "网址中带有用户名或口令")
    scheme = split.scheme.lower()
    chosen = {"http": 80, "https": 443}[scheme] if port is None else port
    if (chosen < 1024 and chosen not in LOW_PORTS) or chosen in OTHER_SERVICES:
        raise _refused(shown, f"port {chosen} belongs to another service", f"端口 {chosen} 属于其他服务")
    return Place(scheme, _host(split, shown), chosen, _target(split))


def _refused(shown: str, why: str, why_zh: str) -> UrlRefused:
    return UrlRefused(source=shown, why=why, why_zh=why_zh)


def _target(split: SplitResult) -> str:
    path = split.path or "/"
    whole = f"{path}?{split.query}" if split.query else path
    return "".join(c if c.isascii() else "".join(f"%{b:02X}" for b in c.encode()) for c in whole)


def _host(split: SplitResult, shown: str) -> str:
    """The host in one unmistakable form."""
    host = (split.hostname or "").rstrip(".")
    if ":" in host:
        if (address := _address(host)) is None or "%" in host:
            raise _refused(shown, "its host is not an address", "主机地址无效")
        return str(address)
    try:
        host = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise _refused(shown, "its host is not a name", "主机名无效") from None
    host = host.lower()
    if re.fullmatch(r"\d+|0x[0-9a-f]*", host.rpartition(".")[2]):
        # Names do not end in a number, so this means an address; 0177.1, 2130706433 and 0x7f.1 are read as
        # addresses by some programs and differently by others.
        if not isinstance(_address(host), ipaddress.IPv4Address):
            raise _refused(shown, "its host is a number in an unusual form", "主机是写法特殊的数字")
        return host
    if len(host) > 253 or not all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,62})", p) for p in host.split(".")):
        raise _refused(shown, "its host is not a name", "主机名无效")
    return host


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _inside(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def _public(address: Address) -> bool:
    return address.is_global and not any(_inside(address, network) for network in _PRIVATE)


def _forms(address: Address) -> list[Address]:
    """The address and the IPv4 address that it leads to; a mere mapping stands for the latter alone."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    if address in _SIX_TO_FOUR:
        return [address, ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)]
    return [address]
