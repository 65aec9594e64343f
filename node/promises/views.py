"""What people are shown of a ledger and of a claim: where it stands, why, and whom it waits for.

A page, a command and the API say the same sentence, `says`, which is made in `sentences`. Amounts are
thousandths, times seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.ids import DeviceId, DocId, TownId


class Stage(Enum):
    """How far a claim has come, as far as is known here."""

    ASKED = "asked"
    """No answer of the keeper has come yet."""
    WAITING = "waiting"
    ACCEPTED = "accepted"
    HANDED_OVER = "handed_over"
    DECLINED = "declined"
    RELEASED = "released"
    """It was promised, and is not any more."""
    VOID = "void"
    """It was promised by what does not count."""
    WITHDRAWN = "withdrawn"


class Whose(Enum):
    """Whose claims on a document are opened: as many as somebody may see, and no more."""

    NOBODYS = "nobodys"
    OURS = "ours"
    """Those made in our town."""
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Taken:
    """A stretch of time that is promised: `start` to `end`, which is not part of it, renewed so often."""

    start: int
    end: int
    handed_over: bool
    renewals: int = 0


@dataclass(frozen=True, slots=True)
class SetAside:
    """A share: what a town may give away in its turn, and where it does.

    Attributes:
        milli: In thousandths of the ledger's unit.
        address: Of that town's own post over it; empty: there is none here.
    """

    town_name: str
    milli: int
    address: str
    title: str


@dataclass(frozen=True, slots=True)
class ClaimView:
    """One claim, as one of the two towns that can read it sees it.

    Attributes:
        address: Of the claim itself, `doc` its full id.
        target: Full id of what is claimed, by the header of the ledger that answers; of the ledger itself if
            nothing of it is held. `target_address`, `target_title` and `target_kind` name it; when it is
            withdrawn or over the address is empty, and the title what the claim calls it.
        town: Of the claimant.
        keeper_town: Of what is claimed.
        stage: How far it has come.
        code: Why, as a stable code; empty if nothing is to be said.
        says: The same in one plain sentence for whoever looks.
        waits_for: The town whose node must do something next; None: nothing is waited for.
        heard_ms: When that town's node was last heard; None: never, or it is this one.
        asked_milli: How much was asked for, in thousandths of `unit`; 0 of a window.
        milli: How much is promised now.
        start: With `end` the window, as promised or else as asked for; 0 of an amount.
        longer: Until when the claimant asks to keep it, seconds since 1970; 0: no longer, or it is answered.
        renewals: How often it was prolonged.
        hold_until: Until then it is kept for the claimant.
        place: On the waiting list, from 1; 0: not on it.
        urgency: 0 normal, 1 soon, 2 urgent, 3 a life.
        receipt_code: The 8 characters that the claimant shows when fetching it; only at the claimant's town.
        received: What the claimant says of the hand-over: yes, partly, no; empty: nothing yet.
        ours: Whether our town claims; `to_answer`: whether our town keeps what is claimed.
    """

    address: str
    doc: DocId
    target: DocId
    target_address: str
    target_title: str
    target_kind: str
    town: TownId
    town_name: str
    keeper_town: TownId
    keeper_name: str
    stage: Stage
    code: str
    says: str
    waits_for: TownId | None
    heard_ms: int | None
    born: int
    unit: str
    asked_milli: int
    milli: int
    start: int
    end: int
    longer: int
    renewals: int
    hold_until: int | None
    place: int
    share: bool
    reason: str
    urgency: int
    by: str
    contact: str
    on_behalf_of: bool
    receipt_code: str
    received: str
    ours: bool
    to_answer: bool

    @property
    def is_unanswered(self) -> bool:
        """Tell whether somebody at the keeper's town has yet to say something."""
        return self.stage is Stage.ASKED or self.longer > 0


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What there is of one document and what of it is promised, as far as is known here.

    Attributes:
        target: What it is about; `doc` the ledger's own id.
        known: False: its first entry, or that of which it is a share, has not come yet; no amount is said.
        says: The state in one plain sentence.
        windows: True: it is lent in stretches of time, which `taken` has in order; amounts are then 0.
        capacity: All there is; `promised` and `free` of it, in thousandths of `unit`.
        standing: Claims that are accepted and not handed over yet.
        waiting: Claims on the waiting list.
        forks: Places where the keeper's key was found to have been in two places.
        keeper: The device that may write.
        keeps: Whether that is this node.
        share_of: Full id of the ledger of which this is a share; `from_address`, `from_title` and `from_name`
            say of what that is the ledger, and of which town; empty if that is not here.
        shares: What is set aside for towns that give it away in their turn.
        claims: Those that were opened, oldest first: at the keeper's town all of them, else our own; of each
            sort at most `OPENED_MAX`.
    """

    target: DocId
    doc: DocId
    town: TownId
    town_name: str
    known: bool
    says: str
    windows: bool
    unit: str
    capacity: int
    promised: int
    free: int
    standing: int
    waiting: int
    taken: tuple[Taken, ...]
    forks: int
    keeper: DeviceId | None
    keeps: bool
    heard_ms: int | None
    share_of: DocId | None
    from_address: str
    from_title: str
    from_name: str
    shares: tuple[SetAside, ...]
    claims: tuple[ClaimView, ...]
