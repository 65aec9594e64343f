"""The ledger of one document: what was promised of it to whom, folded from the entries of its keeper.

A *claim* asks for something of an offer, a need, an item or an event; the **ledger** of that document
answers. It is a document of its own, of the kind `ledger`, whose id follows from its target's header
(`ledger_id`), and its records are entries that stand beside each other. One device alone writes it, the
*keeper*: so a promise needs no agreement between towns, and no cut can make two of it.

Entries are numbered from 1, and each cites the one before. The fold walks that **chain** and nothing else:
what it has not reached, for want of one entry in between, is *not known yet*. So whatever part of the
entries a node has, it sees a beginning of the one history, and in each beginning what is promised fits into
what there is: an entry that would promise too much has no effect (it is *void*), here as everywhere.

Two entries by a keeper with one number and one predecessor cannot come from one honest device: its key was
copied. Everybody goes on with the same one of them (`_Chain._rank`). The others, and all that rests on them,
are void: a **fork**, which is shown to whoever was promised something there. What was handed over there is
`Gone`, and the keeper must take account of it. The town key may name a keeper behind any entry, and the
branch on which it does so goes before all others: that is the way on when the keeper is lost or stolen.

A ledger may be a *share* of another one: `books` says what that share is worth by now, and this ledger is
read under that ceiling. Amounts are thousandths, times seconds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from protocol.encoding import Value
from protocol.ids import DeviceId, DocId, Op, RecordId, TownId
from protocol.kinds.bounds import LEDGER_N_MAX, YEAR_S
from protocol.record import Header, Record, document_id, fields_of
from protocol.structures import MILLI_MAX
from sync.promises import TIME_MAX, Act, Before, Mode, Promises, Void, Word

LEDGER: Final = "ledger"
"""The kind of these records."""
OUTLIVES_S: Final = 30 * 86_400
"""A ledger ends so long after its target: what was promised on its last day can still be handed over."""
BUFFER_S_MAX: Final = YEAR_S
"""No thing takes longer to get ready."""

FORK: Final = "fork"
"""Void because: another entry stands in this place, or in that of an earlier one on which this one rests."""
NOT_THE_KEEPER: Final = "not_the_keeper"
"""Void because: its writer was not the keeper there."""
OUT_OF_PLACE: Final = "out_of_place"
"""Void because: no entry of this number or sort can stand there."""

_ACTS: Final = {act.value: act for act in Act}
_MODES: Final = {mode.value: mode for mode in Mode}
_BYTES: Final = {
    "claim": 16, "share": 32, "parent": 16, "parent_claim": 16, "child": 32, "device": 32, "moved_to": 16,
    "seed": 64,
}  # fmt: skip
"""Fields of a body that are ids, and their sizes in bytes."""
_NUMBERS: Final = {"milli": MILLI_MAX, "start": TIME_MAX, "end": TIME_MAX, "hold_until": TIME_MAX}
"""Fields of a body that are numbers from 0, and the greatest each may be."""
_IS_REASON: Final = re.compile("[a-z_]{1,32}").fullmatch
_IS_UNIT: Final = re.compile("[A-Za-z0-9]{1,16}").fullmatch
"""Nodes say what stands in these texts in their own words, so they are codes and nothing else."""
_OPTIONAL: Final = (*_BYTES, *_NUMBERS, "reason")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a ledger: where it stands, who wrote it, and what it says.

    Attributes:
        after: The entry that it cites as the one before; None for the first.
    """

    id: RecordId
    town: TownId
    device: DeviceId
    n: int
    after: RecordId | None
    word: Word


@dataclass(frozen=True, slots=True)
class Fork:
    """Several entries in one place.

    Attributes:
        lost: Those that do not count, ascending.
        by_town_key: The town key decided by naming a keeper there; then nobody need have cheated.
    """

    n: int
    kept: RecordId
    lost: tuple[RecordId, ...]
    by_town_key: bool


