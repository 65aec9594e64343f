"""What a node knows of itself and of its neighbours: for `status --json`, and in sentences for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from node import __version__
from node.clones import CLONE
from node.incidents import named
from node.joining import REFUSED
from node.standing import of_the_board, of_the_seals
from node.transport.dialer import Reach
from protocol.ids import DeviceId, FederationId, Lane, TownId
from sync.held import HeldSet

if TYPE_CHECKING:
    from node.daemon import Daemon
    from node.incidents import Incident
    from node.joining import Join
    from node.peers import Peer
    from node.store import Reader, Totals
    from node.transport.channel import LinkFailure
    from sync.authority import Authority
    from sync.hub import PeerState


OTHER_BOARD: Final = "This town's other board"
CALLING_S: Final = 10
"""A call that comes so soon is said to be under way: attempts overlap, and each lives for some seconds."""


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """What is known of one peer; times are node time in milliseconds.

    Attributes:
        inbound_only: We have no address of it, or do not call at all.
        serves: Federations that both sides serve each other on a live link.
        shared: Federations in which we know it as a member.
        is_idle: Nothing is under way on its link.
        failure: Why the last call failed, in plain words; empty if none did.
        failing_url: Where that was.
    """

    town: TownId
    name: str
    urls: tuple[str, ...]
    reach: Reach
    last_heard_ms: int | None
    backlog_out: int
    backlog_in: int
    next_contact_ms: int | None
    inbound_only: bool
    serves: tuple[FederationId, ...] = ()
    shared: tuple[FederationId, ...] = ()
    is_idle: bool = False
    failure: str = ""
    failing_url: str = ""


def sentence(facts: PeerFacts, now_ms: int) -> str:
    """Return what people read about a peer: its name, and its state of knowledge."""
    return f"{facts.name or 'Town ' + facts.town.hex()[:8]}: {_state(facts, now_ms)}"


def peer_row(facts: PeerFacts, now_ms: int) -> dict[str, Any]:
    """Return one peer as `status --json` has it."""
    states = {Reach.UP: "up", Reach.LATE: "up", Reach.DOWN: "down" if facts.inbound_only else "dialing"}
    return {
        "town": facts.town.hex(),
        "name": facts.name,
        "url": facts.urls[0] if facts.urls else "",
        "state": states[facts.reach],
        "last_heard_ms": facts.last_heard_ms,
        "backlog_out": facts.backlog_out,
        "backlog_in": facts.backlog_in,
        "next_contact_ms": facts.next_contact_ms,
        "failing_url": facts.failing_url,
        "says": sentence(facts, now_ms),
    }


def ago(then_ms: int, now_ms: int) -> str:
    """Return how long ago something was, in words; what is a day old or older, by its date."""
    seconds = max(0, now_ms - then_ms) // 1_000
    if seconds >= 86_400:
        return f"on {at_time(then_ms, now_ms)}"
    for size, unit in ((3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def at_time(then_ms: int, now_ms: int) -> str:
    """Return a moment as people here say it: the time, with its day if that is not today."""
    then, now = (datetime.fromtimestamp(ms / 1_000).astimezone() for ms in (then_ms, now_ms))
    return f"{then:%H:%M}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"


def records(count: int, verb: str = "wait") -> str:
    """Return `1 record waits` or `12 records wait`."""
    return f"1 record {verb}s" if count == 1 else f"{count:,} records {verb}"


async def gather(daemon: Daemon) -> dict[str, Any]:
    """Return the whole status of a running node."""
    reading = daemon.clock.read()
    authority = daemon.authority()
    states: dict[TownId, list[PeerState]] = {}
    for each in daemon.engine.hub.peers():
        states.setdefault(each.town, []).append(each)
    peers = daemon.peers.all()
    wanted = {peer.town: (peer.synced_change, _shared(authority, peer.town)) for peer in peers}

    def read(reader: Reader) -> tuple[Totals, dict[TownId, str], dict[TownId, int], list[Incident], str, str]:
        names = {town: facts.name for town, facts in reader.towns().items()}
        backlogs = {town: reader.backlog(*each) for town, each in wanted.items()}
        keys = daemon.custody.keys
        board = of_the_board(reader, keys, clone_is_found=daemon.clones.is_found)
        seals = of_the_seals(reader, keys, daemon.seals)
        return reader.totals(), names, backlogs, daemon.incidents.list(reader), board, seals

    totals, names, backlogs, kept, of_board, of_seals = await daemon.store.read(read)
    facts = [
        _facts(
            daemon, peer, names.get(peer.town) or peer.name, states.get(peer.town, []), backlogs[peer.town]
        )
        for peer in peers
    ]
    own = states.get(daemon.town)
    if own and daemon.peers.get(daemon.town) is None:
        facts.append(_other_boards(daemon, own))
    return {
        "town": {"id": daemon.town.hex(), "name": names.get(daemon.town, "")},
        "version": __version__,
        "clock": {"now_ms": reading.now_ms, "sure": reading.sure},
        "records": totals.records,
        "documents": totals.documents,
        "parked": totals.parked,
        "disk_bytes": daemon.store.disk_bytes(),
        "federations": [_federation(authority, each, daemon.engine.hub.held) for each in _sorted(authority)],
        "peers": [peer_row(each, reading.now_ms) for each in facts],
        "sealing": of_seals,
        "joins": [
            join_row(
                join, names.get(join.invitation.inviter, ""), daemon.dialer.failure(join.invitation.inviter)
            )
            for join in daemon.joinings.open()
        ],
        "keys": _keys(daemon, of_board),
        "incidents": _incidents(daemon, kept, names),
    }


def _state(facts: PeerFacts, now_ms: int) -> str:
    match facts.reach:
        case Reach.UP:
            return _when_up(facts, now_ms)
        case Reach.LATE:
            return f"no answer just now, {_heard(facts, now_ms)}; {_way_back(facts, now_ms)}"
        case Reach.DOWN:
            return _when_down(facts, now_ms)


def _when_up(facts: PeerFacts, now_ms: int) -> str:
    heard = _heard(facts, now_ms)
    if not facts.shared:
        return f"linked, but in no federation with us, {heard}"
    if not facts.serves:
        return f"linked, not yet agreed on a federation, {heard}"
    if facts.backlog_out and facts.backlog_in:
        return f"catching up both ways, {records(facts.backlog_out)} for it, {heard}"
    if facts.backlog_out:
        return f"catching up, {records(facts.backlog_out)} for it, {heard}"
    if facts.backlog_in:
        return f"sending us what we lack, {heard}"
    return f"up to date, {heard}" if facts.is_idle else f"comparing with us, {heard}"


def _when_down(facts: PeerFacts, now_ms: int) -> str:
    if facts.last_heard_ms is None:
        known = "never heard yet"
    else:
        known = f"not heard since {at_time(facts.last_heard_ms, now_ms)}"
    parts = [known]
    if facts.backlog_out:
        parts.append(f"{records(facts.backlog_out)} for it")
    return f"{', '.join(parts)}; {_way_back(facts, now_ms)}"


def _heard(facts: PeerFacts, now_ms: int) -> str:
    return "never heard yet" if facts.last_heard_ms is None else f"heard {ago(facts.last_heard_ms, now_ms)}"


def _way_back(facts: PeerFacts, now_ms: int) -> str:
    if facts.inbound_only:
        return "inbound only: it calls us"
    wait_s = 0 if facts.next_contact_ms is None else -((now_ms - facts.next_contact_ms) // 1_000)
    if facts.failure:
        again = f"next try in {wait_s} s" if wait_s > 0 else "trying again now"
        return f"calling it fails: {facts.failure}; {again}"
    return f"the next call is in {wait_s} s" if wait_s >= CALLING_S else "calling it"


def _facts(daemon: Daemon, peer: Peer, name: str, states: Sequence[PeerState], backlog: int) -> PeerFacts:
    reach = daemon.links.reach(peer.town)
    wait_ms = None if reach is Reach.UP else daemon.dialer.next_call_in_ms(peer.town)
    failure = daemon.dialer.failure(peer.town)
    up = reach is Reach.UP and states
    return PeerFacts(
        town=peer.town,
        name=name,
        urls=peer.urls,
        reach=reach,
        last_heard_ms=peer.last_heard_ms,
        backlog_out=min(state.waiting_out_count for state in states) if up else backlog,
        backlog_in=max(state.waiting_in_count for state in states) if up else 0,
        next_contact_ms=None if wait_ms is None else daemon.clock.now_ms() + wait_ms,
        inbound_only=not peer.urls or not daemon.settings.links.dial,
        serves=tuple({each for state in states for each in state.federations}),
        shared=_shared(daemon.authority(), peer.town),
        is_idle=all(state.is_idle for state in states),
        failure=why_away(failure),
        failing_url=str(failure.detail.get("url") or "") if failure is not None else "",
    )


def _other_boards(daemon: Daemon, states: Sequence[PeerState]) -> PeerFacts:
    """Return what is known of the town's other boards, which call this one and are nobody's peers here."""
    return PeerFacts(
        town=daemon.town,
        name=OTHER_BOARD if len(states) == 1 else f"This town's {len(states)} other boards",
        urls=(),
        reach=daemon.links.reach(daemon.town),
        last_heard_ms=daemon.clock.now_ms() - daemon.links.silent_ms(daemon.town),
        backlog_out=min(state.waiting_out_count for state in states),
        backlog_in=max(state.waiting_in_count for state in states),
        next_contact_ms=None,
        inbound_only=True,
        serves=tuple({each for state in states for each in state.federations}),
        shared=_shared(daemon.authority(), daemon.town),
        is_idle=all(state.is_idle for state in states),
    )


def _shared(authority: Authority, town: TownId) -> tuple[FederationId, ...]:
    return authority.federations_of(town)


def _sorted(authority: Authority) -> list[FederationId]:
    named = authority.federations.values()
    return [each.id for each in sorted(named, key=lambda each: (each.name.casefold(), each.id))]


def _federation(
    authority: Authority, federation: FederationId, held: Mapping[tuple[FederationId, Lane], HeldSet]
) -> dict[str, Any]:
    adopted = authority.federations[federation]
    lanes = {lane: held.get((federation, lane)) or HeldSet() for lane in Lane}
    return {
        "id": federation.hex(),
        "name": adopted.name,
        "members": len(adopted.members),
        "lanes": {
            lane.name.lower(): {"records": each.count, "digest": each.digest().hex()}
            for lane, each in lanes.items()
        },
    }


def _keys(daemon: Daemon, says: str) -> dict[str, Any]:
    """Return whether this board's key is still its own, and what people must know of it; "" if nothing."""
    device = DeviceId(daemon.custody.keys.device.public)
    return {
        "clone": daemon.clones.is_found,
        "taken_back": daemon.authority().is_taken_back(daemon.town, device),
        "says": says,
    }


