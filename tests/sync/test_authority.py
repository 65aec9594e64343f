"""Authority is a function of the set of known records: no order, no repetition, no clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.encoding import Value
from protocol.ids import FederationId, Lane, Op, home_id
from protocol.limits import DEVICES_MAX, QUOTA_LIBRARY_DOCUMENTS, STAMP_MAX
from protocol.record import Record
from sync.authority import (
    AUTHORITY_KINDS,
    CHARTER_STANDS,
    NOT_MEMBER,
    NOT_OURS,
    UNCERTIFIED,
    UNKNOWN_FEDERATION,
    Allotment,
    Authority,
    outside_quotas,
    resolve,
)
from sync.moved import moved
from tests.sync.world import NOW_S, Town, device_of, federation_of

OWN, BEE, SEA, ELM = Town("own"), Town("bee"), Town("sea"), Town("elm")
CHARTER = BEE.charter("Along the river", [BEE, SEA], members=[ELM], quotas=(1, 2, 3))
RIVER = federation_of(CHARTER)
CERTIFICATES = [town.certificate() for town in (OWN, BEE, SEA)]
BASIS = [*CERTIFICATES, CHARTER, OWN.join(RIVER)]


def with_basis(*more: Record) -> Authority:
    """Return the authority of an adopted federation and of these records."""
    return resolve(OWN.id, [*BASIS, *more])


# Certificates.


ALL = [OWN.certificate(), OWN.charter("All of us", [OWN], [BEE, SEA])]
"""What makes the devices of all towns count here."""


def test_the_devices_of_towns_that_may_write_nowhere_do_not_count() -> None:
    """Certificates of strangers in heaps move nothing; they count as soon as a town belongs."""
    assert BEE.id not in resolve(OWN.id, [*CERTIFICATES]).rights
    assert resolve(OWN.id, [*CERTIFICATES, BEE.certificate(2)]) == resolve(OWN.id, [OWN.certificate()])
    assert resolve(OWN.id, [*CERTIFICATES, *ALL]).rights.keys() == {OWN.id, BEE.id, SEA.id}


def test_a_town_certifies_devices_by_its_town_key() -> None:
    """And each town only its own; the town key itself may always write."""
    authority = resolve(OWN.id, [*ALL, BEE.certificate(1), BEE.certificate(2)])
    assert authority.is_certified(BEE.id, device_of(BEE, 1))
    assert authority.is_certified(BEE.id, device_of(BEE, 2))
    assert not authority.is_certified(BEE.id, device_of(BEE, 3))
    assert not authority.is_certified(SEA.id, device_of(BEE, 1))
    assert resolve(OWN.id, []).place(OWN.write("note", device=0).header, CHARTER.id).lanes
    assert authority.town_of(device_of(BEE, 1)) == BEE.id
    assert authority.town_of(device_of(SEA, 1)) is None
    claimed: dict[str, Value] = {"device": BEE.device(1).public}
    both = resolve(OWN.id, [*ALL, BEE.certificate(1), SEA.write("town.device", fields=claimed)])
    assert both.town_of(device_of(BEE, 1)) is None, "another town's claim makes nobody that town's device"


def test_a_certificate_ends_by_its_deletion_or_by_one_in_its_place() -> None:
    """Whatever their order, and whatever stamp the deletion has."""
    end = BEE.certificate(op=Op.DELETE)
    other: dict[str, Value] = {"device": BEE.device(2).public}
    instead = BEE.write("town.device", "device 1", fields=other, stamp=1)
    for records in ([BEE.certificate(stamp=9), end], [end, BEE.certificate(stamp=9)]):
        assert not resolve(BEE.id, records).is_certified(BEE.id, device_of(BEE))
    replaced = resolve(BEE.id, [instead, BEE.certificate()])
    assert not replaced.is_certified(BEE.id, device_of(BEE))
    assert replaced.is_certified(BEE.id, device_of(BEE, 2))


@pytest.mark.parametrize("fields", [{}, {"device": b"short"}, {"device": "text"}, {"device": None}])
def test_an_unreadable_certificate_certifies_nothing(fields: dict[str, Value]) -> None:
    """It is carried all the same."""
    assert not resolve(BEE.id, [BEE.write("town.device", fields=fields)]).rights_of(BEE.id).devices


def test_a_long_certificate_certifies_like_a_short_one() -> None:
    """Its body is read each time, not remembered."""
    fields: dict[str, Value] = {"device": BEE.device().public, "name": "x" * 1_000}
    authority = resolve(BEE.id, [BEE.write("town.device", fields=fields)])
    assert authority.is_certified(BEE.id, device_of(BEE))


def test_of_too_many_certificates_the_newest_count() -> None:
    """The sixteen newest documents, by (born, document)."""
    records = [
        BEE.write("town.device", str(i), fields={"device": bytes([i]) * 32}, born=NOW_S + i)
        for i in range(DEVICES_MAX + 3)
    ]
    devices = resolve(BEE.id, records).rights[BEE.id].devices
    assert devices == {bytes([i]) * 32 for i in range(3, DEVICES_MAX + 3)}


# Adoption: consent is a record.


def test_a_federation_is_adopted_by_a_join_of_the_own_town_and_by_nothing_else() -> None:
    """No charter, admission or join of others draws a town in."""
    others = [*CERTIFICATES, CHARTER, BEE.admit(RIVER, OWN), BEE.join(RIVER), SEA.join(RIVER)]
    assert not resolve(OWN.id, others).federations
    assert set(resolve(OWN.id, [*others, OWN.join(RIVER)]).federations) == {RIVER}
    assert not resolve(OWN.id, [*CERTIFICATES, OWN.join(RIVER)]).federations, "not without the charter"
    assert not resolve(OWN.id, [CHARTER, OWN.join(RIVER)]).federations, "nor by an uncertified device"


def test_whoever_wrote_the_charter_has_consented() -> None:
    """If it was a device of the town: anyone can write a charter in its name."""
    mine = OWN.charter("Over the hill", [OWN])
    assert set(resolve(OWN.id, [OWN.certificate(), mine]).federations) == {federation_of(mine)}
    assert not resolve(OWN.id, [mine]).federations


def test_a_deleted_join_is_the_end_of_consent() -> None:
    """Deletion is final; a new document consents again."""
    left = [*BASIS, OWN.join(RIVER, op=Op.DELETE)]
    assert not resolve(OWN.id, left).federations and resolve(OWN.id, left).left == {RIVER}
    again = OWN.write("federation.join", "again", federations=[RIVER])
    assert set(resolve(OWN.id, [*left, again]).federations) == {RIVER}
    assert not resolve(OWN.id, [*left, again]).left


def test_a_join_of_two_federations_at_once_consents_to_neither() -> None:
    """Consent names one federation."""
    both = OWN.write("federation.join", federations=[RIVER, FederationId(bytes(16))])
    assert not resolve(OWN.id, [*CERTIFICATES, CHARTER, both]).federations


# Members.


def test_stewards_and_listed_towns_are_members_and_stewards_admit_more() -> None:
    """With the charter's name, quotas and stewards."""
    federation = with_basis(SEA.admit(RIVER, OWN)).federations[RIVER]
    assert federation.members == {BEE.id, SEA.id, ELM.id, OWN.id}
    assert federation.stewards == {BEE.id, SEA.id}
    assert (federation.id, federation.charter, federation.founder) == (RIVER, CHARTER.id, BEE.id)
    assert (federation.name, [federation.quota(lane) for lane in Lane]) == ("Along the river", [1, 2, 3])
    authority = with_basis(SEA.admit(RIVER, OWN))
    assert authority.is_member(RIVER, OWN.id) and authority.federations_of(OWN.id) == (RIVER,)
    assert not authority.is_member(FederationId(bytes(16)), OWN.id)


