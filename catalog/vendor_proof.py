"""Looking whether a domain speaks for a vendor: a TXT record, or a file on its web site.

Both hold a token that belongs to one vendor of one shop. It is no secret: only who governs the domain can put
it there.
"""

import ipaddress
import re
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from catalog.errors import CatalogError, SourceMissing
from catalog.importers.reach import Reach
from catalog.importers.web import open_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dns.resolver import Resolver

RECORD = "opc-market-vendor"
FILE = "/.well-known/opc-market-vendor.txt"
SECONDS = 10.0  # for the whole look
SHOWN = 5  # other records that a refusal names
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


class DomainRefused(CatalogError):
    """What was given is no domain of the Internet. Facts: domain."""

    code = "domain-refused"


class ProofMissing(CatalogError):
    """The domain does not show the token. Facts: vendor, domain, place (to put it), expected, found."""

    code = "proof-missing"


class DnsUnreachable(CatalogError):
    """No name server gave an answer. Facts: domain, why."""

    code = "dns-unreachable"


def domain_of(text: str) -> str:
    """A domain in its ASCII form; raises DomainRefused for addresses, single names and what is no name."""
    import idna  # its tables cost 10 ms that only a proof needs

    name = text.strip().rstrip(".").lower()
    try:
        plain = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        raise DomainRefused(domain=text[:100]) from None
    labels = plain.split(".")
    if len(plain) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise DomainRefused(domain=text[:100])
    if labels[-1].isdigit() or _is_address(plain):
        raise DomainRefused(domain=text[:100])
    return plain


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def record_for(token: str) -> str:
    """The TXT record, and the line of the file, that proves a name."""
    return f"{RECORD}={token}"


def look_in_dns(vendor: str, domain: str, token: str, servers: Sequence[str] = ()) -> None:
    """Look for the TXT record; raises ProofMissing and DnsUnreachable.

    `servers` are addresses of name servers, with a port behind a colon if need be; none means the system's.
    """
    import dns.resolver  # heavy, and few requests come here

    found: list[str] = []
    with _named(domain):
        resolver = _resolver(servers)
        try:
            answer = resolver.resolve(domain, "TXT", lifetime=SECONDS, search=False)
            found = [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            found = []
    if record_for(token) not in [text.strip() for text in found]:
        raise _missing(vendor, domain, f"TXT {domain}", token, found)


def _resolver(servers: Sequence[str]) -> "Resolver":
    from dns.nameserver import Do53Nameserver
    from dns.resolver import Resolver

    if not servers:
        return Resolver()
    resolver = Resolver(configure=False)
    resolver.nameservers = [Do53Nameserver(*_server(each)) for each in servers]
    return resolver


def _server(text: str) -> tuple[str, int]:
    """Address and port of `1.2.3.4`, `1.2.3.4:53`, `::1` or `[::1]:53`."""
    if _is_address(text):
        return text, 53
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def _named(domain: str) -> "Iterator[None]":
    import dns.exception

    try:
        yield
    except dns.exception.DNSException as error:
        raise DnsUnreachable(domain=domain, why=str(error) or type(error).__name__) from None


def look_in_file(vendor: str, domain: str, token: str, reach: Reach, port: int = 443) -> None:
    """Look for the file on the domain's site; raises ProofMissing, SourceMissing and what refuses it."""
    url = f"https://{domain}{'' if port == 443 else f':{port}'}{FILE}"
    with open_web(url, reach=reach, limit=4096, seconds=SECONDS) as answer:
        if answer.status != 200:
            raise SourceMissing(source=url, file=FILE.rpartition("/")[2])
        host = urlsplit(answer.url).hostname or ""
        if host != domain and not host.endswith(f".{domain}"):
            raise _missing(vendor, domain, url, token, [])  # somebody else's site, that this one leads to
        lines = answer.read().decode("utf-8", "replace").splitlines()
    if record_for(token) not in [line.strip() for line in lines]:
        raise _missing(vendor, domain, url, token, lines)


def _missing(vendor: str, domain: str, place: str, token: str, found: Sequence[str]) -> ProofMissing:
    shown = [text[:80] for text in found if text.startswith(RECORD)][:SHOWN]
    expected = record_for(token)
    return ProofMissing(vendor=vendor, domain=domain, place=place, expected=expected, found=shown or ["–"])
