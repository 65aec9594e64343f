"""Sections 10 and 11 of `docs/protocol.md` say what the code does: frames, bounds, codes, examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest

from node.errors import LimitReached, NotCertified, StorageUnavailable
from node.invitations import Invitation, read_code
from node.transport.auth import Badge, make_auth
from protocol import wire
from protocol.encoding import Value, decode_list, encode
from protocol.errors import (
    BadSignature,
    BodyMissing,
    LimitExceeded,
    MalformedFrame,
    MalformedRecord,
    NewerVersion,
)
from protocol.identity import DeviceKey
from protocol.ids import DeviceId, FederationId, Lane, RecordId, TownId
from protocol.limits import BATCH_BYTES_MAX, CELLS_KEPT, FRAME_BYTES_MAX, RECORD_BYTES_MAX
from protocol.wire import decode_frame, join_proof
from sync.authority import Authority
from sync.devices import Rights
from sync.events import Heard, LinkId, LinkUp, Send
from sync.held import HeldSet
from sync.hub import Hub
from sync.listing import RANGE_IDS_MAX
from sync.offers import HELLOS_MAX, PRESENTED_MAX
from sync.outbox import WANTED_MAX
from sync.salted import FRAME_CELLS_MAX, KEYED_CELLS_FIRST, RETRY_IDS_MAX
from sync.sketch import DIFFERENCE_MAX, cells_for
from tests.sync.world import federation_with

ROOT = Path(__file__).parents[2]
WHOLE = (ROOT / "docs" / "protocol.md").read_text("utf-8")
TEXT = WHOLE[WHOLE.index("\n## 10. ") : WHOLE.index("\n## 12. ")]
ROW = re.compile(r"^\| (\d+) \| ([A-Z ]+) \|([^|]*)\|", re.M)
FIELD = re.compile(r"`(\w+)` ([^;]+)")

FEDERATION = FederationId(bytes(range(0x40, 0x50)))
HASHED = bytes(range(32))
TOWNS = (TownId(b"A" * 32), TownId(b"B" * 32))
DEVICES = (DeviceId(b"a" * 32), DeviceId(b"b" * 32))
IDS = [blake2b(bytes([number]), digest_size=32).digest() for number in range(200)]

Sizes = tuple[list[Value], list[Value]]
"""Values that a type allows, at its bounds, and values just beyond them."""


def name_of(maker: object) -> str:
    """Return what the text calls a frame."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", getattr(maker, "__name__", "")).upper()


def rows() -> Iterator[tuple[int, str, dict[str, str]]]:
    """Yield number, name and fields (name -> type) of the frames in the table."""
    for number, name, cell in ROW.findall(TEXT):
        yield int(number), name, {field: kind.strip() for field, kind in FIELD.findall(cell)}


def blob(size: int) -> Value:
    """Return a value of so many bytes."""
    return bytes(size)


def sizes_of(kind: str) -> Sizes:
    """Return what a type of the table allows and what it does not."""
    if kind == "bool":
        return [False, True], [0, None]
    if found := re.fullmatch(r"list\(≤ (\d+)\) of (.*)", kind):
        most, inner = int(found[1]), sizes_of(found[2])
        small = inner[0][0]
        wrong: list[Value] = [[value] for value in inner[1]]
        return [[], [small] * most, *([value] for value in inner[0])], [[small] * (most + 1), *wrong, None]
    if found := re.fullmatch(r"\[(.*)\]", kind):
        parts = [sizes_of(part) for part in found[1].split(", ")]
        small_row: list[Value] = [part[0][0] for part in parts]
        right: list[Value] = [
            [*small_row[:index], value, *small_row[index + 1 :]]
            for index, part in enumerate(parts)
            for value in part[0]
        ]
        beyond: list[Value] = [
            [*small_row[:index], value, *small_row[index + 1 :]]
            for index, part in enumerate(parts)
            for value in part[1]
        ]
        return right, [*beyond, small_row[:-1], [*small_row, None]]
    return plain_sizes_of(kind)


def plain_sizes_of(kind: str) -> Sizes:
    """Return the same for a type without parts."""
    patterns: list[tuple[str, Callable[[int, int], Sizes]]] = [
        (r"(0)\.\.(\d+)", lambda low, high: ([low, high], [low - 1, high + 1, True, None])),
        (r"bytes\((\d+)()\)", lambda size, _: ([blob(size)], [blob(size - 1), blob(size + 1), None])),
        (r"bytes\(≤ (\d+)()\)", lambda most, _: ([b"", blob(most)], [blob(most + 1), "", None])),
        (
            r"≤ (\d+) \u00d7 bytes\((\d+)\)",
            lambda most, unit: (
                [b"", blob(unit), blob(most * unit)],
                [blob(unit - 1), blob((most + 1) * unit), "", None],
            ),
        ),
        (r"text\(≤ (\d+)()\)", lambda most, _: (["", "é" * most], ["x" * (most + 1), b"", None])),
    ]
    for pattern, sizes in patterns:
        if found := re.fullmatch(pattern, kind):
            return sizes(int(found[1]), int(found[2] or 0))
    raise AssertionError(f"the text explains no type {kind!r}")


def test_the_table_has_every_frame_with_its_number_and_its_fields_in_order() -> None:
    said = [(number, name, list(declared)) for number, name, declared in rows()]
    made = [
        (number, name_of(maker), [field.name for field in fields(maker)])
        for maker, number in wire._TYPE_OF.items()
        if isinstance(maker, type)
    ]
    assert said == made
    assert len(made) == len(wire.Frame.__args__)


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row[1])
def test_each_field_is_bounded_as_the_table_says(row: tuple[int, str, dict[str, str]]) -> None:
    number, _, declared = row
    sizes = [sizes_of(kind) for kind in declared.values()]
    small: list[Value] = [allowed[0] for allowed, _ in sizes]
    for index, (allowed, refused) in enumerate(sizes):
        for value in allowed:
            data = encode([number, *small[:index], value, *small[index + 1 :]])
            if len(data) <= FRAME_BYTES_MAX:
                assert wire.encode_frame(decode_frame(data)) == data
        for value in refused:
            with pytest.raises(MalformedFrame):
                decode_frame(encode([number, *small[:index], value, *small[index + 1 :]]))