@pytest.mark.parametrize(
    "record",
    [
        ELM.admit(RIVER, OWN),
        BEE.admit(RIVER, OWN, device=2),
        BEE.admit(FederationId(bytes(16)), OWN),
        BEE.write("federation.admit", fields={"town": OWN.id}, federations=[RIVER, FederationId(bytes(16))]),
        BEE.write("federation.admit", fields={"town": b"short"}, federations=[RIVER]),
        BEE.write("federation.admit", fields={}, federations=[RIVER]),
    ],
    ids=["by no steward", "uncertified", "elsewhere", "two at once", "no town", "empty"],
)
def test_what_is_no_admission_by_a_stewards_device_admits_nobody(record: Record) -> None:
    """Also when the device of another member signs it."""
    assert not with_basis(record, ELM.certificate()).is_member(RIVER, OWN.id)


def test_an_admission_ends_by_deletion_through_the_town_that_gave_it() -> None:
    """Another steward's admission stands for itself, and a stranger's deletion is none."""
    gone = [BEE.admit(RIVER, OWN), BEE.admit(RIVER, OWN, op=Op.DELETE)]
    assert not with_basis(*gone).is_member(RIVER, OWN.id)
    assert with_basis(*gone, SEA.admit(RIVER, OWN)).is_member(RIVER, OWN.id)
    assert with_basis(gone[0], BEE.admit(RIVER, OWN, op=Op.DELETE, device=2)).is_member(RIVER, OWN.id)


