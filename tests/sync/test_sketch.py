"""The sketch: it names every difference, whatever the sets, and no lie makes it loop or believe."""

from __future__ import annotations

from hashlib import blake2b
from math import ceil, sqrt
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.limits import CELLS_FIRST, CELLS_KEPT
from sync.digest import LtHash
from sync.salted import hash_buckets
from sync.sketch import (
    BUCKETS,
    DIFFERENCE_MAX,
    PLAIN,
    Coding,
    Decoder,
    Outcome,
    bucket_hash,
    cells_for,
    cells_from_bytes,
    cells_to_bytes,
    estimate,
    next_part,
    sketch_of,
)

SALT = bytes(range(32))


def some_ids(random: Random, count: int) -> list[bytes]:
    """Make distinct whole ids."""
    return [random.randbytes(32) for _ in range(count)]


def shorts(record_ids: list[bytes], coding: Coding = PLAIN) -> list[bytes]:
    """Give their short ids."""
    return [coding.short(record_id) for record_id in record_ids]


def reconcile(
    mine: list[bytes], theirs: list[bytes], coding: Coding = PLAIN, cell_count: int = CELLS_KEPT
) -> tuple[Outcome, Decoder]:
    """Send the cells of `theirs` part by part, as a peer does, until the decoder has enough."""
    decoder = Decoder(sketch_of(shorts(mine, coding), coding, cell_count), coding)
    cells = sketch_of(shorts(theirs, coding), coding, cell_count)
    outcome = decoder.take(cells[:CELLS_FIRST])
    while outcome is Outcome.MORE and decoder.taken < cell_count:
        outcome = decoder.take(cells[decoder.taken : decoder.taken + max(1, next_part(decoder.taken))])
    return outcome, decoder


def difference(decoder: Decoder) -> tuple[list[bytes], list[bytes]]:
    """Give both halves in order."""
    return sorted(decoder.only_mine), sorted(decoder.only_theirs)


def indices_by_hand(short: bytes, key: bytes, cell_count: int) -> list[int]:
    """Follow the jumps as the documentation says them."""
    expansion = blake2b(short, key=key, person=b"hedgerow/cells").digest()
    indices = [0]
    for at in range(4, 64, 2):
        draw = expansion[at] + 256 * expansion[at + 1]
        indices.append(indices[-1] + ceil((indices[-1] + 1.5) * (256 / sqrt(draw + 0.5) - 1)))
    return [index for index in indices if index < cell_count]


@pytest.mark.law
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    common=st.integers(0, 60),
    only_mine=st.integers(0, 700) | st.integers(0, 8),
    only_theirs=st.integers(0, 1300) | st.integers(0, 8),
    salt=st.sampled_from([b"", SALT]),
)
def test_a_decoded_difference_is_the_difference_and_mirrors(
    seed: int, common: int, only_mine: int, only_theirs: int, salt: bytes
) -> None:
    random = Random(seed)
    coding = Coding(salt)
    both, left, right = (some_ids(random, count) for count in (common, only_mine, only_theirs))
    outcome, decoder = reconcile(both + left, both + right, coding, 4096)
    assert outcome is Outcome.DECODED
    assert difference(decoder) == (sorted(shorts(left, coding)), sorted(shorts(right, coding)))
    mirrored, mirror = reconcile(both + right, both + left, coding, 4096)
    assert mirrored is Outcome.DECODED
    assert difference(mirror) == difference(decoder)[::-1]


@given(st.binary(min_size=8, max_size=8), st.sampled_from([b"", SALT]), st.integers(1, 70_000))
def test_an_id_falls_where_the_documentation_says(short: bytes, salt: bytes, cell_count: int) -> None:
    coding = Coding(salt)
    assert coding.indices(coding.expand(short), cell_count) == indices_by_hand(short, salt, cell_count)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=5, unique=True), st.sampled_from([b"", SALT]))
def test_a_cell_is_the_sum_of_the_marks_in_it(record_ids: list[bytes], salt: bytes) -> None:
    coding = Coding(salt)
    cells = sketch_of(shorts(record_ids, coding), coding, 40)
    for index, cell in enumerate(cells_from_bytes(cells_to_bytes(cells))):
        total = 0
        for record_id in record_ids:
            short = record_id[:8]
            if salt:
                short = blake2b(record_id, digest_size=8, key=salt, person=b"hedgerow/short").digest()
            checksum = blake2b(short, key=salt, person=b"hedgerow/cells").digest()[:4]
            if index in indices_by_hand(short, salt, 40):
                total += int.from_bytes(b"\x01" + short + checksum, "big")
        assert cell == total % 2**104


def test_a_cell_holds_ids_ever_more_rarely() -> None:
    random = Random(5)
    falls = [0] * 1000
    for short in shorts(some_ids(random, 4000)):
        for index in PLAIN.indices(PLAIN.expand(short), 1000):
            falls[index] += 1
    for low, high in ((1, 10), (10, 100), (100, 1000)):
        expected = sum(4000 / (1 + index / 2) for index in range(low, high))
        assert abs(sum(falls[low:high]) / expected - 1) < 0.05


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**104 - 1), max_size=60))
def test_cells_survive_the_wire(cells: list[int]) -> None:
    assert cells_from_bytes(cells_to_bytes(cells)) == cells


