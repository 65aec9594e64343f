"""The one door: what is refused with which code, what is announced when, and how our own records are made."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from node import drafts as drafts_module
from node.clock import Reading
from node.drafts import last_stamp
from node.errors import (
    InvalidRequest,
    LimitReached,
    NotCertified,
    NotFound,
    NotOurs,
    StaleEdit,
    StorageUnavailable,
    UnknownKind,
)
from node.intake import DOUBTED_AFTER, Draft, Intake, take_in
from node.store import SqliteStore
from node.store.memory import MemoryStore
from protocol.encoding import encode, encode_list
from protocol.errors import InvalidField, LimitExceeded
from protocol.ids import Lane, Op
from protocol.limits import HEADER_BYTES_MAX, RECORD_BYTES_MAX, STAMP_MAX
from protocol.record import Record, check_signature, make_body, open_record
from sync.admission import EXPIRED, FUTURE, NOT_MEMBER, NOT_OURS, SUPERSEDED, UNCERTIFIED
from sync.authority import UNKNOWN_FEDERATION
from sync.events import Committed, LinkId
from tests.node.stores import BASIS, BEE, OWN, RIVER, guide, offer, open_bench
from tests.sync.world import NOW_S, Town, federation_of

STRANGER = Town("stranger")
BREAD = {"title": "Twenty loaves"}


class Door:
    """A door on a real store, the time that it sees, and what it announced."""

    def __init__(self, store: SqliteStore | MemoryStore) -> None:
        """Stand over an open store."""
        self.store = store
        self.now_ms = NOW_S * 1_000
        self.sure = True
        self.announced: list[Committed] = []
        self._random = 0
        self.intake = Intake(
            store, OWN.device(), lambda: Reading(self.now_ms, self.sure), chance=self._chance
        )
        self.intake.announce = self.announced.append

    async def accept(self, *raws: bytes) -> list[tuple[str, str]]:
        """Take raw records in; return state and cause of each."""
        return [(each.state.value, each.cause) for each in await self.intake.accept(raws)]

    async def hold(self, *records: Record) -> None:
        """Take records in; all must be held."""
        taken = await self.accept(*(record.raw for record in records))
        assert {state for state, _ in taken} == {"held"}

    async def held(self, record: Record) -> bytes | None:
        """Return the raw record that is held under an id."""
        return (await self.store.read(lambda reader: reader.raws([record.id]))).get(record.id)

    async def post(self, kind: str = "offer", fields: Any = BREAD, **more: Any) -> Record:
        """Post one draft to the federation, or where `more` says."""
        more.setdefault("federations", (RIVER,))
        return (await self.intake.post([Draft(kind, fields=fields, **more)]))[0]

    def _read(self) -> Reading:
        return Reading(self.now_ms, self.sure)

    def _chance(self, size: int) -> bytes:
        self._random += 1
        return self._random.to_bytes(size, "big")


@pytest.fixture(params=["sqlite", "memory"])
async def door(request: Any, tmp_path: Path) -> AsyncIterator[Door]:
    """A door behind which three towns share a federation."""
    made = Door(open_bench(request.param, tmp_path).store)
    await made.hold(*BASIS)
    made.announced.clear()
    yield made
    await made.store.close()


def forged(record: Record) -> bytes:
    """Return a record with one bit of its signature flipped."""
    signature = bytes([record.signature[0] ^ 1]) + record.signature[1:]
    return encode_list([record.header_bytes, signature, record.body])


async def test_one_bad_record_never_blocks_its_batch(door: Door) -> None:
    good = [offer(BEE, f"Thing {number}") for number in range(8)]
    bad = {
        "not a record": (b"\xc1nonsense", ("dropped", "malformed")),
        "nothing": (b"", ("dropped", "malformed")),
        "cut short": (good[0].raw[:-1], ("dropped", "malformed")),
        "not canonical": (b"\xdc\x00\x03" + good[0].raw[1:], ("dropped", "malformed")),
        "too large": (bytes(RECORD_BYTES_MAX + 1), ("dropped", "limit_exceeded")),
        "header too large": (
            encode_list([bytes(HEADER_BYTES_MAX + 1), bytes(64), b""]), ("dropped", "limit_exceeded"),
        ),
        "wrongly signed": (forged(offer(BEE, "Cake")), ("dropped", "bad_signature")),
        "body of another": (
            encode_list([good[2].header_bytes, good[2].signature, good[3].body]), ("dropped", "malformed"),
        ),
        "without its body": (
            encode_list([good[4].header_bytes, good[4].signature, None]), ("not_now", "body_missing"),
        ),
        "newer format": (encode_list([encode([2]), bytes(64), None]), ("not_now", "newer_version")),
        "uncertified": (offer(BEE, "Cake", device=9).raw, ("parked", UNCERTIFIED)),
        "not a member": (offer(STRANGER, "Cake").raw, ("parked", NOT_MEMBER)),
        "of a foreign town's own": (offer(BEE, "Cake", federations=()).raw, ("dropped", NOT_OURS)),
        "of a federation we are not in": (
            offer(BEE, "Cake", federations=(federation_of(BEE.charter("x", [BEE])),)).raw,
            ("not_now", UNKNOWN_FEDERATION),
        ),
        "ended": (offer(BEE, "Cake", born=NOW_S - 50, life_s=50).raw, ("dropped", EXPIRED)),
        "ahead": (offer(BEE, "Cake", born=NOW_S + 90_000).raw, ("not_now", FUTURE)),
    }  # fmt: skip
    raws: list[bytes] = []
    for (raw, _), each in zip(bad.values(), [*good, *good], strict=True):
        raws += [raw, each.raw]
    taken = await door.accept(*raws)
    assert dict(zip(bad, taken[::2], strict=True)) == {name: verdict for name, (_, verdict) in bad.items()}
    assert {state for state, _ in taken[1::2]} == {"held"}
    assert [await door.held(record) for record in good] == [record.raw for record in good]


async def test_a_verdict_names_the_id_by_which_the_sender_knows_the_record(door: Door) -> None:
    record = offer(BEE, "Bread")
    broken = encode_list([record.header_bytes, record.signature, b"?"])
    verdicts = await door.intake.accept([broken, forged(record), record.raw, b"?"])
    assert [each.id for each in verdicts[:3]] == [record.id] * 3
    assert len(verdicts[3].id) == 32


async def test_a_forger_cannot_keep_out_the_honest_record(door: Door) -> None:
    first, second = offer(BEE, "Bread"), offer(BEE, "Milk")
    assert await door.accept(forged(first)) == [("dropped", "bad_signature")]
    assert await door.accept(first.raw) == [("held", "held")]
    assert await door.accept(forged(second), second.raw, forged(second)) == [
        ("dropped", "bad_signature"), ("held", "held"), ("held", "held"),
    ]  # fmt: skip
    assert [await door.held(first), await door.held(second)] == [first.raw, second.raw]


async def test_what_is_known_costs_no_signature_check(door: Door) -> None:
    old, new = offer(BEE, "Bread", nonce="n"), offer(BEE, "More bread", nonce="n", later_ms=1)
    parked = offer(BEE, "Cake", device=9)
    await door.accept(old.raw, new.raw, parked.raw)
    checked: list[Record] = []
    raws = [record.raw for record in (old, new, parked, *BASIS)]
    taken = await door.store.write(
        lambda tx: take_in(tx, raws, now_ms=door.now_ms, sure=True, check=checked.append)
    )
    assert checked == []
    assert [each.cause for each in taken.verdicts[:3]] == [SUPERSEDED, "known", UNCERTIFIED]
    assert taken.lanes == ()


async def test_a_forged_copy_of_a_superseded_record_is_not_taken_when_rights_move(door: Door) -> None:
    """The newer put loses its device's right; the old one may stand again, but only as it was signed."""
    old = offer(BEE, "Bread", nonce="n")
    new = offer(BEE, "More bread", nonce="n", later_ms=1, device=2)
    await door.hold(old)
    await door.accept(new.raw)
    revoked = BEE.certificate(2, op=Op.DELETE, stamp=9)
    assert await door.accept(revoked.raw, forged(old)) == [("held", "held"), ("dropped", "bad_signature")]
    assert await door.held(old) is None
    assert await door.accept(old.raw) == [("held", "held")]
    assert await door.held(old) == old.raw


