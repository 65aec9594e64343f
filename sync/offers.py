"""Which federations the two sides of a link speak of, and what is shown to a member that does not know
that it is one.

Each side names its federations in HELLO by a hash under the handshake, in an order that only grows, and
says for each whether it serves the other there. One that both name and both serve is open, and goes by
its number in the HELLO of the side that dialled. Whether the device at the other end may read a
federation is asked anew of the present authority every time: its town is a member, and has certified it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from protocol.ids import FederationId, RecordId, home_id
from protocol.limits import WIRE_VERSION
from protocol.wire import NAMES_MAX, Hello, federation_name
from sync.authority import Authority
from sync.events import Incident
from sync.line import Line, PeerFault, Then, id_of

PRESENTED_MAX: Final = 16
"""So often evidence is shown from its beginning for one federation on one link."""
HELLOS_MAX: Final = 1_024
"""A peer whose authority moves more often on one link should dial anew."""
Show: TypeAlias = Callable[[tuple[bytes, ...], Then], None]


class Offers:
    """The federations of both sides of one link.

    Args:
        show: Sends a part of the evidence, and goes on once it is taken in.

    Attributes:
        open: Those that both sides name and serve, by their number.
        authority: Who is a member of what, as this node resolved it.
    """

    def __init__(self, line: Line, authority: Authority, show: Show) -> None:
        self.authority = authority
        self.open: dict[int, FederationId] = {}
        self._line = line
        self._show = show
        self._own: list[FederationId] = []
        self._unnamed = 0
        self._said: tuple[tuple[bytes, bool], ...] | None = None
        self._theirs: tuple[tuple[bytes, bool], ...] = ()
        self._hello_count = 0
        self._places: dict[FederationId, int] = {}
        self._presented: dict[FederationId, tuple[int, Authority]] = {}

    @property
    def federations(self) -> tuple[FederationId, ...]:
        """Federations (and the home set) that are open, ascending."""
        return tuple(sorted(self._places))

    def place_of(self, federation: FederationId) -> int | None:
        """Return a federation's number while both sides serve each other in it."""
        return self._places.get(federation) if self._serves(federation) else None

    def say(self, *, again: bool = False) -> None:
        """Name my federations, new ones behind the old, unless nothing has changed for the other side.

        Args:
            again: Also if nothing has.
        """
        up = self._line.up
        self._add_names()
        names = tuple(
            (federation_name(each, up.handshake_hash, initiator=up.initiator), self._serves(each))
            for each in self._own
        )
        # What was refused for its rights may be welcome now: HELLO tells the other side to offer it again.
        if again or names != self._said or self._line.acquaintance.has_not_now():
            self._said = names
            self._line.acquaintance.forget_not_now()
            self._line.send(Hello(WIRE_VERSION, names))

    def _add_names(self) -> None:
        """Add what is new behind the old names: first what the other town may read, as far as names go."""
        offered = sorted(self.authority.federations, key=lambda each: (not self._serves(each), each))
        if self._line.up.town == self.authority.own_town:
            offered.insert(0, home_id(self._line.up.town))
        self._own += [each for each in offered if each not in self._own]
        unnamed, self._own = len(self._own) - NAMES_MAX, self._own[:NAMES_MAX]
        if unnamed > self._unnamed:
            says = f"{unnamed} federations are not spoken of here: a link has room for {NAMES_MAX}"
            self._line.ask(Incident(self._line.link, "federations_many", says))
        self._unnamed = max(unnamed, self._unnamed)

    def hear(self, frame: Hello) -> None:
        """Take the names of the other side.

        Raises:
            PeerFault: An older version, names in another order than before, or too many HELLOs.
        """
        before = [name for name, _ in self._theirs]
        after = [name for name, _ in frame.names]
        self._hello_count += 1
        if frame.version < WIRE_VERSION:
            raise PeerFault("older_version", f"wire version {frame.version}; we speak {WIRE_VERSION}")
        if after[: len(before)] != before or len(set(after)) != len(after):
            raise PeerFault("malformed_frame", "HELLO repeats its names in their order and adds behind them")
        if self._hello_count > HELLOS_MAX:
            raise PeerFault("flooding", f"more than {HELLOS_MAX} times HELLO")
        self._theirs = frame.names
        self._line.acquaintance.forget_not_now()

    def agree(self) -> tuple[list[int], list[tuple[int, FederationId]]]:
        """Work out what is open now; return the numbers that became so, and what is open no more."""
        up = self._line.up
        theirs = dict(self._theirs)
        order = [name for name, _ in self._theirs]
        agreed: dict[int, FederationId] = {}
        for index, federation in enumerate(self._own):
            name = federation_name(federation, up.handshake_hash, initiator=not up.initiator)
            if self._serves(federation) and theirs.get(name, False):
                agreed[index if up.initiator else order.index(name)] = federation
            else:
                self._present(federation)
        for federation in sorted(self.authority.left):
            self._present(federation)
        closed = [(place, name) for place, name in self.open.items() if agreed.get(place) != name]
        opened = [place for place in agreed if place not in self.open]
        self.open = agreed
        self._places = {federation: place for place, federation in agreed.items()}
        return opened, closed

    def _serves(self, federation: FederationId) -> bool:
        """Tell whether the device at the other end may read a federation: its own right and its town's."""
        up = self._line.up
        if not self.authority.is_certified(up.town, up.device):
            return False
        if up.town == self.authority.own_town and federation == home_id(up.town):
            return True
        return self.authority.is_member(federation, up.town)

    def _may_see(self, federation: FederationId) -> bool:
        """Tell whether evidence may be shown; a home has none.

        Of a federation that we have left there is our withdrawal to show, to whoever is in it.
        """
        if federation in self.authority.left:
            return self._name_of(federation) in dict(self._theirs)
        return federation in self.authority.federations and self._serves(federation)

    def _name_of(self, federation: FederationId) -> bytes:
        """Return the name by which the other side speaks of a federation."""
        up = self._line.up
        return federation_name(federation, up.handshake_hash, initiator=not up.initiator)

    def _is_served(self, federation: FederationId) -> bool:
        """Tell whether the other side serves us in a federation, as far as it has said."""
        return dict(self._theirs).get(self._name_of(federation), False)

    def _present(self, federation: FederationId) -> None:
        """Show what makes us members to a member that does not know it, or that we have left; once for each
        state of authority."""
        is_known = federation not in self.authority.left and self._is_served(federation)
        if is_known or not self._may_see(federation):
            return
        count, shown = self._presented.get(federation, (0, None))
        if count >= PRESENTED_MAX or shown is self.authority:
            return
        self._presented[federation] = (count + 1, self.authority)
        self._show_part(federation, self.authority, None)

    def _show_part(self, federation: FederationId, authority: Authority, after: RecordId | None) -> None:
        """Show as much of the evidence as goes at once, and the next part when that is taken in; a change of
        authority begins anew."""

        def then(records: tuple[bytes, ...], more: bool) -> None:
            # Asked again at the moment of sending: rights may have moved meanwhile.
            if self._may_see(federation):
                self._show(records, lambda: go_on(records[-1]) if more else None)

        def go_on(last: bytes) -> None:
            if self.authority is authority and self._may_see(federation) and not self._is_served(federation):
                self._show_part(federation, authority, id_of(last))

        self._line.load_evidence(federation, after, then)
