"""Bodies for named towns: sealed in the writer's turn, opened by whom they name, refused without a key."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.errors import NoSealingKey
from node.intake import Draft
from node.keys import SEALING_FILE, KeysUnreadable, open_sealing_keys, save_sealing_keys, town_record
from node.seals import Seals, sealing_key_of
from node.store.documents import readable
from node.store.memory import MemoryStore
from protocol.encoding import Value
from protocol.errors import LimitExceeded
from protocol.ids import Lane, Op, TownId
from protocol.limits import SEALED_TOWNS_MAX
from protocol.record import Record, fields_of, make, make_body
from protocol.sealing import SealingKey, derive, open_sealed, recipients_of
from tests.node.conftest import START_MS, TestNode, Town

CLAIM: dict[str, Value] = {"target": bytes(16), "ledger": bytes(16), "milli": 1_000, "unit": "each"}
PRIVATE = "insulin for Mair"


@pytest.fixture
def keys(node: TestNode) -> dict[TownId, SealingKey]:
    """The first sealing key of both towns."""
    return {town.id: derive(town.key.seed, 0) for town in (node.own, node.neighbour)}


def seals(town: Town, *secret_keys: SealingKey) -> Seals:
    """The seals of a town that has these keys."""
    return Seals(town.id, secret_keys, chance=secrets.token_bytes)


def profile(town: Town, number: int, **fields: Value) -> Record:
    """A later profile of a town."""
    return town.renamed({"name": town.name, **fields}, number)


async def asked(node: TestNode, towns: Sequence[TownId], using: Seals) -> bytes:
    """The body of a claim that is sealed to these towns."""
    fields = {**CLAIM, "reason": PRIVATE}
    body: bytes = await node.store.read(lambda reader: using.seal_for(reader, towns, fields, "claim"))
    return body


def claim_of(town: Town, body: bytes, *, kind: str = "claim") -> Record:
    """A record of a town with a body of its making."""
    born = START_MS // 1_000
    return make(
        town.device, town=town.id, epoch=b"test", counter=99, stamp=START_MS << 16, kind=kind,
        lane=Lane.EVERYDAY, born=born, expires=born + 60, nonce=bytes(8), body=body,
    )  # fmt: skip


async def test_a_claim_is_read_by_the_town_that_it_names_and_by_the_own(
    node: TestNode, keys: dict[TownId, SealingKey]
) -> None:
    await node.hear(profile(node.neighbour, 1, sealing_key=keys[node.neighbour.id].public))
    own = seals(node.own, keys[node.own.id])
    record = claim_of(node.own, await asked(node, [node.neighbour.id], own))
    assert own.open(record) == {**CLAIM, "reason": PRIVATE}
    assert seals(node.neighbour, keys[node.neighbour.id]).open(record) == {**CLAIM, "reason": PRIVATE}
    assert seals(Town(3, "Else", 0, 0), derive(bytes(32), 0)).open(record) is None
    assert set(own.towns_of(record)) == {node.own.id, node.neighbour.id}
    assert fields_of(record) is None


async def test_the_newest_profile_that_tells_a_key_counts(
    node: TestNode, keys: dict[TownId, SealingKey]
) -> None:
    bee = node.neighbour
    newer = derive(bee.key.seed, 1)

    async def told() -> bytes | None:
        public: bytes | None = await node.store.read(lambda reader: sealing_key_of(reader, bee.id))
        return public

    assert await told() == keys[bee.id].public
    await node.hear(profile(bee, 2, sealing_key=newer.public))
    await node.hear(profile(bee, 1, sealing_key=keys[bee.id].public))
    await node.hear(profile(bee, 3))
    assert await told() == newer.public


async def test_a_profile_that_no_key_of_its_town_signed_names_nobody_to_seal_to(
    node: TestNode, keys: dict[TownId, SealingKey]
) -> None:
    """It waits here, for a key that may yet prove to be that town's; until then it says nothing."""
    bee = node.neighbour
    header = profile(bee, 9).header
    body = make_body(bytes(16), {"name": bee.name, "sealing_key": derive(bytes(32), 0).public})
    forged = make(
        node.own.device, town=bee.id, epoch=b"evil", counter=1, stamp=header.stamp + 1, kind=header.kind,
        lane=header.lane, born=header.born, expires=header.expires, nonce=bytes(8), body=body,
    )  # fmt: skip
    [verdict] = await node.intake.accept([forged.raw])
    assert verdict.cause == "uncertified" and (await node.store.read(lambda r: r.totals())).parked == 1
    assert await node.store.read(lambda reader: sealing_key_of(reader, bee.id)) == keys[bee.id].public


