"""A federation at one table: acts are done one after another, and each is done or refused at its turn.

This is what people mean by a federation, and the reference for what a steward may bring about by signing in
secret, twice, late or out of turn: never more than he could have done here, in some order. It is written from
the words of `docs/protocol.md` and from what the records say, with nothing of `sync` in it. It has no merge,
no double signers and nothing to strike: whoever has voted in a round is refused a second vote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from protocol.identity import succeeds
from protocol.record import Record, fields_of_body


@dataclass(frozen=True, slots=True)
class Vote:
    """One steward's voice in one round."""

    by: bytes
    round: int
    step: bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """An admission, suspension or vouch that was done, and in the term of which step."""

    kind: str
    by: bytes
    device: bytes
    town: bytes
    act: bytes
    term: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """How things stand.

    Attributes:
        chain: Ids of the steps taken, the charter first.
        proposed: Steps that are being decided.
        votes: On these, one of each steward and round.
        done: What was done beside, in this term or the one before. It holds while its device may write, or
            the town keeps it: to take a device back is to take back what it did.
        keys: (town, key) of the town keys that were shown beside the first ones, the present one last.
        certified: (town, device, key that says so, record).
        revoked: (town, device).
        kept: Records that stay valid though their key was taken back.
    """

    chain: tuple[bytes, ...] = ()
    stewards: frozenset[bytes] = frozenset()
    named: frozenset[bytes] = frozenset()
    vouches: int = 0
    decided: frozenset[bytes] = frozenset()
    proposed: frozenset[Record] = frozenset()
    votes: frozenset[Vote] = frozenset()
    done: frozenset[Done] = frozenset()
    keys: tuple[tuple[bytes, bytes], ...] = ()
    certified: frozenset[tuple[bytes, bytes, bytes, bytes]] = frozenset()
    revoked: frozenset[tuple[bytes, bytes]] = frozenset()
    kept: frozenset[bytes] = frozenset()

    def about(self, kind: str) -> frozenset[bytes]:
        """Return the towns about which such an act holds."""
        return frozenset(each.town for each in self.holding if each.kind == kind)

    @property
    def holding(self) -> frozenset[Done]:
        """What was done and is not taken back."""
        return frozenset(each for each in self.done if self.may_write(each.by, each.device, each.act))

    @property
    def suspended(self) -> frozenset[bytes]:
        """Towns that are suspended."""
        return self.about("federation.suspend") - self.stewards

    @property
    def vouched(self) -> frozenset[bytes]:
        """Towns for which enough members have vouched who are not suspended."""
        vouches = [each for each in self.holding if each.kind == "federation.vouch"]
        by = [(each.town, each.by) for each in vouches if each.by not in self.suspended]
        towns = {town for town, _ in by}
        enough = self.vouches or len(by) + 1
        return frozenset(t for t in towns if len({b for town, b in by if town == t}) >= enough)

    @property
    def members(self) -> frozenset[bytes]:
        """All who belong."""
        belong = self.stewards | self.named | self.about("federation.admit") | self.vouched
        return belong - self.suspended

    def present(self, town: bytes) -> bytes:
        """Return a town's present key."""
        return next((key for owner, key in reversed(self.keys) if owner == town), town)

    def is_certified(self, town: bytes, device: bytes) -> bool:
        """Tell whether a device may write for its town."""
        said = any(
            (town, device) == each[:2] and (each[2] == self.present(town) or each[3] in self.kept)
            for each in self.certified
        )
        return said and (town, device) not in self.revoked

    def may_write(self, town: bytes, device: bytes, record: bytes) -> bool:
        """Tell whether a device may have done this for its town."""
        return record in self.kept or self.is_certified(town, device)


