"""Every way that is known to damage a record, and some to bring one to the edge of what is allowed.

With a seed, damaged headers are hashed and signed anew, so that only the one fault can be found.
"""

from __future__ import annotations

import hashlib
import struct
import unicodedata
from collections.abc import Iterator
from typing import Any

from nacl.signing import SigningKey

Found = Iterator[tuple[str, bytes]]
GOOD, BAD = "good", "refused"
FIELDS = (
    "version", "town", "device", "seq", "stamp", "kind", "lane", "federations", "born", "expires", "nonce",
    "op", "cites", "hash", "size",
)  # fmt: skip


def tagged(tag: int, width: int, number: int, rest: bytes = b"", signed: bool = False) -> bytes:
    """A tag, a number of so many bytes, and what follows."""
    return bytes([tag]) + number.to_bytes(width, "big", signed=signed) + rest


def plain(value: Any) -> bytes:
    """The right encoding: the first and shortest of all."""
    return next(iter(forms(value)))[1]


def forms(value: Any) -> Found:
    """All ways to write this value itself (not its parts), the right one first."""
    if value is None or isinstance(value, bool):
        yield "itself", b"\xc0" if value is None else b"\xc3" if value else b"\xc2"
    elif isinstance(value, int):
        yield from _forms_of_integer(value)
    elif isinstance(value, bytes):
        yield from _heads("bin", len(value), None, 0, (0xC4, 0xC5, 0xC6), value)
    elif isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        yield from _heads("str", len(raw), 0xA0, 32, (0xD9, 0xDA, 0xDB), raw)
    elif isinstance(value, list):
        raw = b"".join(map(plain, value))
        yield from _heads("array", len(value), 0x90, 16, (None, 0xDC, 0xDD), raw)
    else:
        pairs = sorted((key.encode(), plain(key) + plain(each)) for key, each in value.items())
        raw = b"".join(pair for _, pair in pairs)
        yield from _heads("map", len(pairs), 0x80, 16, (None, 0xDE, 0xDF), raw)


def _forms_of_integer(value: int) -> Found:
    if -32 <= value < 128:
        yield "fix", bytes([value & 255])
    for exponent in range(4):
        width = 1 << exponent
        if 0 <= value < 1 << (8 * width):
            yield f"uint{8 * width}", tagged(0xCC + exponent, width, value)
    for exponent in range(4):
        width = 1 << exponent
        if -(1 << (8 * width - 1)) <= value < 1 << (8 * width - 1):
            yield f"int{8 * width}", tagged(0xD0 + exponent, width, value, signed=True)


def _heads(
    name: str, length: int, fix: int | None, below: int, tags: tuple[int | None, int, int], rest: bytes
) -> Found:
    if fix is not None and length < below:
        yield f"fix{name}", bytes([fix + length]) + rest
    for exponent, tag in enumerate(tags):
        if tag is not None and length < 1 << (8 << exponent):
            yield f"{name}{8 << exponent}", tagged(tag, 1 << exponent, length, rest)


def others(value: Any) -> Found:
    """Ways to write something near this value that no reader may take for it."""
    right = plain(value)
    yield "extension", tagged(0xC7, 1, len(right) % 256, b"\x01" + right[:255])
    yield "fixed extension", b"\xd4\x01" + right[:1]
    yield "float", b"\xcb" + struct.pack(">d", float(value) if isinstance(value, int) else 0.0)
    yield "short float", b"\xca" + struct.pack(">f", float(value) if isinstance(value, int) else 0.0)
    yield "the tag that is never used", b"\xc1"
    if value is not None:
        yield "nil", b"\xc0"
    yield "a map", b"\x80"
    if type(value) is int and value in (0, 1):
        yield "a boolean", plain(bool(value))
    if type(value) is int:
        yield "below zero", plain(-1)
        yield "text of it", plain(str(value))
    if isinstance(value, bytes):
        yield from ((f"text as {name}", raw) for name, raw in _heads("str", len(value), 0xA0, 32,
                                                                     (0xD9, 0xDA, 0xDB), value))  # fmt: skip
        yield "a byte less", plain(value[:-1])
        yield "a byte more", plain(value + b"\0")
    if isinstance(value, str):
        yield "bytes of it", plain(value.encode())
        for name, wrong in (
            ("a lone surrogate", b"\xed\xa0\x80"),
            ("an overlong letter", b"\xc1\xa1"),
            ("half a letter", b"\xc3"),
            ("beyond Unicode", b"\xf5\x80\x80\x80"),
            ("a combining mark apart", "e\u0301".encode()),
            ("a sign that normal form C replaces", "\u212b".encode()),
        ):
            raw = value.encode() + wrong
            yield name, next(_heads("str", len(raw), 0xA0, 32, (0xD9, 0xDA, 0xDB), raw))[1]
        apart = unicodedata.normalize("NFD", value)
        if apart != value:
            yield "normal form D", plain(apart)
    if isinstance(value, list):
        yield "one part less than told", bytes([right[0] + 1]) + right[1:] if len(value) < 15 else b""
        yield "a part more", plain([*value, 0])