# Charters.


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": 7, "stewards": [BEE.id]},
        {"name": "x", "stewards": []},
        {"name": "x", "stewards": BEE.id},
        {"name": "x", "stewards": [b"short"]},
        {"name": "x", "stewards": [BEE.id], "members": "all"},
    ],
    ids=str,
)
def test_a_charter_that_cannot_be_read_founds_nothing(fields: dict[str, Value]) -> None:
    """Whoever signs it."""
    charter = OWN.write("charter", op=Op.ENTRY, fields=fields)
    assert not resolve(OWN.id, [OWN.certificate(), charter, OWN.join(federation_of(charter))]).federations


def test_only_an_entry_founds_a_federation() -> None:
    """A put could be replaced, and then the root of authority with it."""
    charter = OWN.write("charter", fields={"name": "x", "stewards": [OWN.id]})
    assert not resolve(OWN.id, [OWN.certificate(), charter]).federations


@pytest.mark.parametrize(
    "stated", [None, {}, {"library": -1}, {"library": "many"}, {"library": True}], ids=str
)
def test_a_quota_that_the_charter_does_not_state_is_the_standard_one(stated: Value) -> None:
    """What is no count is not stated."""
    fields: dict[str, Value] = {"name": "x", "stewards": [OWN.id], "quotas": stated}
    charter = OWN.write("charter", op=Op.ENTRY, fields=fields)
    authority = resolve(OWN.id, [OWN.certificate(), charter])
    library = (federation_of(charter), Lane.LIBRARY)
    assert authority.room(library, OWN.id, Allotment.POSTS) == QUOTA_LIBRARY_DOCUMENTS
    assert authority.room((home_id(OWN.id), Lane.LIBRARY), OWN.id, Allotment.POSTS) is None


# Places.


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        (BEE.write("note"), NOT_OURS),
        (OWN.write("note", device=2), UNCERTIFIED),
        (ELM.write("offer", federations=[RIVER]), UNCERTIFIED),
        (OWN.write("offer", federations=[RIVER]), NOT_MEMBER),
        (BEE.write("offer", federations=[FederationId(bytes(16))]), UNKNOWN_FEDERATION),
        (OWN.join(FederationId(bytes(16)), device=2), UNCERTIFIED),
        (BEE.charter("other", [BEE]), UNKNOWN_FEDERATION),
        (BEE.write("charter"), CHARTER_STANDS),
        (Town("far").write("town.profile"), NOT_MEMBER),
    ],
)
def test_a_record_without_a_place_says_why(record: Record, cause: str) -> None:
    """By a stable code."""
    placement = with_basis().place(record.header, record.id)
    assert (placement.lanes, placement.cause) == (frozenset(), cause)


