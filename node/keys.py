"""The keys of a node on its disk: the device key that it runs with, and the town key under a passphrase.

`DATA/keys/device.key` holds the device's seed, the town that it belongs to and the certificate that says
so; nothing else is needed to run, so a node comes back after a power cut with nobody there.
`DATA/keys/town.key` holds the town's seed sealed under a passphrase (Argon2id, then XSalsa20-Poly1305);
it is opened only for acts of the town. `DATA/keys/sealing.key` holds the secret sealing keys that follow from
the town keys, one a line as `INDEX HEX`, old ones first: with them a node reads what was sealed to its town,
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
from protocol.identity import COMMITMENT_AT, SEED_BYTES, DeviceKey, TownKey, new_paper
from protocol.ids import Lane, Op, TownId
from protocol.limits import NONCE_BYTES, SALT_BYTES, SUCCESSORS_MAX
from protocol.record import Record, check_signature, fields_of, make, make_body, open_record
from protocol.sealing import SealingKey, derive
from protocol.words import WORDS
from sync.devices import LASTING_KINDS, ROTATE, is_successor

DEVICE_FILE = "device.key"
TOWN_FILE = "town.key"
SEALING_FILE = "sealing.key"
FORMER_FILE = "device.key.former"
"""The device key that was here before a clone of this board made a new one."""
NEXT_FILE = "device.key.next"
"""The device key of a renewal that has not ended."""

KEY_FILE_BYTES_MAX = 16 * 1024
"""A seed, a town and one certificate: far below this; a larger file is not ours."""

ARGON2_OPERATIONS = 2
ARGON2_MEMORY_BYTES = 19 * 1024 * 1024
"""OWASP's profile for Argon2id (19 MiB, 2 passes): bearable on a Raspberry Pi, dear for who guesses."""

SEALING_KEYS_OF_A_KEY = 8
"""A town takes a new one when a device was stolen, and with each town key; of this so many follow."""
SEALING_KEYS_MAX = SEALING_KEYS_OF_A_KEY * (SUCCESSORS_MAX + 1)
"""A longer file is not ours."""

PASSPHRASE_WORDS = 6
"""Six of 2,048 words: 66 bits, which Argon2id makes some 80."""

TOWN_LIFETIME_S = 10 * 365 * 86_400
"""Ten years for what a town key says of devices and of the town: longer than a board lives, short enough to
be forgotten.
"""
LASTING_LIFETIME_S = 10 * TOWN_LIFETIME_S
"""As long as a charter: a rotation that ended would put a stolen key back in its place."""

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
    """What a running node has: its device key, its town, and the certificate, a whole record, of the two.

    Attributes:
        rotation: The record by which the town key that signed the certificate took over; empty if that is the
            first one.
    """

    device: DeviceKey
    town: TownId
    certificate: bytes
    rotation: bytes = b""


def new_passphrase() -> str:
    """Return six random words, to be written on paper once."""
    return " ".join(secrets.choice(WORDS) for _ in range(PASSPHRASE_WORDS))


