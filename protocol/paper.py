"""A town key in words: for paper, for the telephone, for a drawer.

25 words of 11 bits: the 32 bytes of the seed, 4 bits for its generation, and 15 bits of check. So words that
were left out, changed or swapped are found out at once, and nobody begins a town that is none.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from protocol.errors import WrongWords
from protocol.identity import SEED_BYTES, TownKey, words
from protocol.words import WORDS

WORDS_COUNT: Final = 25
"""Of 11 bits each: 275."""
KNOWN_BY: Final = 4
"""The first four letters tell a word."""

_CHECK_BITS: Final = 15
_GENERATION_BITS: Final = 4
_PLACES: Final = {word[:KNOWN_BY]: place for place, word in enumerate(WORDS)}


def told(key: TownKey) -> str:
    """Return the words of a town key, parted by spaces."""
    number = int.from_bytes(key.seed, "big")
    number = (number << _GENERATION_BITS | key.generation) << _CHECK_BITS | _check(key.seed, key.generation)
    # The words begin at the most significant bit; five zero bits fill the last byte.
    return " ".join(words((number << 5).to_bytes(35, "big"), WORDS_COUNT))


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters, without the numbers that stand before them in a list."""
    return [word for word in text.lower().split() if not word.rstrip(".:)").isdecimal()]


def heard(text: str) -> TownKey:
    """Return the town key of these words; capitals, line ends, numbers of a list and what follows four
    letters are forgiven.

    Raises:
        WrongWords: They are not the words of a key; says which is wrong, if that can be told.
    """
    given = words_of(text)
    if len(given) != WORDS_COUNT:
        raise WrongWords(f"these are {len(given)} words; a key has {WORDS_COUNT}: look for what is missing")
    number = 0
    for place, word in enumerate(given, 1):
        found = _PLACES.get(word[:KNOWN_BY])
        if found is None or not WORDS[found].startswith(word[: len(WORDS[found])]):
            raise WrongWords(f"word {place}, “{word[:20]}”, is not one of the list: look at its spelling")
        number = number << 11 | found
    check = number & (1 << _CHECK_BITS) - 1
    generation = number >> _CHECK_BITS & (1 << _GENERATION_BITS) - 1
    seed = (number >> _CHECK_BITS + _GENERATION_BITS).to_bytes(SEED_BYTES, "big")
    if check != _check(seed, generation):
        raise WrongWords("these words do not belong together: one is wrong, or two have changed places")
    try:
        return TownKey(seed, generation)
    except ValueError as error:
        raise WrongWords(f"these words are of a newer program: {error}") from None


def _check(seed: bytes, generation: int) -> int:
    digest = blake2b(seed + bytes([generation]), digest_size=2, person=b"hedgerow/words").digest()
    return int.from_bytes(digest, "big") >> 1
