"""Two towns of one federation, and signed records of the first, as many as a row needs, from the demo."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from random import Random

from node.clock import Reading
from node.demo.corpus import Entry, corpus
from protocol.encoding import Value
from protocol.identity import DeviceKey, SigningKey, TownKey
from protocol.ids import FederationId, Lane, Op, TownId
from protocol.kinds import KINDS
from protocol.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
from protocol.record import Record, make, make_body
from protocol.wire import pack_parcel

QUOTA = 10_000_000
"""So that no row meets a quota."""


@dataclass(frozen=True)
class Member:
    """A town with one device."""

    town_key: TownKey
    device_key: DeviceKey

    @property
    def town(self) -> TownId:
        """Its name among towns."""
        return TownId(self.town_key.public)

    @classmethod
    def named(cls, name: str) -> Member:
        """Give a town whose keys follow from its name."""
        return cls(TownKey(_seed(name)), DeviceKey(_seed(name + " device")))


class Neighbours:
    """A writer and a reader, members of one federation, and what shows their rights.

    Attributes:
        evidence: charter, certificates and consents, in an order in which they can be taken in.
    """

    def __init__(self, writer: Member | None = None, reader: Member | None = None) -> None:
        self.writer = writer or Member.named("writer")
        self.reader = reader or Member.named("reader")
        self.born = int(time.time()) - 3_600
        self._counter = 0
        members: list[Value] = [self.writer.town, self.reader.town]
        quotas: dict[str, Value] = {"urgent": QUOTA, "everyday": QUOTA, "library": QUOTA}
        charter = self.write(
            self.writer,
            "charter",
            {"name": "Bench", "stewards": members, "members": members, "rules": {}, "quotas": quotas},
        )
        self.federation = FederationId(charter.id[:16])
        certificates = [
            self.write(member, "town.device", {"device": member.device_key.public})
            for member in (self.writer, self.reader)
        ]
        consents = [
            self.write(member, "federation.join", {}, (self.federation,))
            for member in (self.writer, self.reader)
        ]
        self.evidence = [*certificates, charter, *consents]

    def write(
        self,
        member: Member,
        kind: str,
        fields: dict[str, Value],
        federations: tuple[FederationId, ...] = (),
        lane: Lane | None = None,
    ) -> Record:
        """Sign one record that begins a document."""
        declared = KINDS[kind]
        self._counter += 1
        key: SigningKey = member.town_key if kind.startswith("town.") else member.device_key
        salt = blake2b(self._counter.to_bytes(8, "big"), digest_size=16).digest()
        return make(
            key,
            town=member.town,
            epoch=b"\x00\x00\x00\x01",
            counter=self._counter,
            stamp=(self.born * 1_000 + self._counter) << 16,
            kind=kind,
            lane=declared.lane if lane is None else lane,
            federations=federations,
            born=self.born,
            expires=self.born + declared.lifetime_default_s,
            nonce=self._counter.to_bytes(8, "big"),
            op=declared.op if declared.op is Op.ENTRY else Op.PUT,
            body=make_body(salt, fields),
        )

    def records(self, count: int) -> Iterator[bytes]:
        """Give raw records of the demo's corpus by the writer, each of another document."""
        for entry in islice(_entries(), count):
            yield self.write(self.writer, entry.kind, entry.fields, (self.federation,)).raw


def batches(raws: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut raw records into batches as a node sends them: as many as the bounds of a batch allow."""
    batch: list[bytes] = []
    size = 0
    for raw in raws:
        if len(batch) == BATCH_RECORDS_MAX or size + len(raw) > BATCH_BYTES_MAX:
            yield batch
            batch, size = [], 0
        batch.append(raw)
        size += len(raw)
    if batch:
        yield batch


def parcels(raws: list[bytes]) -> list[bytes]:
    """Shuffle raw records and pack them as batches go over the wire."""
    shuffled = list(raws)
    Random(1).shuffle(shuffled)
    return [pack_parcel(batch) for batch in batches(shuffled)]


def now() -> Reading:
    """Give the time, as a node that is sure of it reads it."""
    return Reading(time.time_ns() // 1_000_000, True)


def _entries() -> Iterator[Entry]:
    """Give the whole corpus of three towns, over and over."""
    towns = [list(corpus(town, size=None)) for town in range(3)]
    while True:
        for entries in towns:
            yield from entries


def _seed(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=32).digest()