def _incidents(daemon: Daemon, kept: Sequence[Incident], names: Mapping[TownId, str]) -> list[dict[str, Any]]:
    """Return what is kept, and what was noticed on links since the start, the newest last.

    A clone stands in `keys` for as long as it is unsettled, and nowhere else.
    """
    rows = [
        {"at_ms": each.at_ms, "town": "", "code": each.code, "says": named(each.says, names)}
        for each in kept
        if each.code != CLONE
    ]
    rows += [
        {
            "at_ms": seen.at_ms,
            "town": seen.town.hex() if seen.town else "",
            "code": seen.code,
            "says": named(seen.says, names),
        }
        for seen in daemon.engine.incidents
    ]
    return sorted(rows, key=lambda row: int(str(row["at_ms"])))


def join_row(join: Join, name: str, failure: LinkFailure | None) -> dict[str, Any]:
    """Return an invitation that came to nothing yet as `status --json` has it.

    Args:
        name: The inviter's, empty if it is not known.
        failure: Why it is not reached.
    """
    inviter = join.invitation.inviter
    who = name or "Town " + inviter.hex()[:8]
    if join.state == REFUSED:
        says = f"{who} refused the invitation: {join.says}"
    else:
        why = f": {why_away(failure)}" if failure is not None else ""
        says = f"{who} has not answered the invitation yet{why}; this node goes on calling"
    return {
        "federation": join.invitation.federation.hex(),
        "inviter": inviter.hex(),
        "state": join.state,
        "failing_url": str(failure.detail.get("url") or "") if failure is not None else "",
        "says": says,
    }


def why_away(failure: LinkFailure | None) -> str:
    """Return why a town is not reached, in words that name no address; empty if nothing has failed."""
    return "" if failure is None else str(failure.detail.get("why") or failure.says)
