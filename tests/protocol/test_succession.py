"""Town keys follow one another along one chain, which the first of them fixes for good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_scalar_reduce, crypto_scalarmult_ed25519_base_noclamp

from protocol.identity import TownKey, new_paper, succeeds, verify
from protocol.limits import SUCCESSORS_MAX

PAPER = new_paper(b"sixteen secrets!")
CHAIN = [TownKey.next_of(PAPER, generation) for generation in range(SUCCESSORS_MAX + 1)]
TOWN = CHAIN[0].public


def test_each_key_of_a_paper_is_another_and_all_are_of_one_town() -> None:
    assert len({key.public for key in CHAIN}) == SUCCESSORS_MAX + 1
    assert {key.town for key in CHAIN} == {TOWN}
    assert all(verify(key.public, b"x", key.sign(b"x")) for key in CHAIN)


def test_a_key_proves_that_it_follows_from_the_towns_id_and_only_by_its_own_links() -> None:
    for key in CHAIN[1:]:
        assert succeeds(TOWN, key.public, key.succession)
        assert [succeeds(TOWN, other.public, key.succession) for other in CHAIN].count(True) == 1
    assert not succeeds(TOWN, TOWN, CHAIN[0].succession)


def test_a_proof_that_is_bent_anywhere_proves_nothing() -> None:
    key = CHAIN[3]
    for index in range(len(key.succession)):
        bent = list(key.succession)
        bent[index] = bytes([bent[index][0] ^ 1]) + bent[index][1:]
        assert not succeeds(TOWN, key.public, bent)
        assert not succeeds(TOWN, key.public, [*key.succession[:index], *key.succession[index + 1 :]])
    assert not succeeds(TOWN, key.public, [*key.succession, key.public, key.public])
    assert not succeeds(TOWN, key.public, [each[:31] for each in key.succession])
    last = CHAIN[SUCCESSORS_MAX]
    assert not succeeds(TOWN, last.public, [*last.succession, last.public, last.inner])


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_a_thief_of_the_town_key_cannot_make_another_key_follow(secret: bytes, inner: bytes) -> None:
    """He knows the seed, and so the secret scalar, and may choose any commitment of his own to go with it."""
    his = TownKey(secret + CHAIN[0].seed[16:])
    own = TownKey(CHAIN[0].seed[:16] + secret)
    assert own.public != TOWN, "another commitment is another town"
    points = [inner, CHAIN[0].inner, his.inner, his.public, TOWN]
    points.append(
        crypto_scalarmult_ed25519_base_noclamp(crypto_core_ed25519_scalar_reduce(b"\x01" + inner + inner[1:]))
    )
    assert not any(succeeds(TOWN, his.public, [point]) for point in points)


@pytest.mark.parametrize(("seed", "generation"), [(b"short", 0), (bytes(32), -1), (bytes(32), 8)])
def test_a_seed_has_32_bytes_and_a_chain_its_bounds(seed: bytes, generation: int) -> None:
    with pytest.raises(ValueError, match=r"a seed has 32 bytes|keys 0 to 7"):
        TownKey(seed, generation)
