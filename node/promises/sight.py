"""What can be seen of claims and ledgers here, and how one is found by its address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from node.errors import AmbiguousAddress, NotFound, NotOurs, Refused
from node.promises.asked import Register
from node.promises.codes import Counter
from node.promises.limits import because_of
from node.promises.looking import Look
from node.promises.pen import Pen
from node.promises.shelf import CLAIMABLE, header_at, ledger_at
from node.promises.views import ClaimView, LedgerView, Whose
from protocol.ids import DocId, TownId, address_range, parse_address
from protocol.ids import address as address_of
from sync.ledger import ledger_id

if TYPE_CHECKING:
    from node.board import Board
    from node.intake import Intake
    from node.seals import Seals
    from node.store import Document, Reader, Store
    from protocol.record import Header
    from sync.authority import Authority
    from sync.ledger import Ledger

T = TypeVar("T")

DOC_HEX_CHARS: Final = 32
"""A full id as hexadecimal digits."""


class Sight:
    """What one node can see.

    Args:
        heard: When a town was last heard over a link, in milliseconds; None: never, or it is no peer.
        synced: Up to which change a town is known to hold all that it may; 0: it is no peer.
    """

    def __init__(
        self,
        *,
        own_town: TownId,
        store: Store,
        intake: Intake,
        board: Board,
        seals: Seals,
        authority: Callable[[], Authority],
        now_ms: Callable[[], int],
        chance: Callable[[int], bytes],
        heard: Callable[[TownId], int | None] = lambda _: None,
        synced: Callable[[TownId], int] = lambda _: 0,
    ) -> None:
        self.own_town = own_town
        self.seals = seals
        self.register = Register(store, seals)
        self.pen = Pen(intake, chance)
        self._store = store
        self._intake = intake
        self._board = board
        self._authority = authority
        self._now_ms = now_ms
        self._chance = chance
        self._heard = heard
        self._synced = synced
        self._counter = Counter(now_ms)

    async def ledger_of(self, address: str, whose: Whose = Whose.ALL) -> LedgerView | None:
        """Return what there is of a document and who asked for it; None if its kind cannot be claimed.

        Args:
            whose: Which claims are opened: it takes long where many asked.

        Raises:
            InvalidAddress, NotFound, AmbiguousAddress.
        """
        target = await self._board.show(address)
        await self.register.catch_up()

        def work(look: Look) -> LedgerView | None:
            header = header_at(look.reader, target.doc)
            if header is None:
                return None
            return look.ledger(target, header, ledger_id(header), whose)

        return await self._look(work) if _has_ledger(target) else None

    async def show(self, address: str) -> ClaimView:
        """Return a claim of our town, or one that our town answers.

        Raises:
            InvalidAddress, NotFound, AmbiguousAddress.
        """
        doc = await self._find(address)
        found = await self._look(lambda look: look.claim(doc))
        if found is None:
            raise nothing()
        return found

    async def all(self) -> list[ClaimView]:
        """Return the claims that can be read here, the newest first: our own, and those to be answered; of
        both at most `OPENED_MAX`, those first that are promised, wait, or have no answer yet."""
        await self.register.catch_up()
        found = await self._look(lambda look: look.all())
        return sorted(found, key=lambda view: (view.born, view.doc), reverse=True)

    async def kept_by(self, device: bytes) -> list[str]:
        """Return the addresses of the own posts whose ledger a device keeps, ascending."""

        def read(reader: Reader) -> list[str]:
            found = {each.doc: each.header for each in reader.own_since(CLAIMABLE, 0)}
            ledgers = ((doc, ledger_at(reader, ledger_id(header))) for doc, header in found.items())
            return sorted(
                address_of(doc) for doc, each in ledgers if each is not None and each.keeper == device
            )

        return await self._store.read(read)

    # Below here: how.

    async def _own(self, address: str) -> ClaimView:
        view = await self.show(address)
        if not view.ours:
            raise NotOurs(f"that request was made in {view.town_name}; only its people can do this")
        return view

    async def _find(self, address: str) -> DocId:
        """Return the claim that has this address, or this full id as hexadecimal digits."""
        await self.register.catch_up()
        found: list[DocId] = []
        if len(address) == DOC_HEX_CHARS:
            try:
                doc = DocId(bytes.fromhex(address))
            except ValueError:
                raise nothing() from None
            found = [doc] if self.register.ledger_of(doc) is not None else []
        else:
            found = self.register.between(*address_range(parse_address(address)))
        if not found:
            raise nothing()
        if len(found) > 1:
            choices = [doc.hex() for doc in found]
            raise AmbiguousAddress(
                f"{len(found)} requests have this address; use a full id: {', '.join(choices)}",
                detail={"choices": choices},
            )
        return found[0]

    async def _look(self, work: Callable[[Look], T]) -> T:
        def read(reader: Reader) -> T:
            return work(
                Look(
                    reader,
                    self.seals,
                    self.register,
                    self.own_town,
                    self._intake.device,
                    self._heard,
                    self._synced,
                    self._now_ms(),
                )
            )

        return await self._store.read(read)

    async def _ledger(self, target: Document) -> tuple[Header, Ledger | None]:
        def read(reader: Reader) -> tuple[Header | None, Ledger | None]:
            header = header_at(reader, target.doc)
            return header, None if header is None else ledger_at(reader, ledger_id(header))

        header, ledger = await self._store.read(read)
        if header is None:
            raise nothing()
        return header, ledger


def refuse(code: str, ledger: Ledger | None, target: Document | None = None, now_s: int = 0) -> None:
    """Refuse what there is an objection to, in words that name the bound.

    Raises:
        Refused: `code` is not empty.
    """
    if code:
        raise Refused(because_of(code, ledger, target, now_s), code=code)


def _has_ledger(target: Document) -> bool:
    return target.kind in CLAIMABLE


def nothing() -> NotFound:
    """Return the error for an address that no claim has."""
    return NotFound(
        "no request is known here under this address: it was never made here, is for another town, or has"
        " not arrived yet"
    )
