"""Towns among liars: up to all neighbours but one keep back, repeat, garble and contradict themselves.

A *rogue* is a member of the federations like any other, with a certified device and the real hub, and lies on
the way out: it swallows frames, says old ones again on any link, flips bits, answers wants with half of what
it holds, and gives each of two honest nodes another version of what it has written: two puts of one stamp,
two entries in one place of a ledger that it keeps.

What must hold is what honest towns are promised. All the time, on each of them: whatever a ledger says,
nothing is promised twice; nothing acknowledged is lost. And although the rogues never stop, the honest towns,
which have a way to each other, come to hold the same bytes: those that follow from all that any of them has
heard.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Final

from node.errors import HedgerowError
from node.intake import Draft
from protocol.ids import DeviceId, DocId, Lane, Op, RecordId, TownId
from protocol.record import Record, open_record
from sync.books import Book, settle
from sync.events import Effect, Input, Load, Loaded, Send
from sync.ledger import LEDGER, Entry, Ledger, fields_of_entry, read
from sync.promises import Act, Word
from tests.simulation.land import Land
from tests.simulation.scenario import LIVENESS_MS, SETTLED_MS
from tests.simulation.village import START_MS, Node
from tests.sync.bookkeeper import accept, capacity, say, stands
from tests.sync.world import FAR_S, Town, specified

LIES_MS: Final = 60_000
"""So long rogues write new things; their links they go on abusing to the end."""
ACTS: Final = 12
"""Lies in writing, and honest posts, in one seed."""
SWALLOWED, REPEATED, GARBLED = 0.02, 0.04, 0.05
"""Of each rogue's frames, as bounds of one throw."""
REMEMBERED: Final = 50
"""Frames that a rogue keeps to say again."""