def wrong_encodings(value: Any, path: str = "") -> Found:
    """The value with one thing in it, at any depth, written otherwise: what the encoding alone forbids."""
    right = plain(value)
    for name, raw in forms(value):
        if raw != right:
            yield f"{path} as {name}", raw
    if isinstance(value, list):
        head = right[: len(right) - sum(len(plain(each)) for each in value)]
        for place, each in enumerate(value):
            inner = f"{path}.{FIELDS[place] if len(value) == 15 else place}"
            around = [b"".join(map(plain, part)) for part in (value[:place], value[place + 1 :])]
            for name, raw in wrong_encodings(each, inner):
                yield name, head + around[0] + raw + around[1]
    if isinstance(value, dict):
        yield from _wrong_maps(value, path)


def _wrong_maps(value: dict[str, Any], path: str) -> Found:
    pairs = [(plain(key), plain(value[key])) for key in sorted(value, key=str.encode)]
    head = bytes([0x80 + len(pairs)])

    def joined(changed: list[tuple[bytes, bytes]]) -> bytes:
        return b"".join(key + each for key, each in changed)

    if len(pairs) > 1:
        yield f"{path} keys descending", head + joined(pairs[::-1])
    yield f"{path} a key twice", bytes([0x81 + len(pairs)]) + joined([pairs[0], *pairs])
    yield f"{path} a key of bytes", head + joined([(b"\xc4\x01a", pairs[0][1]), *pairs[1:]])
    yield f"{path} a key of an integer", head + joined([(b"\x01", pairs[0][1]), *pairs[1:]])
    for place, key in enumerate(sorted(value, key=str.encode)):
        for what, names in ((f"key {key}", wrong_encodings(key)), (key, wrong_encodings(value[key], key))):
            for name, raw in names:
                changed = (raw, pairs[place][1]) if what != key else (pairs[place][0], raw)
                yield f"{path}.{what}{name}", head + joined([*pairs[:place], changed, *pairs[place + 1 :]])


def blake(person: str, data: bytes) -> bytes:
    """H of the text, with 32 bytes."""
    return hashlib.blake2b(data, digest_size=32, person=person.encode()).digest()


def mutations(
    fields: list[Any], signature: bytes, body: bytes | None, key: SigningKey | None
) -> Iterator[tuple[str, bytes, str]]:
    """Yield what was done, the raw record, and whether it must be `good` or `refused`."""
    raw = plain([plain(fields), signature, body])
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} turned", bytes(changed), BAD
    for length in range(len(raw)):
        yield f"cut after {length} bytes", raw[:length], BAD
    yield "a byte after the record", raw + b"\0", BAD
    for name, wrong in [*wrong_encodings([plain(fields), signature, body], "record")]:
        yield name, wrong, BAD
    yield from _outer(fields, signature, body)

    def signed(header: bytes, about: bytes | None = body) -> bytes:
        sign = signature if key is None else _sign(key, header)
        return plain([header, sign, about])

    header = plain(fields)
    yield "a byte after the header", signed(header + b"\0"), BAD
    yield "a header too long", signed(plain([*fields, bytes(1024)])), BAD
    for name, wrong in wrong_encodings(fields, "header"):
        yield name, signed(wrong), BAD
    for place, field in enumerate(fields):
        around = [b"".join(map(plain, part)) for part in (fields[:place], fields[place + 1 :])]
        for name, wrong in others(field):
            yield f"header.{FIELDS[place]}: {name}", signed(b"\x9f" + around[0] + wrong + around[1]), BAD
    for name, changes, verdict in edges(fields, body):
        changed_fields = [changes.get(FIELDS[place], field) for place, field in enumerate(fields)]
        if verdict == BAD or key is not None:
            yield name, signed(plain(changed_fields)), verdict
    for count in (0, 1, 14, 16):
        yield f"{count} fields", signed(plain([*fields, 0][:count])), BAD
    if body is not None:
        yield from _bodies(fields, body, signed, key is not None)


def _sign(key: SigningKey, header: bytes) -> bytes:
    return key.sign(b"hedgerow/record/1" + blake("hedgerow/record", header)).signature


def _outer(fields: list[Any], signature: bytes, body: bytes | None) -> Iterator[tuple[str, bytes, str]]:
    header = plain(fields)
    yield "the header as a list", plain([fields, signature, body]), BAD
    for place, (name, part) in enumerate((("header", header), ("signature", signature), ("body", body))):
        for how, wrong in others(part):
            parts = [plain(header), plain(signature), plain(body)]
            parts[place] = wrong
            yield f"the {name}: {how}", b"\x93" + b"".join(parts), BAD
    yield "two parts", plain([header, signature]), BAD
    yield "four parts", plain([header, signature, body, None]), BAD
    yield "empty", b"", BAD
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    yield "S with the order added", plain([header, signature[:32] + s.to_bytes(32, "little"), body]), BAD
    yield "R and S of zero", plain([header, b"\1" + bytes(63), body]), BAD
    yield "body taken away", plain([header, signature, None]), GOOD if body is None else BAD
    yield "an empty body", plain([header, signature, b""]), BAD
    yield "another body", plain([header, signature, (body or b"") + b"\0"]), BAD
    yield "a body too long", plain([header, signature, bytes(32769)]), BAD


