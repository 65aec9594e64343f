"""A key in words is heard as it was told, and whatever is wrong with the words is said in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WrongWords
from protocol.identity import TownKey
from protocol.limits import SUCCESSORS_MAX
from protocol.paper import WORDS_COUNT, heard, told
from protocol.words import WORDS

KEYS = st.builds(TownKey, st.binary(min_size=32, max_size=32), st.integers(0, SUCCESSORS_MAX))


@given(KEYS)
def test_a_key_is_heard_as_it_was_told_in_capitals_and_by_four_letters_too(key: TownKey) -> None:
    words = told(key)
    assert len(words.split()) == WORDS_COUNT
    short = "\n".join(word[:4] for word in words.upper().split())
    listed = "\n".join(f"{number}. {word}" for number, word in enumerate(words.split(), 1))
    for text in (words, short, listed):
        assert (heard(text).seed, heard(text).generation) == (key.seed, key.generation)


@given(KEYS, st.integers(0, WORDS_COUNT - 1), st.sampled_from(WORDS), st.integers(0, WORDS_COUNT - 2))
def test_another_word_or_two_that_changed_places_are_found_out(
    key: TownKey, place: int, word: str, swapped: int
) -> None:
    """But for one in 32,768, which an example of hypothesis does not meet twice."""
    good = told(key).split()
    other = [*good[:place], word, *good[place + 1 :]]
    turned = [*good[:swapped], good[swapped + 1], good[swapped], *good[swapped + 2 :]]
    for bad in (other, turned):
        if bad != good and not _happens_to_fit(bad):
            with pytest.raises(WrongWords, match="do not belong together"):
                heard(" ".join(bad))


def _happens_to_fit(words: list[str]) -> bool:
    try:
        return told(heard(" ".join(words))).split() == words
    except WrongWords:
        return False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 words"),
        (" ".join(told(TownKey(bytes(32))).split()[:24]), "24 words"),
        (told(TownKey(bytes(32))) + " zoo", "26 words"),
        (told(TownKey(bytes(32))).replace("abandon", "xyzzy", 1), "word 1, “xyzzy”"),
        (told(TownKey(bytes(32))).replace("abandon", "abanxon", 1), "word 1, “abanxon”"),
    ],
)
def test_truncated_and_misspelt_words_are_refused_with_one_clear_line(text: str, says: str) -> None:
    with pytest.raises(WrongWords, match=says) as told_:
        heard(text)
    assert "\n" not in str(told_.value) and told_.value.code == "wrong_words"


def test_words_of_a_generation_that_no_town_has_are_of_a_newer_program() -> None:
    class Later(TownKey):
        """A key of a chain that is longer than ours."""

    key = Later(bytes(32))
    key.generation = SUCCESSORS_MAX + 1
    with pytest.raises(WrongWords, match="newer program"):
        heard(told(key))
