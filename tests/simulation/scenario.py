"""What happens in one seed: people at work, and everything that can go wrong.

Faults last until `FAULTS_MS`; then everything heals and every node is up, and within `LIVENESS_MS` all
nodes must hold the same bytes, those that `land` says.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import Final

from node.errors import HedgerowError
from node.intake import Draft
from protocol.encoding import Value
from protocol.errors import LimitExceeded
from protocol.ids import DocId, FederationId, Lane, Op, RecordId, TownId
from protocol.limits import BEAT_MS, SILENCE_MS
from protocol.record import Record, open_record
from tests.simulation.land import Land
from tests.simulation.village import REDIAL_MS, START_MS, Node
from tests.sync.world import FAR_S, Town

FAULTS_MS: Final = 75_000
"""So long things go wrong."""
QUIET_MS: Final = 14_000
"""Before this only what two devices of a town write apart is a trouble."""
SETTLED_MS: Final = 500
"""So often it is asked whether all is equal."""
LIVENESS_MS: Final = SILENCE_MS + 2 * REDIAL_MS[1] + 2 * BEAT_MS
"""Then everything is equal: silence is found out, links are dialled anew, and digests are compared twice."""
WRONG_MS: Final = (2_000, 15_000)
"""So long a clock stays wrong, or one of the links that are cut one after another."""
YEAR_MS: Final = 366 * 86_400_000
POSTS, EDITS, DELETES = 8, 6, 3
"""Acts of people anywhere, besides what towns with two devices do."""
COUNTS: Final = (
    "cuts",
    "breaks",
    "restarts",
    "replays",
    "forgeries",
    "strangers",
    "wrong clocks",
    "swizzles",
    "posts",
    "edits",
    "concurrent edits",
    "deletes",
    "pushed out",
    "issued again",
)
NOT_IN_ALL: Final = frozenset({"pushed out", "issued again"})
"""Where a clock was wrong, what would have pushed something out may be let go again, and a clock that was
behind has dated nothing ahead."""


@dataclass(frozen=True)
class Outcome:
    """What one seed came to.

    Attributes:
        equal_ms: How long after the end of the faults everything was equal.
    """

    seed: int
    towns: int
    nodes: int
    trace_hash: str
    equal_ms: int
    records: int
    frames: int
    checked: int
    counts: dict[str, int]

    def line(self) -> str:
        """Return all of it as one line."""
        counts = " ".join(f"{name.replace(' ', '_')}={self.counts[name]}" for name in COUNTS)
        return (
            f"seed={self.seed} towns={self.towns} nodes={self.nodes} trace={self.trace_hash}"
            f" equal_after_ms={self.equal_ms} records={self.records} frames={self.frames}"
            f" checked={self.checked} {counts}"
        )


def run_seed(seed: int, towns: int) -> Outcome:
    """Run one seed; an AssertionError says what did not come out right."""
    scene = Scene(seed, towns)
    scene.time.run_until(FAULTS_MS)
    scene.heal()
    equal_ms = scene.wait_until_equal()
    scene.check_state()
    missing = [name for name in COUNTS if not scene.counts[name] and name not in NOT_IN_ALL]
    assert not missing, f"seed {seed}: there were no {', '.join(missing)}"
    return Outcome(
        seed=seed,
        towns=towns,
        nodes=len(scene.nodes),
        trace_hash=scene.time.trace_hash(),
        equal_ms=equal_ms,
        records=len(scene.acknowledged),
        frames=scene.network.frames_count,
        checked=scene.signatures.checked_count,
        counts=dict(scene.counts),
    )


class Scene(Land):
    """A land, and a plan of what befalls it."""

    def __init__(self, seed: int, towns: int) -> None:
        super().__init__(seed, towns)
        self._latest = dict[DocId, tuple[Node, RecordId]]()
        self._documents = defaultdict[TownId, list[DocId]](list)
        self._ops = dict[DocId, Op]()
        self._plan()

    # The plan.

    def _plan(self) -> None:
        rng = self.rng
        for _ in range(2 + len(self.towns) // 25):
            self.time.at(rng.randint(QUIET_MS, FAULTS_MS - 10_000), self._partition)
            self.time.at(rng.randint(QUIET_MS, FAULTS_MS - 30_000), self._swizzle)
            self.time.at(rng.randint(QUIET_MS, FAULTS_MS - WRONG_MS[1]), self._set_clock_wrong)
        for _ in range(2 + len(self.towns) // 10):
            for fault in (
                self._cut_one_way,
                self._break,
                self._crash,
                self._replay,
                self._forge,
                self._intrude,
            ):
                self.time.at(rng.randint(QUIET_MS, FAULTS_MS - 5_000), fault)
        for town in sorted(self.late, key=lambda town: town.name):
            self.time.at(rng.randint(5_000, FAULTS_MS - 20_000), partial(self._admit, town))
        for _ in range(POSTS):
            self.time.at(rng.randint(1_000, FAULTS_MS), lambda: self._post(rng.choice(self.nodes)))
        for _ in range(EDITS):
            self.time.at(rng.randint(20_000, FAULTS_MS - 1), self._edit)
        for _ in range(DELETES):
            self.time.at(rng.randint(20_000, FAULTS_MS - 1), self._delete)
        for town in self.pairs():
            for at_ms in (1_000, 1_500):
                self.time.at(at_ms, partial(self._post, self.nodes_of[town.id][0]))
            self.time.at(QUIET_MS - rng.randint(100, 4_000), partial(self._quarrel, town))
            self.time.at(rng.randint(QUIET_MS, FAULTS_MS), partial(self._quarrel, town))
            # The last word comes from both at one moment, so that only the tie-break tells which it is.
            self.time.at(FAULTS_MS, partial(self._quarrel, town))

    # Faults.

    def _partition(self) -> None:
        """Cut the towns in two by silence, for a while: neither side is told."""
        side = set(self.rng.sample(range(len(self.nodes)), self.rng.randint(1, len(self.nodes) - 1)))
        pairs = [(a.index, b.index) for a, b in self.edges if (a.index in side) != (b.index in side)]
        self._cut(pairs + [(b, a) for a, b in pairs], self.rng.choice([3_000, 20_000, 60_000]))

    def _cut_one_way(self) -> None:
        one, other = self.rng.choice(self.edges)
        pair = (one.index, other.index) if self.rng.random() < 0.5 else (other.index, one.index)
        self._cut([pair], self.rng.choice([1_000, 10_000, 60_000]))

    def _cut(self, pairs: list[tuple[int, int]], lasting_ms: int) -> None:
        self.counts["cuts"] += 1
        for pair in pairs:
            self.network.cut(*pair)
            end_ms = min(self.time.now_ms + lasting_ms, FAULTS_MS)
            self.time.at(end_ms, partial(self.network.heal, *pair))

    def _swizzle(self) -> None:
        """Cut links one after another, and let them come back in another order."""
        self.counts["swizzles"] += 1
        for one, other in self.rng.sample(self.edges, max(2, len(self.edges) // 2)):
            pairs = [(one.index, other.index), (other.index, one.index)]
            self.time.after(self.rng.randint(0, WRONG_MS[1]), partial(self._cut, pairs, self._a_while()))

    def _set_clock_wrong(self) -> None:
        """Let a board's clock jump by days or years, in the midst of which it may jump once more.

        As long as it is wrong the node is not sure of it; what people write there is dated so.
        """
        ready = [node for node in self.nodes if node.is_sure]
        node = self.rng.choice(ready)
        right_ms, node.is_sure = node.skew_ms, False
        self.counts["wrong clocks"] += 1
        lasting_ms = self._a_while()
        for after_ms in (0, lasting_ms // 2):
            self.time.after(after_ms, partial(self._jump, node))
            self.time.after(after_ms + 1, partial(self._post, node))
            self.time.after(after_ms + 2, partial(self._edit_at, node))
        self.time.after(lasting_ms, partial(self._set_clock_right, node, right_ms))

    def _jump(self, node: Node) -> None:
        node.skew_ms = self.rng.choice([-1, 1]) * self.rng.choice([3 * YEAR_MS, YEAR_MS, 3 * 86_400_000])

    def _set_clock_right(self, node: Node, skew_ms: int) -> None:
        node.skew_ms, node.is_sure = skew_ms, True
        state, device = node.store.state, node.intake.device
        before = {record.id for record in state.signed_records(node.town_id, [device])}
        # As a node does every minute once it is sure.
        self.counts["let go"] += node.end()
        # What somebody was told is kept is said again under the date of today, and so kept.
        again = [each for each in state.signed_records(node.town_id, [device]) if each.id not in before]
        self.acknowledge(again)
        self.counts["issued again"] += len(again)

    def _a_while(self) -> int:
        return self.rng.randint(*WRONG_MS)

    def _break(self) -> None:
        for one, other in self.rng.sample(self.edges, len(self.edges)):
            broken = self.network.break_links(one.index, other.index)
            if broken:
                self.counts["breaks"] += broken
                return

    def _crash(self) -> None:
        if sum(node.is_up for node in self.nodes) > 1:
            node = self._any_up()
            node.crash()
            self.time.after(self.rng.choice([100, 3_000, 20_000]), partial(self._restart, node))

    def _restart(self, node: Node) -> None:
        if not node.is_up:
            self.counts["restarts"] += 1
            node.start()

    def _replay(self) -> None:
        """Give a node a batch again that somebody had before, as a stick or a slow path does."""
        batches = [batch for node in self.nodes for batch in node.received]
        if batches:
            self.counts["replays"] += 1
            self._any_up().take_in(self.rng.choice(batches))

    def _forge(self) -> None:
        """Give a node a record under an honest id, but with another signature."""
        records = list(self.acknowledged.values())
        victim, other = self.rng.sample(records, 2)
        forged = victim.raw.replace(victim.signature, other.signature)
        assert open_record(forged).id == victim.id and forged != victim.raw
        self.counts["forgeries"] += 1
        self._any_up().take_in([forged])

    def _intrude(self) -> None:
        """Give a node what a town wrote that nobody admitted, with the town's certificate."""
        stranger = Town(f"stranger {self.seed}")
        post = stranger.write("offer", str(self.time.now_ms), federations=[self.all], born=START_MS // 1_000)
        self.counts["strangers"] += 1
        self._any_up().take_in([stranger.certificate().raw, stranger.join(self.all).raw, post.raw])

    def _any_up(self) -> Node:
        return self.rng.choice([node for node in self.nodes if node.is_up])

    # People.

    def _write(self, node: Node, draft: Draft) -> Record | None:
        """Post one draft; None if this node cannot take it now, which it says."""
        if not node.is_up:
            return None
        try:
            records = node.post([draft])
        except (HedgerowError, LimitExceeded):
            return None  # LimitExceeded: by a wrong clock it would end before it is born
        self.acknowledge(records)
        self._latest[records[0].doc] = (node, records[0].id)
        return records[0]

    def _admit(self, town: Town) -> None:
        steward = self.rng.choice(self.towns[:3])
        node = self.nodes_of[steward.id][0]
        fields: dict[str, Value] = {"town": town.id, "name": town.name}
        draft = Draft("federation.admit", fields=fields, federations=(self.all,), expires=FAR_S)
        # What is dated years from now is let go again, and a steward sees that the clock is not sure.
        if not node.is_sure or self._write(node, draft) is None:
            self.time.after(2_000, partial(self._admit, town))

    def _audiences(self, node: Node) -> list[tuple[FederationId, ...]]:
        assert node.hub is not None
        joined = node.hub.authority.federations_of(node.town_id)
        return [(), *((each,) for each in joined), joined]

    def _post(self, node: Node) -> None:
        if not node.is_up:
            return
        audience = self.rng.choice(self._audiences(node)[-3:])
        title = f"{node.index} at {self.time.now_ms}"
        if self.rng.random() < 0.5:
            fields: dict[str, Value] = {"title": title, "text": "x" * self.rng.randint(1, 300)}
            draft = Draft("offer", fields=fields, federations=audience)
        else:
            # A kind that this program does not know is carried like any other.
            lane, op = self.rng.choice(list(Lane)), self.rng.choice([Op.PUT, Op.ENTRY])
            draft = Draft("sim.note", op, {"title": title}, audience, lane, expires=FAR_S)
        record = self._write(node, draft)
        if record is not None:
            self.counts["posts"] += 1
            self._documents[node.town_id].append(record.doc)
            self._ops[record.doc] = record.header.op

    def _edit(self) -> None:
        found = self._choose()
        if found is not None:
            self._edit_document(*found)

    def _edit_at(self, node: Node) -> None:
        docs = [doc for doc in self._documents[node.town_id] if self._is_alive(node, doc)]
        if docs:
            self._edit_document(node, self.rng.choice(docs))

    def _choose(self) -> tuple[Node, DocId] | None:
        """Return a node that is up and a document of its town that it holds."""
        node = self.rng.choice([node for node in self.nodes if node.is_up and self._documents[node.town_id]])
        docs = [doc for doc in self._documents[node.town_id] if self._is_alive(node, doc)]
        return (node, self.rng.choice(docs)) if docs else None

    def _is_alive(self, node: Node, doc: DocId) -> bool:
        facts = node.store.state.facts([doc]).get(doc, ())
        return node.is_up and bool(facts) and all(fact.op is not Op.DELETE for fact in facts)

    def _edit_document(self, node: Node, doc: DocId) -> None:
        author, latest = self._latest[doc]
        unseen = author is not node and latest not in node.store.state.known([latest])
        op = self._ops[doc]
        fields: dict[str, Value] = {"title": f"edit by {node.index}", "text": f"at {self.time.now_ms}"}
        if self._write(node, Draft("", op, fields, doc=doc)) is not None:
            self.counts["edits"] += 1
            self.counts["concurrent edits"] += unseen

    def _delete(self) -> None:
        found = self._choose()
        if found is not None:
            self._delete_document(*found)

    def _delete_document(self, node: Node, doc: DocId) -> None:
        if self._write(node, Draft("", Op.DELETE, doc=doc)) is not None:
            self.counts["deletes"] += 1

    def _quarrel(self, town: Town) -> None:
        """Let two devices of a town write the same documents while nothing passes between any nodes."""
        nodes = self.nodes_of[town.id]
        shared = [doc for doc in self._documents[town.id] if all(self._is_alive(node, doc) for node in nodes)]
        pairs = [(a.index, b.index) for a, b in self.edges]
        if shared:
            self._cut(pairs + [(b, a) for a, b in pairs], 3_000)
        for doc in shared[:2]:
            for node in self.rng.sample(nodes, 2):
                self._edit_document(node, doc)
        if len(shared) > 1:
            self._delete_document(nodes[0], shared[1])
            self._edit_document(nodes[1], shared[1])
        for node in nodes:
            # Together they post more than the everyday lane of the smaller federation has room for.
            for number in range(3):
                fields: dict[str, Value] = {"title": f"{number} of {node.index} at {self.time.now_ms}"}
                self._write(node, Draft("offer", fields=fields, federations=(self.few,)))

    # The end.

    def heal(self) -> None:
        """End all faults. Cuts end by themselves now; every node comes up."""
        for node in self.nodes:
            self._restart(node)

    def wait_until_equal(self) -> int:
        """Let time pass until all held sets are equal; return how long that took."""
        start_ms = self.time.now_ms
        while not self.are_digests_equal():
            waited_ms = self.time.now_ms - start_ms
            assert waited_ms < LIVENESS_MS, f"seed {self.seed}: not equal {waited_ms} ms after the faults"
            self.time.run_until(self.time.now_ms + SETTLED_MS)
        return self.time.now_ms - start_ms
