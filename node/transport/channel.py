"""A secure channel: Noise XX over the binary messages of a WebSocket, both roles.

`Noise_XX_25519_ChaChaPoly_BLAKE2s` (noiseprotocol.org, revision 34) through the library `noiseprotocol`.
The static keys are made anew by each process and prove nothing; who is at the other end is shown by AUTH
(`auth.py`), a signature over the handshake hash. One WebSocket message is one Noise message; its plain
content is one frame.

Every wait has an end: a peer that is silent, that stops reading, or that sends what is not ours ends its
own channel with a `LinkFailure` of a stable code, and nobody else's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from aiohttp import ClientWebSocketResponse, WSMsgType, web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import NoiseHandshakeError, NoiseInvalidMessage, NoiseValueError

from node.errors import HedgerowError
from protocol.limits import FRAME_BYTES_MAX, SILENCE_MS

NOISE_NAME: Final = b"Noise_XX_25519_ChaChaPoly_BLAKE2s"
TAG_BYTES: Final = 16
MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX + TAG_BYTES
"""65,535, the longest Noise message."""

SOCKET_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 1
"""aiohttp refuses a message that *reaches* its bound."""

SILENCE_S: Final = SILENCE_MS / 1_000
"""No whole frame for so long, or no room to send one, ends the channel; pings make frames every 15 s."""

HANDSHAKE_BYTES_MAX: Final = 256
"""The three messages of XX without payload have 32, 96 and 64 bytes."""

CLOSE_S_MAX: Final = 1.0
"""How long a closing handshake of the WebSocket is waited for; a dead link answers never."""

_CODE: Final = re.compile(r"[a-z_]{1,32}\Z")

Answer = TypeVar("Answer")


class LinkFailure(HedgerowError):
    """A link ended, or never stood; `code` says why."""

    code = "link_failed"
    status = 502


Socket = ClientWebSocketResponse | web.WebSocketResponse
"""Either end of a WebSocket."""


class _Cipher(Protocol):
    """What we use of a finished Noise connection."""

    def encrypt(self, data: bytes) -> bytes: ...
    def decrypt(self, data: bytes) -> bytes: ...
    def get_handshake_hash(self) -> bytes: ...


def new_static_key() -> bytes:
    """Return a random X25519 key for the channels of this process."""
    key = X25519PrivateKey.generate()
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


class Channel:
    """One end of a secure channel, after its handshake. Frames come in order or the channel ends."""

    def __init__(self, socket: Socket, cipher: _Cipher, *, initiator: bool) -> None:
        self._socket = socket
        self._cipher = cipher
        self.initiator = initiator
        self.handshake_hash = bytes(cipher.get_handshake_hash())
        self.bytes_in = 0
        self.bytes_out = 0

    async def send(self, frame: bytes) -> None:
        """Send one frame; waits while the other end does not read.

        Raises:
            LinkFailure: The channel has ended, or could not take the frame for `SILENCE_S`.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {len(frame)} bytes; at most {FRAME_BYTES_MAX} are allowed")
        message = self._cipher.encrypt(frame)
        await _send(self._socket, message)
        self.bytes_out += len(message)

    async def receive(self, deadline_s: float = SILENCE_S) -> bytes:
        """Return the next whole frame.

        Raises:
            LinkFailure: The channel has ended, none came in time, or what came is not of this channel.
        """
        message = await _receive(self._socket, deadline_s)
        self.bytes_in += len(message)
        return _understand(lambda: self._cipher.decrypt(message))

    async def close(self, code: str = "") -> None:
        """End the channel; `code` tells the other end why, in clear and for its log only."""
        await close(self._socket, code)


async def shake_hands(socket: Socket, *, initiator: bool, static_key: bytes, deadline_s: float) -> Channel:
    """Return the channel on a fresh WebSocket.

    Raises:
        LinkFailure: `handshake_timeout`, `not_noise`, or as `Channel.receive`.
    """
    noise = NoiseConnection.from_name(NOISE_NAME)
    (noise.set_as_initiator if initiator else noise.set_as_responder)()
    noise.set_keypair_from_private_bytes(Keypair.STATIC, static_key)
    noise.start_handshake()
    try:
        async with asyncio.timeout(deadline_s):
            await _exchange(socket, noise, initiator)
    except TimeoutError:
        raise LinkFailure(f"no handshake within {deadline_s:g} s", code="handshake_timeout") from None
    return Channel(socket, noise, initiator=initiator)


async def close(socket: Socket, code: str = "") -> None:
    """Close a WebSocket whatever its state; never waits long and never fails."""
    try:
        async with asyncio.timeout(2 * CLOSE_S_MAX):
            await socket.close(message=code.encode())
    except (TimeoutError, OSError, RuntimeError):
        return  # it is gone already, or does not answer: the transport ends with the request or the session


async def _exchange(socket: Socket, noise: NoiseConnection, initiator: bool) -> None:
    """XX: -> e, <- e ee s es, -> s se."""
    ours = initiator
    while not noise.handshake_finished:
        if ours:
            # A key of low order is let pass when it is read, and fails here, where it is used.
            await _send(socket, bytes(_understand(noise.write_message)))
        else:
            message = await _receive(socket, SILENCE_S)
            if len(message) > HANDSHAKE_BYTES_MAX:
                raise LinkFailure(f"a handshake message of {len(message)} bytes", code="not_noise")
            if _understand(lambda heard=message: bytes(noise.read_message(heard))):  # type: ignore[misc]
                raise LinkFailure("a handshake message with a payload", code="not_noise")
        ours = not ours


def _understand(read: Callable[[], Answer]) -> Answer:
    try:
        return read()
    except (InvalidTag, NoiseInvalidMessage, NoiseHandshakeError, NoiseValueError, ValueError, IndexError):
        # A low-order or cut key, a wrong tag, a repeated or lost message: all are one thing to us.
        raise LinkFailure("what came is not of this channel", code="not_noise") from None


async def _send(socket: Socket, message: bytes) -> None:
    try:
        async with asyncio.timeout(SILENCE_S):
            await socket.send_bytes(message)
    except TimeoutError:
        raise LinkFailure(f"the other end took nothing for {SILENCE_S:g} s", code="not_reading") from None
    except (OSError, RuntimeError):
        # aiohttp says RuntimeError or a kind of ConnectionError for a socket that has closed meanwhile.
        raise LinkFailure("the link has broken", code="link_broken") from None


async def _receive(socket: Socket, deadline_s: float) -> bytes:
    try:
        async with asyncio.timeout(deadline_s):
            message = await socket.receive()
    except TimeoutError:
        raise LinkFailure(f"nothing was heard for {deadline_s:g} s", code="silent") from None
    except (OSError, RuntimeError):
        raise LinkFailure("the link has broken", code="link_broken") from None
    if message.type is WSMsgType.BINARY:
        data: bytes = message.data
        return data
    if message.type is WSMsgType.TEXT:
        raise LinkFailure("a text message where only binary ones belong", code="not_binary")
    if message.type is WSMsgType.ERROR:
        raise LinkFailure("a message that is too long or no WebSocket message", code="malformed_message")
    why = message.extra if isinstance(message.extra, str) and _CODE.match(message.extra) else ""
    says = f"the other end closed the link{why and f': {why}'}"
    raise LinkFailure(says, code="link_closed", detail={"why": why})
