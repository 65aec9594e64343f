"""What naming a difference costs by the sketch itself: cells, bytes and decoding, for sets of several sizes.

The cells are sent as the conversation sends them: the first 24; then, if these do not decode, as many
as the estimate asks for; then twentieths, one part ahead of what was decoded. The row `naming` measures
the same through real nodes.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from protocol.limits import CELL_BYTES, CELLS_FIRST, WANT_PREFIX_BYTES
from sync.held import HeldSet, Snapshot
from sync.sketch import BUCKETS, Decoder, Outcome, cells_for, estimate, next_part
from tests.benchmarks.figures import NO_GOAL, Bench, Figure, at_most

TRIALS = {1: 60, 10: 60, 100: 30, 1_000: 11, 10_000: 3}


@dataclass(frozen=True)
class Naming:
    """One difference named: cells that were taken, and all bytes but the frames around them."""

    taken_cells: int
    sent_bytes: int


def measure(bench: Bench) -> Iterator[Figure]:
    """Name differences of each size between sets of each size."""
    random = Random(2)
    saved = HeldSet()
    for size in (1_000, 10_000) if bench.quick else (10_000, 100_000, 1_000_000):
        saved.add_many([random.randbytes(32) for _ in range(size - saved.count)], 1)
        for difference in TRIALS:
            if bench.quick and difference > 1_000:
                continue
            yield from _one_size(bench, saved, size, difference, random)


def _one_size(bench: Bench, common: HeldSet, size: int, difference: int, random: Random) -> Iterator[Figure]:
    case = f"d = {difference:,} among {size:,}"
    trials = 3 if bench.quick else TRIALS[difference]
    named: list[Naming] = []
    enough: list[int] = []
    for _ in range(trials):
        mine, theirs = _apart(common, difference, random)
        named.append(_name(mine, theirs, difference))
        enough.append(_suffices(mine, theirs, named[-1].taken_cells))
    cells = statistics.mean(enough) / difference
    yield Figure(
        "sketch",
        case + ": cells that suffice, mean",
        cells,
        "cells / d",
        None,
        "",
        *(at_most(cells, 1.4) if difference == 1_000 else NO_GOAL),
    )
    sent = statistics.median(one.sent_bytes for one in named)
    yield _bytes(case, difference, sent)
    cost_s, ratio = bench.beside_verifies(lambda: _name(mine, theirs, difference), difference, 5)
    # The 15 us of the goal are 0.26 of a verify on the machine that the goal was set on.
    yield Figure(
        "sketch",
        case + ": decode",
        cost_s * 1e6,
        "us / d",
        ratio,
        "/ V",
        *(at_most(ratio, 0.26) if difference >= 100 else NO_GOAL),
    )


def _apart(common: HeldSet, difference: int, random: Random) -> tuple[Snapshot, Snapshot]:
    """Give two sets that share `common` and differ by so many ids, half on each side."""
    saved = common.to_bytes()
    sides = []
    for count in (difference // 2, difference - difference // 2):
        side = HeldSet.from_bytes(saved)
        side.add_many([random.randbytes(32) for _ in range(count)], 2)
        sides.append(side.snapshot())
    return sides[0], sides[1]


def _name(mine: Snapshot, theirs: Snapshot, difference: int) -> Naming:
    decoder = Decoder(mine.cells)
    sent = CELLS_FIRST
    sent_bytes = 0
    outcome = decoder.take(theirs.cells[:sent])
    if outcome is Outcome.MORE:
        sent_bytes += BUCKETS
        sent = cells_for(estimate(mine.counts, mine.count, theirs.counts, theirs.count))
        sent += next_part(sent)
    while outcome is Outcome.MORE:
        # One part is under way while the one before it is decoded.
        outcome = decoder.take(theirs.cells[decoder.taken : sent])
        if outcome is Outcome.MORE:
            sent += next_part(sent)
    assert outcome is Outcome.DECODED
    assert len(decoder.only_mine) + len(decoder.only_theirs) == difference
    sent_bytes += sent * CELL_BYTES + len(decoder.only_theirs) * WANT_PREFIX_BYTES
    return Naming(decoder.taken, sent_bytes)


def _suffices(mine: Snapshot, theirs: Snapshot, taken: int) -> int:
    """Find how many cells would have been enough: the estimate may have asked for more."""
    low, high = 1, taken
    while low < high:
        middle = (low + high) // 2
        if Decoder(mine.cells).take(theirs.cells[:middle]) is Outcome.DECODED:
            high = middle
        else:
            low = middle + 1
    return low


def _bytes(case: str, difference: int, sent: float) -> Figure:
    case += ": bytes of counts, cells and wants"
    if difference >= 1_000:
        each = sent / difference
        return Figure("sketch", case, sent, "bytes", each, "B x d", *at_most(each, 24))
    most = 3_200 if difference == 100 else 600
    return Figure("sketch", case, sent, "bytes", sent / difference, "B x d", *at_most(sent, most, "B"))
