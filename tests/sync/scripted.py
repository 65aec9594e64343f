"""One hub, and a peer that says what the test tells it to."""

from __future__ import annotations

from random import Random

from protocol import wire
from protocol.ids import FederationId
from protocol.wire import Frame, decode_frame, encode_frame, federation_name
from sync.events import (
    Drop,
    Effect,
    Heard,
    JoinAsk,
    LinkId,
    LinkUp,
    Send,
    Tick,
)
from sync.hub import Hub
from tests.sync.cable import (
    authority_of,
    device_of,
    town_of,
)

LINK = LinkId(1)
HASH = b"h" * 32


class Scripted:
    """One hub, and a peer that says what the test tells it to."""

    def __init__(
        self,
        *,
        initiator: bool = False,
        approved: bool = True,
        join: JoinAsk | None = None,
        members: str = "ab",
    ) -> None:
        self.hub = Hub(town_of("a"), device_of("a"), authority_of("a", members), {}, Random(1))
        self.initiator = initiator
        self.now_ms = 1_000
        up = LinkUp(LINK, town_of("b"), device_of("b"), HASH, initiator, approved, join)
        self.effects = self.hub.handle(up, self.now_ms)

    def say(self, *frames: Frame) -> list[Effect]:
        """Let the peer say something; return what the hub does."""
        self.effects = []
        for frame in frames:
            self.effects += self.hub.handle(Heard(LINK, encode_frame(frame)), self.now_ms)
        return self.effects

    def hello(self, *federations: FederationId, serves: bool = True) -> list[Effect]:
        """Let the peer greet."""
        names = tuple(
            (federation_name(each, HASH, initiator=not self.initiator), serves) for each in federations
        )
        return self.say(wire.Hello(1, names))

    def frames(self) -> list[Frame]:
        """Return the frames of the last effects."""
        return [decode_frame(effect.frame) for effect in self.effects if isinstance(effect, Send)]

    def dropped(self) -> str | None:
        """Return the code of the drop among the last effects."""
        return next((effect.code for effect in self.effects if isinstance(effect, Drop)), None)

    def wait(self, ms: int) -> list[Effect]:
        """Let time pass and tick."""
        self.now_ms += ms
        self.effects = self.hub.handle(Tick(), self.now_ms)
        return self.effects
