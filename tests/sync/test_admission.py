"""What becomes of a record, one rule at a time; the laws have a file of their own."""

from __future__ import annotations

from collections import Counter

import pytest

from protocol import limits
from protocol.clock import stamp_at
from protocol.ids import Lane, Op, home_id
from protocol.limits import STAMP_MAX
from sync.admission import (
    CHARTER_STANDS,
    EXPIRED,
    FUTURE,
    HELD_NOW,
    KNOWN,
    NOT_MEMBER,
    NOT_OURS,
    QUOTA,
    SUPERSEDED,
    UNCERTIFIED,
    UNKNOWN_FEDERATION,
    State,
    expire,
    judge,
)
from tests.sync.river import BEE, CHARTER, FOUNDATION, HILL, OWN, RIVER, SEA, SECOND_CHARTER, founded
from tests.sync.specified import specified
from tests.sync.world import FAR_S, NOW_S, World

DAY_S = 86_400


def test_a_record_is_held_in_every_adopted_federation_that_it_lists() -> None:
    """And in no other."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    both = BEE.write("offer", federations=[RIVER, HILL])
    assert [(v.state, v.cause) for v in world.take(both)] == [(State.HELD, HELD_NOW)]
    assert world.held[both.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}
    assert [(v.state, v.cause) for v in world.take(both, both)] == [(State.HELD, KNOWN)] * 2


def test_a_held_record_enters_a_federation_that_is_adopted_later() -> None:
    """In the very batch that brings the charter."""
    both = OWN.write("offer", federations=[RIVER, HILL])
    world = founded(both)
    assert world.held[both.id] == {(RIVER, Lane.URGENT)}
    world.take(SECOND_CHARTER)
    assert world.held[both.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}


def test_own_records_without_federations_stay_at_home_and_those_of_others_are_not_ours() -> None:
    """The home set never leaves the town."""
    world = founded()
    mine, theirs = OWN.write("note", lane=Lane.LIBRARY), BEE.write("note")
    verdicts = world.take(mine, theirs)
    assert [(v.state, v.cause) for v in verdicts] == [(State.HELD, HELD_NOW), (State.DROPPED, NOT_OURS)]
    assert world.held[mine.id] == {(home_id(OWN.id), Lane.LIBRARY)}
    assert world.take(theirs)[0].cause == NOT_OURS


def test_records_of_the_town_are_held_wherever_it_is_a_member() -> None:
    """Profiles and certificates list no federation, yet each that the town is in has them."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    profile = BEE.write("town.profile", lane=Lane.EVERYDAY)
    world.take(profile)
    assert world.held[profile.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}
    assert world.held[OWN.certificate().id] == {
        (home_id(OWN.id), Lane.URGENT), (RIVER, Lane.URGENT), (HILL, Lane.URGENT)
    }  # fmt: skip


def test_what_waits_says_for_what() -> None:
    """A device without certificate, a town that is no member, a federation that is not ours."""
    world = founded()
    verdicts = world.take(
        BEE.write("offer", federations=[RIVER], device=2),
        SEA.write("offer", federations=[RIVER]),
        SEA.write("offer", federations=[HILL]),
        SEA.write("town.profile"),
        SEA.join(HILL),
        BEE.charter("unjoined", [BEE]),
        OWN.write("note", device=3),
    )
    assert [(v.state, v.cause) for v in verdicts] == [
        (State.PARKED, UNCERTIFIED),
        (State.PARKED, NOT_MEMBER),
        (State.NOT_NOW, UNKNOWN_FEDERATION),
        (State.PARKED, NOT_MEMBER),
        (State.PARKED, UNKNOWN_FEDERATION),
        (State.PARKED, UNKNOWN_FEDERATION),
        (State.PARKED, UNCERTIFIED),
    ]


def test_a_charter_is_neither_replaced_nor_taken_back() -> None:
    """A put or a delete of a charter is refused for good; two charters of one document are two roots."""
    world = founded()
    delete = BEE.write("charter", "Along the river", op=Op.DELETE)
    verdict = world.take(delete)[0]
    assert (verdict.state, verdict.cause) == (State.DROPPED, CHARTER_STANDS)
    twin = BEE.write("charter", "Along the river", op=Op.ENTRY, fields={"name": "twin"}, stamp=9)
    assert twin.doc == CHARTER.doc
    world.take(twin)
    assert world.held[CHARTER.id] == {(RIVER, Lane.URGENT)}
    roots = [OWN.write("charter", "x", op=Op.ENTRY, stamp=stamp) for stamp in (1, 2)]
    assert {v.state for v in world.take(*roots)} == {State.HELD}