async def test_a_town_that_told_no_key_is_named_and_what_to_do(
    node: TestNode, keys: dict[TownId, SealingKey]
) -> None:
    own = seals(node.own, keys[node.own.id])

    def ask_a_silent_town(reader: Any) -> bytes:
        silent: Any = SimpleNamespace(
            records_of=lambda town, kind: [], towns=reader.towns, authority=reader.authority
        )
        return own.seal_for(silent, [node.neighbour.id], CLAIM, "claim")

    with pytest.raises(
        NoSealingKey, match=r"^Charlieu has not told its sealing key yet; wait until"
    ) as caught:
        await node.store.read(ask_a_silent_town)
    assert (caught.value.code, caught.value.status) == ("no_sealing_key", 409)
    with pytest.raises(NoSealingKey, match=r"^Town 07070707 has not told"):
        await asked(node, [TownId(bytes([7]) * 32)], own)


async def test_a_node_without_a_key_of_its_own_seals_nothing_and_says_why(
    node: TestNode, tmp_path: Path
) -> None:
    without = Seals.of(tmp_path, node.town, chance=secrets.token_bytes)
    assert "sealing.key is missing" in without.trouble and str(tmp_path.parent) not in without.trouble
    with pytest.raises(NoSealingKey, match=r"sealing\.key is missing"):
        await asked(node, [], without)
    with pytest.raises(NoSealingKey, match="no sealing key"):
        door = type(node.intake)(node.store, node.own.device, node.clock.read, chance=secrets.token_bytes)
        await door.post([Draft("claim", fields=CLAIM)])


async def test_a_key_that_is_none_is_refused_like_one_that_is_missing(
    node: TestNode, keys: dict[TownId, SealingKey]
) -> None:
    await node.hear(profile(node.neighbour, 1, sealing_key=bytes(32)))
    with pytest.raises(NoSealingKey, match="a sealing key that is none"):
        await asked(node, [node.neighbour.id], seals(node.own, keys[node.own.id]))


async def test_no_more_towns_than_a_body_may_name(node: TestNode, keys: dict[TownId, SealingKey]) -> None:
    many = [Town(number, f"T{number}", 0, 0) for number in range(10, 10 + SEALED_TOWNS_MAX)]
    store = MemoryStore(node.town)

    def profiles(town: TownId, kind: str) -> list[Record]:
        return [
            profile(each, 1, sealing_key=derive(each.key.seed, 0).public) for each in many if each.id == town
        ]

    def work(reader: Any) -> bytes:
        reader.records_of = profiles
        return seals(node.own, keys[node.own.id]).seal_for(reader, [each.id for each in many], CLAIM, "claim")

    with pytest.raises(LimitExceeded, match="sealed to 9 towns"):
        await store.read(work)


async def test_the_desk_seals_drafts_of_sealed_kinds_and_those_that_name_towns(
    node: TestNode, keys: dict[TownId, SealingKey]
) -> None:
    await node.hear(profile(node.neighbour, 1, sealing_key=keys[node.neighbour.id].public))
    own = seals(node.own, keys[node.own.id])
    node.intake = type(node.intake)(
        node.store, node.own.device, node.clock.read, chance=secrets.token_bytes, seals=own
    )
    drafts = [
        Draft("claim", fields={**CLAIM, "reason": PRIVATE}, sealed_to=(node.neighbour.id,)),
        Draft("claim", fields=CLAIM),
        Draft("need", fields={"title": PRIVATE}, sealed_to=(node.neighbour.id,)),
        Draft("need", fields={"title": "Blankets"}),
    ]
    claim, home, need, plain = await node.intake.post(drafts)
    assert own.open(claim) == {**CLAIM, "reason": PRIVATE}
    assert own.towns_of(home) == (node.town,)
    assert own.open(need) == {"title": PRIVATE} and fields_of(need) is None
    assert fields_of(plain) == {"title": "Blankets"} and own.open(plain) is None
    assert own.towns_of(plain) == ()
    # Each has a salt and keys of its own.
    assert len({record.body for record in (claim, home)}) == 2
    # What is sealed has no place on the board, and edits of it are held like any other.
    assert [document.fields["title"] for document in await node.all()] == ["Blankets"]
    edited = {**CLAIM, "milli": 2_000}
    [again] = await node.intake.post(
        [Draft("claim", fields=edited, doc=claim.doc, sealed_to=own.towns_of(claim))]
    )
    assert own.open(again) == edited and own.towns_of(again) == own.towns_of(claim)
    held = await node.store.read(lambda reader: reader.records([claim.id, again.id, home.id, need.id]))
    assert set(held) == {again.id, home.id, need.id}
    [gone] = await node.intake.post([Draft("claim", Op.DELETE, doc=claim.doc)])
    assert own.open(gone) is None and own.towns_of(gone) == ()


