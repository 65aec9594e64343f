"""Keys: towns and devices, what they sign, and how people compare them; the only module that signs.

Ed25519 by libsodium, which refuses keys of small order and signatures that are not in their one form: so two
programs never differ about a signature.

A town key *commits* to the key that may follow it. Whoever stole a town key can sign whatever its owner
can, with whatever date, so no record can name the successor: no rule could tell the owner's from the
thief's. But the key itself can. The public half is `P = Q + t·B`, where `Q` is an ordinary public key and
`t` a hash of `Q` and of the hash of the successor, as in Taproot (BIP 341). Anybody who is shown `Q` and
the successor can check that; nobody, not even who knows the secret of `P`, can find another pair that fits
the same `P`. So each town has one chain of keys, fixed when its first was made, and its owner shows link
after link of it.

The chain is made backwards, from a secret that is written on paper and nowhere else (`new_paper`): each key's
secret is a hash of the one that follows it. A stolen key tells those before it, which are void, none behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b, sha512
from typing import Final

from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_is_valid_point,
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as NaclRuntimeError
from nacl.exceptions import TypeError as NaclTypeError
from nacl.exceptions import ValueError as NaclValueError

from protocol.limits import SUCCESSORS_MAX
from protocol.words import WORDS

SEED_BYTES: Final = 32
"""A secret key is made from so many random bytes."""
COMMITMENT_AT: Final = 16
"""Where in the seed of a town key the hash of its successor begins: 128 secret bits stand before it, and
nobody finds a second key with the same 128 bits of hash."""
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
    """The root key of a town, whose first one's public half is the town's id for ever.

    Args:
        seed: 32 bytes: 16 secret ones, and 16 that commit to the key that may follow.
        generation: How many keys of the town came before it.

    Attributes:
        public: What it signs as.
        inner: The point `Q` of the commitment, shown when its successor takes over.
    """

    def __init__(self, seed: bytes, generation: int = 0) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        if not 0 <= generation <= SUCCESSORS_MAX:
            raise ValueError(f"a town has keys 0 to {SUCCESSORS_MAX}, not {generation}")
        self.seed = seed
        self.generation = generation
        self._prefix = blake2b(seed, digest_size=32, person=b"hedgerow/town/r").digest()
        inner = _scalar(blake2b(seed, digest_size=64, person=b"hedgerow/town/a").digest())
        self.inner = crypto_scalarmult_ed25519_base_noclamp(inner)
        self._secret = crypto_core_ed25519_scalar_add(inner, _tweak(self.inner, seed[COMMITMENT_AT:]))
        self.public = crypto_scalarmult_ed25519_base_noclamp(self._secret)

    @classmethod
    def next_of(cls, paper: bytes, generation: int) -> TownKey:
        """Return one of the keys of a paper: the last one's seed is what is written there.

        Raises:
            ValueError: That is no seed, or no such generation.
        """
        key = cls(paper, SUCCESSORS_MAX)
        while key.generation > generation:
            key = key.former()
        return key

    @cached_property
    def town(self) -> bytes:
        """The town's id: the public half of its first key."""
        return self.public if not self.generation else self.former().town

    def former(self) -> TownKey:
        """Return the key before this one; only of one that is not the first."""
        secret = blake2b(self.seed, digest_size=COMMITMENT_AT, person=b"hedgerow/former").digest()
        return TownKey(secret + _commitment(self.public), self.generation - 1)

    @cached_property
    def succession(self) -> tuple[bytes, ...]:
        """What proves that this key follows from the town's id: `inner` and `public` of each before, but for
        the id itself."""
        if not self.generation:
            return ()
        former = self.former()
        return (*former.succession, *([former.public] if former.generation else []), former.inner)

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature, as RFC 8032 makes it from a secret scalar and a prefix."""
        nonce = _scalar(sha512(self._prefix + self.public + message).digest())
        point = crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = _scalar(sha512(point + self.public + message).digest())
        product = crypto_core_ed25519_scalar_mul(challenge, self._secret)
        return point + crypto_core_ed25519_scalar_add(nonce, product)

    def __repr__(self) -> str:
        return f"<TownKey {self.public.hex()[:8]}>"


def new_paper(secret: bytes) -> bytes:
    """Return the seed that is written on paper: the last key of a new town's chain, which no key follows.

    Args:
        secret: 16 bytes, from a source of chance that the caller answers for.
    """
    return secret + blake2b(secret, digest_size=SEED_BYTES - COMMITMENT_AT, person=b"hedgerow/last").digest()


def succeeds(town: bytes, key: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether a key follows from a town's id by the links of this proof (`TownKey.succession`)."""
    if len(proof) % 2 == 0 or len(proof) > 2 * SUCCESSORS_MAX - 1 or any(len(each) != 32 for each in proof):
        return False
    public = town
    for inner, follower in zip(proof[::2], (*proof[1::2], key), strict=True):
        if not _commits(public, inner, follower):
            return False
        public = follower
    return True


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


def _scalar(digest: bytes) -> bytes:
    """Return 64 bytes of a hash as a number modulo the order of the group."""
    return crypto_core_ed25519_scalar_reduce(digest)


def _commitment(successor: bytes) -> bytes:
    """Return the hash by which a key's seed names its successor."""
    return blake2b(successor, digest_size=SEED_BYTES - COMMITMENT_AT, person=b"hedgerow/next").digest()


def _tweak(inner: bytes, commitment: bytes) -> bytes:
    return _scalar(blake2b(inner + commitment, digest_size=64, person=b"hedgerow/commit").digest())


def _commits(public: bytes, inner: bytes, successor: bytes) -> bool:
    """Tell whether `public` is the key that `inner` and its commitment to a successor make."""
    tweak = _tweak(inner, _commitment(successor))
    try:
        if not crypto_core_ed25519_is_valid_point(inner):
            return False
        return crypto_core_ed25519_add(inner, crypto_scalarmult_ed25519_base_noclamp(tweak)) == public
    except (NaclRuntimeError, NaclTypeError, NaclValueError):
        return False