async def test_what_waited_is_told_as_held_in_the_batch_that_lets_it_stand(door: Door) -> None:
    waiting = offer(BEE, "Cake", device=9)
    assert await door.accept(waiting.raw) == [("parked", UNCERTIFIED)]
    taken = await door.accept(waiting.raw, BEE.certificate(9).raw)
    assert [state for state, _ in taken] == ["held", "held"]


async def test_not_now_is_not_remembered(door: Door) -> None:
    charter = BEE.charter("On the hill", [BEE], [OWN])
    hill = federation_of(charter)
    record = offer(BEE, "Cake", federations=(hill,))
    ahead = offer(BEE, "Tomorrow's bread", born=NOW_S + 90_000)
    assert await door.accept(record.raw, ahead.raw) == [("not_now", UNKNOWN_FEDERATION), ("not_now", FUTURE)]
    door.now_ms += 10_000_000
    await door.hold(ahead)
    await door.accept(charter.raw)
    await door.post("federation.join", {"name": "own"}, federations=(hill,))
    await door.hold(record)


async def test_a_commit_is_announced_when_it_is_on_the_disk_and_before_the_caller_goes_on(
    tmp_path: Path,
) -> None:
    door = Door(open_bench("sqlite", tmp_path).store)
    assert isinstance(door.store, SqliteStore)
    path = door.store.path
    seen: list[tuple[str, int, int]] = []

    def look(committed: Committed) -> None:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as other:
            count = other.execute("SELECT count(*) FROM records").fetchone()[0]
        other.close()
        seen.append(("announced", committed.change, count))

    door.intake.announce = look
    for number, records in enumerate((BASIS, [offer(BEE, "Bread")], [offer(BEE, "Milk")]), 1):
        await door.hold(*records)
        seen.append(("returned", number, 0))
    total = len(BASIS)
    assert seen == [
        ("announced", 1, total), ("returned", 1, 0), ("announced", 2, total + 1), ("returned", 2, 0),
        ("announced", 3, total + 2), ("returned", 3, 0),
    ]  # fmt: skip
    await door.store.close()


