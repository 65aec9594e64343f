"""Bodies that named towns can read and nobody else: how one is sealed and opened.

A sealed body stands where an open one may stand, so headers, ids, merge and gossip know nothing of it:

    body   = encode([salt:16, [[town:32, key id:8], ...], sealed])       towns ascending, none twice
    sealed = commitment:32 || one wrapped key of 80 bytes for each recipient || ciphertext

The fields are encrypted once, under a *content key* of 32 random bytes, with XChaCha20-Poly1305. Each
recipient gets that key in a libsodium *sealed box* (`crypto_box_seal`: an ephemeral X25519 key, then
XSalsa20-Poly1305). Three things are not obvious:

* **Bound to its place.** The associated data name the town of the header, the kind, the recipients and the
  salt: a body that is copied into another town's record, or into one of another kind, opens for nobody.
* **One content for all.** Poly1305 does not commit to its key: who knows how can make one ciphertext that
  opens to different words under two keys (Dodis, Grubbs, Ristenpart, Woodage: "Fast Message Franking: From
  Invisible Salamanders to Encryptment", CRYPTO 2018). So a hash of the content key stands before everything
  else, and who unwraps another key sees nothing. All recipients that read anything read the same.
* **Size tells little.** The fields are padded to a multiple of 256 bytes.

There is no forward secrecy: whoever gets a sealing key reads what was sealed to it and is still held. Bodies
therefore end with their records, and a town takes a new sealing key when a device was stolen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final, NewType, TypeAlias

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_box,
    crypto_box_seal_open,
    crypto_scalarmult_base,
    sodium_pad,
    sodium_unpad,
)
from nacl.exceptions import CryptoError
from nacl.exceptions import ValueError as NaclValueError

from protocol.encoding import Value, decode, encode
from protocol.errors import BadSealingKey, LimitExceeded, ProtocolError
from protocol.ids import TownId
from protocol.limits import BODY_BYTES_MAX, SALT_BYTES, SEALED_PAD_BYTES, SEALED_TOWNS_MAX

KeyId = NewType("KeyId", bytes)
"""The short name of a sealing key, 8 bytes: with it a reader finds the secret to try."""
Recipients: TypeAlias = tuple[tuple[TownId, KeyId], ...]
"""Who can open a body, and by which key; ascending by town."""

SECRET_BYTES: Final = 32
"""Of a sealing key, a content key and an ephemeral key."""
CHANCE_BYTES: Final = 32
"""What `seal` needs of chance; every key of one body is drawn from it."""

_COMMITMENT_BYTES: Final = 32
_WRAPPED_BYTES: Final = 32 + 16 + SECRET_BYTES  # ephemeral key, tag, content key
_TAG_BYTES: Final = 16


class SealingKey:
    """A secret X25519 key, with which all devices of a town open what was sealed to it.

    Args:
        secret: 32 secret bytes.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a sealing key has {SECRET_BYTES} bytes, not {len(secret)}")
        self.secret = secret
        self.public = crypto_scalarmult_base(secret)
        self.id = key_id(self.public)

    def __repr__(self) -> str:
        return f"<SealingKey {self.id.hex()}>"


def derive(town_seed: bytes, index: int) -> SealingKey:
    """Return sealing key `index` of a town: whoever has the town key has them all, on any device.

    Args:
        town_seed: The secret 32 bytes of the town key.
        index: 0 at first, one more whenever the key must change.
    """
    secret = blake2b(index.to_bytes(4, "big"), digest_size=32, key=town_seed, person=b"hedgerow/seal")
    return SealingKey(secret.digest())


def key_id(public: bytes) -> KeyId:
    """Return the short name of a public sealing key."""
    return KeyId(blake2b(public, digest_size=8, person=b"hedgerow/sealkey").digest())


def seal(
    fields: Mapping[str, Value],
    recipients: Sequence[tuple[TownId, bytes]],
    *,
    town: TownId,
    kind: str,
    salt: bytes,
    chance: bytes,
) -> bytes:
    """Return the bytes of a body that only the recipients can open.

    Args:
        fields: What the kind describes.
        recipients: Towns and their public sealing keys, in any order; the own town is not added here.
        town: The town of the header.
        kind: The kind of the header.
        salt: 16 random bytes, as in an open body.
        chance: 32 random bytes, never used for anything else.

    Raises:
        LimitExceeded: Too many recipients, none, or more text than a body holds.
        BadSealingKey: A public key with which no secret can be shared.
    """
    if len(chance) != CHANCE_BYTES or len(salt) != SALT_BYTES:
        raise ValueError(f"sealing takes {CHANCE_BYTES} bytes of chance and a salt of {SALT_BYTES}")
    publics = dict(recipients)
    if not 1 <= len(publics) <= SEALED_TOWNS_MAX:
        raise LimitExceeded(f"sealed to {len(publics)} towns; 1 to {SEALED_TOWNS_MAX} are allowed")
    towns = sorted(publics)
    named: Recipients = tuple((each, key_id(publics[each])) for each in towns)
    content_key = _draw(chance, 0)
    wrapped = [_wrap(content_key, publics[each], _draw(chance, 1 + at)) for at, each in enumerate(towns)]
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(
        sodium_pad(encode(dict(fields)), SEALED_PAD_BYTES),
        _bound_to(town, kind, named, salt),
        _nonce(salt),
        content_key,
    )
    sealed = b"".join([_commitment(content_key), *wrapped, ciphertext])
    body = encode([salt, _as_list(named), sealed])
    if len(body) > BODY_BYTES_MAX:
        raise LimitExceeded(f"the text is too long: {len(body)} bytes, at most {BODY_BYTES_MAX} are allowed")
    return body