def test_a_torn_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        cells_from_bytes(bytes(14))


def test_a_salt_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 16"):
        Coding(bytes(16))


def test_equal_sets_are_decoded_by_one_cell() -> None:
    record_ids = some_ids(Random(1), 50)
    cells = sketch_of(shorts(record_ids), PLAIN, 10)
    decoder = Decoder(cells)
    assert decoder.take([]) is Outcome.MORE
    assert decoder.take(cells[:1]) is Outcome.DECODED
    assert difference(decoder) == ([], [])


def test_the_parts_in_which_cells_come_do_not_matter() -> None:
    random = Random(2)
    mine, theirs = some_ids(random, 150), some_ids(random, 150)
    my_cells = sketch_of(shorts(mine), PLAIN, 600)
    their_cells = sketch_of(shorts(theirs), PLAIN, 600)
    whole, pieces = Decoder(my_cells), Decoder(my_cells)
    assert whole.take(their_cells) is Outcome.DECODED
    while pieces.taken < 600:
        outcome = pieces.take(their_cells[pieces.taken : pieces.taken + 7])
    assert outcome is Outcome.DECODED
    assert difference(pieces) == difference(whole) == (sorted(shorts(mine)), sorted(shorts(theirs)))


def test_a_thousand_differences_take_few_cells() -> None:
    random = Random(3)
    outcome, decoder = reconcile(some_ids(random, 400), some_ids(random, 600))
    assert outcome is Outcome.DECODED
    assert decoder.taken < 1500


def test_cells_beyond_mine_are_refused() -> None:
    with pytest.raises(ValueError, match="beyond my 4"):
        Decoder([0] * 4).take([0] * 5)


# What was remembered of an earlier meeting.


def test_remembered_differences_need_no_cells_and_stay_in_the_result() -> None:
    random = Random(4)
    left, right, new = some_ids(random, 500), some_ids(random, 500), some_ids(random, 3)
    my_cells = sketch_of(shorts(left), PLAIN, CELLS_KEPT)
    their_cells = sketch_of(shorts(right + new), PLAIN, CELLS_KEPT)
    decoder = Decoder(my_cells, remembered_mine=shorts(left), remembered_theirs=shorts(right))
    assert decoder.take(their_cells[:CELLS_FIRST]) is Outcome.DECODED
    assert difference(decoder) == (sorted(shorts(left)), sorted(shorts(right + new)))


def test_remembered_differences_that_are_none_any_more_are_left_out() -> None:
    random = Random(5)
    left, right = some_ids(random, 5), some_ids(random, 5)
    my_cells = sketch_of(shorts([*left, right[0]]), PLAIN, 200)
    their_cells = sketch_of(shorts([*right, left[0]]), PLAIN, 200)
    decoder = Decoder(my_cells, remembered_mine=shorts(left), remembered_theirs=shorts(right))
    assert decoder.take(their_cells) is Outcome.DECODED
    assert difference(decoder) == (sorted(shorts(left[1:])), sorted(shorts(right[1:])))


def test_what_is_remembered_cannot_differ_a_second_time() -> None:
    short = shorts(some_ids(Random(6), 1))
    twice = sketch_of(short * 2, PLAIN, 30)
    decoder = Decoder(twice, remembered_mine=short)
    assert decoder.take([0] * 30) is Outcome.LIE


# Lies and chosen ids.


def test_an_id_peeled_twice_is_a_lie_and_stays_one() -> None:
    short = shorts(some_ids(Random(7), 1))[0]
    cells = sketch_of([short], PLAIN, 30)
    second = PLAIN.indices(PLAIN.expand(short), 30)[1]
    cells[second] *= 2
    decoder = Decoder([0] * 40)
    assert decoder.take(cells) is Outcome.LIE
    assert decoder.take([0]) is Outcome.LIE


def test_a_mark_in_a_cell_where_it_does_not_belong_is_not_believed() -> None:
    short = shorts(some_ids(Random(8), 1))[0]
    cells = [0] * 30
    elsewhere = next(n for n in range(30) if n not in PLAIN.indices(PLAIN.expand(short), 30))
    cells[elsewhere] = sketch_of([short], PLAIN, 1)[0]
    decoder = Decoder([0] * 30)
    assert decoder.take(cells) is Outcome.MORE
    assert difference(decoder) == ([], [])


def test_a_first_cell_that_is_empty_while_others_are_not_is_not_decoded() -> None:
    assert Decoder([0] * 9).take([0] * 8 + [5]) is Outcome.MORE


def test_two_of_mine_with_one_short_id_never_decode_but_end() -> None:
    twins = [b"chosen!!" + bytes([n]) * 24 for n in range(2)]
    outcome, decoder = reconcile([*twins, b"m" * 32], [b"t" * 32])
    assert outcome is Outcome.MORE
    assert decoder.taken == CELLS_KEPT