@dataclass(frozen=True, slots=True)
class Gone:
    """What was handed over by an entry of a losing branch: it has left the house, whatever the chain says.

    Attributes:
        milli: How much, in thousandths.
        start: With `end` the window for which it was lent.
    """

    id: RecordId
    n: int
    claim: DocId
    milli: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the entries at hand come to.

    Attributes:
        doc: The document in which it began, and
        goes_on_in: the one in which its next entry stands.
        first: The first entry; None while it is not known, and then nothing else is.
        keeper: The device that may write the next entry.
        head, n: The last entry of the chain, and its number.
        promises: What there is, and what of it is promised to which claim.
        own: The same by this chain alone, without the ceiling of a share: what the next entry changes.
        void: The entries that have no effect, and why, as stable codes.
        lost: Those among them that a fork made void, in order of number and id.
        gone: What was handed over by them.
        settled: Records of which the chain has taken account: lost entries, and versions of claims.
        moved_to: The ledger that goes on from here.
        waits_for: The ledger of which this is a share, while that is not known.
        beyond: How many entries stand beyond a gap.
    """

    doc: DocId
    goes_on_in: DocId
    town: TownId
    first: Entry | None = None
    keeper: DeviceId | None = None
    head: RecordId | None = None
    n: int = 0
    promises: Promises = field(default_factory=Promises)
    own: Promises = field(default_factory=Promises)
    void: Mapping[RecordId, str] = field(default_factory=dict)
    lost: tuple[Entry, ...] = ()
    gone: tuple[Gone, ...] = ()
    settled: frozenset[RecordId] = frozenset()
    forks: tuple[Fork, ...] = ()
    moved_to: DocId | None = None
    waits_for: DocId | None = None
    beyond: int = 0

    @property
    def is_known(self) -> bool:
        """Tell whether anything can be said: the chain has its beginning, and that of which it is a share."""
        return self.first is not None and self.waits_for is None

    @property
    def unsettled(self) -> tuple[Gone, ...]:
        """Return what was handed over on losing branches and is not taken account of yet, in order.

        While there is any, an honest keeper accepts nothing more (`keeping.settle`).
        """
        return tuple(each for each in self.gone if each.id not in self.settled)

    @property
    def is_open_ended(self) -> bool:
        """Tell whether another entry can follow: it is known, and has not moved to one that is not."""
        return self.is_known and self.moved_to is None

    def under(self, ceiling: int, waits_for: DocId | None = None) -> Ledger:
        """Return the ledger of a share that is worth no more than `ceiling` by now."""
        return replace(self, promises=self.own.under(ceiling), waits_for=waits_for)


def ledger_id(target: Header) -> DocId:
    """Return the id of the ledger of a document, by the header of any of its records."""
    expires = target.expires + OUTLIVES_S
    return document_id(
        target.town, LEDGER, target.lane, target.federations, target.born, expires, target.nonce
    )


def target_id(ledger: Header, kind: str) -> DocId:
    """Return the id of the document of a kind of which this would be the ledger, by the ledger's header."""
    expires = ledger.expires - OUTLIVES_S
    return document_id(ledger.town, kind, ledger.lane, ledger.federations, ledger.born, expires, ledger.nonce)


def fold(
    doc: DocId,
    town: TownId,
    entries: Iterable[Entry],
    town_keys: frozenset[DeviceId],
    before: Ledger | None = None,
) -> Ledger:
    """Return what these entries of one ledger come to, whatever their order, repeated or not.

    Args:
        entries: Of records of the document `doc` that are held, so devices of `town` wrote them.
        town_keys: The keys that may name a keeper, whoever the present one is.
        before: The ledger that has moved here, for one that goes on.
    """
    chain = _Chain(doc, town, entries, town_keys, before)
    chain.walk()
    return chain.ledger()


def read(record: Record) -> Entry | None:
    """Return the entry that a record is; None if it is none that can be read: it then has no effect."""
    header = record.header
    fields = fields_of(record) if header.kind == LEDGER and header.op is Op.ENTRY else None
    if fields is None:
        return None
    n, act = fields.get("n"), fields.get("act")
    if type(n) is not int or not 1 <= n <= LEDGER_N_MAX or type(act) is not str or act not in _ACTS:
        return None
    word = _word(_ACTS[act], fields, header.cites[1:])
    if word is None or (n > 1 and not header.cites):
        return None
    after = header.cites[0] if header.cites else None
    return Entry(record.id, header.town, header.device, n, after, word)


def share_of(record: Record) -> tuple[DocId, DocId] | None:
    """Return the ledger, and the claim accepted there, of which a first entry says that it is a share."""
    entry = read(record)
    if entry is None or entry.n != 1 or entry.word.parent is None or entry.word.parent_claim is None:
        return None
    return entry.word.parent, entry.word.parent_claim