async def test_what_is_sealed_must_be_as_its_kind_declares_it(
    node: TestNode, keys: dict[TownId, SealingKey]
) -> None:
    own = seals(node.own, keys[node.own.id])

    async def sealed(fields: dict[str, Value], kind: str) -> bytes:
        body: bytes = await node.store.read(lambda reader: own.seal_for(reader, [], fields, kind))
        return body

    assert own.open(claim_of(node.own, await sealed({"reason": "x"}, "claim"))) is None
    assert own.open(claim_of(node.own, await sealed({"reason": "x"}, "dance"), kind="dance")) is None
    assert own.open(claim_of(node.neighbour, await sealed(CLAIM, "claim"))) is None


async def test_an_open_body_of_a_sealed_kind_is_held_and_shown_nowhere(node: TestNode) -> None:
    slip = node.neighbour.record("claim", {**CLAIM, "reason": PRIVATE}, [node.federation])
    await node.hear(slip)
    assert await node.all() == [] and readable(slip) is None
    assert await node.store.read(lambda reader: reader.records([slip.id])) != {}
    assert seals(node.own, derive(node.own.key.seed, 0)).open(slip) is None


def test_old_secrets_open_and_the_newest_seals(node_keys: list[SealingKey], tmp_path: Path) -> None:
    save_sealing_keys(tmp_path, {1: node_keys[1], 0: node_keys[0]})
    assert (tmp_path / SEALING_FILE).read_text().splitlines()[1].startswith("1 ")
    assert (tmp_path / SEALING_FILE).stat().st_mode & 0o777 == 0o600
    read = open_sealing_keys(tmp_path)
    assert [key.secret for key in read] == [key.secret for key in node_keys]


@pytest.fixture
def node_keys() -> list[SealingKey]:
    """Two sealing keys of one town."""
    return [derive(bytes(32), index) for index in (0, 1)]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n\n",
        "0 abc\n",
        "x" * 64,
        "0 " + "ab" * 32 + "\n0 " + "cd" * 32,
        "0 " + "AB" * 32,
        "0 " + "ab" * 32 + "\nold",
    ],
)
def test_a_file_of_sealing_keys_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / SEALING_FILE).write_text(content)
    with pytest.raises(KeysUnreadable, match="is damaged"):
        open_sealing_keys(tmp_path)


def test_a_file_that_cannot_be_read_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / SEALING_FILE).mkdir()
    with pytest.raises(KeysUnreadable, match="cannot be read"):
        open_sealing_keys(tmp_path)
    assert "cannot be read" in Seals.of(tmp_path, TownId(bytes(32)), chance=secrets.token_bytes).trouble


async def test_a_town_signs_a_profile_with_the_key_that_its_device_has(node: TestNode) -> None:
    key = derive(node.own.key.seed, 0)
    await node.hear(
        town_record(node.own.key, "town.profile", {"name": "R", "sealing_key": key.public}, START_MS)
    )
    told = await node.store.read(lambda reader: sealing_key_of(reader, node.town))
    assert told == key.public
    own = seals(node.own, key)
    body = await asked(node, [node.town], own)
    assert recipients_of(body) == ((node.town, key.id),)
    assert open_sealed(body, town=node.town, kind="claim", keys={key.id: key}) is not None
    assert open_sealed(make_body(bytes(16), CLAIM), town=node.town, kind="claim", keys={}) is None
