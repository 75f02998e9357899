"""Where the large model may be. The operator names a machine openly; neither a name server nor a spelling may lead to another one.

An address as it stands, or localhost, is the operator's own word for this machine or the own network. A name is the word of whoever answers for
it: it may lead into the own network only where that is said (--large-private). Some addresses are never asked, whatever leads there: those where
machines in a cloud get their passwords, and those that are no single machine's.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from ..errors import UsageError

Address = IPv4Address | IPv6Address
_PASSWORDS: frozenset[Address] = frozenset(map(ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
"""Metadata services that are not on a link-local address: Amazon's, Alibaba's, Oracle's."""
_INSIDE = IPv6Network("64:ff9b::/96"), IPv6Network("::/96")
"""IPv6 addresses whose last four bytes are an IPv4 address that is meant (RFC 6052, RFC 4291)."""
_EVERYBODY = IPv4Network("240.0.0.0/4")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.I | re.A)


def written(host: str) -> Address | None:
    """The address that a host is written as; None for a name. Raises UsageError for one in a spelling that hides what it is: 2130706433, 0x7f.1."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        raise UsageError("--large spells an address in an unusual way", hint="four numbers with points: http://127.0.0.1:11434/v1")
    return None


def forbidden(host: str, reached: str, private: bool) -> str | None:
    """Why a question for `host` may not go to the address that was `reached` for it; None where it may. `private`: names may lead into the own network."""
    address = _meant(ip_address(reached))
    never = _never(address)
    if never or written(host) is not None:
        return never
    if host.lower() == "localhost":
        return None if address.is_loopback else "is not this machine"
    if private or (address.is_global and not address.is_multicast):
        return None
    return "is in the own network, and a name may lead there only with --large-private"


def checked(host: str) -> None:
    """Raises UsageError for a host that can be seen to be forbidden before anybody is asked."""
    address = written(host)
    if address is not None and (why := _never(_meant(address))):
        raise UsageError(f"--large names an address that {why}", hint="name the machine that the large model is on")


def _meant(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and int(address) > 1 and any(address in network for network in _INSIDE):
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def _never(address: Address) -> str | None:
    if address.is_link_local or address in _PASSWORDS:
        return "is where a cloud keeps its machines' passwords, or good on one cable only"
    if address.is_unspecified or address.is_multicast or (isinstance(address, IPv4Address) and address in _EVERYBODY):
        return "is no single machine's"
    return None
