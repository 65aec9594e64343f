"""What can be wrong with bytes that claim to be ours.

    ProtocolError
    |- MalformedRecord        not the canonical form, or a field out of its type
    |  |- MalformedFrame      the same for a frame between two nodes
    |  `- InvalidAddress      not an address that we print
    |- LimitExceeded          a bound of `limits.py` is passed; says the value and the limit
    |- NewerVersion           a version that we do not know yet: "not now", never remembered
    |- BodyMissing            the header is whole, the body did not come along: "not now"
    |- WrongWords             not the words of a key
    |- BadSignature           the signature is not the device's
    |- BadSealingKey          a public key to which nothing can be sealed
    `- InvalidField           a field of a body is not as its kind declares it

Each class has a stable `code`, which commands, pages, the API and the wire show to people and programs.
"""

from __future__ import annotations

from typing import ClassVar


class ProtocolError(Exception):
    """Bytes or fields that the protocol refuses; the message is one clear line."""

    code: ClassVar[str] = "protocol_error"


class MalformedRecord(ProtocolError):
    """Bytes that are not the one canonical form of a value, or a value of the wrong type."""

    code = "malformed"


class MalformedFrame(MalformedRecord):
    """A frame between two nodes that is not as `wire.py` declares it."""

    code = "malformed_frame"


class InvalidAddress(MalformedRecord):
    """Text that is not an address: wrong length, wrong letters, or a check character that does not fit."""

    code = "invalid_address"


class LimitExceeded(ProtocolError):
    """A bound of the protocol is passed."""

    code = "limit_exceeded"


class NewerVersion(ProtocolError):
    """A version of the format that this program does not know; a newer program may."""

    code = "newer_version"


class BodyMissing(ProtocolError):
    """A put or an entry that came without its body."""

    code = "body_missing"


class BadSignature(ProtocolError):
    """A signature that the device's key did not make over this id."""

    code = "bad_signature"


class BadSealingKey(ProtocolError):
    """A public sealing key with which no secret can be shared: a hostile or damaged profile carries it."""

    code = "bad_sealing_key"


class WrongWords(ProtocolError):
    """Words that are not those of a town key: too few, misspelt, or swapped."""

    code = "wrong_words"


class InvalidField(ProtocolError):
    """A field of a body that is not as its kind declares it.

    Args:
        field: Dotted name of the field, as the form and the API call it.
        says: What is wrong and what would be right, in plain words.
    """

    code = "invalid_field"

    def __init__(self, field: str, says: str) -> None:
        super().__init__(f"{field}: {says}")
        self.field = field
        self.says = says
