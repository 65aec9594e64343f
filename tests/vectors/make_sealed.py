"""Writes `sealed.json`: sealed bodies made without libsodium and without a line of this program.

Everything is written out here from the texts that define it: X25519 (RFC 7748), ChaCha20, Poly1305 and their
AEAD (RFC 8439), HChaCha20 and XChaCha20 (draft-irtf-cfrg-xchacha-03), Salsa20, HSalsa20 and XSalsa20
(Bernstein: "Extending the Salsa20 nonce"), and the little of MessagePack that a body needs. It is slow and
not safe against who measures time; it is here so that two readings of section 3 of `docs/protocol.md` must
agree.
"""

from __future__ import annotations

import json
import struct
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("sealed.json")
P = 2**255 - 19
MASK = 0xFFFFFFFF
SIGMA = struct.unpack("<4I", b"expand 32-byte k")


def x25519(secret: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5: the Montgomery ladder."""
    number = int.from_bytes(secret, "little")
    scalar = (number & ~7 & ((1 << 255) - 1)) | 1 << 254
    x1 = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for at in range(254, -1, -1):
        bit = scalar >> at & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def turned(word: int, bits: int) -> int:
    """Rotate 32 bits to the left."""
    word &= MASK
    return (word << bits | word >> (32 - bits)) & MASK


def chacha_rounds(state: list[int]) -> list[int]:
    """RFC 8439, 2.3: twenty rounds, without the addition at the end."""
    x = list(state)
    columns = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    diagonals = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for a, b, c, d in (columns + diagonals) * 10:
        for one, two, three, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[one] = (x[one] + x[two]) & MASK
            x[three] = turned(x[three] ^ x[one], bits)
    return x


def salsa_rounds(state: list[int]) -> list[int]:
    """Salsa20 specification, section 8: ten double rounds, without the addition at the end."""
    x = list(state)
    columns = [(0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)]
    rows = [(0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)]
    for a, b, c, d in (columns + rows) * 10:
        x[b] ^= turned(x[a] + x[d], 7)
        x[c] ^= turned(x[b] + x[a], 9)
        x[d] ^= turned(x[c] + x[b], 13)
        x[a] ^= turned(x[d] + x[c], 18)
    return x


def block(rounds: Any, state: list[int]) -> bytes:
    """The 64 bytes of a state after its rounds, with the state added."""
    return struct.pack("<16I", *((a + b) & MASK for a, b in zip(rounds(state), state, strict=True)))


def chacha_state(key: bytes, last: bytes) -> list[int]:
    """Constants, key, and 16 bytes of counter and nonce."""
    return [*SIGMA, *struct.unpack("<8I", key), *struct.unpack("<4I", last)]


def salsa_state(key: bytes, middle: bytes) -> list[int]:
    """Constants on the diagonal, key before and behind, 16 bytes of nonce and counter between."""
    k, n = struct.unpack("<8I", key), struct.unpack("<4I", middle)
    return [SIGMA[0], *k[:4], SIGMA[1], *n, SIGMA[2], *k[4:], SIGMA[3]]


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha, 2.2: words 0 to 3 and 12 to 15 after the rounds."""
    x = chacha_rounds(chacha_state(key, nonce))
    return struct.pack("<8I", *x[:4], *x[12:])


def hsalsa20(key: bytes, nonce: bytes) -> bytes:
    """Words 0, 5, 10, 15 and 6 to 9 after the rounds."""
    x = salsa_rounds(salsa_state(key, nonce))
    return struct.pack("<8I", x[0], x[5], x[10], x[15], *x[6:10])


def chacha20(key: bytes, nonce: bytes, counter: int, data: bytes) -> bytes:
    """RFC 8439, 2.4, with a nonce of 12 bytes."""
    blocks = range(counter, counter + len(data) // 64 + 1)
    stream = b"".join(block(chacha_rounds, chacha_state(key, struct.pack("<I", at) + nonce)) for at in blocks)
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))


def salsa20(key: bytes, nonce: bytes, length: int) -> bytes:
    """The first bytes of a stream, with a nonce of 8 bytes."""
    blocks = range(length // 64 + 1)
    stream = b"".join(block(salsa_rounds, salsa_state(key, nonce + struct.pack("<Q", at))) for at in blocks)
    return stream[:length]


def poly1305(key: bytes, message: bytes) -> bytes:
    """RFC 8439, 2.5."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at : at + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def xchacha20_poly1305(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha, 2.3: ciphertext || tag."""
    subkey, rest = hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]
    once = chacha20(subkey, rest, 0, bytes(32))
    ciphertext = chacha20(subkey, rest, 1, data)
    sizes = struct.pack("<QQ", len(associated), len(ciphertext))
    return ciphertext + poly1305(once, filled(associated) + filled(ciphertext) + sizes)


