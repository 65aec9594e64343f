"""What the bodies of charters, steps and signatures state; an unreadable one states nothing.

All authority is resolved anew whenever some of it arrives, so what a body says is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias, TypeGuard, TypeVar

from protocol.encoding import Value
from protocol.ids import Op, RecordId, TownId
from protocol.limits import (
    DECIDED_MAX,
    MEMBERS_MAX,
    QUOTA_EVERYDAY_DOCUMENTS,
    QUOTA_LIBRARY_DOCUMENTS,
    QUOTA_URGENT_DOCUMENTS,
    SPLIT_MAX,
    STEWARDS_MAX,
)
from protocol.record import Record, fields_of_body
from sync.steps import Signature, State, Step

REMEMBERED_BYTES_MAX: Final = 8 * 2**20
"""Bodies whose meaning is kept at hand, some 30 MB of memory if they are full of ids: those of 5,000 steps
that name twenty towns each."""
_EACH_BYTES: Final = 256
"""What it takes to remember one beside its body."""

T = TypeVar("T")
Read: TypeAlias = Callable[[RecordId, TownId, bytes], T]

_QUOTAS: Final = {
    "urgent": QUOTA_URGENT_DOCUMENTS,
    "everyday": QUOTA_EVERYDAY_DOCUMENTS,
    "library": QUOTA_LIBRARY_DOCUMENTS,
}


def charter_of(record: Record) -> Step | None:
    """Return a charter as step 0; None if it founds nothing."""
    if record.header.op is not Op.ENTRY or record.body is None:
        return None
    return _charter(record.id, record.header.town, record.body)


def step_of(record: Record) -> Step | None:
    """Return a step; None if it is unreadable or lists other than one federation."""
    body = _entry(record)
    return None if body is None else _step(record.id, record.header.town, body)


def signature_of(record: Record) -> Signature | None:
    """Return what a steward signed; None if it is unreadable or lists other than one federation."""
    body = _entry(record)
    return None if body is None else _signature(record.id, record.header.town, body)


def _entry(record: Record) -> bytes | None:
    """Return the body of an entry of one federation."""
    return record.body if record.header.op is Op.ENTRY and len(record.header.federations) == 1 else None


def _remembering(read: Read[T]) -> Read[T]:
    """Return the same function, which reads each record once while there is room.

    When there is none all is forgotten, so that who goes through more than has room, again and again, finds
    some of it still.
    """
    known, size = dict[RecordId, T](), 0

    def remembered(id: RecordId, town: TownId, body: bytes) -> T:
        nonlocal size
        with suppress(KeyError):
            return known[id]
        if size > REMEMBERED_BYTES_MAX:
            known.clear()
            size = 0
        size += len(body) + _EACH_BYTES
        found = known[id] = read(id, town, body)
        return found

    return remembered


@_remembering
def _charter(id: RecordId, town: TownId, body: bytes) -> Step | None:
    state = _state(fields_of_body(body) or {})
    return None if state is None else Step(id, town, None, 0, frozenset(), frozenset(), state)


@_remembering
def _step(id: RecordId, town: TownId, body: bytes) -> Step | None:
    fields = fields_of_body(body) or {}
    parent, turn, state = fields.get("parent"), fields.get("round", 1), _state(fields)
    decides, split = _keys(fields.get("decides", []), DECIDED_MAX), _keys(fields.get("split", []), SPLIT_MAX)
    if not _is_key(parent) or type(turn) is not int or decides is None or split is None or state is None:
        return None
    named = frozenset(map(RecordId, decides)), frozenset(map(RecordId, split))
    return Step(id, town, RecordId(parent), turn, *named, state)


@_remembering
def _signature(id: RecordId, town: TownId, body: bytes) -> Signature | None:
    step = (fields_of_body(body) or {}).get("step")
    return Signature(id, town, RecordId(step)) if _is_key(step) else None


def _state(fields: dict[str, Value]) -> State | None:
    name = fields.get("name")
    stewards = _keys(fields.get("stewards"), STEWARDS_MAX)
    members = _keys(fields.get("members", []), MEMBERS_MAX)
    if not isinstance(name, str) or not stewards or members is None:
        return None
    return State(
        name,
        frozenset(map(TownId, stewards)),
        frozenset(map(TownId, members)),
        _vouches(fields.get("rules")),
        _quotas(fields.get("quotas")),
    )


def _vouches(value: Value) -> int:
    """Return how many members together let a town in; what is no count says that they may not."""
    stated = value.get("vouches") if isinstance(value, dict) else None
    return stated if type(stated) is int and stated > 0 else 0


def _quotas(value: Value) -> tuple[int, int, int]:
    """Return the quotas by lane; what is missing or no count is as `limits.py` has it."""
    stated = value if isinstance(value, dict) else {}
    urgent, everyday, library = (
        count if type(count := stated.get(name)) is int and count >= 0 else standard
        for name, standard in _QUOTAS.items()
    )
    return urgent, everyday, library


def _keys(value: Value, most: int) -> frozenset[bytes] | None:
    """Return a list of at most so many keys or ids of 32 bytes as a set; None if it is anything else."""
    if not isinstance(value, list) or len(value) > most:
        return None
    keys = [each for each in value if _is_key(each)]
    return frozenset(keys) if len(keys) == len(value) else None


def _is_key(value: Value) -> TypeGuard[bytes]:
    return isinstance(value, bytes) and len(value) == 32
