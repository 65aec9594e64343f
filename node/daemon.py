"""The composition: everything that a running node has is built here, in the order in which it needs one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node.accounts import Accounts
    from node.board import Board
    from node.clock import NodeClock
    from node.config import Settings
    from node.engine import Engine
    from node.federations import Federations
    from node.intake import Intake
    from node.invitations import Invitations
    from node.keys import Keys
    from node.peers import Peers
    from node.store import Store
    from protocol.ids import TownId
    from sync.authority import Authority


class Daemon:
    """One running node.

    Its parts stand under these names for the page, the API and the control socket; all but `data`, `settings` and
    `keys` exist once `start` has returned.
    """

    data: Path
    settings: Settings
    keys: Keys
    clock: NodeClock
    store: Store
    intake: Intake
    board: Board
    accounts: Accounts
    engine: Engine
    peers: Peers
    invitations: Invitations
    federations: Federations
    address: tuple[str, int]
    """Host and port where pages, API and /sync are served."""
    control_path: Path
    """The Unix socket of the operator."""

    def __init__(self, data: Path, settings: Settings) -> None:
        """Prepare a node over a data directory that `init` made; opens nothing yet."""

    @property
    def town(self) -> TownId:
        """The own town."""
        raise NotImplementedError

    def authority(self) -> Authority:
        """Return the present resolved authority."""
        raise NotImplementedError

    async def start(self) -> None:
        """Open the keys and the store, serve, dial the peers; returns once pages can be had.

        Raises:
            HedgerowError: Keys or store cannot be opened, or the address is taken.
        """

    async def stop(self) -> None:
        """Stop within 5 s: no new connections, links dropped, what was accepted committed, store closed."""

    async def run(self) -> None:
        """Start, run until SIGTERM or SIGINT, stop."""

    async def status(self) -> dict[str, Any]:
        """Return what `status --json` prints."""
        raise NotImplementedError

    async def join(self, code: str) -> dict[str, Any]:
        """Take an invitation: keep it, and dial the inviter until it has welcomed us (survives restarts).

        Returns `{"federation", "name"?, "inviter", "state": "joined"|"waiting", "says"}` after at most 10 s.

        Raises:
            InvitationRefused: The code is wrong, used or out of date.
        """
        raise NotImplementedError

    async def add_peer(self, url: str, *, approve: bool) -> dict[str, Any]:
        """Dial a URL and return `{"town", "fingerprint", "name", "url", "approved"}` of who answers.

        Raises:
            PeerUnreachable: Nobody answers, or not a node.
        """
        raise NotImplementedError

    async def sync(self, town: TownId | None = None) -> dict[str, Any]:
        """Dial what is down, compare with what is up, and return `{"peers": [...]}` as in `status`."""
        raise NotImplementedError
