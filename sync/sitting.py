"""One judgement: what is heard, and what is decided of it. `admission` says how a batch is judged.

A *sitting* hears records one by one, which puts each that authority lets stand before its document, and
then decides every such document at once: first for which there is room, then what stands of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Final

from msgspec import Struct, field

from protocol.clock import stamp_at
from protocol.ids import DocId, LaneKey, Op, RecordId, TownId
from protocol.limits import AHEAD_S_MAX
from protocol.record import Record, stands_for_good
from sync.authority import (
    AUTHORITY_KINDS,
    NO_SUCCESSOR,
    NOT_MEMBER,
    UNKNOWN_FEDERATION,
    Allotment,
    Authority,
    Placement,
    allotment_of,
    has_several_places,
    resolve,
)
from sync.devices import LASTING_KINDS, ROTATE, is_successor
from sync.merge import Fact, Pruned, prune
from sync.moved import moved, narrowed
from sync.verdict import (
    EXPIRED,
    FUTURE,
    HELD_NOW,
    KNOWN,
    QUOTA,
    SUPERSEDED,
    Changes,
    State,
    Verdict,
    View,
    final_causes,
)

_FINAL: Final = final_causes()
"""Causes that no later record can lift."""
_NOWHERE: Final[frozenset[LaneKey]] = frozenset()
_UNPROVED: Final = Placement(_NOWHERE, NO_SUCCESSOR)
_UNCAPPED: Final = 2**63
"""Charters, steps and signatures stand beside each other without a cap: authority says which are kept."""


class Document(Struct):
    """One document before the bench.

    Attributes:
        allotment: With what it is counted; None if it is not.
        heard: Records judged afresh that authority lets stand, and the held sets where they belong.
        left: Held records that may not stand any more, and why.
        before: In which held sets each held record is so far.
        rest: Held records that nobody questions.
        barred: Held sets in which the quota leaves no room for the document.
    """

    town: TownId
    born: int
    kind: str
    allotment: Allotment | None
    heard: dict[RecordId, tuple[Record, frozenset[LaneKey]]] = field(default_factory=dict)
    left: dict[RecordId, str] = field(default_factory=dict)
    before: dict[RecordId, frozenset[LaneKey]] = field(default_factory=dict)
    rest: list[Fact] = field(default_factory=list)
    barred: set[LaneKey] = field(default_factory=set)

    def wanted(self) -> frozenset[LaneKey]:
        """Return the held sets in which authority lets the document be."""
        if len(self.heard) == 1 and not self.before:
            return next(iter(self.heard.values()))[1]
        return _NOWHERE.union(*(lanes for _, lanes in self.heard.values()), self.kept())

    def kept(self) -> frozenset[LaneKey]:
        """Return the held sets in which it is so far and may stay."""
        stays = [self.before[fact.id] for fact in self.rest]
        stays += [lanes & self.before.get(id, _NOWHERE) for id, (_, lanes) in self.heard.items()]
        return _NOWHERE.union(*stays)

    def was(self) -> frozenset[LaneKey]:
        """Return the held sets in which it is so far."""
        return _NOWHERE.union(*self.before.values())

    def merged(self) -> Pruned:
        """Return what stands of the records that may."""
        facts = [Fact(id, each.header.stamp, each.header.op) for id, (each, _) in self.heard.items()]
        if stands_for_good(self.kind):
            return prune(self.rest + facts, entries_max=_UNCAPPED)
        return prune(self.rest + facts)


def horizon(now_ms: int) -> tuple[int, int]:
    """Return the latest birth, in seconds, and the greatest stamp that do not lie ahead."""
    return now_ms // 1_000 + AHEAD_S_MAX, stamp_at(now_ms + AHEAD_S_MAX * 1_000)


class Sitting:
    """One judgement: what is heard, and what is decided of it."""

    def __init__(self, view: View, authority: Authority, now_ms: int, sure: bool) -> None:
        self.verdicts: dict[RecordId, Verdict] = {}
        self._view = view
        self._former = authority
        self._authority = authority
        self._moved = frozenset[TownId]()
        self._narrowed = frozenset[tuple[LaneKey, TownId, Allotment]]()
        self._sure = sure
        self._now_s = now_ms // 1_000
        self._ahead_s, self._ahead_stamp = horizon(now_ms)
        self._known: dict[RecordId, Verdict] = {}
        self._again: dict[RecordId, Record] = {}
        self._along: dict[RecordId, frozenset[LaneKey]] = {}
        self._documents: dict[DocId, Document] = {}
        self._places: dict[tuple[object, ...], Placement] = {}
        self._remove: list[tuple[RecordId, frozenset[LaneKey], str, RecordId | None]] = []
        self._park: list[tuple[Record, str]] = []
        self._hold: list[tuple[Record, frozenset[LaneKey]]] = []

    def changes(self, verdicts: tuple[Verdict, ...]) -> Changes:
        """Return all that was decided."""
        return Changes(
            verdicts=verdicts,
            reconsider=self._moved,
            remove=tuple(self._remove),
            park=tuple(self._park),
            hold=tuple(self._hold),
            authority=None if self._authority is self._former else self._authority,
        )

    # Authority.

    def empower(self, news: Sequence[Record]) -> None:
        """Resolve authority with these new records, if there are any whose time is right."""
        timely = [record for record in news if not self._untimely(record)]
        if timely:
            self.resolve(timely)

    def resolve(self, news: Sequence[Record] = ()) -> None:
        """Resolve authority anew, and call everything that the towns concerned have here."""
        known = self._view.authority_records(news)
        late = [record for record in known if self._untimely(record)]
        # What gives no right any more leaves in the same breath.
        self.call(late)
        gone = {record.id for record in late}
        standing = [record for record in known if record.id not in gone]
        authority = resolve(self._former.own_town, [*standing, *news])
        if authority == self._former:
            return
        self._authority = authority
        self._places.clear()
        change = moved(self._former, authority)
        self._moved |= change.towns
        self._narrowed |= narrowed(self._former, authority)
        own = self._former.own_town
        # Where what is gone took room from our own, some of it may be held in other places only.
        held_of = change.held | ({own} if change.lost.get(own) else frozenset())
        waiting, held = self._view.parked(change.towns), self._view.held_records(held_of)
        lost = (self._view.signed_records(town, keys) for town, keys in change.lost.items() if keys)
        self.call([*waiting, *held, *chain.from_iterable(lost)])

    def call(self, records: Sequence[Record]) -> None:
        """Hear known records afresh, as if nothing had been decided on them."""
        fresh = {record.id: record for record in records if record.id not in self._known}
        known = self._view.known(list(fresh))
        self._known.update(known)
        for id, record in fresh.items():
            self._hear_afresh(record, known[id])

    # Hearing.

    def hear(self, record: Record, known: Verdict | None) -> None:
        """Hear a record of the batch; what was decided on it before holds, unless rights have moved."""
        if record.id in self._known:
            return
        if known is None or (known.cause == SUPERSEDED and record.header.town in self._moved):
            self._hear_afresh(record, None)
        elif known.state is State.HELD:
            self.verdicts[record.id] = Verdict(record.id, State.HELD, KNOWN)
            if has_several_places(record.header.kind, record.header.federations):
                self._again[record.id] = record
        else:
            self.verdicts[record.id] = known

    def _hear_afresh(self, record: Record, known: Verdict | None) -> None:
        """Place a record by time and authority; what may stand goes before quota and merge."""
        placement = self._place(record)
        cause = self._untimely(record) or placement.cause
        if not cause:
            self._document(record).heard[record.id] = (record, placement.lanes)
            return
        state = self._state_without_place(record, cause, known)
        self.verdicts[record.id] = Verdict(record.id, state, cause)
        if state is State.PARKED and (known is None or known.state is State.HELD or known.cause != cause):
            self._park.append((record, cause))
        if known is not None and known.state is State.HELD:
            self._document(record).left[record.id] = cause
            if cause == FUTURE:
                # It was taken in when time was not sure; what it superseded is welcome again.
                self._moved |= {record.header.town}
        elif known is not None and state is not State.PARKED:
            self._remove.append((record.id, _NOWHERE, cause, None))

    def _state_without_place(self, record: Record, cause: str, known: Verdict | None) -> State:
        if cause in _FINAL:
            return State.DROPPED
        if cause == FUTURE:
            return State.NOT_NOW
        if cause == UNKNOWN_FEDERATION and known is None and record.header.kind not in AUTHORITY_KINDS:
            # Nothing tells that this federation will ever be ours; its records come again if it is.
            return State.NOT_NOW
        return State.PARKED

    def _untimely(self, record: Record) -> str:
        """Return why this is not the time for a record; "" if it is, or if time is not sure."""
        if not self._sure:
            return ""
        header = record.header
        if header.expires <= self._now_s:
            return EXPIRED
        return FUTURE if header.born > self._ahead_s or header.stamp > self._ahead_stamp else ""

    def _place(self, record: Record) -> Placement:
        """Return where authority places a record, asking only once for all that are alike."""
        header = record.header
        alike = (header.town, header.device, header.kind, header.lane, header.federations)
        placement = self._places.get(alike)
        if placement is not None:
            return placement
        if header.kind == ROTATE and header.op is Op.ENTRY and not is_successor(record):
            # No other rule reads a body here: what a rotation proves, it proves by itself.
            return _UNPROVED
        placement = self._authority.place(header, record.id)
        # The rest stand or fall by their id.
        if not (
            stands_for_good(header.kind)
            or header.kind in LASTING_KINDS
            or self._authority.is_taken_back(header.town, header.device)
        ):
            self._places[alike] = placement
        return placement

    def _document(self, record: Record) -> Document:
        document = self._documents.get(record.doc)
        if document is None:
            header = record.header
            document = Document(header.town, header.born, header.kind, allotment_of(header.kind))
            self._documents[record.doc] = document
        return document

    # Deciding.

    def decide(self) -> None:
        """Apply quota and merge to every document of which something was heard."""
        if self._former.own_town in self._moved:
            self._recall()
        self._look_again()
        self._load(list(self._documents))
        self._load(self._make_room())
        for document in self._documents.values():
            self._rule(document)
        if self._along:
            found = self._view.records(list(self._along))
            self._hold += [(found[id], lanes) for id, lanes in self._along.items()]

    def _recall(self) -> None:
        """Hear what lies in the drawer of the own town: what superseded it, or took its room, may be gone."""
        for record in self._view.drawer():
            if record.id not in self._known:
                self._hear_afresh(record, None)

    def _look_again(self) -> None:
        """Hear afresh what is offered again and held in some of its places only: others may have room now."""
        if not self._again:
            return
        lanes = self._view.lanes(list(self._again))
        grown = [id for id, record in self._again.items() if self._place(record).lanes - lanes[id]]
        for id, record in self._view.records(grown).items():
            self._hear_afresh(record, self.verdicts[id])

    def _load(self, docs: Sequence[DocId]) -> None:
        """Fetch what is held of these documents."""
        if not docs:
            return
        found = self._view.facts(docs)
        ids = [fact.id for facts in found.values() for fact in facts]
        lanes = self._view.lanes(ids) if ids else {}
        for doc, facts in found.items():
            document = self._documents[doc]
            for fact in facts:
                document.before[fact.id] = lanes[fact.id]
                if fact.id not in document.heard and fact.id not in document.left:
                    document.rest.append(fact)

    def _make_room(self) -> list[DocId]:
        """Bar the oldest documents from held sets that are full; return those of them not loaded yet."""
        newcomers = defaultdict[tuple[LaneKey, TownId, Allotment], list[tuple[int, DocId]]](list)
        leaving = defaultdict[tuple[LaneKey, TownId, Allotment], set[DocId]](set)
        for doc, document in self._documents.items():
            allotment = document.allotment
            if allotment is None:
                continue
            kept = document.kept() if document.before else _NOWHERE
            for key in document.wanted() - kept if kept else document.wanted():
                newcomers[key, document.town, allotment].append((document.born, doc))
            if document.before:
                for key in document.was() - kept:
                    leaving[key, document.town, allotment].add(doc)
        for place in self._narrowed:
            newcomers[place] += []
        unknown = list[DocId]()
        for place, entering in newcomers.items():
            key, town, allotment = place
            for born, doc in self._outranked(place, entering, leaving[place]):
                if doc not in self._documents:
                    self._documents[doc] = Document(town, born, "", allotment)
                    unknown.append(doc)
                self._documents[doc].barred.add(key)
        return unknown

    def _outranked(
        self,
        place: tuple[LaneKey, TownId, Allotment],
        entering: list[tuple[int, DocId]],
        leaving: set[DocId],
    ) -> list[tuple[int, DocId]]:
        """Return which documents of a town are too old for a held set when these enter and those leave."""
        key, town, allotment = place
        room = self._authority.room(key, town, allotment)
        if room is None:
            return []
        excess = self._view.document_count(key, town, allotment) - len(leaving) + len(entering) - room
        if excess <= 0:
            return []
        oldest = self._view.oldest_documents(key, town, excess + len(leaving), allotment)
        return sorted([each for each in oldest if each[1] not in leaving] + entering)[:excess]

    def _rule(self, document: Document) -> None:
        """Decide on each record of one document."""
        if len(document.heard) == 1 and not (document.before or document.barred):
            # As of nearly all: nothing was held of it, and there is room.
            for record, lanes in document.heard.values():
                self._let_stand(record, lanes, document)
            return
        for id, cause in document.left.items():
            self._remove.append((id, document.before[id], cause, None))
        if document.barred and not document.wanted() - document.barred:
            self._turn_away(document)
            return
        because: dict[RecordId, RecordId] = {}
        if len(document.heard) + len(document.rest) > 1:
            because = dict(document.merged().superseded)
        for id, (record, lanes) in document.heard.items():
            if id in because:
                self._drop(id, document, because[id])
            else:
                self._let_stand(record, lanes, document)
        # Whatever may stand of a document belongs in the same held sets; what stands for good has its own.
        together = document.rest and document.heard and not stands_for_good(document.kind)
        open_to = document.wanted() - document.barred if together else _NOWHERE
        for fact in document.rest:
            if fact.id in because:
                self._drop(fact.id, document, because[fact.id])
                continue
            before = document.before[fact.id]
            if document.barred:
                self._take_out(fact.id, before & document.barred, QUOTA)
            if not open_to <= before:
                self._along[fact.id] = open_to - before

    def _let_stand(self, record: Record, lanes: frozenset[LaneKey], document: Document) -> None:
        """Hold a record where it belongs and has room, and nowhere else."""
        before = document.before.get(record.id, _NOWHERE)
        final = lanes - document.barred if document.barred else lanes
        enters = final - before if before else final
        if enters:
            self._hold.append((record, enters))
        if before:
            self._take_out(record.id, before - lanes, NOT_MEMBER)
            self._take_out(record.id, before & lanes & document.barred, QUOTA)
        self.verdicts[record.id] = Verdict(record.id, State.HELD, KNOWN if before else HELD_NOW)

    def _take_out(self, id: RecordId, lanes: frozenset[LaneKey], cause: str) -> None:
        if lanes:
            self._remove.append((id, lanes, cause, None))

    def _drop(self, id: RecordId, document: Document, because: RecordId) -> None:
        """Drop a record because another of its document stands instead."""
        if id in document.before or id in self._known:
            self._remove.append((id, document.before.get(id, _NOWHERE), SUPERSEDED, because))
        self.verdicts[id] = Verdict(id, State.DROPPED, SUPERSEDED, because)

    def _turn_away(self, document: Document) -> None:
        """Let go of a whole document for which no held set has room."""
        for id in [*document.heard, *(fact.id for fact in document.rest)]:
            if id in document.before or id in self._known:
                self._remove.append((id, document.before.get(id, _NOWHERE), QUOTA, None))
            self.verdicts[id] = Verdict(id, State.NOT_NOW, QUOTA)
