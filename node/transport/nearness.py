"""How near an address is: anywhere in the world, in our own network, or on this very machine.

A peer may tell where it can be called, and we then call there. Unwatched, that would let it have us knock
at doors that it cannot reach itself: a router, a printer, a service of this machine. So an address that a
peer tells is called only if it is no nearer than the peer itself has been seen, and `/sync` is all that is
asked for there.
"""

from __future__ import annotations

import re
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from protocol.limits import URL_CHARS_MAX

SYNC_PATH: Final = "/sync"

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""Only what every reader of URLs reads alike: no other alphabet whose figures one of them would fold."""

_ADDRESS: Final = re.compile(rf"(?P<host>{_HOST.pattern})(:(?P<port>[0-9]{{1,5}}))?(/.*)?")

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""Behind such an address stands an IPv4 one (RFC 6052)."""


class Nearness(IntEnum):
    """How near an address is; a greater one is nearer."""

    ANYWHERE = 0
    NETWORK = 1
    """Private, link-local or another that the world does not route."""
    MACHINE = 2
    """Loopback."""


def nearness(address: str) -> Nearness | None:
    """Return how near an address in figures is; None for a name, which may lead anywhere."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        found = _inner(found)
    if found.is_loopback or found.is_unspecified:
        return Nearness.MACHINE
    is_public = found.is_global and not found.is_multicast
    return Nearness.ANYWHERE if is_public else Nearness.NETWORK


def nearness_of_url(url: str) -> Nearness | None:
    """Return how near the host of a URL is, as far as the URL itself says; None if it names one."""
    return nearness(urlsplit(url).hostname or "")


def is_address(text: str) -> bool:
    """Tell whether a text without a scheme says where a node is: HOST:PORT, or a HOST with a dot."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and bool(found["port"] or "." in found["host"] or ":" in found["host"])


def is_url(url: str) -> bool:
    """Tell whether a text is a URL at which a node can be called."""
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    host = parts.hostname or ""
    is_host = bool(host) and all(host.removesuffix(".").split("."))
    return parts.scheme in ("ws", "wss", "http", "https") and is_host and port_fits


def told_url(url: str) -> str | None:
    """Return a URL that another node told as it may be called, at `/sync` and nowhere else; None if it
    may not: it is none, or says more than where.
    """
    if len(url) > URL_CHARS_MAX or any(letter.isspace() for letter in url) or not is_url(url):
        return None
    parts = urlsplit(url)
    host = parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]
    if parts.query or parts.fragment or not _HOST.fullmatch(host.removesuffix(":")):
        return None
    return urlunsplit((parts.scheme, parts.netloc, SYNC_PATH if parts.path.strip("/") else "", "", ""))


def _inner(address: IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _TRANSLATED:
        inner = IPv4Address(address.packed[-4:])
    return inner or address