def test_every_code_that_can_end_a_link_or_refuse_a_join_is_listed() -> None:
    files = [*(ROOT / "sync").glob("*.py"), *(ROOT / "node" / "transport").glob("*.py")]
    files += [ROOT / "node" / name for name in ("links.py", "engine.py", "joining.py", "invitations.py")]
    source = "\n".join(file.read_text("utf-8") for file in sorted(files))
    codes = set(re.findall(r'(?:PeerFault|drop|Drop|end)\((?:[\w.]+(?:\[0\])?, )?\s*"([a-z_]+)"', source))
    codes |= set(re.findall(r'end_code, self\.end_says = "([a-z_]+)"', source))
    codes |= set(re.findall(r'code = "([a-z_]+)" if ', source))
    codes |= {
        code
        for raised in re.findall(
            r"(?:LinkFailure|InvitationRefused)\((.*?)\) ?(?:from None)?\n", source, re.S
        )
        for code in re.findall(r'code="([a-z_]+)"', raised)
    }
    # Codes that reach the other side through an exception.
    errors = (
        BadSignature,
        BodyMissing,
        LimitExceeded,
        LimitReached,
        MalformedRecord,
        NewerVersion,
        NotCertified,
    )
    codes |= {error.code for error in (*errors, StorageUnavailable)}
    local = {"invitation_mistyped", "invitation_own", "invitations_many"}
    """Said to the operator of this node, never over a link."""
    assert len(codes) > 40
    assert not {code for code in codes - local if f"`{code}`" not in TEXT}


@pytest.mark.parametrize(
    "number",
    [
        f"{DIFFERENCE_MAX:,}", f"{FRAME_CELLS_MAX:,} cells", f"{RANGE_IDS_MAX:,}", f"{RETRY_IDS_MAX:,} ids",
        f"{KEYED_CELLS_FIRST} cells", f"{WANTED_MAX:,} records", f"{HELLOS_MAX:,} HELLOs",
        f"{PRESENTED_MAX} times", f"{wire.PARCEL_WIRE_BYTES_MAX:,} bytes", f"{wire.PART_BYTES_MAX:,} bytes",
        f"`federation` {wire.EVIDENCE} and lane 0", f"at least {cells_for(1)} and at most `CELLS_KEPT`",
    ],
)  # fmt: skip
def test_the_bounds_that_stand_in_no_table_are_those_of_the_code(number: str) -> None:
    assert number in TEXT
    assert cells_for(1_000) == 1_400 and cells_for(DIFFERENCE_MAX) <= CELLS_KEPT
    assert wire.PARCEL_WIRE_BYTES_MAX == BATCH_BYTES_MAX + RECORD_BYTES_MAX + 8_192


def example(mark: str) -> list[list[str]]:
    """Return the words of each line of an example."""
    found = re.search(rf"<!-- {mark} -->\n```\n(.*?)\n```\n<!-- /{mark} -->", TEXT, re.S)
    assert found
    return [line.split() for line in found[1].splitlines()]


def hub_of(side: int) -> Hub:
    """Return the hub of one side of the example."""
    members = frozenset(TOWNS)
    federation = federation_with(FEDERATION, "F", RecordId(bytes(32)), TOWNS[0], members, members, (9, 9, 9))
    held = {(FEDERATION, Lane.URGENT): HeldSet.of(IDS[:2]), (FEDERATION, Lane.LIBRARY): HeldSet.of(IDS)}
    rights = {
        town: Rights(frozenset({device}), (DeviceId(town),))
        for town, device in zip(TOWNS, DEVICES, strict=True)
    }
    authority = Authority(TOWNS[side], {FEDERATION: federation}, rights)
    return Hub(TOWNS[side], DEVICES[side], authority, held, Random(1))


def test_two_nodes_that_hold_the_same_say_the_frames_of_the_example() -> None:
    hubs = [hub_of(0), hub_of(1)]
    said: list[list[str]] = []
    waiting: list[tuple[int, LinkUp | Heard]] = [
        (side, LinkUp(LinkId(1), TOWNS[1 - side], DEVICES[1 - side], HASHED, initiator=side == 0))
        for side in (0, 1)
    ]
    while waiting:
        side, told = waiting.pop(0)
        for effect in hubs[side].handle(told, 1_000):
            if isinstance(effect, Send):
                said.append(["IR"[side], effect.frame.hex()])
                waiting.append((1 - side, Heard(LinkId(1), effect.frame)))
    assert said == example("example")


def test_auth_is_signed_as_the_example_says() -> None:
    key = DeviceKey(bytes(32))
    auth = decode_list(make_auth(Badge(key, b""), HASHED, initiator=True), bytes_max=FRAME_BYTES_MAX)
    assert [["device", auth[1].hex()], ["signature", auth[3].hex()]] == example("auth")


def test_an_invitation_has_the_code_and_the_proof_of_the_example() -> None:
    urls = ("http://roanne.example:8460",)
    invitation = Invitation(FEDERATION, TOWNS[0], urls, bytes(range(0x80, 0x90)), 1_893_456_000)
    proof = join_proof(invitation.secret, HASHED).hex()
    assert [["code", invitation.code()], ["proof", proof]] == example("invitation")
    assert read_code(invitation.code()) == invitation