def test_the_own_charter_and_consents_are_held_at_home_too() -> None:
    """So the town's other devices know them, and nothing brings a deleted consent back."""
    mine = OWN.charter("Over the hill", [OWN])
    authority = with_basis(mine)
    home = (home_id(OWN.id), Lane.URGENT)
    for record in (OWN.join(RIVER), OWN.join(RIVER, op=Op.DELETE)):
        assert authority.place(record.header, record.id).lanes == {home}
    assert authority.place(mine.header, mine.id).lanes == {home, (federation_of(mine), Lane.URGENT)}


def test_what_says_who_may_act_is_outside_quotas() -> None:
    """Charters, certificates, profiles, admissions and consents."""
    assert all(outside_quotas(kind) for kind in [*AUTHORITY_KINDS, "town.profile", "town.unknown"])
    assert not outside_quotas("offer")


# The whole.

POOL = [
    *BASIS,
    ELM.certificate(),
    OWN.join(RIVER, op=Op.DELETE),
    *(town.certificate(2) for town in (OWN, BEE, SEA)),
    *(town.certificate(2, op=Op.DELETE, stamp=STAMP_MAX) for town in (OWN, BEE)),
    *(
        steward.admit(RIVER, town, device=n)
        for steward in (BEE, SEA)
        for town in (OWN, Town("far"))
        for n in (1, 2)
    ),
    *(BEE.admit(RIVER, town, op=Op.DELETE, device=n) for town in (OWN, Town("far")) for n in (1, 2)),
    OWN.charter("Over the hill", [OWN], members=[BEE]),
    BEE.write("offer", federations=[RIVER]),
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(POOL), max_size=30), st.integers(0, 2**32))
def test_the_order_and_repetition_of_records_do_not_matter(records: list[Record], seed: int) -> None:
    """Resolving any shuffle, with repetitions, gives the same."""
    shuffled = [*records, *records[::2]]
    random.Random(seed).shuffle(shuffled)
    assert resolve(OWN.id, shuffled) == resolve(OWN.id, records)


@pytest.mark.law
@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(POOL), max_size=20), st.lists(st.sampled_from(POOL), max_size=20))
def test_moved_names_every_town_whose_records_are_placed_otherwise(
    left: list[Record], right: list[Record]
) -> None:
    """Whatever of the pool is placed otherwise by one authority than by the other belongs to a named town."""
    before, after = resolve(OWN.id, left), resolve(OWN.id, right)
    change = moved(before, after)
    for town in (OWN, BEE, SEA, ELM, Town("far")):
        for device in (1, 2):
            for record in (
                town.write("offer", federations=[RIVER], device=device),
                town.write("note", device=device),
                town.write("town.profile"),
                CHARTER,
            ):
                was, now = (each.place(record.header, record.id).lanes for each in (before, after))
                if was != now:
                    assert record.header.town in change.towns
                if was - now or (was and now - was):
                    lost = change.lost.get(record.header.town, frozenset())
                    assert record.header.town in change.held or record.header.device in lost
    if before == after:
        assert not change.towns and not change.held


def test_authority_reads_no_clock() -> None:
    """An admission that ended counts until the store lets go of it, on every node alike."""
    ended = OWN.join(RIVER, expires=NOW_S + 1)
    assert resolve(OWN.id, [*CERTIFICATES, CHARTER, ended]).federations.keys() == {RIVER}


def test_the_own_charter_is_at_home_as_soon_as_it_is_held_anywhere() -> None:
    """Even before its device is certified, so that a certificate moves no held record."""
    mine = OWN.charter("Over the hill", [OWN])
    hill = federation_of(mine)
    authority = resolve(OWN.id, [mine, OWN.certificate(2), OWN.join(hill, device=2)])
    assert not authority.is_certified(OWN.id, device_of(OWN))
    assert authority.place(mine.header, mine.id).lanes == {
        (home_id(OWN.id), Lane.URGENT),
        (hill, Lane.URGENT),
    }
