"""Whose turn it is at one ledger: which claims are looked at, in which order, and how many are opened.

Who comes first follows from what is remembered of all claims, however many there are; so nobody is left out
of a draw, and nobody in need is hidden behind a thousand others. Only what may be answered now is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.promises.asked import OPENED_MAX, Asked, claim_at
from node.promises.limits import decides_alone
from node.promises.rules import policy_of
from node.promises.shelf import target_of
from sync.keeping import Policy, Request, Turns, lost_blamelessly, turns
from sync.promises import Mode, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from node.promises.asked import Opened, Register
    from node.seals import Seals
    from node.store import Document, Reader
    from protocol.ids import DocId
    from sync.ledger import Ledger

NEW_MAX: Final = 128
"""New ones: where the node answers by itself each of them gets an answer, and a turn writes half as many."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What a keeper looks at next.

    Attributes:
        target: What the ledger is of, if it is still there.
        turns: Whose turn it is, where the node answers by itself; else nobody's.
        asked: Claims that were opened: new, waiting, and those that were promised something last.
    """

    target: Document | None
    turns: Turns
    asked: list[Asked]


def queue(
    reader: Reader,
    ledger: Ledger,
    register: Register,
    seals: Seals,
    *,
    now_s: int,
    sign: Callable[[bytes], bytes],
    opened: Opened,
) -> Queue:
    """Return what a keeper looks at next in a ledger.

    Args:
        opened: Of the looks before this one.
        sign: Signs with the keeper's key, as a draw needs it.
    """
    known = ledger.promises.claims
    new, shares = list[Request](), list[Request]()
    for claim in register.claims_of(ledger.doc):
        noted = register.noted(claim)
        if noted is None or noted.withdrawn or (claim in known and not lost_blamelessly(known[claim])):
            continue
        request = Request(claim, heard(reader, claim, now_s), noted.urgency)
        (shares if noted.share else new).append(request)
    waiting = [each.claim for each in ledger.promises.waiting()]
    windows = ledger.promises.mode is Mode.WINDOW  # Who has a thing may ask for longer.
    had = [each.claim for each in ledger.promises.open_ones() if windows or each.status is Status.ACCEPTED]
    target = target_of(reader, ledger.doc, now_s)
    policy, decides_at, alone = Policy.FIRST_COME, 0, target is not None and decides_alone(target)
    if target is not None and alone:
        policy, decides_at = policy_of(target)
    turn = turns(ledger, new, policy, decides_at=decides_at, now_s=now_s, sign=sign)
    waits = set(waiting)
    first = [each for each in turn.claims if each not in waits] or _as_heard(new)
    looked_at = (first[:NEW_MAX], _as_heard(shares)[:NEW_MAX], waiting[:OPENED_MAX], had[-OPENED_MAX:])
    found = [claim_at(reader, seals, claim, opened) for part in looked_at for claim in part]
    asked = [each.asked for each in found if each is not None and each.asked is not None]
    return Queue(target, turn if alone else Turns(), asked)


def heard(reader: Reader, claim: DocId, now_s: int) -> int:
    """Return the second at which this node first knew of a claim; a new one was heard of just now."""
    rows = reader.rows("SELECT at FROM claims_heard WHERE claim = ?", claim)
    at = rows[0][0] if rows else None
    return at if isinstance(at, int) else now_s


def _as_heard(requests: Iterable[Request]) -> list[DocId]:
    return [each.claim for each in sorted(requests, key=lambda each: (each.heard, each.claim))]
