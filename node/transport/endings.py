"""What the other end of a link says by closing it, in words for the operator of this one."""

from __future__ import annotations

from typing import Final

_CROWDED: Final = "it has no room for another link just now"
_VERSION: Final = "it speaks another version of the protocol: one of the two nodes needs an upgrade"

_MEANINGS: Final = {
    "not_approved": "it does not have this town as a peer",
    "certificate_withdrawn": "it knows that this device was withdrawn by its town, or has a former town key",
    "certificate_expired": "to it, this device's certificate has run out",
    "not_certified": "it knows of no certificate for this device",
    "bad_certificate": "this device's certificate does not hold there",
    "crowded": _CROWDED,
    "links_many": _CROWDED,
    "too_many_links": _CROWDED,
    "newer_wire": _VERSION,
    "older_version": _VERSION,
    "bad_records": "it got records from here that do not hold, and leaves this device alone for a while",
    "banned": "it got records from here that do not hold, and leaves this device alone for a while",
    "storage_unavailable": "its disk takes nothing just now",
    "fault": "a fault of its program ended the link",
    "stopping": "it was being stopped",
    "silent": "it heard nothing from here",
    "not_reading": "what it sent did not get here",
    "auth_timeout": "the line was too slow to show who we are",
    "handshake_timeout": "the line was too slow to begin",
}
"""By code. `replaced`, `joining` and `approved_now` are not here: another link follows at once."""

_PASSING: Final = frozenset({"", "replaced", "joining", "approved_now", "join_refused"})


def meaning(code: str) -> str:
    """Return why the other end closed a link, in plain words; empty if nothing is amiss.

    Args:
        code: As it stood in the close of the WebSocket.
    """
    if code in _PASSING:
        return ""
    return _MEANINGS.get(code, f"it ended the link ({code})")
