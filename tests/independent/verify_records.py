#!/usr/bin/env python3
"""A second reading of the protocol: checks, makes and mutates records, from docs/protocol.md alone.

It shares no line with the program: only the standard library and PyNaCl, its own reader and writer of
MessagePack, its own order of checks. Where it and the program disagree, one of them or the text is wrong.

    verify_records.py verify FILE|-        check what `hedgerow export` printed; exit 1 if a record is bad
    verify_records.py make --device-seed HEX --town HEX --federation HEX --now SECONDS [--delete-of FILE]
    verify_records.py mutate FILE          damage a put, a delete and an entry in every way that is known
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from nacl.signing import SigningKey

if TYPE_CHECKING:
    from tests.independent.second_mutations import mutations
    from tests.independent.second_places import Authority, stands
    from tests.independent.second_records import DELETE, ENTRY, PUT, Record, address, check, check_raw
    from tests.independent.second_values import Refused, blake, decode, encode
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from second_mutations import mutations
    from second_places import Authority, stands
    from second_records import DELETE, ENTRY, PUT, Record, address, check, check_raw
    from second_values import Refused, blake, decode, encode

AHEAD_S = 86_400
OPS = ("put", "delete", "entry")


def line_of(record: Record) -> str:
    """A record as `hedgerow import` takes it."""
    parts = {"header": record.header, "signature": record.signature, "body": record.body}
    shown = {k: None if v is None else base64.b64encode(v).decode() for k, v in parts.items()}
    more = {"id": record.id.hex(), "doc": record.doc.hex(), "address": address(record.doc)}
    return json.dumps({**shown, **more})


def read_line(line: str) -> Record:
    """Check a line: the record, and that what is shown beside it is true."""
    try:
        shown = json.loads(line)
        texts = [shown["header"], shown["signature"], shown["body"]]
        parts = [None if text is None else base64.b64decode(text, validate=True) for text in texts]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Refused("line", f"no object with header, signature and body in base64 ({error})") from None
    record = check(*parts)
    trues: dict[str, object] = {"id": record.id, "doc": record.doc, "address": address(record.doc)}
    check_shown(shown, trues)
    told = shown.get("decoded")
    lane = ("urgent", "everyday", "library")[record.lane]
    names = ("town", "device", "stamp", "kind", "born", "expires", "nonce")
    more = {"lane": lane, "op": OPS[record.op], "federations": [each.hex() for each in record.federations]}
    check_shown(told if isinstance(told, dict) else {}, {n: getattr(record, n) for n in names} | more)
    return record


def check_shown(shown: dict[str, Any], trues: dict[str, Any]) -> None:
    """Compare what is shown beside a record, where it is, with what is true."""
    for name, value in trues.items():
        true, said = value.hex() if isinstance(value, bytes) else value, shown.get(name)
        plain = str(said).upper().replace("-", "").replace(" ", "") if name == "address" else said
        if name in shown and plain != true:
            raise Refused("shown", f"{name} is {true}, not {said}")


def verify(lines: Iterable[str], own: bytes | None, complete: bool, now: int | None) -> Iterator[str]:
    """Check all lines; yield a line per bad record, and the summary last."""
    records: dict[bytes, Record] = {}
    total, bad, notes = 0, 0, Counter[str]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        total += 1
        try:
            record = read_line(line)
            if now is not None and max(record.born, (record.stamp >> 16) // 1000) > now + AHEAD_S:
                raise Refused("time_ahead", now_only=True)
        except Refused as refused:
            bad += 1
            yield f"line {number}: {refused}"
            continue
        notes["twice"] += record.id in records
        records[record.id] = record
    for id_, code in unplaced(list(records.values()), own, now).items():
        notes[code] += 1
        if complete:
            bad += 1
            yield f"record {id_.hex()}: {code}"
    ops = Counter(OPS[record.op] for record in records.values())
    parts = [f"{total} lines", f"{bad} bad", *(f"{ops[op]} {op}" for op in OPS)]
    documents = len({record.doc for record in records.values()})
    towns = len({record.town for record in records.values()})
    parts += [f"{documents} documents", f"{towns} towns"]
    yield ", ".join(parts + [f"{count} {code}" for code, count in sorted(notes.items()) if count])


def unplaced(records: list[Record], own: bytes | None, now: int | None) -> dict[bytes, str]:
    """Why those records that no held set would hold, from these records alone, would be held nowhere."""
    why: dict[bytes, str] = {r.id: "ended" for r in records if now is not None and r.expires <= now}
    records = [record for record in records if record.id not in why]
    authority = Authority(records, own)
    places: dict[bytes, set[tuple[str, int]]] = {}
    for record in records:
        try:
            places[record.id] = authority.places(record)
        except Refused as refused:
            why[record.id] = refused.code
    placed = [record for record in records if record.id in places]
    standing = stands(placed)
    why |= {record.id: "superseded" for record in placed if record.id not in standing}
    standers = [record for record in placed if record.id in standing]
    return why | dict.fromkeys(authority.outside_quotas(places, standers), "outside_quota")


def sign(key: Any, fields: list[Any], body: bytes | None) -> Record:
    """Complete the 13 first fields of a header by those of the body, and sign."""
    hash_ = bytes(32) if body is None else blake(32, "hedgerow/body", body)
    header = encode([*fields, hash_, len(body or b"")])
    id_ = blake(32, "hedgerow/record", header)
    return check(header, key.sign(b"hedgerow/record/1" + id_).signature, body)


def make(key: SigningKey, town: bytes, federation: bytes, now: int, known: list[Record]) -> Iterator[Record]:
    """An offer, its deletion, a guide, and deletions of what devices of the town have written."""
    gone = {r.doc: r for r in known if r.town == town and r.kind != "charter" and r.device != town}
    device, epoch, clock = bytes(key.verify_key), secrets.token_bytes(4), now * 1000 << 16

    def write(place: int, about: list[Any], op: int, cites: list[bytes], body: Any) -> Record:
        kind, lane, federations, born, expires, nonce = about
        stamp = max([clock, *(record.stamp for record in known)]) + place
        fields = [1, town, device, [epoch, place], stamp, kind, lane, federations, born, expires, nonce]
        salted = None if body is None else encode([secrets.token_bytes(16), body])
        return sign(key, [*fields, op, cites], salted)

    offer = ["offer", 1, [federation], now, now + 30 * 86_400, secrets.token_bytes(8)]
    guide = ["practice", 2, [federation], now, now + 3650 * 86_400, secrets.token_bytes(8)]
    put = write(1, offer, PUT, [], {"title": "Pommes du verger d'à côté", "text": "Trois caisses."})
    yield put
    yield write(2, offer, DELETE, [put.id], None)
    steps = [{"text": "Wash the jars.", "minutes": 10}, {"text": "Fill them while hot."}]
    yield write(3, guide, ENTRY, [], {"title": "Apple butter without sugar", "steps": steps})
    for place, record in enumerate(gone.values(), 4):
        about = [record.kind, record.lane, [*record.federations], record.born, record.expires, record.nonce]
        yield write(place, about, DELETE, [record.id], None)


def judge(raw: bytes) -> str:
    """What these rules say of the bytes of a record: `good`, or why it is refused."""
    try:
        check_raw(raw)
    except Refused as refused:
        return str(refused)
    return "good"


def mutate(records: Iterable[Record], key: SigningKey | None) -> Iterator[dict[str, Any]]:
    """Every damage to the first put, delete and entry, each with the verdict of these rules."""
    first: dict[int, Record] = {}
    for record in records:
        if not record.kind.startswith(("town.", "charter", "federation.")):
            first.setdefault(record.op, record)
    for op, record in sorted(first.items()):
        for name, raw, expected in mutations(decode(record.header), record.signature, record.body, key):
            told = {"of": OPS[op], "name": name, "expected": expected}
            yield told | {"says": judge(raw), "raw": base64.b64encode(raw).decode()}


def main(arguments: list[str]) -> int:
    """Run one command; 1 if something is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    verify_ = commands.add_parser("verify")
    verify_.add_argument("file")
    verify_.add_argument("--own-town", type=bytes.fromhex, help="adopt federations as this town does")
    verify_.add_argument("--complete", action="store_true", help="each record must be held and stand")
    verify_.add_argument("--now", type=int, help="judge times too, as at this second")
    make_ = commands.add_parser("make")
    for name in ("device-seed", "town", "federation"):
        make_.add_argument(f"--{name}", type=bytes.fromhex, required=True)
    make_.add_argument("--now", type=int, required=True)
    make_.add_argument("--delete-of", nargs="*", default=[], help="JSON Lines of records to delete")
    mutate_ = commands.add_parser("mutate")
    mutate_.add_argument("file")
    mutate_.add_argument("--device-seed", type=bytes.fromhex, help="sign what can be signed")
    given = parser.parse_args(arguments)
    if given.command == "verify":
        with opened(given.file) as stream:
            told = list(verify(stream, given.own_town, given.complete, given.now))
        print("\n".join(told))
        return int(len(told) > 1)
    key = SigningKey(given.device_seed) if given.device_seed else None
    if given.command == "make":
        assert key
        lines = [line for name in given.delete_of for line in Path(name).read_text("utf-8").splitlines()]
        known = [read_line(line) for line in lines]
        for record in make(key, given.town, given.federation, given.now, known):
            print(line_of(record))
        return 0
    with opened(given.file) as stream:
        wrong = 0
        for told_ in mutate([read_line(line) for line in stream if line.strip()], key):
            wrong += (told_["says"] == "good") != (told_["expected"] == "good")
            print(json.dumps(told_))
    return int(wrong > 0)


def opened(name: str) -> TextIO:
    """The file of this name, or what is piped in."""
    return sys.stdin if name == "-" else Path(name).open(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
