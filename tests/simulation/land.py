"""The land of one seed: towns, their nodes, who knows whom, two federations, and what all must come to.

One federation is of all towns, some of which are admitted only while things go wrong. A smaller one is of
neighbours, and its everyday lane has little room. Some towns have two devices. What every node must hold
in the end follows from all that was ever acknowledged, worked out by `tests.sync.world.specified`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random
from typing import Final

from protocol.ids import FederationId, Lane, LaneKey, RecordId, TownId, home_id
from protocol.record import Record
from tests.simulation.village import START_MS, Node, Signatures
from tests.simulation.virtual import Network, Time
from tests.sync.world import Held, Town, federation_of, specified

ROOM: Final = (9, 4, 9)
"""Documents of one town in the lanes of the smaller federation."""
STRANGERS_EVERY: Final = 4
"""In every so-manieth seed nobody knows of anybody at first."""
SKEW_MS: Final = 60_000
"""Wall clocks are wrong by up to this, those of one town alike, so that its devices meet in one stamp."""


class Land:
    """Towns and nodes; everything follows from the seed.

    Attributes:
        acknowledged: Every record of which somebody was told that it is kept.
        members: The towns of each federation, in the end.
        late: Towns that are admitted after the beginning.
    """

    def __init__(self, seed: int, towns: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.time = Time()
        self.network = Network(self.time, Random(self.rng.random()))
        self.signatures = Signatures()
        self.counts = Counter[str]()
        self.acknowledged = dict[RecordId, Record]()
        self.towns = [Town(f"{seed} {index}") for index in range(towns)]
        self.nodes = list[Node]()
        self.nodes_of = defaultdict[TownId, list[Node]](list)
        self.edges = list[tuple[Node, Node]]()
        self._build()
        self._found()
        for node in self.nodes:
            node.start()

    def pairs(self) -> list[Town]:
        """Return the towns that have two devices."""
        return [town for town in self.towns if len(self.nodes_of[town.id]) > 1]

    def acknowledge(self, records: list[Record]) -> None:
        """Note that somebody was told that these are kept."""
        self.acknowledged.update((record.id, record) for record in records)

    def kind_of_node(self, town: Town) -> type[Node]:
        """Return what the devices of a town run."""
        return Node

    def _build(self) -> None:
        pairs = max(1, len(self.towns) // 10)
        for index, town in enumerate(self.towns):
            skew_ms = self.rng.randint(-SKEW_MS, SKEW_MS)
            for device in range(1, 3 if index < pairs else 2):
                node = self.kind_of_node(town)(
                    index=len(self.nodes),
                    town_id=town.id,
                    key=town.device(device),
                    certificate=town.certificate(device),
                    time=self.time,
                    network=self.network,
                    rng=Random(self.rng.random()),
                    signatures=self.signatures,
                    skew_ms=skew_ms,
                )
                self.nodes.append(node)
                self.nodes_of[town.id].append(node)
        for index, town in enumerate(self.towns[1:], 1):
            self._connect(
                self.nodes_of[town.id][0], self.nodes_of[self.towns[self.rng.randrange(index)].id][0]
            )
        for town in self.pairs():
            self._connect(*self.nodes_of[town.id])
        for _ in range(len(self.towns) // 3):
            self._connect(*self.rng.sample(self.nodes, 2))

    def _connect(self, one: Node, other: Node) -> None:
        if (one, other) not in self.edges and (other, one) not in self.edges:
            self.edges.append((one, other))
            one.peers.append(other)

    def _found(self) -> None:
        """Give every node its certificates and consents, and the founder the charters.

        In most seeds the towns that are no latecomers have met before; in the others everybody has to be
        told of the federations first.
        """
        count = len(self.towns)
        late = set(self.rng.sample(self.towns[3:], max(1, count // 6)))
        neighbours = self._neighbours(max(3, count // 3))
        charter = self.towns[0].charter(
            "all", self.towns[:3], [town for town in self.towns if town not in late]
        )
        second = self.towns[0].charter("neighbours", neighbours[:2], neighbours, ROOM)
        self.all, self.few = federation_of(charter), federation_of(second)
        self.members = {
            self.all: [town.id for town in self.towns],
            self.few: [town.id for town in neighbours],
        }
        self.late = late
        late_ids = {town.id for town in late}
        given = {
            node: self._papers(town, number) for town in self.towns for number, node in self._numbered(town)
        }
        given[self.nodes[0]] += [charter, second]
        if self.seed % STRANGERS_EVERY:
            known = [
                record
                for node, records in given.items()
                if node.town_id not in late_ids
                for record in records
            ]
            for node in given:
                if node.town_id not in late_ids:
                    given[node] = known
        for node, records in given.items():
            self.acknowledge(records)
            node.take_in([record.raw for record in records])

    def _numbered(self, town: Town) -> list[tuple[int, Node]]:
        return list(enumerate(self.nodes_of[town.id], 1))

    def _papers(self, town: Town, device: int) -> list[Record]:
        """Return what a device has from its town: certificates and consents."""
        # The consents were signed by the first device, so the second needs its certificate too.
        certificates = [town.certificate(number) for number in range(1, device + 1)]
        near = town.id in self.members[self.few]
        return [*certificates, town.join(self.all), *([town.join(self.few)] if near else [])]

    def _neighbours(self, count: int) -> list[Town]:
        """Return towns around the first that hang together."""
        by_id = {town.id: town for town in self.towns}
        found = [self.towns[0]]
        for town in found:
            for one, other in self.edges:
                for here, there in ((one, other), (other, one)):
                    near = by_id[there.town_id]
                    if here.town_id == town.id and near not in found and len(found) < count:
                        found.append(near)
        return found

    # What all must come to.

    def are_digests_equal(self) -> bool:
        """Tell whether all members of each federation, and all devices of each town, hold the same ids."""
        for federation, towns in self.members.items():
            nodes = [node for town in towns for node in self.nodes_of[town]]
            if any(node.hub is None or federation not in node.hub.authority.federations for node in nodes):
                return False
            if not self._agree(nodes, federation):
                return False
        return all(self._agree(self.nodes_of[town.id], home_id(town.id)) for town in self.pairs())

    def _agree(self, nodes: list[Node], federation: FederationId) -> bool:
        for lane in Lane:
            key: LaneKey = (federation, lane)
            digests = set[bytes]()
            for node in nodes:
                held = node.hub.held.get(key) if node.hub is not None else None
                digests.add(held.digest() if held is not None and held.count else b"")
            if len(digests) > 1:
                return False
        return True

    def check_state(self) -> None:
        """Compare the bytes of every held set with what follows from all that was acknowledged."""
        now_s = (START_MS + self.time.now_ms) // 1_000
        for town in dict.fromkeys([self.towns[0], *self.pairs()]):
            expected = specified(town.id, self.acknowledged.values(), now_s)
            self._check_lanes(home_id(town.id), self.nodes_of[town.id], expected)
            if town is self.towns[0]:
                for federation, towns in self.members.items():
                    nodes = [node for member in towns for node in self.nodes_of[member]]
                    self._check_lanes(federation, nodes, expected)
                self._count_pushed_out(expected)
        for node in self.nodes:
            assert not node.incidents, f"seed {self.seed}: {node.index} showed {node.incidents[0]}"

    def _check_lanes(self, federation: FederationId, nodes: list[Node], expected: Held) -> None:
        for lane in Lane:
            key = (federation, lane)
            raws = {id: self.acknowledged[id].raw for id in expected.get(key, ())}
            for node in nodes:
                assert node.lane(key) == raws, f"seed {self.seed}: {node.index} differs in {key}"

    def _count_pushed_out(self, expected: Held) -> None:
        """Count the documents for which the everyday lane of the smaller federation had no room."""
        key = (self.few, Lane.EVERYDAY)
        standing = {self.acknowledged[id].doc for id in expected[key]}
        headers = [(record.doc, record.header) for record in self.acknowledged.values()]
        listed = {doc for doc, header in headers if self.few in header.federations and header.lane == key[1]}
        self.counts["pushed out"] += len(listed - standing)
