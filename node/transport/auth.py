"""AUTH: the first frame each way on a channel, by which two nodes show each other who they are.

    AUTH      = [wire version, device: 32, certificate | nil, signature: 64, [url, ...], joins, ?rotation]
    signature = Ed25519(device, "hedgerow/link/1" || role || handshake hash)     role: 1 who dialled, 2
    who answered

The signature covers the hash of this very handshake, so it cannot be carried over to another channel;
the role keeps it from being handed back. The certificate (a whole `town.device` record) says whose
device that is; who sends none must be certified by what the other side holds already. If a later town key
signed it, the `town.rotate` record by which that key took over comes along. Nothing else is read before AUTH.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.keys import device_of
from node.transport.channel import Channel, LinkFailure
from node.transport.nearness import Nearness, is_url
from protocol.encoding import Value, decode, encode
from protocol.errors import MalformedFrame, ProtocolError
from protocol.identity import DeviceKey, verify
from protocol.ids import DeviceId, TownId
from protocol.limits import FRAME_BYTES_MAX, URL_CHARS_MAX, URLS_MAX, WIRE_VERSION

SIGNED_PREFIX: Final = b"hedgerow/link/1"
INITIATOR: Final = b"\x01"
RESPONDER: Final = b"\x02"


@dataclass(frozen=True, slots=True)
class Badge:
    """What we show of ourselves on every channel: device key, certificate, and where we can be
    called.
    """

    device: DeviceKey
    certificate: bytes
    urls: tuple[str, ...] = ()
    rotation: bytes = b""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is at the other end of a channel, proved."""

    town: TownId
    device: DeviceId
    certificate: bytes | None
    """The whole record that it showed; None if it relied on what we hold."""
    urls: tuple[str, ...]
    """Where it says that it can be called."""
    joins: bool = False
    """Whether it will show an invitation before anything else."""
    rotation: bytes | None = None
    """What shows that the signer of the certificate is a town key; None if it is the first one."""
    near: Nearness = Nearness.ANYWHERE
    """How near it is, by the address of its end of the connection."""


TownOf = Callable[[DeviceId], TownId | None]
"""The town that certified a device, by what we hold."""


async def identify(
    channel: Channel, badge: Badge, town_of: TownOf, *, deadline_s: float, joins: bool = False
) -> Identity:
    """Show our badge and return who answers.

    Args:
        joins: We shall show an invitation on this link; only who dialled may.

    Raises:
        LinkFailure: `auth_timeout`, `newer_wire`, `malformed_auth`, `bad_certificate`, `not_certified`,
            `bad_link_signature`, `own_device`, or as `Channel.receive`.
    """
    try:
        async with asyncio.timeout(deadline_s):
            auth = make_auth(badge, channel.handshake_hash, initiator=channel.initiator, joins=joins)
            await channel.send(auth)
            frame = await channel.receive()
    except TimeoutError:
        raise LinkFailure(f"no proof of identity within {deadline_s:g} s", code="auth_timeout") from None
    identity = check_auth(frame, channel.handshake_hash, initiator=not channel.initiator, town_of=town_of)
    if identity.device == badge.device.public:
        raise LinkFailure("that is this node itself", code="own_device")
    return identity


def make_auth(badge: Badge, handshake_hash: bytes, *, initiator: bool, joins: bool = False) -> bytes:
    """Return our AUTH frame for the side that we are on this channel."""
    signature = badge.device.sign(_signed(handshake_hash, initiator=initiator))
    urls: list[Value] = list(badge.urls)
    shown: list[Value] = [badge.rotation] if badge.rotation else []
    return encode(
        [WIRE_VERSION, badge.device.public, badge.certificate or None, signature, urls, joins, *shown]
    )


def check_auth(frame: bytes, handshake_hash: bytes, *, initiator: bool, town_of: TownOf) -> Identity:
    """Return who made this AUTH frame; `initiator` is the side that it must have been made for.

    Raises:
        LinkFailure: See `identify`.
    """
    try:
        version, device, certificate, signature, urls, joins, rotation = _fields(frame)
    except ProtocolError as error:
        raise LinkFailure(f"a malformed proof of identity: {error}", code="malformed_auth") from None
    if version > WIRE_VERSION:
        says = f"the other node speaks wire version {version}, this one {WIRE_VERSION}: upgrade this one"
        raise LinkFailure(says, code="newer_wire")
    if not verify(device, _signed(handshake_hash, initiator=initiator), signature):
        raise LinkFailure("the device's signature is not for this channel", code="bad_link_signature")
    if joins and not initiator:
        raise LinkFailure("only the side that dialled shows an invitation", code="malformed_auth")
    town = _town(device, certificate, rotation, town_of)
    return Identity(town, DeviceId(device), certificate, urls, joins, rotation)


def _town(device: bytes, certificate: bytes | None, rotation: bytes | None, town_of: TownOf) -> TownId:
    if certificate is None:
        town = town_of(DeviceId(device))
        if town is None:
            raise LinkFailure("a device without a certificate that we know", code="not_certified")
        return town
    try:
        town, certified = device_of(certificate, rotation or b"")
    except ProtocolError as error:
        raise LinkFailure(f"a certificate that does not hold: {error}", code="bad_certificate") from None
    if certified != device:
        raise LinkFailure("a certificate for another device", code="bad_certificate")
    return town


def _signed(handshake_hash: bytes, *, initiator: bool) -> bytes:
    return SIGNED_PREFIX + (INITIATOR if initiator else RESPONDER) + handshake_hash


_Fields = tuple[int, bytes, bytes | None, bytes, tuple[str, ...], bool, bytes | None]
"""The parts of an AUTH frame, the last one None if it is not there."""


def _fields(frame: bytes) -> _Fields:
    parts = decode(frame, bytes_max=FRAME_BYTES_MAX)
    version = parts[0] if isinstance(parts, list) and parts else None
    if not isinstance(parts, list) or type(version) is not int or version < 1:
        raise MalformedFrame("it begins with a version")
    if version > WIRE_VERSION:
        # What else a newer version says here we cannot know; its number is all that we need.
        return version, b"", None, b"", (), False, None
    if len(parts) not in (6, 7):
        raise MalformedFrame(f"it has 6 or 7 parts, not {len(parts)}")
    _, device, certificate, signature, urls, joins = parts[:6]
    rotation = parts[6] if len(parts) == 7 else None
    if len(parts) == 7 and type(rotation) is not bytes:
        raise MalformedFrame("a rotation is a record")
    if type(device) is not bytes or len(device) != 32 or type(signature) is not bytes:
        raise MalformedFrame("it holds a device and a signature")
    if certificate is not None and type(certificate) is not bytes:
        raise MalformedFrame("a certificate is a record")
    if not isinstance(urls, list) or len(urls) > URLS_MAX:
        raise MalformedFrame(f"it names at most {URLS_MAX} URLs")
    if type(joins) is not bool:
        raise MalformedFrame("it says whether JOIN comes next")
    shown = rotation if type(rotation) is bytes else None
    return version, device, certificate, signature, tuple(_url(url) for url in urls), joins, shown


def _url(url: Value) -> str:
    if type(url) is not str or len(url) > URL_CHARS_MAX or not is_url(url):
        raise MalformedFrame("a URL begins with ws://, wss://, http:// or https:// and names a host")
    return url