def _bodies(fields: list[Any], body: bytes, signed: Any, can_sign: bool) -> Iterator[tuple[str, bytes, str]]:
    """Bodies that nobody can read: their records are carried like any other."""
    if not can_sign:
        return

    def carried(changed: bytes) -> bytes:
        header = plain([*fields[:13], blake("hedgerow/body", changed), len(changed)])
        return bytes(signed(header, changed))

    yield "an unreadable body", carried(b"\xc1"), GOOD
    yield "a byte after the body", carried(body + b"\0"), GOOD
    yield "the longest body", carried(bytes(32768)), GOOD
    yield "a body of a later form", carried(plain([bytes(16), b"sealed", b""])), GOOD
    deep: Any = 0
    for _ in range(9):
        deep = [deep]
    salted = [bytes(16), {"title": "caf\u00e9", "steps": [{"text": "one"}], "n": -5}]
    yield "a body nine deep", carried(plain(deep)), GOOD
    for name, wrong in wrong_encodings(salted, "body"):
        yield name, carried(wrong), GOOD
    for name, wrong in others("caf\u00e9"):
        yield f"body: {name}", carried(b"\x92" + plain(bytes(16)) + b"\x81" + plain("title") + wrong), GOOD


def edges(fields: list[Any], body: bytes | None) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Fields at the edge of what is allowed, and one step beyond it."""
    born, lifetime, top = fields[8], 3_162_240_000, 1_099_511_627_776
    epoch, ids = fields[3][0], [bytes([n]) * 16 for n in range(1, 10)]
    for version, verdict in ((0, BAD), (2, BAD), (2**64 - 1, BAD)):
        yield f"version {version}", {"version": version}, verdict
    for counter, verdict in ((0, GOOD), (2**48, GOOD), (2**48 + 1, BAD)):
        yield f"counter {counter}", {"seq": [epoch, counter]}, verdict
    for stamp in (0, 2**64 - 1):
        yield f"stamp {stamp}", {"stamp": stamp}, GOOD
    for kind, verdict in {
        "a": GOOD, "a" + 31 * "-": GOOD, "a" * 33: BAD, "": BAD, "Offer": BAD, "1a": BAD, "offer\n": BAD,
        "offer ": BAD, "a.b_c-d": GOOD, ".a": BAD, "off\u00e9r": BAD, "town": GOOD, "town.x": BAD,
        "charter": BAD, "offer\0": BAD, "a\u0661": BAD,
    }.items():  # fmt: skip
        yield f"kind {kind!r}", {"kind": kind}, verdict
    yield "lane 3", {"lane": 3}, BAD
    for lane in range(3):
        yield f"lane {lane}", {"lane": lane}, GOOD
    for name, federations, verdict in (
        ("no", [], GOOD), ("eight", ids[:8], GOOD), ("nine", ids, BAD), ("descending", ids[1::-1], BAD),
        ("the same two", [ids[0], ids[0]], BAD), ("short", [bytes(15)], BAD), ("long", [bytes(17)], BAD),
        ("texts for", ["x" * 16], BAD),
    ):  # fmt: skip
        yield f"{name} federations", {"federations": federations}, verdict
    for name, begin, end, verdict in (
        ("no lifetime", born, born, BAD), ("one second", born, born + 1, GOOD),
        ("ends before", born, born - 1, BAD),
        ("a hundred years", born, born + lifetime, GOOD), ("a second more", born, born + lifetime + 1, BAD),
        ("from the beginning", 0, 1, GOOD), ("born too late", top + 1, top + 2, BAD),
        ("born last", top - 1, top, GOOD),
    ):  # fmt: skip
        yield name, {"born": begin, "expires": end}, verdict
    cites = [bytes([n]) * 32 for n in range(9)]
    for name, cited, verdict in (
        ("eight", cites[:8], GOOD), ("nine", cites, BAD), ("descending", cites[1::-1], GOOD),
        ("the same two", [cites[0]] * 2, GOOD),
        ("short", [bytes(31)], BAD),
    ):  # fmt: skip
        yield f"{name} cites", {"cites": cited}, verdict
    yield "an unknown operation", {"op": 3}, BAD
    if body is None:
        yield "a put without body", {"op": 0}, BAD
        yield "a delete with a size", {"size": 1}, BAD
        yield "a delete with a hash", {"hash": b"\1" + bytes(31)}, BAD
    else:
        yield "a delete with body", {"op": 1, "hash": bytes(32), "size": 0}, BAD
        yield "a delete with a put's header", {"op": 1}, BAD
        yield "another size", {"size": len(body) + 1}, BAD
        yield "size too great", {"size": 32769}, BAD
        yield "another hash", {"hash": bytes(32)}, BAD
        yield "the other operation with a body", {"op": 2 - fields[11]}, GOOD
    yield "another device", {"device": fields[1]}, BAD