def filled(data: bytes) -> bytes:
    """Zero bytes up to a multiple of 16."""
    return data + bytes(-len(data) % 16)


def box(message: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
    """NaCl's crypto_box: tag || ciphertext."""
    shared = hsalsa20(x25519(secret, public), bytes(16))
    subkey = hsalsa20(shared, nonce[:16])
    stream = salsa20(subkey, nonce[16:], 32 + len(message))
    ciphertext = bytes(a ^ b for a, b in zip(message, stream[32:], strict=True))
    return poly1305(stream[:32], ciphertext) + ciphertext


def packed(value: Any) -> bytes:
    """MessagePack of what is in a body here, in section 1's one form."""
    match value:
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int() if 0 <= value < 2**16:
            return (
                bytes([value])
                if value < 128
                else b"\xcc" + bytes([value])
                if value < 256
                else struct.pack(">BH", 0xCD, value)
            )
        case str():
            data = value.encode()
            return (bytes([0xA0 + len(data)]) if len(data) < 32 else b"\xd9" + bytes([len(data)])) + data
        case bytes():
            size = len(value)
            return (b"\xc4" + bytes([size]) if size < 256 else struct.pack(">BH", 0xC5, size)) + value
        case list():
            return bytes([0x90 + len(value)]) + b"".join(map(packed, value))
        case dict():
            pairs = sorted(value.items(), key=lambda pair: pair[0].encode())
            return bytes([0x80 + len(value)]) + b"".join(packed(key) + packed(item) for key, item in pairs)
    raise AssertionError(value)


def hashed(size: int, person: bytes, data: bytes, key: bytes = b"") -> bytes:
    """H of section 1; with a key where the text says so."""
    return blake2b(data, digest_size=size, person=person, key=key).digest()


def vector(
    fields: dict[str, Any], towns: list[bytes], kind: str, author: bytes, salt: bytes
) -> dict[str, Any]:
    """One sealed body and all that goes into it; in place of a town's seed stands its id."""
    base = (9).to_bytes(32, "little")
    secrets = [
        hashed(32, b"hedgerow/seal", index.to_bytes(4, "big"), town) for index, town in enumerate(towns)
    ]
    publics = [x25519(secret, base) for secret in secrets]
    names = [
        [town, hashed(8, b"hedgerow/sealkey", public)] for town, public in zip(towns, publics, strict=True)
    ]
    chance = hashed(32, b"hedgerow/vector", salt)
    content_key, *ephemerals = (
        hashed(32, b"hedgerow/chance", bytes([at]), chance) for at in range(1 + len(towns))
    )
    wrapped = []
    for secret, public in zip(ephemerals, publics, strict=True):
        ephemeral = x25519(secret, base)
        nonce = blake2b(ephemeral + public, digest_size=24).digest()
        wrapped.append(ephemeral + box(content_key, nonce, public, secret))
    text = packed(fields) + b"\x80"
    padded = text + bytes(-len(text) % 256)
    ciphertext = xchacha20_poly1305(content_key, salt + bytes(8), padded, packed([author, kind, names, salt]))
    commitment = hashed(32, b"hedgerow/sealed", content_key)
    body = packed([salt, names, commitment + b"".join(wrapped) + ciphertext])
    return {
        "town": author.hex(),
        "kind": kind,
        "salt": salt.hex(),
        "recipients": [
            {
                "town": town.hex(),
                "index": index,
                "secret": secret.hex(),
                "public": public.hex(),
                "key_id": name.hex(),
            }
            for index, (secret, public, (town, name)) in enumerate(zip(secrets, publics, names, strict=True))
        ],
        "content_key": content_key.hex(),
        "ephemeral_secrets": [secret.hex() for secret in ephemerals],
        "chance": chance.hex(),
        "fields": {
            key: {"bytes": item.hex()} if isinstance(item, bytes) else item for key, item in fields.items()
        },
        "body": body.hex(),
    }


def vectors() -> dict[str, Any]:
    """Return a claim that two towns can open, and a long text for one town."""
    one, two = b"\x41" * 32, b"\x42" * 32
    claim = {
        "target": bytes(range(16)),
        "ledger": bytes(range(16, 32)),
        "milli": 2_000,
        "unit": "portion",
        "reason": "Für das Fest am Samstag",
        "share": True,
    }
    long = {"text": "x" * 250}
    return {
        "claim": vector(claim, [one, two], "claim", one, bytes(range(16))),
        "long": vector(long, [two], "message", two, bytes(range(240, 256))),
    }


def main() -> int:
    """Write the file, or with `--check` tell whether it is up to date."""
    text = json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