def test_what_ended_is_dropped_and_what_lies_ahead_is_not_now() -> None:
    """Both only when time is sure; an unsure node refuses nothing for its time."""
    ended = BEE.write("offer", "ended", federations=[RIVER], born=NOW_S - 9, expires=NOW_S)
    ahead = BEE.write("offer", "ahead", federations=[RIVER], born=NOW_S + DAY_S + 1)
    stamped = BEE.write("need", "ahead", federations=[RIVER], stamp=stamp_at((NOW_S + DAY_S) * 1_000) + 1)
    just = BEE.write("need", "just", federations=[RIVER], stamp=stamp_at((NOW_S + DAY_S) * 1_000))
    world = founded()
    assert [(v.state, v.cause) for v in world.take(ended, ahead, stamped, just)] == [
        (State.DROPPED, EXPIRED),
        (State.NOT_NOW, FUTURE),
        (State.NOT_NOW, FUTURE),
        (State.HELD, HELD_NOW),
    ]
    unsure = World(OWN.id, sure=False)
    unsure.take(*FOUNDATION)
    assert {v.state for v in unsure.take(ended, stamped)} == {State.HELD}


def test_authority_that_ended_or_lies_ahead_gives_no_right() -> None:
    """A certificate past its end certifies nothing, even in the batch that brings it."""
    world = World(OWN.id)
    ended = BEE.certificate(expires=NOW_S + 1)
    world.now_s += 1
    ahead = BEE.write("town.device", "a", fields={"device": BEE.device().public}, born=NOW_S + 3 * DAY_S)
    verdicts = world.take(*[each for each in FOUNDATION if each.header.town != BEE.id], CHARTER, ended, ahead)
    assert [(v.state, v.cause) for v in verdicts[-2:]] == [(State.DROPPED, EXPIRED), (State.NOT_NOW, FUTURE)]
    assert world.take(BEE.write("offer", federations=[RIVER]))[0].cause == UNCERTIFIED


def test_a_superseded_record_names_what_stands_and_is_remembered() -> None:
    """Within one batch, across batches, and when what superseded it is superseded in turn."""
    world = founded()
    puts = [BEE.write("offer", federations=[RIVER], stamp=stamp) for stamp in (1, 2, 3)]
    verdicts = world.take(puts[1], puts[0])
    assert (verdicts[1].state, verdicts[1].cause, verdicts[1].because) == (
        State.DROPPED,
        SUPERSEDED,
        puts[1].id,
    )
    world.take(puts[2])
    assert world.take(puts[0])[0].state is State.DROPPED
    assert world.take(puts[1])[0].because == puts[2].id


def test_records_that_wait_do_not_merge_until_they_may() -> None:
    """A stranger's delete, signed by no certified device, kills nothing; certified, it does."""
    world = founded()
    offer = BEE.write("offer", federations=[RIVER])
    delete = BEE.write("offer", federations=[RIVER], op=Op.DELETE, device=2)
    assert [v.state for v in world.take(delete, offer)] == [State.PARKED, State.HELD]
    world.take(BEE.certificate(2))
    assert delete.id in world.held and offer.id not in world.held


def test_what_a_device_wrote_waits_again_when_its_certificate_ends() -> None:
    """And what it had superseded is welcome again, even in the same batch."""
    first = BEE.write("offer", federations=[RIVER], stamp=1)
    second = BEE.write("offer", federations=[RIVER], stamp=2, device=2)
    world = founded(BEE.certificate(2), first, second)
    assert first.id not in world.held
    verdicts = world.take(first, BEE.certificate(2, op=Op.DELETE))
    assert [v.state for v in verdicts] == [State.HELD, State.HELD]
    assert second.id in world.waiting


def test_the_end_of_an_admission_takes_the_town_out_of_that_federation_only() -> None:
    """Its records leave those lanes, wait if they have no other, and are back when it is admitted again."""
    world = founded(BEE.admit(RIVER, SEA), SECOND_CHARTER)
    one, both = SEA.write("need", federations=[RIVER]), SEA.write("offer", federations=[RIVER, HILL])
    world.take(one, both)
    assert world.held[both.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}
    world.take(BEE.admit(RIVER, SEA, op=Op.DELETE))
    assert world.held[both.id] == {(HILL, Lane.URGENT)}
    assert world.waiting[one.id] == NOT_MEMBER
    again = BEE.write("federation.admit", "again", fields={"town": SEA.id}, federations=[RIVER])
    world.take(again)
    assert world.held[one.id] == {(RIVER, Lane.URGENT)}
    assert world.held[both.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}