def test_two_with_one_short_id_on_either_side_vanish_and_only_the_digest_tells() -> None:
    mine, theirs = b"chosen!!" + b"m" * 24, b"chosen!!" + b"t" * 24
    outcome, decoder = reconcile([mine], [theirs])
    assert (outcome, difference(decoder)) == (Outcome.DECODED, ([], []))
    assert LtHash.of([mine]).digest() != LtHash.of([theirs]).digest()


def test_the_keyed_form_tells_ids_with_one_short_id_apart() -> None:
    coding = Coding(SALT)
    mine, theirs = b"chosen!!" + b"m" * 24, b"chosen!!" + b"t" * 24
    outcome, decoder = reconcile([mine, b"chosen!!" + b"n" * 24], [theirs], coding)
    assert outcome is Outcome.DECODED
    assert len(decoder.only_mine) == 2
    assert decoder.only_theirs == [coding.short(theirs)]


def test_another_salt_gives_other_short_ids_and_other_cells() -> None:
    other = Coding(bytes(32))
    assert other.short(b"a" * 32) != Coding(SALT).short(b"a" * 32)
    short = b"8 bytes!"
    assert other.expand(short) != Coding(SALT).expand(short)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2**104 - 1) | st.just(0), max_size=80), st.integers(0, 2**32))
def test_babble_ends_without_an_error(babble: list[int], seed: int) -> None:
    mine = sketch_of(shorts(some_ids(Random(seed), 20)), PLAIN, 80)
    decoder = Decoder(mine)
    outcome = decoder.take(babble)
    assert outcome in Outcome
    assert len(decoder.only_mine) + len(decoder.only_theirs) <= decoder.taken


class Gullible(Coding):
    """A coding with empty checksums, as if an attacker had forged them: every count of one is believed."""

    def expand(self, short: bytes) -> bytes:
        """Give an expansion whose checksum is zero."""
        return bytes(4) + super().expand(short)[4:]


def test_even_forged_checksums_show_no_more_ids_than_there_are_cells() -> None:
    random = Random(9)
    outcomes = set()
    for _ in range(300):
        count = random.randrange(3, 30)
        cells = [random.choice((1, 1, 255)) << 96 | random.getrandbits(64) << 32 for _ in range(count)]
        decoder = Decoder([0] * count, Gullible())
        outcomes.add(decoder.take(cells))
        assert len(decoder.only_mine) + len(decoder.only_theirs) <= count
    assert Outcome.LIE in outcomes


# How many cells to send.


@pytest.mark.parametrize("difference_size", [1, 10, 100, 1000, 10_000])
@pytest.mark.parametrize("mine_share", [0, 0.5, 0.9])
def test_the_estimate_is_near_the_difference(difference_size: int, mine_share: float) -> None:
    random = Random(10)
    mine_count = round(difference_size * mine_share)
    their_count = difference_size - mine_count
    guesses = []
    for _ in range(20):
        mine, theirs = [7] * 256, [7] * 256
        for counts, count in ((mine, mine_count), (theirs, their_count)):
            for _ in range(count):
                counts[random.randrange(256)] += 1
        wire = [bytes(count % 256 for count in counts) for counts in (mine, theirs)]
        guesses.append(estimate(wire[0], 1792 + mine_count, wire[1], 1792 + their_count))
    assert abs(sum(guesses) / 20 / difference_size - 1) < 0.12


def test_the_estimate_is_never_beyond_what_two_sets_can_differ_by() -> None:
    full = bytes([127]) * 256
    assert estimate(full, 5, bytes(256), 3) == 8
    assert estimate(bytes(256), 9, bytes(256), 2) == 7
    assert estimate(bytes(256), 0, bytes(256), 0) == 0


def test_cells_are_planned_by_the_estimate_and_within_what_is_kept() -> None:
    assert [cells_for(guess) for guess in (0, 10, 100, 1000, 10**9)] == [40, 40, 140, 1400, CELLS_KEPT]
    assert [next_part(sent) for sent in (24, 1320, CELLS_KEPT - 5, CELLS_KEPT)] == [16, 66, 5, 0]


def test_a_plan_always_goes_beyond_what_was_not_enough_and_leaves_a_part_to_follow() -> None:
    for guess in range(0, DIFFERENCE_MAX + 1, 50):
        assert CELLS_FIRST < cells_for(guess) < CELLS_KEPT
        assert 0 < next_part(cells_for(guess)) <= CELLS_KEPT - cells_for(guess)


def test_bucket_hashes_know_no_order_and_tell_buckets_apart() -> None:
    record_ids = some_ids(Random(11), 300)
    hashes = hash_buckets(record_ids, range(BUCKETS))
    assert hashes == hash_buckets(record_ids[::-1], range(BUCKETS))
    assert len(hashes) == 256
    first = record_ids[0][0]
    changed = [n for n, one in enumerate(hash_buckets(record_ids[1:], range(BUCKETS))) if one != hashes[n]]
    assert changed == [first]
    assert hashes[first] == bucket_hash(one for one in record_ids if one[0] == first)
    joined = b"".join(sorted(one for one in record_ids if one[0] == first))
    assert hashes[first] == blake2b(joined, digest_size=16, person=b"hedgerow/bucket").digest()
