"""Three towns on a river, one federation of them and another over the hill: where admission is tried out."""

from __future__ import annotations

from protocol.record import Record
from tests.sync.world import Town, World, federation_of

OWN, BEE, SEA = Town("own"), Town("bee"), Town("sea")
CHARTER = BEE.charter("Along the river", [BEE], quotas=(2, 2, 1))
RIVER = federation_of(CHARTER)
SECOND_CHARTER = OWN.charter("Over the hill", [OWN, SEA], quotas=(1, 3, 2))
HILL = federation_of(SECOND_CHARTER)
CERTIFICATES = [OWN.certificate(), BEE.certificate(), SEA.certificate()]
FOUNDATION = [*CERTIFICATES, CHARTER, OWN.join(RIVER), BEE.admit(RIVER, OWN)]


def founded(*more: Record) -> World:
    """Return the own town's world after it joined the river federation, of which the sea is no member yet."""
    world = World(OWN.id)
    world.take(*FOUNDATION, *more)
    return world
