"""Whether the device at the other end of a link still speaks for its town.

AUTH proves whose device it is by a certificate that the town once signed. A town takes that back by
deleting the certificate, and every certificate ends by itself. So what is shown is looked at beside what
is known; and what is new is taken in, so that a member's new device is served from its first call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from node.errors import StorageUnavailable
from node.transport.channel import LinkFailure
from protocol.record import open_record
from sync.authority import resolve
from sync.devices import DEVICE_KINDS
from sync.farewell import proof_of

if TYPE_CHECKING:
    from node.clock import NodeClock
    from node.intake import Intake
    from node.store import Reader, Store
    from node.transport.auth import Identity
    from protocol.ids import TownId
    from protocol.record import Record
    from sync.authority import Authority


class Certificates:
    """The certificates that other nodes show.

    Args:
        authority: The present resolved authority.
    """

    def __init__(
        self, store: Store, intake: Intake, clock: NodeClock, *, authority: Callable[[], Authority]
    ) -> None:
        self._store = store
        self._intake = intake
        self._clock = clock
        self._authority = authority

    async def check(self, identity: Identity, *, keep: bool) -> None:
        """Refuse a device whose town does not certify it any more.

        Args:
            identity: As AUTH proved it; who showed no certificate was found among those that stand.
            keep: Take the certificate in, if it is new: its town is one that we talk to.

        Raises:
            LinkFailure: `certificate_expired`, `certificate_withdrawn`, `storage_unavailable`.
        """
        if identity.certificate is None:
            return
        shown = open_record(identity.certificate)
        known = await self._known(identity.town)
        is_known = any(record.id == shown.id for record in known)
        now = self._clock.read()
        # An unsure clock calls nothing expired.
        has_ended = now.sure and shown.header.expires <= now.now_ms // 1_000
        standing = [record for record in known if record.id != shown.id] + ([] if has_ended else [shown])
        if identity.rotation is not None:
            standing.append(open_record(identity.rotation))
        if not resolve(identity.town, standing).is_certified(identity.town, identity.device):
            if has_ended:
                raise LinkFailure("the certificate of that device has run out", code="certificate_expired")
            raise LinkFailure("its town has withdrawn that device", code="certificate_withdrawn")
        if keep and not is_known and not has_ended:
            await self._keep(identity.certificate, identity.rotation)

    async def proof(self, identity: Identity) -> list[bytes]:
        """Return the records that show a refused device that its town has taken it back."""
        if identity.certificate is None:
            return []
        shown = open_record(identity.certificate)
        return proof_of(await self._known(identity.town), identity.device, shown.doc)

    def stands(self, identity: Identity) -> bool:
        """Tell whether a device is certified, for a town that may write here, by what is known already."""
        return self._authority().is_certified(identity.town, identity.device)

    def is_withdrawn(self, identity: Identity) -> bool:
        """Tell whether a town that may write here does not certify a device; others are not asked."""
        authority = self._authority()
        belongs = identity.town == authority.own_town or bool(authority.federations_of(identity.town))
        return belongs and not self.stands(identity)

    async def _known(self, town: TownId) -> list[Record]:
        def read(reader: Reader) -> list[Record]:
            return [each for kind in sorted(DEVICE_KINDS) for each in reader.records_of(town, kind)]

        return await self._store.read(read)

    async def _keep(self, certificate: bytes, rotation: bytes | None) -> None:
        try:
            await self._intake.accept([certificate, rotation] if rotation else [certificate])
        except StorageUnavailable as error:
            raise LinkFailure("the disk of this node takes nothing just now", code=error.code) from None