def create(
    directory: Path,
    *,
    passphrase: str,
    device_name: str,
    now_ms: int,
    town_key: TownKey | None = None,
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
    town = town_key or TownKey.next_of(new_paper(secrets.token_bytes(COMMITMENT_AT)), 0)
    keys = _certified(DeviceKey(secrets.token_bytes(SEED_BYTES)), town, now_ms, device_name)
    save_town_key(directory, town, passphrase)
    save_keys(directory, keys)
    return keys


def begin_renewal(directory: Path, town: TownKey, now_ms: int) -> Keys:
    """Return a new device key and its certificate, which lie beside the present key until `end_renewal`.

    Those of a renewal that was begun and not ended are taken up again, so that none is certified in vain.

    Raises:
        KeysUnreadable: The file cannot be read or written.
    """
    begun = open_keys(directory, NEXT_FILE) if (directory / NEXT_FILE).exists() else None
    if begun is not None and open_record(begun.certificate).header.device == town.public:
        return begun
    device = begun.device if begun is not None else DeviceKey(secrets.token_bytes(SEED_BYTES))
    keys = _certified(device, town, now_ms)
    save_keys(directory, keys, NEXT_FILE)
    return keys


def end_renewal(directory: Path) -> None:
    """Put the new device key in the place of the present one, which is kept as `device.key.former`.

    Raises:
        KeysUnreadable: A file cannot be written.
    """
    if has_keys(directory):
        # As it is: a damaged one is a reason to want another.
        _write(directory / FORMER_FILE, (directory / DEVICE_FILE).read_bytes())
    (directory / NEXT_FILE).replace(directory / DEVICE_FILE)
    _flush_directory(directory)


def save_keys(directory: Path, keys: Keys, name: str = DEVICE_FILE) -> None:
    """Write what a node runs with, over what is there.

    Raises:
        KeysUnreadable: The file cannot be written.
    """
    content: dict[str, Value] = {
        "certificate": keys.certificate,
        "seed": keys.device.seed,
        "town": bytes(keys.town),
    }
    if keys.rotation:
        content["rotation"] = keys.rotation
    _write(directory / name, encode(content))


def _certified(device: DeviceKey, town: TownKey, now_ms: int, name: str = "") -> Keys:
    """Return what a node runs with whose device this is."""
    fields: dict[str, Value] = {"device": device.public}
    if name:
        fields["name"] = name
    certificate = town_record(town, CERTIFICATE, fields, now_ms)
    return Keys(device, TownId(town.town), certificate.raw, rotation_of(town, now_ms))


def rotation_of(town: TownKey, now_ms: int) -> bytes:
    """Return the record by which a town key takes over; nothing for the first."""
    if not town.generation:
        return b""
    return town_record(town, ROTATE, {"succession": list(town.succession)}, now_ms).raw


def has_keys(directory: Path) -> bool:
    """Tell whether a device key lies in this directory."""
    return (directory / DEVICE_FILE).exists()


def open_keys(directory: Path, name: str = DEVICE_FILE) -> Keys:
    """Return the keys that a node runs with; needs no passphrase.

    Raises:
        KeysUnreadable: The file is missing, damaged, or its certificate is not for its own key.
    """
    path = directory / name
    content = _read(path)
    seed, town, raw = content.get("seed"), content.get("town"), content.get("certificate")
    rotation = content.get("rotation", b"")
    if not (
        isinstance(seed, bytes)
        and isinstance(town, bytes)
        and isinstance(raw, bytes)
        and isinstance(rotation, bytes)
        and len(seed) == SEED_BYTES
    ):
        raise KeysUnreadable(f"{path} is damaged: put back the copy that you keep of it.")
    keys = Keys(DeviceKey(seed), TownId(town), raw, rotation)
    try:
        certifies = device_of(raw, rotation) == (keys.town, keys.device.public)
    except ProtocolError:
        certifies = False
    if not certifies:
        raise KeysUnreadable(f"{path} holds a certificate that is not for its key: put back a good copy.")
    return keys


def device_of(certificate: bytes, rotation: bytes = b"") -> tuple[TownId, bytes]:
    """Return the town and the public device key that a certificate binds, its signature checked.

    Args:
        rotation: What shows that its signer is a town key, if it is not the first.

    Raises:
        ProtocolError: These bytes are no record, wrongly signed, or not a `town.device`.
    """
    record = open_record(certificate)
    fields = fields_of(record)
    device = None if fields is None else fields.get("device")
    if record.header.kind != CERTIFICATE or not isinstance(device, bytes) or len(device) != 32:
        raise MalformedRecord("this record is not the certificate of a device")
    check_signature(record)
    if bytes(record.header.device) != record.header.town:
        _check_rotation(rotation, record)
    return record.header.town, device


def _check_rotation(rotation: bytes, certificate: Record) -> None:
    """Refuse a certificate whose signer is not shown to be a key of its town."""
    record = open_record(rotation) if rotation else None
    signer = (certificate.header.town, certificate.header.device)
    if (
        record is None
        or (record.header.town, record.header.device) != signer
        or record.header.kind != ROTATE
        or record.header.op is not Op.ENTRY
        or not is_successor(record)
    ):
        raise MalformedRecord("nothing shows that the signer of this certificate is a key of its town")
    check_signature(record)


def town_record(town: TownKey, kind: str, fields: Mapping[str, Value], now_ms: int) -> Record:
    """Return a new document of a `town.*` kind, signed with the town key."""
    born, lasts = now_ms // 1_000, kind in LASTING_KINDS
    return make(
        town,
        town=TownId(town.town),
        epoch=secrets.token_bytes(EPOCH_BYTES),
        counter=0,
        stamp=now_ms << 16,
        kind=kind,
        lane=Lane.URGENT,
        born=born,
        expires=born + (LASTING_LIFETIME_S if lasts else TOWN_LIFETIME_S),
        nonce=secrets.token_bytes(NONCE_BYTES),
        op=Op.ENTRY if lasts else Op.PUT,
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
        "generation": town.generation,
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
    generation = content.get("generation", 0)
    operations, memory_bytes = content.get("operations"), content.get("memory_bytes")
    if not (
        isinstance(salt, bytes)
        and isinstance(box, bytes)
        and isinstance(generation, int)
        and len(salt) == argon2id.SALTBYTES
    ):
        raise KeysUnreadable(f"{path} is damaged: put back the copy that you keep of it.")
    if (operations, memory_bytes) != (ARGON2_OPERATIONS, ARGON2_MEMORY_BYTES):
        # A planted file could ask for a terabyte; a newer program's costs are not ours to guess.
        raise KeysUnreadable(f"{path} was sealed by another version of this program: open it with that one.")
    try:
        seed = SecretBox(_stretch(passphrase, salt, ARGON2_OPERATIONS, ARGON2_MEMORY_BYTES)).decrypt(box)
        return TownKey(seed, generation)
    except (CryptoError, ValueError):
        raise WrongPassphrase(
            "that passphrase does not open the town key: check the words and their order."
        ) from None


def sealing_keys_of(town: TownKey, count: int = 1) -> dict[int, SealingKey]:
    """Return sealing keys by their indices in the file: the first `count` of this town key, and before them
    all of the former ones, whose seeds follow from its own.

    So a thief of a former key opens nothing that is sealed from then on, and the town all that was before.
    """
    earlier = sealing_keys_of(town.former(), SEALING_KEYS_OF_A_KEY) if town.generation else {}
    first = town.generation * SEALING_KEYS_OF_A_KEY
    return earlier | {first + number: derive(town.seed, number) for number in range(count)}


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
