"""Addresses that people print, say and type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidAddress
from protocol.ids import ALPHABET, DocId, TownId, address, address_range, home_id, parse_address, show_address

DOCS = st.binary(min_size=16, max_size=16).map(DocId)


@given(DOCS)
def test_an_address_comes_back_however_it_was_typed(doc: DocId) -> None:
    plain = address(doc)
    shown = show_address(plain)
    assert shown.count("-") == 2
    for typed in (plain, shown, shown.lower(), " " + shown.replace("-", " "), plain.replace("0", "o")):
        assert parse_address(typed) == plain
    assert parse_address(plain.replace("1", "l")) == parse_address(plain.replace("1", "I")) == plain


@given(DOCS)
def test_the_range_of_an_address_holds_its_document(doc: DocId) -> None:
    low, high = address_range(address(doc))
    assert low <= doc <= high
    assert address(low) == address(high) == address(doc)


@given(DOCS, st.integers(0, 10), st.integers(1, 31))
def test_a_single_wrong_character_is_always_found(doc: DocId, place: int, shift: int) -> None:
    plain = address(doc)
    wrong = ALPHABET[(ALPHABET.index(plain[place]) + shift) % 32]
    with pytest.raises(InvalidAddress, match="slip"):
        parse_address(plain[:place] + wrong + plain[place + 1 :])


@given(DOCS, st.integers(0, 8))
def test_two_swapped_neighbours_are_always_found(doc: DocId, place: int) -> None:
    plain = address(doc)
    swapped = plain[:place] + plain[place + 1] + plain[place] + plain[place + 2 :]
    if swapped != plain:
        with pytest.raises(InvalidAddress):
            parse_address(swapped)


@pytest.mark.parametrize("text", ["", "K7PQ", "K7PQ-42XW-9TBB", "K7PQ-42XW-9TU", "K7PQ_42XW_9TB", "é" * 11])
def test_what_cannot_be_an_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidAddress) as refused:
        parse_address(text)
    assert "\n" not in str(refused.value)


def test_homes_of_two_towns_differ() -> None:
    assert home_id(TownId(bytes(32))) != home_id(TownId(b"\x01" * 32))
