"""Which addresses a request may go to.

The list is our own: `ipaddress.is_global` lets several of these pass (6to4 and NAT64 around a
private address, Azure's metadata address, site-local). Sources: the IANA special-purpose address
registries for IPv4 and IPv6 (RFC 6890), RFC 6052 (NAT64), RFC 3056 (6to4), RFC 5214 (ISATAP).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from opscore.core.errors import OpsCoreError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_V4: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-shared"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "metadata"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "reserved"),
    ("192.52.193.0/24", "reserved"),
    ("192.88.99.0/24", "reserved"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "reserved"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
_V6: tuple[tuple[str, str], ...] = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
    ("2001::/23", "reserved"),
    ("2001:db8::/32", "documentation"),
    ("2620:4f:8000::/48", "reserved"),
    ("3ffe::/16", "reserved"),
    ("3fff::/20", "documentation"),
)
DENIED: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(text), kind) for text, kind in (*_V4, *_V6)
)
UNICAST = IPv6Network("2000::/3")
"""The one part of IPv6 that is given out for use on the internet (RFC 4291, IANA)."""
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

# IPv6 networks whose addresses end in an IPv4 address.
_ENDING_IN_V4 = tuple(
    IPv6Network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
_SIX_TO_FOUR = IPv6Network("2002::/16")
_ISATAP = (0x00005EFE, 0x02005EFE)


class BadNetwork(OpsCoreError):
    """A list of networks names something that is none."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be reached beyond the public internet.

    `allow`: networks that the operator opened. `trusted`: whatever the operator's own setting
    names; the list does not apply.
    """

    allow: tuple[Network, ...] = ()
    trusted: bool = False

    def why_denied(self, text: str) -> str | None:
        """Why no request goes to this address (`private`, `loopback`, …); None when it may."""
        address = ipaddress.ip_address(text.partition("%")[0])
        if self.trusted:
            return None
        return next(filter(None, map(self._denied, _meanings(address))), None)

    def _denied(self, address: Address) -> str | None:
        if any(address in network for network in self.allow):
            return None
        for network, kind in DENIED:
            if address in network:
                return kind
        if isinstance(address, IPv6Address) and address not in UNICAST:
            return "reserved"
        return None


def _meanings(address: Address) -> Iterator[Address]:
    """The addresses at which a packet may come out: the IPv4 one inside, else the address."""
    if isinstance(address, IPv4Address):
        yield address
        return
    number = int(address)
    if any(address in network for network in _ENDING_IN_V4):
        yield IPv4Address(number & 0xFFFF_FFFF)
        return
    yield address
    if address in _SIX_TO_FOUR:
        yield IPv4Address(number >> 80 & 0xFFFF_FFFF)
    if number >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFF_FFFF)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks (or single addresses) as an operator writes them. Raises BadNetwork."""
    found: list[Network] = []
    for text in filter(None, map(str.strip, texts)):
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise BadNetwork(
                f"{text!r} is not a network: {error}. Write it as 10.1.0.0/16 or 10.1.2.3."
            ) from error
    return tuple(found)
