"""The keys of a node on its disk: the device key that it runs with, and the town key under a passphrase.

`DATA/keys/device.key` holds the device's seed, the town that it belongs to and the certificate that says
so; nothing else is needed to run, so a node comes back after a power cut with nobody there.
`DATA/keys/town.key` holds the town's seed sealed under a passphrase (Argon2id, then XSalsa20-Poly1305);
it is opened only for acts of the town. `DATA/keys/sealing.key` holds the secret sealing keys that follow from
the town key, one a line as `INDEX HEX`, old ones first: with them a node reads what was sealed to its town,
with nobody there. All three files are readable by their owner alone.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from node.errors import HedgerowError
from protocol.encoding import Value, decode, encode
from protocol.errors import MalformedRecord, ProtocolError
from protocol.identity import SEED_BYTES, DeviceKey, TownKey
from protocol.ids import Lane, TownId
from protocol.limits import NONCE_BYTES, SALT_BYTES
from protocol.record import Record, check_signature, fields_of, make, make_body, open_record
from protocol.sealing import SealingKey
from protocol.words import WORDS

DEVICE_FILE = "device.key"
TOWN_FILE = "town.key"
SEALING_FILE = "sealing.key"

KEY_FILE_BYTES_MAX = 16 * 1024
"""A seed, a town and one certificate: far below this; a larger file is not ours."""

ARGON2_OPERATIONS = 2
ARGON2_MEMORY_BYTES = 19 * 1024 * 1024
"""OWASP's profile for Argon2id (19 MiB, 2 passes): bearable on a Raspberry Pi, dear for who guesses."""

SEALING_KEYS_MAX = 64
"""A town takes a new one when a device was stolen; a longer file is not ours."""

PASSPHRASE_WORDS = 6
"""Six of 2,048 words: 66 bits, which Argon2id makes some 80."""

TOWN_LIFETIME_S = 10 * 365 * 86_400
"""Ten years for every record that a town key signs: longer than a board lives, short enough to be
forgotten.
"""

CERTIFICATE = "town.device"
PROFILE = "town.profile"
EPOCH_BYTES = 4

_SEALING_LINE = re.compile(rb"\s*([0-9]{1,9}) ([0-9a-f]{64})\s*")


class KeysUnreadable(HedgerowError):
    """A key file is missing, damaged, or not readable by us."""

    code = "keys_unreadable"
    status = 500


class WrongPassphrase(HedgerowError):
    """The town key does not open with this passphrase."""

    code = "wrong_passphrase"
    status = 403


class KeysExist(HedgerowError):
    """There are keys here already; they are never overwritten."""

    code = "keys_exist"
    status = 409


@dataclass(frozen=True, slots=True)
class Keys:
    """What a running node has: its device key, its town, and the certificate, a whole record, of the two."""

    device: DeviceKey
    town: TownId
    certificate: bytes


def new_passphrase() -> str:
    """Return six random words, to be written on paper once."""
    return " ".join(secrets.choice(WORDS) for _ in range(PASSPHRASE_WORDS))


def create(
    directory: Path, *, passphrase: str, device_name: str, now_ms: int, town_key: TownKey | None = None
) -> Keys:
    """Make a device key, certify it, and write both key files.

    Args:
        directory: `DATA/keys`; made if it is not there.
        town_key: The key of a town that exists already; None makes a new town.

    Raises:
        KeysExist: There is a device key here.
        KeysUnreadable: The files cannot be written.
    """
    if has_keys(directory):
        raise KeysExist(f"{directory} holds keys already. They are never overwritten; choose another --data.")
    town = town_key or TownKey(secrets.token_bytes(SEED_BYTES))
    device = DeviceKey(secrets.token_bytes(SEED_BYTES))
    fields: dict[str, Value] = {"device": device.public}
    if device_name:
        fields["name"] = device_name
    certificate = town_record(town, CERTIFICATE, fields, now_ms)
    keys = Keys(device, TownId(town.public), certificate.raw)
    save_town_key(directory, town, passphrase)
    content: Value = {"certificate": keys.certificate, "seed": device.seed, "town": bytes(keys.town)}
    _write(directory / DEVICE_FILE, encode(content))
    return keys


def has_keys(directory: Path) -> bool:
    """Tell whether a device key lies in this directory."""
    return (directory / DEVICE_FILE).exists()


def open_keys(directory: Path) -> Keys:
    """Return the keys that a node runs with; needs no passphrase.

    Raises:
        KeysUnreadable: The file is missing, damaged, or its certificate is not for its own key.
    """
    path = directory / DEVICE_FILE
    content = _read(path)
    seed, town, raw = content.get("seed"), content.get("town"), content.get("certificate")
    if not (
        isinstance(seed, bytes)
        and isinstance(town, bytes)
        and isinstance(raw, bytes)
        and len(seed) == SEED_BYTES
    ):
        raise KeysUnreadable(f"{path} is damaged: put back the copy that you keep of it.")
    keys = Keys(DeviceKey(seed), TownId(town), raw)
    try:
        certifies = device_of(raw) == (keys.town, keys.device.public)
    except ProtocolError:
        certifies = False
    if not certifies:
        raise KeysUnreadable(f"{path} holds a certificate that is not for its key: put back a good copy.")
    return keys


def device_of(certificate: bytes) -> tuple[TownId, bytes]:
    """Return the town and the public device key that a certificate binds, its signature checked.

    Raises:
        ProtocolError: These bytes are no record, wrongly signed, or not a `town.device`.
    """
    record = open_record(certificate)
    fields = fields_of(record)
    device = None if fields is None else fields.get("device")
    if record.header.kind != CERTIFICATE or not isinstance(device, bytes) or len(device) != 32:
        raise MalformedRecord("this record is not the certificate of a device")
    check_signature(record)
    return record.header.town, device