async def test_announcements_come_in_the_order_of_the_commits_with_their_source(door: Door) -> None:
    batches = [[offer(BEE, f"Thing {batch} {each}").raw for each in range(3)] for batch in range(30)]
    await asyncio.gather(*(door.intake.accept(raws, LinkId(index)) for index, raws in enumerate(batches)))
    changes = [each.change for each in door.announced]
    assert changes == sorted(set(changes))
    assert len(changes) == 30
    assert {each.source for each in door.announced} == set(range(30))
    await door.accept(*batches[0])
    assert len(door.announced) == 30, "nothing changed, nothing is announced"


async def test_new_authority_is_announced_with_the_commit_that_brings_it(door: Door) -> None:
    admit = OWN.admit(RIVER, STRANGER)
    waiting = offer(STRANGER, "Cake")
    await door.accept(waiting.raw, STRANGER.certificate().raw)
    door.announced.clear()
    await door.hold(admit)
    [committed] = door.announced
    assert committed.authority is not None and committed.authority.is_member(RIVER, STRANGER.id)
    assert waiting.id in {id for lane in committed.lanes for id in lane.added}
    assert await door.intake.authority() == committed.authority


async def test_a_full_disk_keeps_nothing_and_announces_nothing(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(door.store, MemoryStore):
        pytest.skip("not meant: memory has no disk")
    pages = int(str((await door.store.write(lambda tx: tx.rows("PRAGMA page_count")))[0][0]))
    await door.store.write(lambda tx: tx.rows(f"PRAGMA max_page_count = {pages}"))
    records = [offer(BEE, f"Thing {number}") for number in range(400)]
    with pytest.raises(StorageUnavailable):
        await door.intake.accept([record.raw for record in records])
    with pytest.raises(StorageUnavailable):
        await door.intake.post([Draft("offer", fields=BREAD, federations=(RIVER,)) for _ in range(400)])
    assert door.announced == []
    assert await door.held(records[0]) is None
    await door.store.write(lambda tx: tx.rows("PRAGMA max_page_count = 1000000"))
    await door.hold(*records)
    assert len(door.announced) == 1


# Our own records.


async def test_an_own_record_is_signed_numbered_and_stamped_in_the_writers_turn(door: Door) -> None:
    records = await asyncio.gather(*(door.post(fields={"title": f"Thing {number}"}) for number in range(20)))
    for record in records:
        check_signature(record)
        assert open_record(record.raw).header == record.header
        assert record.header.town == OWN.id
    counters = [record.header.counter for record in records]
    assert sorted(counters) == list(range(1, 21))
    assert len({record.header.epoch for record in records}) == 1
    assert len({record.header.stamp for record in records}) == 20
    assert sum(len(each.lanes[0].added) for each in door.announced) == 20


async def test_a_new_version_is_stamped_after_every_version_of_the_document(door: Door) -> None:
    """Also when another device of the town ran ahead, and when the clock stood or was set back."""
    first = await door.post(nonce=b"n" * 8)
    header = first.header
    ahead = (NOW_S * 1_000 + 3_600_000) << 16
    other = drafts_put(first, OWN.device(2), stamp=ahead)
    await door.hold(other)
    door.now_ms -= 50_000
    edit = await door.post(fields={"title": "Ten loaves"}, doc=first.doc, cites=(other.id,))
    assert edit.header.stamp > ahead
    assert (edit.doc, edit.header.born, edit.header.nonce) == (first.doc, header.born, header.nonce)
    assert await door.held(edit) == edit.raw
    assert await door.held(other) is None


def drafts_put(record: Record, key: Any, *, stamp: int, op: Op = Op.PUT) -> Record:
    """Return a record of the same document by another device of the town."""
    from protocol.record import make

    header = record.header
    return make(
        key, town=header.town, epoch=b"othr", counter=1, stamp=stamp, kind=header.kind, lane=header.lane,
        federations=header.federations, born=header.born, expires=header.expires, nonce=header.nonce, op=op,
        body=None if op is Op.DELETE else make_body(bytes(16), {"title": "By another device"}),
    )  # fmt: skip


async def test_the_own_clock_observes_the_own_towns_stamps_and_no_others(door: Door) -> None:
    ahead = (NOW_S * 1_000 + 60_000) << 16
    await door.hold(offer(BEE, "Bread", stamp=ahead + (1 << 40)))
    assert (await door.post()).header.stamp < ahead
    await door.hold(offer(OWN, "Milk", stamp=ahead, device=2))
    assert (await door.post()).header.stamp == ahead + 1
    assert await door.store.write(last_stamp) == ahead + 1


async def test_an_own_stamp_that_ran_ahead_falls_back_once_time_is_sure(door: Door) -> None:
    far = (NOW_S * 1_000 + 3_600_000) << 16
    await door.hold(offer(OWN, "Milk", stamp=far, device=2))
    door.sure = False
    assert (await door.post()).header.stamp > far
    door.sure = True
    assert (await door.post()).header.stamp == door.now_ms << 16


async def test_the_same_nonce_gives_the_same_document_again(door: Door) -> None:
    first = await door.post(nonce=b"nonce-01")
    door.announced.clear()
    assert (await door.post(nonce=b"nonce-01", fields={"title": "Something else"})).id == first.id
    assert door.announced == []
    edit = await door.post(fields={"title": "Ten loaves"}, doc=first.doc)
    assert (await door.post(nonce=b"nonce-01")).id == edit.id
    assert (await door.post("need", {"title": "Flour"}, nonce=b"nonce-01")).doc != first.doc
    drafts = [Draft("offer", fields=BREAD, federations=(RIVER,), nonce=b"nonce-02")] * 2
    twins = await door.intake.post(drafts)
    assert twins[0].id == twins[1].id


async def test_drafts_are_committed_all_or_none(door: Door) -> None:
    drafts = [Draft("offer", fields={"title": title}, federations=(RIVER,)) for title in ("Bread", "x")]
    with pytest.raises(InvalidField):
        await door.intake.post(drafts)
    assert door.announced == []
    assert (await door.post()).header.counter == 1


async def test_a_withdrawal_is_final(door: Door) -> None:
    first = await door.post()
    gone = await door.post(fields=None, op=Op.DELETE, doc=first.doc)
    assert await door.held(gone) == gone.raw
    assert await door.held(first) is None
    with pytest.raises(NotFound):
        await door.post(doc=first.doc)
    assert (await door.accept(first.raw)) == [("dropped", SUPERSEDED)]


async def test_an_edit_of_what_the_editor_did_not_see_is_refused(door: Door) -> None:
    first = await door.post()
    second = await door.post(fields={"title": "Ten loaves"}, doc=first.doc, based_on=(first.id,))
    with pytest.raises(StaleEdit):
        await door.post(fields={"title": "Two loaves"}, doc=first.doc, based_on=(first.id,))
    await door.post(fields={"title": "Two loaves"}, doc=first.doc, based_on=(second.id,))
    steps = {"title": "A guide", "steps": [{"text": "Cut it"}]}
    begun = await door.post("practice", steps, op=Op.ENTRY)
    await door.post("practice", steps, op=Op.ENTRY, doc=begun.doc, based_on=(begun.id,), cites=(begun.id,))
    with pytest.raises(StaleEdit):
        await door.post("practice", steps, op=Op.ENTRY, doc=begun.doc, based_on=(begun.id,))


async def test_only_the_own_towns_documents_are_edited(door: Door) -> None:
    foreign = offer(BEE, "Bread")
    await door.hold(foreign)
    with pytest.raises(NotOurs):
        await door.post(doc=foreign.doc)
    with pytest.raises(NotFound):
        await door.post(doc=offer(BEE, "Unheard of").doc)


async def test_drafts_that_nobody_would_let_stand_are_refused_with_a_clear_line(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts_module, "ENTRIES_MAX", 2)
    guide_ = guide(OWN, "g", "Cut it")
    await door.hold(guide_, guide(OWN, "g", "Cut it well", later_ms=1))
    steps = {"title": "A guide", "steps": [{"text": "Cut it"}]}
    charter = BEE.charter("x", [BEE])
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (UnknownKind, {"kind": "no-such-kind"}),
        (InvalidRequest, {"op": Op.ENTRY}),
        (InvalidRequest, {"fields": None}),
        (InvalidRequest, {"born": NOW_S - 100, "expires": NOW_S - 1}),
        (InvalidRequest, {"born": NOW_S + 200_000}),
        (InvalidField, {"fields": {}}),
        (LimitExceeded, {"kind": "practice", "op": Op.ENTRY, "fields": {**steps, "note": "x" * 40_000}}),
        (LimitReached, {"kind": "practice", "op": Op.ENTRY, "fields": steps, "doc": guide_.doc}),
        (NotCertified, {"federations": (federation_of(charter),)}),
        (NotCertified, {"key": OWN.device(9)}),
    ]
    for error, more in cases:
        with pytest.raises(error) as caught:
            await door.post(**more)
        assert "\n" not in str(caught.value), more
    assert [each.change for each in door.announced] == [door.announced[0].change], "only the guide's"


