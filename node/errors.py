"""What a node tells a person or a program that it cannot do.

    HedgerowError
    |- StorageUnavailable   503  the disk is full or fails; reads go on, writes resume by themselves
    |- DataInUse            409  another node runs on this data directory
    |- DataUnreadable       500  the data directory or its database cannot be read or written
    |- DataNewer            500  the database was written by a newer version
    |- LimitReached         409  a quota or a size forbids this post of our own
    |- NotCertified         409  our own device may not write this
    |- InvalidRequest       400  a request that makes no sense as it stands
    |- UnknownKind          400  no such kind, or none that can be posted
    |- NoFederation         409  the post is meant for federations and this town is in none of them
    |- NotFound             404  nothing has this address
    |- AmbiguousAddress     409  two documents have this address; the choices are named
    |- Refused              409  a claim, or an answer to one, that would have no effect
    |- NotKeeper            409  another device of the town keeps this ledger
    |- NoSealingKey         409  what is to be sealed to a town cannot be: it has told no key, or we have none
    |- NotOurs              403  only the town that wrote a document may change it
    |- StaleEdit            409  the document has moved on since the editor saw it
    |- NotSignedIn          401  writing needs a session or a token
    |- NotAllowed           403  signed in, but not for this
    `- TooMany              429  too many tries; wait

Each has a stable `code`, a `status` as HTTP has it, and one line `says`: what is wrong and what to do. The
errors of `protocol/errors.py` pass through unchanged; their codes and ours never clash.
"""

from __future__ import annotations

from collections.abc import Mapping


class HedgerowError(Exception):
    """A refusal with one clear line.

    Args:
        says: One line: what is wrong, what to do. Shown to people as it is.
        code: Stable name for programs; None means the class's own.
        status: HTTP status; None means the class's own.
        detail: Further members of the problem document, such as the choices of an ambiguous address.
    """

    code: str = "failed"
    status: int = 400

    def __init__(
        self,
        says: str,
        *,
        code: str | None = None,
        status: int | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(says)
        self.says = says
        self.code = code if code is not None else type(self).code
        self.status = status if status is not None else type(self).status
        self.detail: Mapping[str, object] = detail or {}


class StorageUnavailable(HedgerowError):
    """The disk is full or fails. Nothing was written; reads go on; the next write tries again."""

    code = "storage_unavailable"
    status = 503


class DataInUse(HedgerowError):
    """Another node holds the lock of this data directory."""

    code = "data_in_use"
    status = 409


class DataUnreadable(HedgerowError):
    """The data directory or the database in it cannot be read or written."""

    code = "data_unreadable"
    status = 500


class DataNewer(HedgerowError):
    """The database was written by a newer version; nothing in it was changed."""

    code = "data_newer"
    status = 500


class LimitReached(HedgerowError):
    """A post of our own that the rules of the federation would not let stand."""

    code = "limit_reached"
    status = 409


class NotCertified(HedgerowError):
    """A post of our own that no other node would believe: this device lacks the right."""

    code = "not_certified"
    status = 409


class InvalidRequest(HedgerowError):
    """A request that makes no sense as it stands."""

    code = "invalid_request"
    status = 400


class UnknownKind(HedgerowError):
    """No kind has this name, or none that people post."""

    code = "unknown_kind"
    status = 400


class NoFederation(HedgerowError):
    """A post for federations by a town that is in none of them."""

    code = "no_federation"
    status = 409


class NoSealingKey(HedgerowError):
    """What only named towns may read cannot be written: one of them has told no sealing key."""

    code = "no_sealing_key"
    status = 409


class NotFound(HedgerowError):
    """Nothing here has this address; it may have been withdrawn or have ended."""

    code = "not_found"
    status = 404


class AmbiguousAddress(HedgerowError):
    """Two documents have this address; `detail["choices"]` names them."""

    code = "ambiguous_address"
    status = 409


class Refused(HedgerowError):
    """A claim, or an answer to one, that would have no effect; the code says why."""

    code = "refused"
    status = 409


class NotKeeper(HedgerowError):
    """Another device of the own town keeps this ledger, and only it may write there."""

    code = "not_the_keeper"
    status = 409


class NotOurs(HedgerowError):
    """Only the town that wrote a document may change it."""

    code = "not_ours"
    status = 403


class StaleEdit(HedgerowError):
    """The document has moved on since the editor saw it."""

    code = "stale_edit"
    status = 409


class NotSignedIn(HedgerowError):
    """Writing needs a session or a token."""

    code = "not_signed_in"
    status = 401


class NotAllowed(HedgerowError):
    """Who asks is known, but may not do this."""

    code = "not_allowed"
    status = 403


class TooMany(HedgerowError):
    """Too many tries in a short time."""

    code = "too_many"
    status = 429
