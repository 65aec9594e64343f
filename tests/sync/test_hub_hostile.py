"""Records chosen to deceive, and peers that lie: honest copies still become one, at a bounded cost."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from protocol import wire
from protocol.encoding import encode_list
from protocol.ids import LaneKey, RecordId
from protocol.limits import RETRY_CELLS_MAX
from protocol.wire import decode_frame, encode_frame
from sync.admission import State
from sync.events import Drop, Effect, Incident, Send, Synced
from tests.sync import cable as cables
from tests.sync.cable import EVERYDAY, Bench, Node, authority_of


def chosen(record: bytes, key: LaneKey = EVERYDAY) -> bytes:
    """Return a record whose id is what we choose, where ids are the last 32 bytes of the header."""
    header = encode_list([key[0], int(key[1]), 0, b"", None, record])
    return encode_list([header, bytes(64), record * 3])


@pytest.fixture(autouse=True)
def _ids_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen_id(header_bytes: bytes) -> RecordId:
        return RecordId(header_bytes[-32:])

    monkeypatch.setattr("sync.line.record_id", chosen_id)
    monkeypatch.setattr(cables, "record_id", chosen_id)


def honest(seed: int, count: int) -> list[bytes]:
    """Return records with ids that nobody chose."""
    chance = Random(seed)
    return [chosen(chance.randbytes(32)) for _ in range(count)]


def pair(bench: Bench, first: list[bytes], second: list[bytes]) -> tuple[Node, Node]:
    """Return two nodes that hold these records."""
    return (
        bench.node("a", authority_of("a", "ab"), first),
        bench.node("b", authority_of("b", "ab"), second),
    )


def twins(seed: int, count: int = 2, *, size: int = 8) -> list[bytes]:
    """Return records whose ids begin with the same bytes."""
    chance = Random(seed)
    front = chance.randbytes(size)
    return [chosen(front + chance.randbytes(32 - size)) for _ in range(count)]


COLLISIONS = {
    "one each": ([0], [1]),
    "both at one side": ([0, 1], []),
    "both at the other side": ([], [0, 1]),
    "one shared": ([0, 1], [0]),
    "one shared at the other side": ([0], [0, 1]),
    "three and one": ([0, 1, 2], [3]),
}


@pytest.mark.law
@pytest.mark.parametrize("a_dials", [True, False])
@pytest.mark.parametrize("size", [5, 8, 31])
@pytest.mark.parametrize("sides", COLLISIONS.values(), ids=COLLISIONS.keys())
def test_records_with_equal_short_ids_are_exchanged_like_any(
    sides: tuple[list[int], list[int]], size: int, a_dials: bool
) -> None:
    shared, only_a, only_b = honest(1, 2_000), honest(2, 30), honest(3, 20)
    hostile = twins(4, 4, size=size)
    bench = Bench()
    a, b = pair(
        bench,
        shared + only_a + [hostile[index] for index in sides[0]],
        shared + only_b + [hostile[index] for index in sides[1]],
    )
    link = bench.join(a, b) if a_dials else bench.join(b, a)
    bench.run(3_000)
    assert a.ids() == b.ids()
    assert not a.of(Incident) and not b.of(Incident) and not a.of(Drop) and not b.of(Drop)
    records_bytes = 60 * 300
    assert link.carried_bytes < 2 * records_bytes + 32_768
    bench.run(100_000)
    assert a.of(Synced) and b.of(Synced)


@pytest.mark.parametrize("a_dials", [True, False])
def test_two_hundred_collisions_in_all_buckets_come_to_an_end(a_dials: bool) -> None:
    shared = honest(1, 3_000)
    bench = Bench()
    both = [twins(seed) for seed in range(100, 300)]
    a, b = pair(
        bench, shared + [raw for twin in both for raw in twin], shared + [twin[0] for twin in both[:100]]
    )
    bench.join(a, b) if a_dials else bench.join(b, a)
    bench.run(5_000)
    assert a.ids() == b.ids()
    assert not a.of(Incident) and not b.of(Incident)


def test_ids_ground_into_one_bucket_are_exchanged() -> None:
    chance = Random(5)
    ground = [chosen(b"\x07" + chance.randbytes(31)) for _ in range(3_000)]
    bench = Bench()
    a, b = pair(bench, honest(1, 100) + ground, honest(1, 100))
    bench.join(a, b)
    bench.run(10_000)
    assert a.ids() == b.ids()
    assert not a.of(Incident) and not b.of(Incident) and not a.of(Drop) and not b.of(Drop)


class Liar(Bench):
    """A bench on which what one node says is changed on the way."""

    def __init__(self, liar: str, lie: object) -> None:
        super().__init__()
        self._liar = liar
        self._lie = lie

    def _perform(self, node: Node, effect: Effect) -> None:
        if isinstance(effect, Send) and node.name == self._liar:
            frame = self._lie(decode_frame(effect.frame))  # type: ignore[operator]
            effect = Send(effect.link, encode_frame(frame))
        super()._perform(node, effect)


def _noise_in_cells(frame: wire.Frame) -> wire.Frame:
    chance = Random(9)
    if isinstance(frame, wire.Cells):
        return replace(frame, cells=chance.randbytes(len(frame.cells)))
    return frame


def _another_digest(frame: wire.Frame) -> wire.Frame:
    if isinstance(frame, wire.Sketch):
        return wire.Sketch(frame.federation, tuple((lane, n, b"d" * 16, c) for lane, n, _, c in frame.lanes))
    if isinstance(frame, wire.KeyedHashes):
        return wire.KeyedHashes(frame.federation, frame.lane, bytes(len(frame.hashes)))
    if isinstance(frame, wire.Buckets):
        return wire.Buckets(frame.federation, frame.lane, frame.salt, bytes(4_096))
    return frame


@pytest.mark.parametrize("lie", [_noise_in_cells, _another_digest])
def test_a_peer_whose_cells_or_digests_lie_is_shown_once_an_hour_and_costs_little(lie: object) -> None:
    bench = Liar("b", lie)
    a, b = pair(bench, honest(1, 300) + honest(2, 40), honest(1, 300) + honest(3, 40))
    link = bench.join(a, b)
    bench.run(30_000)
    before = link.carried_bytes
    assert before < RETRY_CELLS_MAX * 13 + 200_000
    bench.run(1_800_000)
    assert [incident.code for incident in a.of(Incident) if isinstance(incident, Incident)] == [
        "unexplained_difference"
    ]
    assert link.carried_bytes - before < 30 * 80_000
    assert all(len(peer.federations) == 1 for peer in a.hub.peers())


@pytest.mark.parametrize("a_dials", [True, False])
def test_collisions_among_refused_records_are_settled_and_not_looked_into_for_ever(a_dials: bool) -> None:
    twin = twins(4, 2)
    bench = Bench()
    a, b = pair(bench, [*honest(1, 100), twin[0]], [*honest(1, 100), twin[1]])
    a.judge = b.judge = lambda record, raw: (State.DROPPED, "expired")
    link = bench.join(a, b) if a_dials else bench.join(b, a)
    bench.run(20_000)
    assert len(a.ids()) == len(b.ids()) == 101 and a.ids() != b.ids()
    before = link.carried_bytes
    bench.run(600_000)
    assert link.carried_bytes - before < 20_000
    assert not a.of(Incident) and not b.of(Incident)