async def test_a_town_that_has_reached_its_quota_is_told_so_and_loses_nothing(tmp_path: Path) -> None:
    charter = OWN.charter("Small", [OWN], quotas=(9, 3, 9))
    small = federation_of(charter)
    door = Door(open_bench("sqlite", tmp_path).store)
    await door.hold(OWN.certificate(), charter)
    posted = [await door.post(fields={"title": f"Loaf {each}"}, federations=(small,)) for each in range(3)]
    with pytest.raises(LimitReached) as caught:
        await door.post(federations=(small,))
    assert caught.value.code == "limit_reached"
    assert [await door.held(record) is not None for record in posted] == [True] * 3
    await door.post(fields={"title": "Edits still go"}, doc=posted[0].doc)
    await door.store.close()


async def test_a_town_record_is_signed_with_the_town_key(door: Door) -> None:
    record = await door.post("town.profile", {"name": "Own"}, federations=(), key=OWN.key)
    assert bytes(record.header.device) == OWN.id
    assert (await door.store.read(lambda reader: reader.towns()))[OWN.id].name == "Own"


async def test_unknown_kinds_are_carried_and_not_shown(door: Door) -> None:
    record = await door.post("weather", {"rain": 3}, lane=Lane.LIBRARY, expires=NOW_S + 1_000)
    assert await door.held(record) == record.raw
    assert (await door.store.read(lambda reader: reader.totals())).documents == 0


