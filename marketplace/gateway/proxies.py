"""Who asks, where proxies stand in front: what they say of it is believed only of those that are named.

Anybody can send X-Forwarded-For, and each proxy adds whom it saw at its end. So it is read from its end back,
up to the first address that is none of our own proxies'.
"""

import ipaddress
from collections.abc import Sequence

from marketplace.gateway.wire import Headers

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks that the setting names."""
    return tuple(map(ipaddress.ip_network, texts))


def origin(peer: str, headers: Headers, trusted: Sequence[Network]) -> tuple[str, str]:
    """Address of whoever asks, and the scheme in which; of the peer itself where it is no proxy of ours."""
    if not trusted or not _ours(_address(peer), trusted):
        return peer, "http"
    found = peer
    for text in reversed(_values(headers, b"x-forwarded-for")):
        address = _address(text)
        if address is None:
            break
        found = str(address)
        if not _ours(address, trusted):
            break
    said = _values(headers, b"x-forwarded-proto")
    return found, "https" if said and said[-1].lower() == "https" else "http"


def _values(headers: Headers, name: bytes) -> list[str]:
    """All values of a header that may stand several times, or have commas."""
    joined = b",".join(value for key, value in headers if key == name)
    return [part.strip() for part in joined.decode("latin-1").split(",") if part.strip()]


def _address(text: str) -> Address | None:
    """An address, as some proxies write it with a port or in brackets."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _ours(address: Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)
