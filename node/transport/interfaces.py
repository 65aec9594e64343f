"""The addresses that this machine has in its own networks, for people to type on another one."""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import suppress
from typing import Final

from node.transport.nearness import Nearness, nearness

_ADDRESS_OF: Final = 0x8915
"""Linux's SIOCGIFADDR; where it is another number the kernel refuses it, and no address is told."""
_NAME_BYTES: Final = 15
_REQUEST_BYTES: Final = 40
_ADDRESS_AT: Final = 20
"""Where the IPv4 address stands in the answer, behind name, family and port."""


def network_addresses() -> list[str]:
    """Return the private IPv4 addresses of this machine, those of the oldest interface first."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in sorted(socket.if_nameindex()):
            request = struct.pack(f"{_REQUEST_BYTES}s", name.encode()[:_NAME_BYTES])
            with suppress(OSError):
                answer = fcntl.ioctl(asked, _ADDRESS_OF, request)
                found.append(socket.inet_ntoa(answer[_ADDRESS_AT : _ADDRESS_AT + 4]))
    return [each for each in found if nearness(each) is Nearness.NETWORK]
