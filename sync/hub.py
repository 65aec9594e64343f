"""The hub: the state machine of one node among its peers. It does no I/O and never raises for a peer's
fault.

It owns the held sets, one conversation for each live link, and what is remembered of each device. Every
input that concerns a conversation is followed by `advance`, in which it does what is due; the earliest
of all deadlines is the one timer of the node (`WakeAt`). Nothing here depends on the order of a set or
on chance but the rng that is given: the same inputs give the same effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from protocol.ids import DeviceId, FederationId, LaneKey, RecordId, TownId
from protocol.limits import LINKS_MAX
from sync.authority import Authority
from sync.conversation import Conversation, State
from sync.events import (
    Committed,
    Drop,
    Effect,
    Heard,
    IdsLoaded,
    Input,
    Joined,
    JoinRefused,
    LinkDown,
    LinkId,
    LinkUp,
    Loaded,
    TakenIn,
    Tick,
    WakeAt,
)
from sync.held import HeldSet
from sync.lawful import Acquaintance, Conduct, Recent
from sync.line import Chance, Line

ACQUAINTANCES_MAX: Final = 256
"""Devices remembered from link to link; the longest unseen is forgotten first."""
CROSSING_MS: Final = 10_000
"""Two links between the same devices, dialled from both ends within this, crossed: both keep the same one."""


@dataclass(frozen=True, slots=True)
class PeerState:
    """What is known of the other end of one live link, for status.

    Attributes:
        state: How far the conversation has come.
        is_idle: Nothing is under way: both sides hold the same, as far as either may.
        is_late: A sign of life is late.
        heard_ms: When anything was last heard.
        waiting_out_count: Records known to wait for it, in flight included.
        waiting_in_count: Records known to be on their way from it.
        federations: What both sides serve each other.
    """

    link: LinkId
    town: TownId
    device: DeviceId
    state: State
    is_idle: bool
    is_late: bool
    heard_ms: int
    waiting_out_count: int
    waiting_in_count: int
    federations: tuple[FederationId, ...]
    sent_bytes: int
    heard_bytes: int


class Hub:
    """The state machine of one node among its peers.

    Args:
        held: The held sets as they are on disk; the hub keeps them up to date from now on.
        rng: The only source of chance (salts).
    """

    def __init__(
        self,
        own_town: TownId,
        own_device: DeviceId,
        authority: Authority,
        held: dict[LaneKey, HeldSet],
        rng: Chance,
    ) -> None:
        self.own_town = own_town
        self.own_device = own_device
        self.authority = authority
        self.held = held
        self._rng = rng
        self._conversations: dict[LinkId, Conversation] = {}
        self._since_ms: dict[LinkId, int] = {}
        self._due_ms: dict[LinkId, int] = {}
        self._acquaintances: dict[DeviceId, Acquaintance] = {}
        self._conducts: dict[bytes, Conduct] = {}
        self._recent: dict[LaneKey, Recent] = {}
        self._change = max((each.change for each in held.values()), default=0)
        self._wake_ms: int | None = None
        self._chore_link = LinkId(0)

    def handle(self, told: Input, now_ms: int) -> list[Effect]:
        """Take one input; return what is to be done, in order.

        Args:
            now_ms: Monotonic milliseconds; never less than before.
        """
        effects: list[Effect] = []
        match told:
            case LinkUp():
                self._link_up(told, now_ms, effects)
            case LinkDown():
                self._forget(told.link)
            case Committed():
                self._committed(told, now_ms, effects)
            case Tick():
                self._wake_ms = None
                self._do_chore(now_ms)
                for link in list(self._conversations):
                    self._advance(link, now_ms, effects)
            case Heard() | TakenIn() | Loaded() | IdsLoaded() | Joined() | JoinRefused():
                self._tell(told, now_ms, effects)
            case _:
                assert_never(told)
        self._wake(effects)
        return effects

    def peers(self) -> list[PeerState]:
        """Return what is known of the other end of every live link."""
        return [
            PeerState(
                link=link,
                town=each.line.up.town,
                device=each.line.up.device,
                state=each.state,
                is_idle=each.is_idle,
                is_late=each.is_late,
                heard_ms=each.heard_ms,
                waiting_out_count=each.outbox.waiting_count,
                waiting_in_count=each.waiting_in_count,
                federations=each.offers.federations,
                sent_bytes=each.line.sent_bytes,
                heard_bytes=each.heard_bytes,
            )
            for link, each in self._conversations.items()
        ]

    def _link_up(self, up: LinkUp, now_ms: int, effects: list[Effect]) -> None:
        conduct = self._conduct_of(up, now_ms)
        refusal = self._refuse(up, conduct, now_ms)
        if refusal is not None:
            effects.append(refusal)
            return
        for link, each in list(self._conversations.items()):
            if each.line.up.device == up.device:
                if self._is_crossing(up, link, now_ms):
                    effects.append(Drop(up.link, "replaced", "another link to this device stands"))
                    return
                each.drop("replaced", "a newer link to this device took over")
                self._collect(link, effects)
        line = Line(
            up,
            acquaintance=self._acquaint(up.device),
            conduct=conduct,
            held=self.held,
            recent=self._recent,
            find_arriving=self._find_arriving,
            rng=self._rng,
            now_ms=now_ms,
        )
        self._conversations[up.link] = Conversation(line, self.authority)
        self._since_ms[up.link] = now_ms
        self._advance(up.link, now_ms, effects)

    def _conduct_of(self, up: LinkUp, now_ms: int) -> Conduct:
        """Return how a town behaves; of the own one each device by itself, or one could shut out all."""
        talking = {self._who(each.line.up) for each in self._conversations.values()}
        for who in self._conducts.keys() - talking:
            if self._conducts[who].is_clean(now_ms):
                del self._conducts[who]
        return self._conducts.setdefault(self._who(up), Conduct())

    def _who(self, up: LinkUp) -> bytes:
        return up.device if up.town == self.own_town else up.town

    def _leave_alone(self, conduct: Conduct, now_ms: int, effects: list[Effect]) -> None:
        """End all links of a town that has just been banned."""
        for link, each in list(self._conversations.items()):
            if each.line.conduct is conduct and now_ms < conduct.banned_until_ms:
                each.drop("banned", "another device of its town sent too many bad records")
                self._collect(link, effects)

    def _refuse(self, up: LinkUp, conduct: Conduct, now_ms: int) -> Drop | None:
        if up.device == self.own_device:
            return Drop(up.link, "own_device", "this is our own device")
        if now_ms < conduct.banned_until_ms:
            return Drop(up.link, "banned", "it sent too many bad records; it is left alone for an hour")
        if len(self._conversations) >= LINKS_MAX:
            return Drop(up.link, "links_many", f"{LINKS_MAX} links stand already")
        return None

    def _is_crossing(self, up: LinkUp, link: LinkId, now_ms: int) -> bool:
        """Tell whether an older link is to be kept, since both ends dialled at once."""
        older = self._conversations[link]
        if older.line.up.initiator == up.initiator or older.is_late:
            return False
        if now_ms - self._since_ms[link] > CROSSING_MS:
            return False
        # Both ends keep the link that the lesser device dialled.
        return older.line.up.initiator == (self.own_device < up.device)

    def _acquaint(self, device: DeviceId) -> Acquaintance:
        acquaintance = self._acquaintances.pop(device, None) or Acquaintance(device)
        self._acquaintances[device] = acquaintance
        if len(self._acquaintances) > ACQUAINTANCES_MAX:
            talking = {each.line.up.device for each in self._conversations.values()} | {device}
            for known in [known for known in self._acquaintances if known not in talking][:1]:
                del self._acquaintances[known]
        return acquaintance

    def _find_arriving(self, short: bytes) -> RecordId | None:
        for each in self._conversations.values():
            record = each.inbox.find(short)
            if record is not None:
                return record
        return None

    def _committed(self, told: Committed, now_ms: int, effects: list[Effect]) -> None:
        self._change = max(self._change, told.change)
        for lane in told.lanes:
            held = self.held.get(lane.key)
            if held is None:
                held = self.held[lane.key] = HeldSet()
            if lane.removed:
                held.remove_many(lane.removed, told.change)
            if lane.added:
                held.add_many(lane.added, told.change)
            self._recent.setdefault(lane.key, Recent()).change(lane.added, lane.removed)
            for acquaintance in self._acquaintances.values():
                acquaintance.change(lane.key, lane.added, lane.removed)
        if told.authority is not None:
            self.authority = told.authority
        for link, each in list(self._conversations.items()):
            each.line.now_ms = now_ms
            if told.authority is not None:
                each.authority_moved(told.authority)
            if link != told.source:
                self._push(each, told)
            self._advance(link, now_ms, effects)

    def _push(self, conversation: Conversation, told: Committed) -> None:
        """Send what is new on, each record once, however many lanes it entered."""
        pushed: set[RecordId] = set()
        for lane in told.lanes:
            if conversation.may_push(lane.key):
                conversation.committed(lane.key, [record for record in lane.added if record not in pushed])
                pushed.update(lane.added)

    def _tell(
        self,
        told: Heard | TakenIn | Loaded | IdsLoaded | Joined | JoinRefused,
        now_ms: int,
        effects: list[Effect],
    ) -> None:
        conversation = self._conversations.get(told.link)
        if conversation is None:
            return
        conversation.line.now_ms = now_ms
        match told:
            case Heard():
                conversation.heard(told.frame)
            case TakenIn():
                conversation.taken_in(told.batch, told.verdicts)
            case Loaded() | IdsLoaded():
                conversation.line.loaded(told)
            case Joined():
                conversation.joined(told.records)
            case JoinRefused():
                conversation.join_refused(told.code, told.says)
            case _:
                assert_never(told)
        self._advance(told.link, now_ms, effects)
        if isinstance(told, TakenIn):
            self._leave_alone(conversation.line.conduct, now_ms, effects)

    def _advance(self, link: LinkId, now_ms: int, effects: list[Effect]) -> None:
        conversation = self._conversations[link]
        conversation.line.now_ms = now_ms
        conversation.advance(self._change)
        self._collect(link, effects)

    def _collect(self, link: LinkId, effects: list[Effect]) -> None:
        """Move the effects of a conversation out, and forget it if it has ended."""
        conversation = self._conversations[link]
        effects += conversation.line.effects
        conversation.line.effects.clear()
        if conversation.state is State.CLOSED:
            self._forget(link)
        else:
            self._due_ms[link] = conversation.wake_ms

    def _forget(self, link: LinkId) -> None:
        self._conversations.pop(link, None)
        self._since_ms.pop(link, None)
        self._due_ms.pop(link, None)

    def _do_chore(self, now_ms: int) -> None:
        """Do one step of what is done in steps; each link has its turn."""
        due = sorted(link for link, each in self._conversations.items() if each.line.chores.is_due)
        if due:
            self._chore_link = next((link for link in due if link > self._chore_link), due[0])
            line = self._conversations[self._chore_link].line
            line.now_ms = now_ms
            line.chores.step()

    def _wake(self, effects: list[Effect]) -> None:
        wake_ms = min(self._due_ms.values(), default=None)
        # A deadline that moved away costs a needless tick, which is less than a timer for each frame.
        if wake_ms is not None and (self._wake_ms is None or wake_ms < self._wake_ms):
            self._wake_ms = wake_ms
            effects.append(WakeAt(wake_ms))
