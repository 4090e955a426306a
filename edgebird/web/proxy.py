"""Who asks, and how, where a proxy is in front: its word counts if it is one that was named, and nobody else's."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgebird.web.options import ServeOptions


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it began. address: of who asks, as far as limits go. is_secure: over TLS. user: whom the proxy has
    let in, "" for nobody.
    """

    address: str
    is_secure: bool
    user: str


def asked(options: ServeOptions, peer: str, lines: Callable[[str], Sequence[str]], scheme: str = "http") -> Asked:
    """Return it. peer: who is connected. lines: of a header, what each says. scheme: of the connection.

    Some proxies leave a header that others sent, and add a line of their own behind it: the last line counts. Of two
    that name a user nobody knows whose they are: they name nobody.
    """
    if not is_proxy(options, peer):
        return Asked(peer, scheme == "https", "")
    users = lines(options.user_header) if options.user_header else []
    protocol = ",".join(lines("x-forwarded-proto") or [scheme]).rpartition(",")[2].strip().lower()
    address = _farthest(options, peer, ",".join(lines("x-forwarded-for")))
    return Asked(address, protocol == "https", users[0].strip() if len(users) == 1 else "")


def is_proxy(options: ServeOptions, peer: str) -> bool:
    """Whether somebody is a proxy whose word counts. Without addresses all are, where a proxy lets people in."""
    if not options.proxies:
        return options.user_header is not None
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in options.proxies)


def _farthest(options: ServeOptions, peer: str, forwarded: str) -> str:
    """Who asked the first of our proxies: each has added whom it saw at the end."""
    for text in reversed([part.strip() for part in forwarded.split(",")]):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            return peer
        peer = text
        if not options.proxies or not is_proxy(options, text):
            break
    return peer
