"""Copied cards, old backups and stolen keys, among towns that go on with their work.

* A **clone**: a second board runs with a copy of the first one's card, key and all, at another place of the
  net, and both write. Later it is given a key of its own, and meets the first one.
* A **restored backup**: a board comes back as it was some time before, and goes on writing.
* A **thief** has a board's device key. He writes over, takes back and posts in its name, dated as he likes,
  before and after the town has taken the key back and said what stays.

In the end all hold the same bytes, those that follow from all that was heard. Nothing that was acknowledged
is lost, but for what a board had told nobody before its backup took its place.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from node.drafts import Draft
from node.intake import Intake
from node.store.memory_turn import MemoryTransaction
from protocol.clock import stamp_at
from protocol.identity import SigningKey
from protocol.ids import DeviceId, Lane, Op
from protocol.record import Record, make, make_body
from tests.simulation.hostile import LIES_MS, Den
from tests.simulation.village import START_MS, Node
from tests.sync.world import FAR_S, Town

CLONED_MS, RENEWED_MS = 15_000, 50_000
"""When a card is copied, and when the copy gets a key of its own."""
SAVED_MS, RESTORED_MS = 12_000, 30_000
"""When a backup is made, and when it takes the board's place."""
STOLEN_MS, REVOKED_MS = 20_000, 42_000
"""When a key is stolen, and when its town takes it back."""
WORDS: Final = 6
"""So often a thief writes, and so often each of those concerned."""