def fields_of_entry(n: int, word: Word) -> dict[str, Value]:
    """Return the body of an entry; `read` of a record with it gives the word back."""
    fields: dict[str, Value] = {"n": n, "act": word.act.value}
    if n == 1 and word.act is Act.CAPACITY:
        fields |= {"mode": word.mode.value, "unit": word.unit, "buffer_s": word.buffer_s}
    for name in _OPTIONAL:
        value = getattr(word, name)
        if value is not None and value != "":
            fields[name] = value
    return fields


class _Chain:
    """The walk along the entries of one ledger."""

    def __init__(
        self,
        doc: DocId,
        town: TownId,
        entries: Iterable[Entry],
        town_keys: frozenset[DeviceId],
        before: Ledger | None,
    ) -> None:
        self._doc = doc
        self._town = town
        self._town_keys = town_keys
        self._before = before
        self._all = {entry.id: entry for entry in entries}
        self._followers = defaultdict[RecordId | None, list[Entry]](list)
        for entry in self._all.values():
            self._followers[entry.after].append(entry)
        self._chain = list[Entry]()
        self._keeper = before.keeper if before is not None else None
        self._promises = before.own.copy() if before is not None else Promises()
        self._moved_to: DocId | None = None
        self._chosen = self._find_chosen()
        self._forks = list[Fork]()
        self._void = dict[RecordId, str]()
        self._beside = set[RecordId]()
        self._lost = list[Entry]()
        self._gone = list[Gone]()
        self._settled = set[RecordId]()

    def walk(self) -> None:
        """Follow the chain to its end; what stands beside it is void with all that rests on it."""
        after = self._before.head if self._before is not None else None
        while True:
            here = self._followers[after]
            found = [each for each in here if self._may_stand(each)] if self._moved_to is None else []
            kept = min(found, key=self._rank, default=None)
            able = {each.id for each in found}
            for entry in here:
                if entry is not kept:
                    if entry.id in able:
                        self._lose(entry)
                    self._reject(entry, FORK if entry.id in able else self._why(entry))
            if kept is None:
                break
            if len(found) > 1:
                lost = tuple(sorted(entry.id for entry in found if entry is not kept))
                self._forks.append(Fork(kept.n, kept.id, lost, kept.id in self._chosen))
            self._chain.append(kept)
            self._follow(kept)
            after = kept.id
        self._lost.sort(key=lambda each: (each.n, each.id))
        self._gone.sort(key=lambda each: (each.n, each.id))
        for entry in self._lost:
            if entry.word.act is Act.ACCEPT and entry.word.claim is not None:
                self._promises.call_off(entry.word.claim, FORK, entry.id)

    def ledger(self) -> Ledger:
        """Return what came of it."""
        last = self._chain[-1] if self._chain else None
        return Ledger(
            doc=self._doc,
            goes_on_in=self._doc,
            town=self._town,
            first=self._chain[0] if self._chain else None,
            keeper=self._keeper,
            head=last.id if last is not None else None,
            n=len(self._chain),
            promises=self._promises,
            own=self._promises,
            void=self._void,
            lost=tuple(self._lost),
            gone=tuple(self._gone),
            settled=frozenset(self._settled),
            forks=tuple(self._forks),
            moved_to=self._moved_to,
            beyond=len(self._all) - len(self._chain) - len(self._beside),
        )

    # Which entry is the next.

    def _find_chosen(self) -> set[RecordId]:
        """Return the entries on which the town key rests a word on who is keeper, that word among them."""
        chosen = set[RecordId]()
        for entry in self._all.values():
            at: Entry | None = entry if self._by_town_key(entry) else None
            while at is not None and at.id not in chosen:
                chosen.add(at.id)
                before = self._all.get(at.after) if at.after is not None else None
                at = before if before is not None and before.n == at.n - 1 else None
        return chosen

    def _may_stand(self, entry: Entry) -> bool:
        """Tell whether an entry could be the next: the first opens the ledger, its keeper writes the rest."""
        if entry.n != len(self._chain) + 1:
            return False
        if entry.n > 1:
            return self._may_write(entry, self._keeper)
        if self._before is None:
            return entry.word.act is Act.CAPACITY and (
                entry.word.milli is not None or entry.word.mode is Mode.WINDOW
            )
        return entry.word.act is Act.CHECKPOINT and entry.device == self._keeper

    def _may_write(self, entry: Entry, keeper: DeviceId | None) -> bool:
        return entry.device == keeper or self._by_town_key(entry)

    def _by_town_key(self, entry: Entry) -> bool:
        """Tell whether an entry is the town key's word on who is keeper."""
        word = entry.word
        return word.act is Act.KEEPER and word.device is not None and entry.device in self._town_keys

    def _rank(self, entry: Entry) -> tuple[bool, RecordId]:
        """The branch that the town key chose goes first, then the smaller id."""
        return (entry.id not in self._chosen, entry.id)

    # What became of the others.

    def _why(self, entry: Entry) -> str:
        in_place = entry.n == len(self._chain) + 1 > 1 and self._moved_to is None
        return NOT_THE_KEEPER if in_place else OUT_OF_PLACE

    def _reject(self, root: Entry, code: str) -> None:
        """Make an entry void with all that rests on it."""
        found = [root]
        while found:
            entry = found.pop()
            if entry.id not in self._beside:
                self._void[entry.id] = code
                self._beside.add(entry.id)
            found += self._followers[entry.id]
            code = OUT_OF_PLACE

    def _lose(self, root: Entry) -> None:
        """Follow a losing branch with the keepers it had, from the state in which it left the chain.

        Where it forks again each twig is played on the one state, and taken back before the next.
        """
        state = Promises() if root.n == 1 and self._before is None else self._promises
        keeper = root.device if root.n == 1 else self._keeper
        steps: list[tuple[Entry, DeviceId | None] | Before] = [(root, keeper)]
        while steps:
            step = steps.pop()
            if isinstance(step, Before):
                state.take_back(step)
                continue
            entry, keeper = step
            self._void[entry.id] = FORK
            self._beside.add(entry.id)
            self._lost.append(entry)
            steps.append(state.before(entry.word))
            keeper = self._play(entry, keeper, state)
            steps += [
                (each, keeper)
                for each in self._followers[entry.id]
                if each.n == entry.n + 1 and self._may_write(each, keeper)
            ]

    def _play(self, entry: Entry, keeper: DeviceId | None, state: Promises) -> DeviceId | None:
        """Let a lost entry have its effect on the state of its branch; return who is keeper there now."""
        word = entry.word
        if word.act is Act.KEEPER:
            return keeper if word.device is None else DeviceId(word.device)
        if entry.n == 1:
            if word.act is Act.CAPACITY:
                state.begin(word)
            return keeper
        try:
            state.apply(word, entry.id)
        except Void:
            return keeper
        if word.act is Act.HANDOVER and word.claim is not None:
            out = state.claims[word.claim]
            self._gone.append(Gone(entry.id, entry.n, out.claim, out.milli, out.start, out.end))
        return keeper

    def _follow(self, entry: Entry) -> None:
        """Let an entry of the chain have its effect, or be void."""
        word = entry.word
        self._settled.update(word.settles)
        try:
            match word.act:
                case Act.CAPACITY if entry.n == 1:
                    self._keeper = entry.device
                    self._promises.begin(word)
                case Act.CHECKPOINT if entry.n == 1:
                    pass
                case Act.KEEPER if word.device is not None:
                    self._keeper = DeviceId(word.device)
                case Act.MOVED if word.moved_to not in (None, self._doc):
                    self._moved_to = word.moved_to
                case _:
                    self._promises.apply(word, entry.id)
        except Void as void:
            self._void[entry.id] = void.code


def _word(act: Act, fields: Mapping[str, Value], settles: tuple[RecordId, ...]) -> Word | None:
    """Return what a body says; None if one of the fields that we read is not as declared."""
    found: dict[str, Value] = {}
    for name, size in _BYTES.items():
        value = fields.get(name)
        if value is not None:
            if type(value) is not bytes or len(value) != size:
                return None
            found[name] = value
    for name, most in (*_NUMBERS.items(), ("buffer_s", BUFFER_S_MAX)):
        value = fields.get(name)
        if value is not None:
            if type(value) is not int or not 0 <= value <= most:
                return None
            found[name] = value
    if ("parent" in found) != ("parent_claim" in found):
        return None
    mode, unit, reason = fields.get("mode"), fields.get("unit"), fields.get("reason")
    if mode is not None and (type(mode) is not str or mode not in _MODES):
        return None
    if unit is not None and (type(unit) is not str or not _IS_UNIT(unit)):
        return None
    if reason is not None and (type(reason) is not str or not _IS_REASON(reason)):
        return None
    counted = Mode.QUANTITY if mode is None else _MODES[mode]
    return Word(act, mode=counted, unit=unit or "each", reason=reason or "", settles=settles, **found)  # type: ignore[arg-type]  # checked above, by name
