"""Writes `records.json`: records from fixed seeds, for every program that follows `docs/protocol.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from protocol.encoding import Value
from protocol.identity import DeviceKey, SigningKey
from protocol.ids import FederationId, Lane, Op, RecordId, TownId, address
from protocol.record import Record, make, make_body

TARGET = Path(__file__).with_name("records.json")
TOWN = SigningKey(bytes(range(32)))
DEVICE = DeviceKey(bytes(range(32, 64)))
BORN = 1_790_000_000
YEAR = 365 * 86_400


def vectors() -> dict[str, Any]:
    """Return a certificate, a charter, and in its federation a put, an edit, a delete and two entries."""
    salt = bytes(range(16))

    def one(
        counter: int, kind: str, lane: Lane, op: Op, fields: dict[str, Value] | None, **more: Any
    ) -> Record:
        return make(
            TOWN if kind.startswith("town.") else DEVICE,
            town=TownId(TOWN.public),
            epoch=b"\x00\x01\x02\x03",
            counter=counter,
            stamp=(BORN * 1_000 + counter) << 16,
            kind=kind,
            lane=lane,
            born=BORN,
            expires=BORN + more.pop("life", YEAR),
            op=op,
            body=None if fields is None else make_body(salt, fields),
            **({"nonce": bytes(8)} | more),
        )

    certificate = one(1, "town.device", Lane.URGENT, Op.PUT, {"device": DEVICE.public})
    charter = one(
        2,
        "charter",
        Lane.URGENT,
        Op.ENTRY,
        {"name": "Côte roannaise", "stewards": [TOWN.public], "members": [TOWN.public]},
        life=100 * YEAR,
    )
    federation = FederationId(charter.id[:16])
    offer = one(
        3,
        "offer",
        Lane.EVERYDAY,
        Op.PUT,
        {"title": "Bread of the day", "quantity": {"milli": 24_000, "unit": "each"}},
        federations=[federation],
    )
    shared = {"federations": [federation], "cites": [RecordId(offer.id)]}
    edit = one(4, "offer", Lane.EVERYDAY, Op.PUT, {"title": "Bread of yesterday"}, **shared)
    delete = one(5, "offer", Lane.EVERYDAY, Op.DELETE, None, federations=[federation])
    steps: list[Value] = [{"text": "Boil the water."}, {"text": "Put the rice in.", "minutes": 12}]
    guide = one(
        6, "practice", Lane.LIBRARY, Op.ENTRY, {"title": "Rice", "steps": steps}, federations=[federation]
    )
    revision = one(
        7,
        "practice",
        Lane.LIBRARY,
        Op.ENTRY,
        {"title": "Rice", "steps": steps[:1]},
        federations=[federation],
        cites=[guide.id],
    )
    named = {
        "certificate": certificate,
        "charter": charter,
        "put": offer,
        "edit": edit,
        "delete": delete,
        "entry": guide,
        "revision": revision,
    }
    return {
        "town_seed": TOWN.seed.hex(),
        "device_seed": DEVICE.seed.hex(),
        "town": TOWN.public.hex(),
        "device": DEVICE.public.hex(),
        "federation": federation.hex(),
        "records": {name: _shown(record) for name, record in named.items()},
    }


def _shown(record: Record) -> dict[str, str]:
    return {
        "header": record.header_bytes.hex(),
        "signature": record.signature.hex(),
        "body": "" if record.body is None else record.body.hex(),
        "record": record.raw.hex(),
        "id": record.id.hex(),
        "doc": record.doc.hex(),
        "address": address(record.doc),
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(vectors(), indent=1) + "\n")
    sys.exit(0)
