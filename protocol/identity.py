"""Keys: towns and devices, what they sign, and how people compare them; the only module that signs.

Ed25519 by libsodium, which refuses keys of small order and signatures that are not in their one form: so two
programs never differ about a signature.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError
from nacl.exceptions import TypeError as NaclTypeError
from nacl.exceptions import ValueError as NaclValueError

from protocol.words import WORDS

SEED_BYTES: Final = 32
"""A secret key is made from so many random bytes."""
FINGERPRINT_WORDS: Final = 6
"""66 bits: nobody makes a key whose words are another's."""


class SigningKey:
    """A secret Ed25519 key.

    Args:
        seed: 32 secret bytes, from a source of chance that the caller answers for.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.seed = seed
        self.public, self._secret = crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        return crypto_sign(message, self._secret)[:crypto_sign_BYTES]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.public.hex()[:8]}>"


class TownKey(SigningKey):
    """The root key of a town: its public half is the town's id for ever, the secret may lie in a drawer."""


class DeviceKey(SigningKey):
    """The key of one node, certified by the town key."""


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `public` made `signature` over `message`; any malformed input is simply false."""
    if len(public) != 32 or len(signature) != crypto_sign_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, NaclTypeError, NaclValueError):
        return False
    return True


def words(data: bytes, count: int) -> tuple[str, ...]:
    """Return the words that stand for the first `count` times 11 bits of `data`.

    Raises:
        ValueError: There are fewer bits than that.
    """
    bits = len(data) * 8
    if count * 11 > bits:
        raise ValueError(f"{count} words need {count * 11} bits; there are {bits}")
    number = int.from_bytes(data, "big")
    return tuple(WORDS[number >> (bits - 11 * (index + 1)) & 2047] for index in range(count))


def fingerprint(public: bytes) -> str:
    """Return six words by which two people compare a key over the phone."""
    digest = blake2b(public, digest_size=16, person=b"hedgerow/print").digest()
    return " ".join(words(digest, FINGERPRINT_WORDS))