class Rogue(Node):
    """A node that runs the real hub, and lies on the way out."""

    said: list[bytes]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.said = []
        self.lies = 0

    def _tell(self, told: Input) -> None:
        try:
            super()._tell(told)
        except Exception:
            # Its own hub may trip over its own lies; nobody is harmed but itself.
            self.crash()
            self.time.after(1_000, self._come_back)

    def _come_back(self) -> None:
        if not self.is_up:
            self.start()

    def _perform(self, effect: Effect) -> None:
        if not isinstance(effect, Send):
            super()._perform(effect)
            return
        for frame in self._twisted(effect.frame):
            super()._perform(Send(effect.link, frame))

    def _twisted(self, frame: bytes) -> list[bytes]:
        """Return what is said in place of a frame."""
        self.said = [*self.said[-REMEMBERED:], frame]
        throw = self.rng.random()
        self.lies += throw < GARBLED
        if throw < SWALLOWED:
            return []
        if throw < REPEATED:
            return [frame, self.rng.choice(self.said)]
        if throw < GARBLED:
            bit = self.rng.randrange(len(frame) * 8)
            return [frame[: bit // 8] + bytes([frame[bit // 8] ^ 1 << bit % 8]) + frame[bit // 8 + 1 :]]
        return [frame]

    def _load(self, effect: Load) -> None:
        raws, more = self.store.state.raws_by_prefix(effect.key, effect.prefixes, effect.bytes_max)
        kept_back = tuple(raw for raw in raws if raw[-1] % 2)
        self.lies += len(kept_back) < len(raws)
        self._tell(Loaded(effect.link, effect.token, kept_back, more))


class Den(Land):
    """A land in which only the first so many towns are honest; they hang together by their own links."""

    def __init__(self, seed: int, towns: int, honest: int) -> None:
        self._honest = honest
        self._names = {f"{seed} {index}" for index in range(honest)}
        super().__init__(seed, towns)
        self.honest = [node for node in self.nodes if not isinstance(node, Rogue)]
        self.rogues = [node for node in self.nodes if isinstance(node, Rogue)]
        self._ledgers = defaultdict[TownId, list[Record]](list)
        for _ in range(ACTS):
            self.time.at(self.rng.randint(1_000, LIES_MS), self._post)
            self.time.at(self.rng.randint(1_000, LIES_MS), self._promise)
            self.time.at(self.rng.randint(1_000, LIES_MS), self._contradict)
            self.time.at(self.rng.randint(1_000, LIES_MS), self._cheat)
        for town in sorted(self.late, key=lambda town: town.name):
            self.time.at(self.rng.randint(2_000, LIES_MS), partial(self._admit, town))

    def kind_of_node(self, town: Town) -> type[Node]:
        """Return what the devices of a town run."""
        return Node if town.name in self._names else Rogue

    # Honest work.

    def _post(self) -> None:
        node = self.rng.choice(self.honest)
        fields: dict[str, object] = {"title": f"{node.index} at {self.time.now_ms}"}
        self._write(node, Draft("offer", fields=fields, federations=(self.all,)))  # type: ignore[arg-type]

    def _admit(self, town: Town) -> None:
        steward = self.nodes_of[self.towns[0].id][0]
        fields: dict[str, object] = {"town": town.id, "name": town.name}
        draft = Draft("federation.admit", fields=fields, federations=(self.all,), expires=FAR_S)  # type: ignore[arg-type]
        self._write(steward, draft)

    def _write(self, node: Node, draft: Draft) -> Record | None:
        """Post one draft; None if this node cannot take it yet, which it says."""
        try:
            records = node.post([draft])
        except HedgerowError:
            return None
        self.acknowledge(records)
        return records[0]

    def _promise(self) -> None:
        """Let an honest keeper write the next entry of its ledger."""
        node = self.nodes_of[self.towns[0].id][0]
        entries = self._ledgers[node.town_id]
        cites = (entries[-1].id,) if entries else ()
        draft = self._draft(len(entries) + 1, self._word(len(entries)), cites, entries)
        if (record := self._write(node, draft)) is not None:
            entries.append(record)
            self.counts["promises"] += 1

    def _word(self, number: int) -> Word:
        if number == 0:
            return capacity(5_000)
        return self.rng.choice(
            [
                accept(number, 1_000 * self.rng.randint(1, 4)),
                say(Act.RELEASE, number - 1),
                say(Act.WAIT, number),
            ]
        )

    def _draft(self, n: int, word: Word, cites: tuple[RecordId, ...], entries: list[Record]) -> Draft:
        fields = fields_of_entry(n, word)
        doc = entries[0].doc if entries else None
        return Draft(
            LEDGER, Op.ENTRY, fields, (self.all,), Lane.EVERYDAY, expires=FAR_S, cites=cites, doc=doc
        )

    # Lies in writing.

    def _contradict(self) -> None:
        """Give two honest nodes two versions of one document, of one stamp."""
        if not self.rogues:
            return
        town = self._town_of(self.rng.choice(self.rogues))
        nonce = f"word {self.time.now_ms}"
        ops = self.rng.sample([Op.PUT, Op.PUT, Op.ENTRY, Op.DELETE], 2)
        for number, op in enumerate(ops):
            record = town.write(
                "offer", nonce, op=op, fields={"title": f"version {number}"}, federations=[self.all],
                lane=Lane.EVERYDAY, stamp=7, born=START_MS // 1_000, counter=number,
            )  # fmt: skip
            self.rng.choice(self.honest).take_in([record.raw])
        self.counts["contradictions"] += 1

    def _cheat(self) -> None:
        """Give two honest nodes two entries in one place of a rogue's ledger, each promising everything."""
        if not self.rogues:
            return
        town = self._town_of(self.rng.choice(self.rogues))
        entries = self._ledgers[town.id]
        if not entries:
            entries.append(self._entry(town, 1, capacity(3_000), ()))
            self._hand_out(entries)
        n, last = len(entries) + 1, entries[-1].id
        branches = [
            self._entry(town, n, accept((self.time.now_ms, number), 3_000), (last,), number)
            for number in (0, 1)
        ]
        for branch in branches:
            self._hand_out([branch])
        entries.append(self.rng.choice(branches))
        self.counts["cheats"] += 1

    def _entry(self, town: Town, n: int, word: Word, cites: tuple[RecordId, ...], number: int = 0) -> Record:
        return town.write(
            LEDGER, "ledger", op=Op.ENTRY, fields=fields_of_entry(n, word), federations=[self.all],
            lane=Lane.EVERYDAY, born=START_MS // 1_000, counter=number, cites=cites,
        )  # fmt: skip

    def _hand_out(self, records: list[Record]) -> None:
        self.rng.choice(self.honest).take_in([record.raw for record in records])

    def _town_of(self, node: Node) -> Town:
        return next(town for town in self.towns if town.id == node.town_id)

    # What honest towns are promised.

    def live(self) -> None:
        """Let the rogues have their time, and look at every honest node now and then."""
        while self.time.now_ms < LIES_MS:
            self.time.run_until(self.time.now_ms + 5_000)
            self.look()

    def look(self) -> None:
        """Check what must hold at every moment on every honest node."""
        for node in self.honest:
            known = node.store.state.known(list(self.acknowledged))
            for ledger in self.ledgers(node).values():
                stands(ledger)
            for id, record in self.acknowledged.items():
                if record.header.device == node.device_id:
                    assert id in known, f"seed {self.seed}: node {node.index} has lost what it acknowledged"

    def ledgers(self, node: Node) -> dict[DocId, Ledger]:
        """Return what all ledgers come to on a node."""
        entries = defaultdict[tuple[DocId, TownId], list[Entry]](list)
        for raw in node.lane((self.all, Lane.EVERYDAY)).values():
            record = open_record(raw)
            if (entry := read(record)) is not None:
                entries[record.doc, record.header.town].append(entry)
        books = [Book(doc, town, tuple(found)) for (doc, town), found in entries.items()]
        return dict(settle(books, lambda town: frozenset({DeviceId(bytes(town))})))

    def wait_until_honest_are_equal(self) -> int:
        """Let time pass, the rogues at work, until all honest nodes hold the same; return how long."""
        start_ms = self.time.now_ms
        while not self._honest_agree():
            waited_ms = self.time.now_ms - start_ms
            assert waited_ms < 2 * LIVENESS_MS, f"seed {self.seed}: honest towns differ after {waited_ms} ms"
            self.time.run_until(self.time.now_ms + SETTLED_MS)
        return self.time.now_ms - start_ms

    def _honest_agree(self) -> bool:
        lanes = [(self.all, lane) for lane in Lane]
        return all(len({frozenset(node.lane(key)) for node in self.honest}) == 1 for key in lanes)

    def check_honest(self) -> None:
        """Compare what the honest hold with what follows from all that any of them has heard."""
        heard = {
            id: open_record(raw)
            for node in self.honest
            for lane in Lane
            for id, raw in node.lane((self.all, lane)).items()
        }
        ours = {node.town_id for node in self.honest}
        heard.update((id, each) for id, each in self.acknowledged.items() if each.header.town in ours)
        now_s = (START_MS + self.time.now_ms) // 1_000
        expected = specified(self.honest[0].town_id, heard.values(), now_s)
        for lane in Lane:
            raws = {id: heard[id].raw for id in expected.get((self.all, lane), ())}
            for node in self.honest:
                assert node.lane((self.all, lane)) == raws, (
                    f"seed {self.seed}: {node.index} differs in {lane}"
                )
        self.counts["lies"] = sum(rogue.lies for rogue in self.rogues)


def run_den(seed: int, towns: int, honest: int) -> Den:
    """Run one seed among liars; an AssertionError says what was not kept of the promises to the honest."""
    den = Den(seed, towns, honest)
    den.live()
    den.counts["equal after ms"] = den.wait_until_honest_are_equal()
    den.look()
    den.check_honest()
    return den