class Copies(Den):
    """A land of honest towns, in which one board is cloned, one restored, and one robbed of its key."""

    def __init__(self, seed: int, towns: int) -> None:
        super().__init__(seed, towns, towns)
        # Towns with one board that were there from the beginning, and found nothing.
        ready = [town for town in self.towns[3:] if town not in self.late]
        ready = [town for town in ready if len(self.nodes_of[town.id]) == 1]
        self.cloned, self.restored, self.robbed = self.rng.sample(ready, 3)
        self._posted = list[Record]()
        for town in (self.cloned, self.restored, self.robbed):
            for _ in range(WORDS):
                self.time.at(self.rng.randint(3_000, LIES_MS), partial(self._write_something, town))
        for _ in range(2 * WORDS):
            self.time.at(self.rng.randint(STOLEN_MS, LIES_MS), self._steal)
        self.time.at(CLONED_MS, self._clone)
        self.time.at(RENEWED_MS, self._renew)
        self.time.at(SAVED_MS, self._save)
        self.time.at(RESTORED_MS, self._restore)
        self.time.at(REVOKED_MS, self._revoke)

    def _write_something(self, town: Town) -> None:
        node = self.rng.choice([each for each in self.nodes_of[town.id] if each.is_up])
        fields: dict[str, object] = {"title": f"{node.index} at {self.time.now_ms}"}
        record = self._write(node, Draft("offer", fields=fields, federations=(self.all,)))  # type: ignore[arg-type]
        if record is not None:
            self._posted.append(record)

    # A clone.

    def _clone(self) -> None:
        first = self.nodes_of[self.cloned.id][0]
        twin = Node(
            index=len(self.nodes),
            town_id=first.town_id,
            key=first.key,
            certificate=first.certificate,
            time=self.time,
            network=self.network,
            rng=self.rng,
            signatures=self.signatures,
            skew_ms=first.skew_ms,
        )
        twin.store.state = copied(first.store.state, self.rng.randbytes(4))
        # It stands elsewhere: nobody has a link to both, as nobody has two links to one device.
        near = {peer.index for one, other in self.edges if first in (one, other) for peer in (one, other)}
        far = [node for node in self.nodes if node.index not in near]
        for peer in self.rng.sample(far, min(2, len(far))):
            self.edges.append((twin, peer))
            twin.peers.append(peer)
        self.nodes.append(twin)
        self.honest.append(twin)
        self.nodes_of[self.cloned.id].append(twin)
        twin.start()
        self.counts["clones"] += 1

    def _renew(self) -> None:
        """Give the clone a key of its own, and a cable to the board that it was copied from."""
        first, twin = self.nodes_of[self.cloned.id]
        self._give_key(twin, self.cloned, 2)
        self._connect(twin, first)
        twin.start()

    def _give_key(self, node: Node, town: Town, number: int) -> None:
        node.crash()
        node.key, node.certificate = town.device(number), town.certificate(number)
        node.device_id = DeviceId(node.key.public)
        node.intake = Intake(node.store, node.key, node._read_clock, chance=node.rng.randbytes)
        node.intake.announce = node._announce
        self.acknowledge([node.certificate])
        node.take_in([node.certificate.raw])

    # A backup.

    def _save(self) -> None:
        state = self.nodes_of[self.restored.id][0].store.state
        self._backup = copied(state, self.rng.randbytes(4))

    def _restore(self) -> None:
        node = self.nodes_of[self.restored.id][0]
        node.crash()
        others = [each.store.state for each in self.nodes if each is not node]
        for id, record in list(self.acknowledged.items()):
            if record.header.device == node.device_id and not self._backup.known([id]):
                if any(state.known([id]) for state in others):
                    self.counts["came back"] += 1
                else:
                    # Nobody else had it, so it is gone with the disk.
                    del self.acknowledged[id]
                    self.counts["gone with the disk"] += 1
        node.store.state = self._backup
        node.start()
        self.counts["restores"] += 1

    # A thief.

    def _steal(self) -> None:
        """Write over, take back or post in the robbed town's name, and give it to anybody."""
        own = [each for each in self._posted if each.header.town == self.robbed.id]
        stamp = self.rng.choice([0, stamp_at(START_MS + self.time.now_ms + 3_600_000)])
        number, at_s = self.counts["thefts"], START_MS // 1_000
        op = self.rng.choice([Op.PUT, Op.PUT, Op.DELETE])
        if own and self.rng.random() < 0.8:
            record = over(self.rng.choice(own), self.robbed.device(1), op, stamp, number)
        else:
            record = self.robbed.write(
                "offer", f"theft {number}", fields={"title": "a trap"}, federations=[self.all],
                lane=Lane.EVERYDAY, stamp=stamp, born=at_s, expires=FAR_S, counter=number,
            )  # fmt: skip
        self.rng.choice([node for node in self.nodes if node.is_up]).take_in([record.raw])
        self.counts["thefts"] += 1

    def _revoke(self) -> None:
        """Take the key back, keep what the town itself acknowledged, and go on with another one."""
        node = self.nodes_of[self.robbed.id][0]
        stolen = self.robbed.device(1).public
        honest = [each for each in self.acknowledged.values() if each.header.device == stolen]
        words = [self.robbed.revoke(1), self.robbed.keep(*honest)]
        self._give_key(node, self.robbed, 2)
        self.acknowledge(words)
        node.take_in([each.raw for each in words])
        node.start()
        self.counts["kept"] = len(honest)
        self.counts["revocations"] += 1

    def live(self) -> None:
        """Let everything befall them."""
        self.time.run_until(LIES_MS)

    def check_acknowledged(self) -> None:
        """Check that every honest post of those concerned stands on every board."""
        for record in self._posted:
            if record.id not in self.acknowledged:
                continue
            for node in self.nodes:
                assert record.id in node.lane((self.all, Lane.EVERYDAY)), (
                    f"seed {self.seed}: {node.index} does not hold what {record.header.town.hex()[:8]} posted"
                )


def copied(state: MemoryTransaction, epoch: bytes) -> MemoryTransaction:
    """Return a copy of a store, as a card is copied; a board that starts from it opens another epoch."""
    twin = MemoryTransaction(state.own_town, epoch)
    for name, value in vars(state).items():
        # Nothing in a store is nested deeper than sets of one key.
        inner = value.items() if isinstance(value, dict) else ()
        parts = {key: each.copy() if isinstance(each, dict | set) else each for key, each in inner}
        setattr(twin, name, parts if isinstance(value, dict) else value)
    twin.set_meta("epoch", epoch)
    return twin


def over(record: Record, key: SigningKey, op: Op, stamp: int, number: int) -> Record:
    """Return another record of the same document, by this key."""
    header = record.header
    return make(
        key,
        town=header.town,
        epoch=b"lies",
        counter=number,
        stamp=stamp,
        kind=header.kind,
        lane=header.lane,
        federations=header.federations,
        born=header.born,
        expires=header.expires,
        nonce=header.nonce,
        op=op,
        body=None if op is Op.DELETE else make_body(bytes(16), {"title": "written over"}),
    )


def run_copies(seed: int, towns: int) -> Copies:
    """Run one seed; an AssertionError says what did not come out right."""
    land = Copies(seed, towns)
    land.live()
    land.counts["equal after ms"] = land.wait_until_honest_are_equal()
    land.check_honest()
    land.check_acknowledged()
    return land
