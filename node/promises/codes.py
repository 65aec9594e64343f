"""The receipt code of a claim: what the claimant shows when it is fetched, and who tries to guess it.

The claimant's node makes it and seals it into the claim, so that both towns know it and nobody else does. The
whole code has 40 bits. Its short form of four digits is for the counter, where the keeper's node counts the
tries.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from node.errors import Refused, TooMany
from protocol.ids import ALPHABET
from protocol.kinds.bounds import CODE_CHARS

if TYPE_CHECKING:
    from protocol.ids import DocId

WRONG_TRIES_MAX: Final = 5
"""Of one claim in an hour: somebody who guesses four digits so would need six weeks for an even chance."""
WRONG_TRIES_MS: Final = 3_600_000
CLAIMS_COUNTED_MAX: Final = 1_000
"""Claims whose wrong tries are remembered."""


def make_code(chance: Callable[[int], bytes]) -> str:
    """Return a new receipt code."""
    return "".join(ALPHABET[byte % 32] for byte in chance(CODE_CHARS))


def short_code(code: str) -> str:
    """Return the four digits that stand for a code at the counter."""
    digest = blake2b(code.encode(), digest_size=4, person=b"hedgerow/code").digest()
    return f"{int.from_bytes(digest, 'big') % 10_000:04}"


class Counter:
    """The counter at which things are handed over: it takes the right code, and few wrong ones."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._wrong: dict[DocId, list[int]] = {}

    def check(self, claim: DocId, code: str, shown: str) -> None:
        """Accept the code that somebody shows, whole or in its short form.

        Raises:
            TooMany: There were too many wrong ones.
            Refused: It is another one.
        """
        since = self._now_ms() - WRONG_TRIES_MS
        tries = [at for at in self._wrong.get(claim, ()) if at > since]
        if len(tries) >= WRONG_TRIES_MAX:
            raise TooMany("too many wrong codes for this claim; try again in an hour, or hand over without")
        typed = shown.strip().upper().replace("-", "").replace(" ", "").translate(_FORGIVEN)
        if typed in (code, short_code(code)):
            self._wrong.pop(claim, None)
            return
        self._wrong.pop(claim, None)
        self._wrong[claim] = [*tries, self._now_ms()]
        while len(self._wrong) > CLAIMS_COUNTED_MAX:
            self._wrong.pop(next(iter(self._wrong)))
        raise Refused("that is not the code of this claim; look at it once more", code="wrong_code")


_FORGIVEN: Final = str.maketrans({"O": "0", "I": "1", "L": "1"})