def do(table: Table, record: Record) -> Table:
    """Return how things stand after one act; as before, if it is refused."""
    header, said = record.header, _read(record.body)
    town, device = header.town, header.device
    is_key = bytes(device) == town or (town, device) in table.keys
    is_present = device == table.present(town)
    votes = is_present or (is_key and record.id in table.kept)
    match header.kind:
        case "charter":
            return _take(table, record, said) if not table.chain else table
        case "federation.step" if votes:
            return _propose(table, record, said)
        case "federation.sign" if votes:
            step = next((each for each in table.proposed if each.id == said["step"]), None)
            return table if step is None else _vote(table, step, Vote(town, _round(step), step.id, record.id))
        case "federation.admit" | "federation.suspend" | "federation.vouch":
            return _act(table, record, said)
        case "town.device" if is_key:
            return replace(table, certified=table.certified | {(town, said["device"], device, record.id)})
        case "town.revoke" if is_present:
            return replace(table, revoked=table.revoked | {(town, said["device"])})
        case "town.keep" if is_present:
            return replace(table, kept=table.kept | frozenset(said["records"]))
        case "town.rotate" if succeeds(town, device, said["succession"]):
            return replace(table, keys=(*table.keys, (town, device)))
    return table


def after(table: Table, records: Iterable[Record]) -> Table:
    """Return how things stand after several acts, in their order."""
    for record in records:
        table = do(table, record)
    return table


@cache
def _read(body: bytes | None) -> dict[str, Any]:
    return fields_of_body(body) or {} if body else {}


def _round(step: Record) -> int:
    return int(_read(step.body)["round"])


def _propose(table: Table, step: Record, said: dict[str, Any]) -> Table:
    """Propose a step, which is its author's vote too; a later round only where the one before is over."""
    turn, town = said["round"], step.header.town
    if said["parent"] != table.chain[-1] or town not in table.stewards:
        return table
    if turn > 1:
        shown = [vote for vote in table.votes if vote.round == turn - 1 and vote.record in said["split"]]
        most = max((sum(vote.step == each.step for vote in shown) for each in shown), default=0)
        if 2 * (most + len(table.stewards) - len(shown)) > len(table.stewards):
            return table
    return _vote(replace(table, proposed=table.proposed | {step}), step, Vote(town, turn, step.id, step.id))


def _vote(table: Table, step: Record, vote: Vote) -> Table:
    """Count a voice, and take the step if it has a majority now."""
    if vote.by not in table.stewards or any((v.by, v.round) == (vote.by, vote.round) for v in table.votes):
        return replace(table, proposed=table.proposed - {step}) if vote.step == vote.record else table
    table = replace(table, votes=table.votes | {vote})
    for_it = sum(each.step == step.id for each in table.votes)
    return _take(table, step, _read(step.body)) if 2 * for_it > len(table.stewards) else table


def _take(table: Table, step: Record, said: dict[str, Any]) -> Table:
    """Begin the term of a step: what was done in the last one goes on where the step does not decide it, and
    who did it still may."""
    stewards, named, before = frozenset(said["stewards"]), frozenset(said["members"]), table.chain[-1:]
    decided = frozenset(said.get("decides", []))
    goes_on = frozenset(
        each
        for each in table.done
        if (each.term,) == before
        and each.act not in decided
        and each.by in (stewards | named if each.kind == "federation.vouch" else stewards)
    )
    return replace(
        table,
        chain=(*table.chain, step.id),
        stewards=stewards,
        named=named,
        vouches=said.get("rules", {}).get("vouches", 0),
        decided=decided,
        proposed=frozenset(),
        votes=frozenset(),
        done=goes_on,
    )


def _act(table: Table, record: Record, said: dict[str, Any]) -> Table:
    """Admit, suspend or vouch in the term of this step, or of the one before where this leaves it open."""
    header, town = record.header, said["town"]
    grounds = header.cites or table.chain[:1]
    late = [term for term in table.chain[-2:-1] if term in grounds and record.id not in table.decided]
    term = table.chain[-1] if table.chain[-1] in grounds else late[0] if late else None
    if term is None or not table.may_write(header.town, header.device, record.id):
        return table
    if header.kind == "federation.vouch":
        may = header.town in (table.stewards | table.named) - table.suspended
    else:
        may = header.town in table.stewards
    if not may or (header.kind == "federation.admit" and town in table.suspended):
        return table
    return replace(
        table, done=table.done | {Done(header.kind, header.town, header.device, town, record.id, term)}
    )
