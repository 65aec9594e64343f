"""The last word to a device whose town has taken it back: the records that show it, before the link ends.

Such a device is refused everywhere, so no meeting tells it why. Yet its board may be an honest one, whose
operator thinks that his posts go out. What is shown is signed by its own town's keys, so whoever hears it
need not believe who says it. A thief learns nothing but what ends the link anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocol.ids import DeviceId, DocId
from protocol.limits import EVIDENCE_BYTES_MAX, WIRE_VERSION
from protocol.record import Record
from protocol.wire import EVIDENCE, Hello, Records, cut_parcel, encode_frame, pack_parcel
from sync.devices import REVOKE, ROTATE, named


def proof_of(known: Iterable[Record], device: DeviceId, certificate: DocId) -> list[bytes]:
    """Return what shows that a device was taken back: later town keys, its revocation, its certificate's end.

    Args:
        known: Records of `DEVICE_KINDS` of its town.
        certificate: The document that it showed of itself.

    Returns:
        Raw records, at most `EVIDENCE_BYTES_MAX` of them.
    """
    found, size = list[bytes](), 0
    for record in known:
        is_named = record.header.kind == REVOKE and named(record.body, "device") == device
        if not (is_named or record.header.kind == ROTATE or record.doc == certificate):
            continue
        size += len(record.raw)
        if size > EVIDENCE_BYTES_MAX:
            break
        found.append(record.raw)
    return found


def farewell(proof: Sequence[bytes]) -> list[bytes]:
    """Return the frames of the last word: a HELLO that offers nothing, and these records as evidence.

    None if nothing shows it here any more: then the code of the close has to do.
    """
    if not proof:
        return []
    parts = cut_parcel(pack_parcel(proof))
    frames = [Records(1, EVIDENCE, 0, part is parts[-1], part) for part in parts]
    return [encode_frame(Hello(WIRE_VERSION, ())), *map(encode_frame, frames)]