def test_leaving_a_federation_is_remembered_at_home() -> None:
    """A peer that still holds the consent does not bring it back."""
    offer = BEE.write("offer", federations=[RIVER])
    world = founded(offer)
    world.take(OWN.join(RIVER, op=Op.DELETE))
    assert RIVER not in world.authority.federations
    assert offer.id in world.waiting
    assert world.take(OWN.join(RIVER))[0].cause == SUPERSEDED
    assert world.held[OWN.join(RIVER, op=Op.DELETE).id] == {(home_id(OWN.id), Lane.URGENT)}


def test_a_document_without_room_in_one_federation_keeps_its_place_in_the_other() -> None:
    """Quota ranks in each held set alone."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    old = BEE.write("offer", "old", federations=[RIVER, HILL], born=NOW_S - 9)
    new = BEE.write("offer", "new", federations=[HILL])
    edit = BEE.write("offer", "old", federations=[RIVER, HILL], born=NOW_S - 9, stamp=1)
    world.take(old, new)
    assert world.held[old.id] == {(RIVER, Lane.URGENT)}
    world.take(edit)
    assert world.held[edit.id] == {(RIVER, Lane.URGENT)} and old.id not in world.held


def test_a_document_returns_to_a_held_set_that_has_room_again_when_it_is_offered_again() -> None:
    """It is held elsewhere all the while; peers who have it in both bring it, and the oracle has it there."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    old = BEE.write("offer", "old", federations=[RIVER, HILL], born=NOW_S - 9)
    new = BEE.write("offer", "new", federations=[HILL], expires=NOW_S + 10)
    world.take(old, new)
    assert world.held[old.id] == {(RIVER, Lane.URGENT)}
    seen = [*world.kept.values(), old]
    world.now_s += 10
    world.end()
    assert [(v.state, v.cause) for v in world.take(old)] == [(State.HELD, KNOWN)]
    assert world.held[old.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}
    assert world.state()[0] == specified(OWN.id, seen, world.now_s)


def test_all_records_of_a_document_enter_where_one_of_them_finds_room() -> None:
    """A revision that comes when there is room again brings those before it along."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    first, second = (
        BEE.write("practice", "g", op=Op.ENTRY, federations=[RIVER, HILL], born=NOW_S - 9, stamp=stamp)
        for stamp in (1, 2)
    )
    new = BEE.write("offer", "new", federations=[HILL], expires=NOW_S + 10)
    world.take(first, new)
    assert world.held[first.id] == {(RIVER, Lane.URGENT)}
    world.now_s += 10
    world.end()
    world.take(second)
    assert world.held[first.id] == world.held[second.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}


def test_a_document_pushed_out_by_its_own_batch_is_told_so() -> None:
    """Even a record that was held when the batch came."""
    old = BEE.write("offer", "old", federations=[RIVER], born=NOW_S - 9)
    world = founded(old)
    verdicts = world.take(old, *(BEE.write("offer", f"new {i}", federations=[RIVER]) for i in range(2)))
    assert [(v.state, v.cause) for v in verdicts] == [
        (State.NOT_NOW, QUOTA),
        (State.HELD, HELD_NOW),
        (State.HELD, HELD_NOW),
    ]


def test_parked_records_beyond_the_quota_are_let_go_when_they_may_stand() -> None:
    """Three waited, two fit: the newest."""
    world = founded()
    waiting = [SEA.write("need", str(i), federations=[RIVER], born=NOW_S - i) for i in range(3)]
    world.take(*waiting)
    world.take(BEE.admit(RIVER, SEA))
    assert [record.id in world.held for record in waiting] == [True, True, False]
    assert not world.waiting


def test_what_quotas_do_not_count_has_room_of_its_own_for_each_town(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member can fill no disk with consents, nor with kinds that nobody knows; a steward admits more."""
    monkeypatch.setattr(limits, "FEW_MAX", 3)
    monkeypatch.setattr(limits, "CERTIFICATES_MAX", 4)
    world = founded(BEE.admit(RIVER, SEA))
    for number in range(9):
        born = NOW_S - 20 + number
        world.take(
            SEA.write("town.anything", f"{number}", born=born),
            SEA.write("federation.join", f"{number}", born=born, federations=[RIVER]),
            SEA.write("federation.admit", f"{number}", born=born, federations=[RIVER]),
            SEA.write("town.device", f"{number}", born=born),
            BEE.write("federation.admit", f"{number}", born=born, federations=[RIVER]),
        )
    counts = Counter((world.kept[id].header.town, world.kept[id].header.kind) for id in world.held)
    assert counts[SEA.id, "town.anything"] == counts[SEA.id, "federation.join"] == 3
    assert (counts[SEA.id, "federation.admit"], counts[SEA.id, "town.device"]) == (3, 4)
    assert counts[BEE.id, "federation.admit"] == 11
    assert world.take(SEA.write("town.anything", "0", born=NOW_S - 20))[0].cause == QUOTA