# Time.


async def test_what_has_ended_is_let_go_and_announced_once_time_is_sure(door: Door) -> None:
    short = [offer(BEE, f"Soup {number}", life_s=60) for number in range(1_200)]
    await door.hold(offer(BEE, "Bread"), *short[:400])
    door.announced.clear()
    door.now_ms += 60_000
    door.sure = False
    assert await door.intake.reconsider() == 0
    door.sure = True
    assert await door.intake.reconsider() == 400
    removed = [id for each in door.announced for lane in each.lanes for id in lane.removed]
    assert sorted(removed) == sorted(record.id for record in short[:400])
    assert await door.intake.reconsider() == 0
    assert (await door.store.read(lambda reader: reader.totals())).documents == 1


async def test_an_unsure_node_refuses_nothing_for_its_time(door: Door) -> None:
    door.sure = False
    await door.hold(offer(BEE, "Old", born=NOW_S - 100, life_s=50), offer(BEE, "Far", born=NOW_S + 900_000))


async def test_a_charter_that_anybody_signed_in_our_name_does_not_move_our_clock(door: Door) -> None:
    """We may even have consented to that federation: the device that signed is still not ours."""
    ahead = (NOW_S * 1_000 + 60_000) << 16
    fields: Any = {"name": "Trap", "stewards": [STRANGER.id], "members": [STRANGER.id, OWN.id]}
    trap = Town("own").write("charter", "trap", op=Op.ENTRY, fields=fields, device=77, stamp=ahead)
    await door.post("federation.join", {"name": "own"}, federations=(federation_of(trap),))
    await door.hold(trap)
    assert await door.store.write(last_stamp) < ahead
    assert (await door.post()).header.stamp < ahead


async def test_once_time_is_sure_what_lies_ahead_is_let_go_of_and_the_board_agrees_with_others(
    door: Door,
) -> None:
    """Only what came in while it was not sure is looked at, and only once."""
    now, far = (offer(BEE, f"Bread {stamp}", nonce="n", stamp=stamp) for stamp in (1, STAMP_MAX))
    door.sure = False
    await door.hold(now)
    await door.hold(far)
    assert await door.intake.reconsider() == 0
    door.sure = True
    assert await door.accept(now.raw) == [("dropped", SUPERSEDED)]
    assert await door.intake.reconsider() == 1
    assert await door.held(far) is None
    assert await door.accept(now.raw, far.raw) == [("held", "held"), ("not_now", FUTURE)]
    assert await door.store.read(lambda reader: reader.meta(DOUBTED_AFTER)) is None