def town_record(town: TownKey, kind: str, fields: Mapping[str, Value], now_ms: int) -> Record:
    """Return a new document of a `town.*` kind, signed with the town key."""
    born = now_ms // 1_000
    return make(
        town,
        town=TownId(town.public),
        epoch=secrets.token_bytes(EPOCH_BYTES),
        counter=0,
        stamp=now_ms << 16,
        kind=kind,
        lane=Lane.URGENT,
        born=born,
        expires=born + TOWN_LIFETIME_S,
        nonce=secrets.token_bytes(NONCE_BYTES),
        body=make_body(secrets.token_bytes(SALT_BYTES), fields),
    )


def save_town_key(directory: Path, town: TownKey, passphrase: str) -> None:
    """Write the town key, sealed under a passphrase, over the one that is there.

    Raises:
        KeysUnreadable: The file cannot be written.
    """
    salt = secrets.token_bytes(argon2id.SALTBYTES)
    box = SecretBox(_stretch(passphrase, salt, ARGON2_OPERATIONS, ARGON2_MEMORY_BYTES))
    content: Value = {
        "box": bytes(box.encrypt(town.seed)),
        "memory_bytes": ARGON2_MEMORY_BYTES,
        "operations": ARGON2_OPERATIONS,
        "salt": salt,
    }
    _write(directory / TOWN_FILE, encode(content))


def open_town_key(directory: Path, passphrase: str) -> TownKey:
    """Return the town key; takes some 50 ms and 19 MiB, so call it off the event loop.

    Raises:
        WrongPassphrase: It does not open.
        KeysUnreadable: The file is missing or damaged.
    """
    path = directory / TOWN_FILE
    content = _read(path)
    salt, box = content.get("salt"), content.get("box")
    operations, memory_bytes = content.get("operations"), content.get("memory_bytes")
    if not (isinstance(salt, bytes) and isinstance(box, bytes) and len(salt) == argon2id.SALTBYTES):
        raise KeysUnreadable(f"{path} is damaged: put back the copy that you keep of it.")
    if (operations, memory_bytes) != (ARGON2_OPERATIONS, ARGON2_MEMORY_BYTES):
        # A planted file could ask for a terabyte; a newer program's costs are not ours to guess.
        raise KeysUnreadable(f"{path} was sealed by another version of this program: open it with that one.")
    try:
        seed = SecretBox(_stretch(passphrase, salt, ARGON2_OPERATIONS, ARGON2_MEMORY_BYTES)).decrypt(box)
        return TownKey(seed)
    except (CryptoError, ValueError):
        raise WrongPassphrase(
            "that passphrase does not open the town key: check the words and their order."
        ) from None


def save_sealing_keys(directory: Path, keys: Mapping[int, SealingKey]) -> None:
    """Write the secret sealing keys by their indices, over those that are there.

    Raises:
        KeysUnreadable: The file cannot be written.
    """
    lines = [f"{index} {keys[index].secret.hex()}\n" for index in sorted(keys)]
    _write(directory / SEALING_FILE, "".join(lines).encode())


def open_sealing_keys(directory: Path) -> list[SealingKey]:
    """Return the secret sealing keys of this node, the newest last, at least one.

    Raises:
        KeysUnreadable: The file is missing, damaged, or not readable by us; says what to do.
    """
    path = directory / SEALING_FILE
    try:
        with path.open("rb") as file:
            lines = file.read(KEY_FILE_BYTES_MAX).splitlines()
    except FileNotFoundError:
        raise KeysUnreadable(f"{path} is missing: put back the copy that you keep of it.") from None
    except OSError as error:
        raise KeysUnreadable(
            f"{path} cannot be read: {error.strerror}. Make it readable for this user."
        ) from None
    found = [_SEALING_LINE.fullmatch(line) for line in lines if line.strip()]
    keys = {int(line[1]): SealingKey(bytes.fromhex(line[2].decode())) for line in found if line is not None}
    if not keys or len(keys) != len(found) or len(keys) > SEALING_KEYS_MAX:
        raise KeysUnreadable(f"{path} is damaged: put back the copy that you keep of it.")
    return [keys[index] for index in sorted(keys)]


def _stretch(passphrase: str, salt: bytes, operations: int, memory_bytes: int) -> bytes:
    """Spaces and capitals are forgiven: people copy these words from paper."""
    words = " ".join(passphrase.lower().split()).encode()
    return argon2id.kdf(SecretBox.KEY_SIZE, words, salt, opslimit=operations, memlimit=memory_bytes)


def _read(path: Path) -> dict[str, Value]:
    try:
        with path.open("rb") as file:
            content = decode(file.read(KEY_FILE_BYTES_MAX + 1), bytes_max=KEY_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise KeysUnreadable(f"{path} is missing: run `hedgerow init` first, or put the key back.") from None
    except OSError as error:
        raise KeysUnreadable(
            f"{path} cannot be read: {error.strerror}. Make it readable for this user."
        ) from None
    except ProtocolError:
        raise KeysUnreadable(f"{path} is damaged: put back the copy that you keep of it.") from None
    if not isinstance(content, dict):
        raise KeysUnreadable(f"{path} is damaged: put back the copy that you keep of it.")
    return content


def _write(path: Path, content: bytes) -> None:
    """Write a whole file or none: beside it first, flushed, then renamed over it."""
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _flush_directory(path.parent)
    except OSError as error:
        raise KeysUnreadable(f"{path} cannot be written: {error.strerror}.") from None


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
