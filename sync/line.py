"""What the parts of one conversation share: the way out, the way to the store, the held sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

from protocol.errors import ProtocolError
from protocol.ids import FederationId, LaneKey, Op, RecordId
from protocol.record import open_record, record_id
from protocol.wire import Frame, encode_frame
from sync.chores import Chores
from sync.events import Effect, IdsLoaded, LinkUp, Load, Loaded, LoadEvidence, LoadIds, Send
from sync.held import HeldSet, Snapshot
from sync.lawful import REFUSED_MAX, Acquaintance, Conduct, Lawful, Recent, trim

ThenRecords: TypeAlias = Callable[[tuple[bytes, ...], bool], None]
"""Goes on with raw records that were loaded, and whether there were more."""
Then: TypeAlias = Callable[[], None]
ThenIds: TypeAlias = Callable[[tuple[RecordId, ...]], None]
"""Goes on with ids that were loaded."""

_SIGNATURE_BYTES: Final = 66
"""64, and how it is written."""
IDS_LOADED_MAX: Final = 8_192
"""Ids that one reading of a held set should give: half a megabyte."""


class Chance(Protocol):
    """The only source of chance of this floor: `random.Random`, or the system's."""

    def randbytes(self, n: int, /) -> bytes:
        """Return so many bytes that nobody else can foretell."""


class PeerFault(Exception):
    """The other side broke a rule; caught by the conversation, which ends. Never leaves `sync`.

    Args:
        code: Stable.
        says: One clear line.
    """

    def __init__(self, code: str, says: str) -> None:
        super().__init__(says)
        self.code = code
        self.says = says


class Line:
    """One link as the parts of its conversation see it.

    Attributes:
        up: How the link came up: who is at the other end, and who dialled.
        now_ms: Time of the input that is being handled.
        effects: What is asked for while it is handled.
        acquaintance: What is remembered of the device at the other end.
        conduct: How its town behaves.
        held: All held sets of this node.
        find_arriving: Gives the whole id of a short one whose record is on its way into the store.
        chores: What is done in steps.
        progress_ms: When a meeting or an exchange last moved on.
    """

    def __init__(
        self,
        up: LinkUp,
        *,
        acquaintance: Acquaintance,
        conduct: Conduct,
        held: Mapping[LaneKey, HeldSet],
        recent: Mapping[LaneKey, Recent],
        find_arriving: Callable[[bytes], RecordId | None],
        rng: Chance,
        now_ms: int,
    ) -> None:
        self.up = up
        self.link = up.link
        self.acquaintance = acquaintance
        self.conduct = conduct
        self.held = held
        self.recent = recent
        self.find_arriving = find_arriving
        self.rng = rng
        self.now_ms = now_ms
        self.progress_ms = now_ms
        self.sent_bytes = 0
        self.effects: list[Effect] = []
        self.chores = Chores(self.load_ids)
        self._token = 0
        self._records_awaited: dict[int, ThenRecords] = {}
        self._ids_awaited: dict[int, tuple[FederationId, ThenIds]] = {}

    def send(self, frame: Frame) -> None:
        """Send a frame."""
        data = encode_frame(frame)
        self.sent_bytes += len(data)
        self.effects.append(Send(self.link, data))

    def ask(self, effect: Effect) -> None:
        """Ask the engine for something."""
        self.effects.append(effect)

    def lawful(self, key: LaneKey) -> Lawful:
        """Return what differs lawfully in a lane between us."""
        return self.acquaintance.lawful(key)

    def snapshot(self, key: LaneKey) -> Snapshot:
        """Return a held set as it is now; an empty one if there is none."""
        held = self.held.get(key)
        return held.snapshot() if held is not None else _NOTHING

    def find_gone(self, key: LaneKey, prefix: bytes) -> RecordId | None:
        """Return an id that lately left a held set and begins so."""
        recent = self.recent.get(key)
        return recent.find_gone(prefix) if recent is not None else None

    def find_added(self, key: LaneKey, short: bytes) -> RecordId | None:
        """Return an id that lately entered a held set and begins so."""
        recent = self.recent.get(key)
        return recent.added.get(short) if recent is not None else None

    def find_expected(self, key: LaneKey, short: bytes) -> RecordId | None:
        """Return an id that begins so of a record that is on its way in, over any link.

        Only once for each: whoever sends it may not send it as it was signed, so a meeting later it is
        asked for here.
        """
        expected = self.lawful(key).expected
        record = self.find_arriving(short) if short not in expected else None
        if record is not None:
            expected[short] = None
            trim(expected, REFUSED_MAX)
        return record

    def load(self, key: LaneKey, prefixes: tuple[bytes, ...], bytes_max: int, then: ThenRecords) -> None:
        """Read records and go on with them."""
        self._token += 1
        self._records_awaited[self._token] = then
        self.ask(Load(self.link, self._token, key, prefixes, bytes_max))

    def load_ids(self, key: LaneKey, buckets: tuple[int, ...], then: ThenIds) -> None:
        """Read the ids of some buckets and go on with them, unless their federation is closed meanwhile."""
        self._token += 1
        self._ids_awaited[self._token] = (key[0], then)
        self.ask(LoadIds(self.link, self._token, key, buckets))

    def close(self, federation: FederationId) -> None:
        """Let nothing go on that waits for ids of a federation: the other side may not read it any more."""
        closed = [token for token, (waiting, _) in self._ids_awaited.items() if waiting == federation]
        for token in closed:
            del self._ids_awaited[token]
        self.chores.close(federation)

    def load_evidence(self, federation: FederationId, after: RecordId | None, then: ThenRecords) -> None:
        """Read what shows the rights of both sides in a federation, behind one record, and go on with it."""
        self._token += 1
        self._records_awaited[self._token] = then
        self.ask(LoadEvidence(self.link, self._token, federation, self.up.town, after))

    def loaded(self, answer: Loaded | IdsLoaded) -> None:
        """Hand an answer of the store to what asked for it."""
        if isinstance(answer, Loaded):
            go_on = self._records_awaited.pop(answer.token, None)
            if go_on is not None:
                go_on(answer.records, answer.more)
        else:
            waiting = self._ids_awaited.pop(answer.token, None)
            if waiting is not None:
                waiting[1](answer.ids)


def header_of(raw: bytes) -> bytes | None:
    """Return the header bytes of a raw record; None if it is not even shaped like one."""
    # [header, signature, body]: 0x93, then the header as bin 8 or bin 16.
    if raw[:2] == b"\x93\xc4" and len(raw) > 3:
        start, size = 3, raw[2]
    elif raw[:2] == b"\x93\xc5" and len(raw) > 4:
        start, size = 4, raw[2] << 8 | raw[3]
    else:
        return None
    return raw[start : start + size]


def id_of(raw: bytes) -> RecordId | None:
    """Return the id of a raw record from its header alone; None if it is not even shaped like one."""
    header = header_of(raw)
    return None if header is None else record_id(header)


def is_whole(raw: bytes) -> bool:
    """Tell whether a raw record has its body, or is a delete, which has none."""
    start = 3 + raw[2] if raw[1] == 0xC4 else 4 + (raw[2] << 8 | raw[3])
    body = raw[start + _SIGNATURE_BYTES :][:1]
    if body != b"\xc0":
        # A body is bin 8, bin 16 or bin 32.
        return body in (b"\xc4", b"\xc5", b"\xc6")
    try:
        return open_record(raw).header.op is Op.DELETE
    except ProtocolError:
        return False


_NOTHING: Final = HeldSet().snapshot()
