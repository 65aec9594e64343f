"""What one hostile steward can do by signing: every set of up to four acts, in every order of arrival.

Its acts have eight letters: it admits, suspends, vouches, takes a step, signs, signs twice, rotates its town
key and takes its device back; with the list that makes these two subtle, and acts that rest on what others
decide. They come between what the honest stewards of 1, 2, 3 or 5 sign in two parts: they remove it, or their
votes are split. Once it has a thief beside it who stole the key of an honest steward, whose rotation comes as
one part more.

Every order is played at the real door without playing each by itself. From the state after every smaller set
each act of a set is let in last. Where the states that come of it are equal in all that the door reads (what
is held, what waits and why, what was dropped, the authority) all orders of the set end in that state: those
before the last one have made one state in whatever order they came. So n * 2^n judgements stand for n!
orders. The door gets from `resolve` what it gave for the same set of records before; that it reads no order
is looked at by asking it again, in another order, with other stamps and for another town.

The power of the hostile steward is measured at one table (`serial`), where act after act is done or refused:
whatever the records resolve to, some order of these acts comes to just that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations, groupby
from typing import Final

import pytest
from msgspec import structs

from protocol.ids import RecordId, TownId
from protocol.limits import STAMP_MAX
from protocol.record import Record
from sync import sitting
from sync.authority import Authority, Federation, resolve
from sync.membership import Act
from sync.steps import Signature, State, Step
from tests.sync import serial
from tests.sync import world as worlds
from tests.sync.serial import Table
from tests.sync.world import Town, World, device_of, federation_of

pytestmark = pytest.mark.law

H, M, N = Town("hostile"), Town("mill"), Town("new")
EVE, WYN, FEN, ASH = Town("eve"), Town("wyn"), Town("fen"), Town("ash")
HONEST = [Town(name) for name in ("alder", "birch", "cedar", "dogwood")]
ACTS_OF_A_SET_MAX: Final = 4


@dataclass(frozen=True)
class Case:
    """One federation.

    Attributes:
        basis: What everybody knows: charter, certificates, consents, honest acts.
        hostile: What the hostile steward may sign, by letter.
        honest: What the honest stewards sign, in so many parts, each of which comes at any time.
    """

    name: str
    charter: Record
    stewards: Sequence[Town]
    basis: Sequence[Record]
    hostile: dict[str, Record]
    honest: Sequence[Sequence[Record]]

    @property
    def own(self) -> Town:
        """The town at whose door it is played."""
        return M if self.stewards[0] is H else self.stewards[0]

    def records(self, played: Iterable[int]) -> list[Record]:
        """Return the basis and the parts of these numbers."""
        parts = self.parts()
        return [*self.basis, *(record for number in played for record in parts[number])]

    def parts(self) -> list[Sequence[Record]]:
        """Return all that comes at any time: hostile acts one by one, then the honest parts."""
        return [*([each] for each in self.hostile.values()), *self.honest]

    def sets(self) -> list[tuple[int, ...]]:
        """Return all sets of parts with up to four hostile acts, smaller ones first."""
        count = len(self.hostile)
        mine = [each for size in range(ACTS_OF_A_SET_MAX + 1) for each in combinations(range(count), size)]
        theirs = range(count, count + len(self.honest))
        more = [each for size in range(len(theirs) + 1) for each in combinations(theirs, size)]
        return sorted((one + other for one in mine for other in more), key=len)


def case(count: int, what: str, *beside: str) -> Case:
    """Return a federation of so many stewards; the honest ones remove `H`, or split their votes; or they
    remove it, and the key of the first of them is stolen.

    Args:
        beside: What the hostile one may do beside the eight letters; in some federation each of these.
    """
    honest = HONEST[: count - 1]
    a = honest[0] if honest else H
    charter = a.charter("Along the river", [*honest, H], [M, N], vouches=2)
    river = federation_of(charter)
    towns = [*honest, H, M, N]
    basis = [charter, *(town.certificate() for town in towns), *(town.join(river) for town in towns)]
    basis += [M.vouch(river, WYN), a.admit(river, FEN), a.admit(river, M)]
    admit, key = H.admit(river, EVE), H.later_key(1)

    def step(by: Town, of: Record, stewards: Sequence[Town], name: str, **more: object) -> Record:
        return by.step(of, stewards, [M, N], vouches=2, name=name, **more)  # type: ignore[arg-type]

    mine, other = step(H, charter, [H], "mine"), step(H, charter, [*honest[:1], H, EVE], "other")
    theirs, parts = mine, list[list[Record]]()
    if what in ("remove", "stolen"):
        theirs = step(a, charter, honest, "out")
        signed = [each.sign(theirs) for each in honest[1:]]
        parts = [[theirs, *signed[: count // 2 - 1]], signed[count // 2 - 1 :]]
    elif honest:
        theirs = step(a, charter, [*honest, H], "wish", decides=[admit])
        parts = [[theirs, *(each.sign(theirs) for each in honest[2:3])]]
    twice = other
    if what == "split" and len(honest) > 1:
        rival = step(honest[1], charter, honest, "rival")
        parts += [[rival, *(each.sign(rival) for each in honest[3:])]]
        twice = H.sign(rival)
    hostile = {
        "admit": admit,
        "suspend": H.suspend(river, M),
        "vouch": H.vouch(river, WYN),
        "step": mine,
        "sign": H.sign(theirs),
        "sign twice": twice,
        "rotate": H.rotate(),
        "revoke": (revoke := H.revoke()),
    }
    split = [record for part in parts for record in part] + [mine]
    if what == "stolen":
        ours = [each for each in basis if each.header.town == a.id]
        parts.append([a.rotate(), a.keep(theirs, *ours, key=a.later_key(1))])
        hostile = {letter: hostile[letter] for letter in ("admit", "step", "sign twice", "rotate")}
    thiefs = step(a, charter, [EVE], "thief's")
    more = {
        "keep": H.keep(admit, H.certificate(), revoke, key=key),
        "keep votes": H.keep(mine, H.sign(theirs), key=key),
        "thief signs": a.sign(mine, nonce="thief"),
        "thief's step": thiefs,
        "sign the thief's": H.sign(thiefs, nonce="thief's"),
        "sign by the next key": H.sign(theirs, nonce="next", key=key),
        "admit after": H.admit(river, ASH, on=[theirs]),
        "step after": step(H, theirs, [H], "after"),
        "step of the next round": step(H, charter, [H], "again", round=2, split=split),
    }
    hostile |= {letter: more[letter] for letter in beside}
    return Case(f"{count} {what}", charter, [*honest, H], basis, hostile, parts)


CASES: Final = [
    case(1, "silent", "keep votes", "admit after", "step after"),
    case(2, "split", "keep votes", "sign by the next key", "step of the next round"),
    case(3, "remove", "keep", "step after"),
    case(3, "split", "admit after", "step of the next round"),
    case(3, "stolen", "thief signs", "thief's step", "sign the thief's"),
    case(5, "remove", "admit after"),
    case(5, "split", "step of the next round"),
]


# At the door.


class Door(World):
    """A world that can be copied, and that resolves each set of records once."""

    def copy(self) -> Door:
        """Return another one in the same state."""
        other = Door(self.own)
        for name, value in vars(self).items():
            setattr(other, name, dict(value) if isinstance(value, dict) else value)
        return other

    def after(self, part: Sequence[Record]) -> Door:
        """Return the state after one more part, which comes together."""
        then = self.copy()
        then.take(*part)
        return then

    def whole(self) -> tuple[object, ...]:
        """Return all that the next judgement reads."""
        return self.held, self.waiting, self.dropped, self.kept.keys(), self.drawn.keys(), self.authority


@dataclass(frozen=True)
class Settled:
    """What came of all sets of a case.

    Attributes:
        ends: Each set with the federation in which it ends, and whether `H` certifies its device there.
        torn: Sets whose orders do not end in one state.
    """

    case: Case
    ends: list[tuple[tuple[int, ...], Federation, bool]]
    torn: list[tuple[int, ...]]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def settled(request: pytest.FixtureRequest) -> Iterator[Settled]:
    """Play all sets of a case in all orders; the door asks `resolve` once for each set of records."""
    known = dict[frozenset[RecordId], Authority]()

    def once(own: TownId, records: Iterable[Record]) -> Authority:
        every = list(records)
        key = frozenset(each.id for each in every)
        if key not in known:
            known[key] = resolve(own, every)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sitting, "resolve", once)
        patch.setattr(worlds, "resolve", once)
        case, made = request.param, Settled(request.param, [], [])
        for played, doors in _played(case):
            authority = doors[0].authority
            if any(other.whole() != doors[0].whole() for other in doors[1:]):
                made.torn.append(played)
            federation = authority.federations[federation_of(case.charter)]
            made.ends.append((played, federation, authority.is_certified(H.id, device_of(H))))
    yield made


def _played(case: Case) -> Iterator[tuple[tuple[int, ...], list[Door]]]:
    """Yield each set with the states that come of letting in each of it last; some also of all at once."""
    parts, start = case.parts(), Door(case.own.id)
    start.take(*case.basis)
    doors: dict[tuple[int, ...], Door] = {(): start}
    for _, sets in groupby(case.sets(), key=len):
        now = dict[tuple[int, ...], Door]()
        for played in sets:
            rest = [(tuple(each for each in played if each != last), last) for last in played]
            found = [doors[before].after(parts[last]) for before, last in rest] or [start]
            now[played] = found[0]
            if len(played) == ACTS_OF_A_SET_MAX + len(case.honest):
                empty = Door(case.own.id)
                found.append(empty.after(case.records(played)[::-1]))
            yield played, found
        doors = now


def test_every_order_of_every_set_of_acts_ends_in_one_state(settled: Settled) -> None:
    """In all that is held, that waits, and that is known; also if all comes at once."""
    assert len(settled.ends) == len(settled.case.sets()) > 500
    assert not settled.torn


def test_every_town_resolves_one_federation_and_no_stamp_changes_it(settled: Settled) -> None:
    """Records that say the same and have the same ids, but other stamps, in the other order, elsewhere."""
    case, river = settled.case, federation_of(settled.case.charter)
    for number, (played, federation, _) in enumerate(settled.ends):
        records = [_stamped(each, index, number) for index, each in enumerate(case.records(played))]
        assert resolve(N.id, reversed(records)).federations[river] == federation, played


def _stamped(record: Record, index: int, number: int) -> Record:
    """Return a record with another stamp and the same id: nobody can make it, but authority cannot know."""
    stamps = [0, STAMP_MAX, 1 << 40, index, STAMP_MAX - index]
    stamp = stamps[(index + number) % len(stamps)]
    return structs.replace(record, header=structs.replace(record.header, stamp=stamp))


def test_the_fold_is_given_no_stamp() -> None:
    """What it cannot see it cannot read."""
    given = {field.name for kind in (Step, Signature, Act, State) for field in fields(kind)}
    assert not given & {"stamp", "born", "epoch", "counter", "header", "record"}


# No more power.


def test_a_hostile_steward_has_the_power_that_some_serial_order_gives_and_no_more(settled: Settled) -> None:
    """What the records resolve to is what one table comes to that does or refuses act after act: the same
    steps in the same order, the same stewards and members, each there for the same reason."""
    case, parts = settled.case, settled.case.parts()
    before: dict[tuple[int, ...], set[Table]] = {(): {serial.after(Table(), case.basis)}}
    for played, federation, certified in settled.ends:
        if played:
            before[played] = {
                serial.after(table, parts[last])
                for last in played
                for table in before[tuple(each for each in played if each != last)]
            }
        here = (
            tuple(step.id for step in federation.chain.steps),
            federation.stewards,
            federation.members,
            federation.acts.admitted,
            federation.acts.vouched,
            federation.acts.suspended,
            certified and H.id in federation.members,
        )
        assert here in {_shown(table) for table in before[played]}, [*map(_letter(case), played)]


def _shown(table: Table) -> tuple[object, ...]:
    return (
        table.chain,
        table.stewards,
        table.members,
        table.about("federation.admit"),
        table.vouched,
        table.suspended,
        table.is_certified(H.id, device_of(H)) and H.id in table.members,
    )


def _letter(case: Case) -> Callable[[int], str]:
    names = [*case.hostile, *(f"honest {number}" for number in range(len(case.honest)))]
    return names.__getitem__


# A way on.


def test_the_honest_stewards_can_always_take_a_next_step_that_everybody_follows(settled: Settled) -> None:
    """Each as its node lets it: it signs a step of the open round and never two, proposes if there is none,
    and begins the next round when this one is over. Only where that leads nowhere, because the votes of the
    honest are split and the hostile steward is silent, one of them signs a second time (`sign --instead`).
    Where they are no majority, with one steward or two, the hostile one must agree, and can."""
    case, tried = settled.case, dict[object, bool]()
    for played, federation, _ in settled.ends:
        open = federation.chain.open.steps
        known = federation.chain.current.id, frozenset((step.id, *sorted(who)) for step, who in open.items())
        if known not in tried:
            tried[known] = _goes_on(case, federation, case.records(played))
    assert any(tried.values()) is (len(case.stewards) > 2 and "split" in case.name)


def _goes_on(case: Case, federation: Federation, records: list[Record]) -> bool:
    """Let the honest stewards take a step; return whether one had to sign a second time."""
    river, before, instead = federation.id, len(federation.chain.steps), False
    by_id = {each.id: each for each in records}
    for number in range(4):
        chain = federation.chain
        stewards = [town for town in (*case.stewards, EVE) if town.id in chain.current.state.stewards]
        honest = [town for town in stewards if town is not H]
        if 2 * len(honest) <= len(chain.current.state.stewards):
            honest = stewards
        turn, split = chain.turn
        here = {step: who for step, who in chain.open.steps.items() if step.round == turn}
        theirs = [step for step in here if step.town in {town.id for town in honest}]
        step = max(theirs, key=lambda each: (len(here[each]), each.id), default=None)
        if step is None:
            parent = by_id[chain.current.id]
            named = [by_id[id] for id in split]
            news = [honest[0].step(parent, honest, [M, N], round=turn, split=named, name=f"on {number}")]
        else:
            voted = frozenset[TownId]().union(*here.values())
            willing = [town for town in honest if town.id not in voted]
            if not willing:
                instead = True
                willing = [town for town in honest if town.id not in here[step]]
            news = [town.sign(by_id[step.id]) for town in willing]
        records += news
        by_id |= {each.id: each for each in news}
        federation = resolve(N.id, records).federations[river]
        if len(federation.chain.steps) > before:
            assert federation.chain.current.town in {town.id for town in honest}
            return instead
    raise AssertionError("no way on")