def recipients_of(body: bytes) -> Recipients | None:
    """Return who can open a sealed body; None for one that is open or broken."""
    parts = _parts(body)
    return None if parts is None else parts[1]


def open_sealed(
    body: bytes, *, town: TownId, kind: str, keys: Mapping[KeyId, SealingKey]
) -> dict[str, Value] | None:
    """Return the fields of a sealed body, or None when it is not sealed to these keys, broken, or a lie.

    Whatever the bytes are, nothing is raised, and no more than `SEALED_TOWNS_MAX` boxes are tried.

    Args:
        body: The body of a record.
        town: The town of its header.
        kind: The kind of its header.
        keys: Every secret of the reader, old ones too, by their ids.
    """
    parts = _parts(body)
    if parts is None:
        return None
    salt, named, sealed = parts
    bound = _bound_to(town, kind, named, salt)
    ciphertext = sealed[_COMMITMENT_BYTES + _WRAPPED_BYTES * len(named) :]
    for at, (_, name) in enumerate(named):
        key = keys.get(name)
        begin = _COMMITMENT_BYTES + _WRAPPED_BYTES * at
        content_key = None if key is None else _unwrap(sealed[begin : begin + _WRAPPED_BYTES], key)
        if content_key is not None and _commitment(content_key) == sealed[:_COMMITMENT_BYTES]:
            return _decrypt(ciphertext, bound, salt, content_key)
    return None


def _parts(body: bytes) -> tuple[bytes, Recipients, bytes] | None:
    """Return salt, recipients and sealed bytes of a body that has the form of a sealed one."""
    try:
        parts = decode(body, bytes_max=BODY_BYTES_MAX)
    except ProtocolError:
        return None
    if type(parts) is not list or len(parts) != 3:
        return None
    salt, listed, sealed = parts
    if type(salt) is not bytes or len(salt) != SALT_BYTES or type(sealed) is not bytes:
        return None
    named = _recipients(listed)
    if named is None:
        return None
    padded = len(sealed) - _COMMITMENT_BYTES - _WRAPPED_BYTES * len(named) - _TAG_BYTES
    return (salt, named, sealed) if padded > 0 and padded % SEALED_PAD_BYTES == 0 else None


def _recipients(listed: Value) -> Recipients | None:
    if type(listed) is not list or not 1 <= len(listed) <= SEALED_TOWNS_MAX:
        return None
    named: list[tuple[TownId, KeyId]] = []
    for pair in listed:
        if type(pair) is not list or len(pair) != 2:
            return None
        town, name = pair
        if type(town) is not bytes or len(town) != 32 or type(name) is not bytes or len(name) != 8:
            return None
        named.append((TownId(town), KeyId(name)))
    if any(before >= after for (before, _), (after, _) in pairwise(named)):
        return None
    return tuple(named)


def _as_list(named: Recipients) -> list[Value]:
    return [[bytes(town), bytes(name)] for town, name in named]


def _bound_to(town: TownId, kind: str, named: Recipients, salt: bytes) -> bytes:
    """Return the associated data: what the ciphertext belongs to."""
    return encode([bytes(town), kind, _as_list(named), salt])


def _nonce(salt: bytes) -> bytes:
    """Return the nonce; a key seals one body only, and the salt is there for programs that forget that."""
    return salt + bytes(8)


def _commitment(content_key: bytes) -> bytes:
    return blake2b(content_key, digest_size=_COMMITMENT_BYTES, person=b"hedgerow/sealed").digest()


def _draw(chance: bytes, index: int) -> bytes:
    """Return secret `index` of those that one body needs."""
    return blake2b(bytes([index]), digest_size=32, key=chance, person=b"hedgerow/chance").digest()


def _wrap(content_key: bytes, public: bytes, secret: bytes) -> bytes:
    """Return what libsodium's `crypto_box_seal` gives when its ephemeral key is `secret`."""
    ephemeral = crypto_scalarmult_base(secret)
    nonce = blake2b(ephemeral + public, digest_size=24).digest()
    try:
        return ephemeral + crypto_box(content_key, nonce, public, secret)
    except (CryptoError, NaclValueError):  # libsodium refuses a shared secret of zeros
        raise BadSealingKey(
            f"{public.hex()[:16]}... is no sealing key: nothing can be sealed to it"
        ) from None


def _unwrap(wrapped: bytes, key: SealingKey) -> bytes | None:
    try:
        return crypto_box_seal_open(wrapped, key.public, key.secret)
    except CryptoError:
        return None


def _decrypt(ciphertext: bytes, bound: bytes, salt: bytes, content_key: bytes) -> dict[str, Value] | None:
    try:
        padded = crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, bound, _nonce(salt), content_key)
        fields = decode(sodium_unpad(padded, SEALED_PAD_BYTES), bytes_max=BODY_BYTES_MAX)
    except (CryptoError, ProtocolError):
        return None
    return fields if type(fields) is dict else None