def test_authority_is_outside_quotas() -> None:
    """However many posts a steward makes, none of its admissions is pushed out."""
    world = founded(BEE.admit(RIVER, SEA))
    world.take(*(BEE.write("alert", str(i), federations=[RIVER]) for i in range(5)))
    assert world.authority.is_member(RIVER, SEA.id)
    assert world.document_count((RIVER, Lane.URGENT), BEE.id) == 2


# Time.


def test_ends_come_for_whole_documents_and_take_their_rights_along() -> None:
    """A certificate that ends leaves its device's records waiting; a document ends with its deletion."""
    world = World(OWN.id)
    world.take(*(each for each in FOUNDATION if each.id != BEE.certificate().id))
    short = BEE.certificate(expires=NOW_S + 10)
    offer = BEE.write("offer", federations=[RIVER])
    gone = BEE.write("need", federations=[RIVER], op=Op.DELETE, expires=NOW_S + 10)
    parked = SEA.write("need", federations=[RIVER], expires=NOW_S + 10)
    world.take(short, offer, gone, parked)
    seen = [*world.kept.values()]
    world.end()
    assert offer.id in world.held and parked.id in world.waiting
    world.now_s = NOW_S + 10
    world.end(limit=1)
    assert offer.id in world.waiting and not {gone.id, short.id} & world.held.keys()
    assert world.state()[0] == specified(OWN.id, seen, NOW_S + 10)
    assert parked.id not in world.waiting


def test_an_unsure_node_ends_nothing() -> None:
    """It may be 1970, or 2099."""
    world = founded(BEE.write("offer", federations=[RIVER], expires=NOW_S + 1))
    changes = expire(world, world.authority, (NOW_S + 5) * 1_000, sure=False)
    assert not changes.remove


def test_what_was_taken_in_without_a_sure_clock_leaves_when_it_proves_to_lie_ahead() -> None:
    """And what it superseded is welcome again, so that boards agree with those that were always sure."""
    world = World(OWN.id, sure=False)
    now, far = (BEE.write("offer", federations=[RIVER], stamp=stamp) for stamp in (1, STAMP_MAX))
    early = BEE.write("offer", "early", federations=[RIVER], born=NOW_S + 3 * DAY_S)
    world.take(*FOUNDATION, now, far, early)
    assert far.id in world.held
    world.sure = True
    world.end(limit=1)
    assert not {now.id, far.id, early.id} & world.held.keys()
    verdicts = world.take(now, far, early)
    assert [(v.state, v.cause) for v in verdicts] == [
        (State.HELD, HELD_NOW),
        (State.NOT_NOW, FUTURE),
        (State.NOT_NOW, FUTURE),
    ]


def test_what_was_taken_in_without_a_sure_clock_leaves_as_well_when_rights_move() -> None:
    """Its town is admitted elsewhere once time is sure; what lies ahead enters nowhere."""
    world = World(OWN.id, sure=False)
    early = BEE.write("offer", "early", federations=[RIVER, HILL], born=NOW_S + 3 * DAY_S)
    world.take(*FOUNDATION, SECOND_CHARTER, early)
    world.sure = True
    world.take(OWN.admit(HILL, BEE))
    assert early.id not in world.held


def test_a_right_that_proves_to_lie_ahead_ends_with_its_record() -> None:
    """An admission from a year to come counts only while time is not sure."""
    world = World(OWN.id, sure=False)
    admit = BEE.admit(RIVER, SEA, stamp=STAMP_MAX)
    need = SEA.write("need", federations=[RIVER])
    world.take(*FOUNDATION, SEA.certificate(), admit, need)
    assert need.id in world.held
    world.sure = True
    world.end()
    assert admit.id not in world.held and world.waiting[need.id] == NOT_MEMBER


def test_rights_that_end_take_along_what_is_like_a_record_that_ended_with_them() -> None:
    """Two offers of one device, one of which ends at the same second as the device's certificate."""
    world = World(OWN.id)
    world.take(*(each for each in FOUNDATION if each.id != BEE.certificate().id))
    world.take(BEE.certificate(expires=NOW_S + 10))
    short, long = (
        BEE.write("offer", str(end), federations=[RIVER], expires=end) for end in (NOW_S + 10, FAR_S)
    )
    world.take(short, long)
    world.now_s += 10
    world.end()
    assert world.waiting[long.id] == UNCERTIFIED and short.id not in world.held


def test_an_empty_batch_changes_nothing() -> None:
    """It is lawful, and free."""
    changes = judge([], World(OWN.id), World(OWN.id).authority, 0, True)
    assert not changes.verdicts and not changes.hold
