"""What towns say of their keys, as the protocol specifies it, written with no thought of speed."""

from __future__ import annotations

from collections import defaultdict

from protocol.identity import succeeds
from protocol.ids import Op, RecordId
from protocol.record import Record, fields_of

LASTING = ("town.revoke", "town.keep", "town.rotate")


class Said:
    """What towns say of their keys, worked out the long way: each list is looked into each time."""

    def __init__(self, records: list[Record]) -> None:
        self.keys = defaultdict[bytes, list[bytes]](list)
        self.acts = set[RecordId]()
        entries = [record for record in records if record.header.op is Op.ENTRY]
        for town in {record.header.town for record in records}:
            self.keys[town] = [town]
            shown = dict[tuple[int, bytes], list[RecordId]]()
            for record in entries:
                proof = (fields_of(record) or {}).get("succession")
                if record.header.kind != "town.rotate" or record.header.town != town:
                    continue
                if isinstance(proof, list) and succeeds(town, record.header.device, proof):  # type: ignore[arg-type]
                    shown.setdefault((len(proof), record.header.device), []).append(record.id)
            for (_, key), ids in sorted(shown.items()):
                self.keys[town].append(key)
                self.acts.add(min(ids))
        said = [each for each in entries if each.header.kind in ("town.revoke", "town.keep")]
        first = [each for each in said if each.header.device == self.keys[each.header.town][-1]]
        later = [
            each
            for each in said
            if each.header.device in self.keys[each.header.town][:-1] and self._lists(first, each)
        ]
        self._acts = first + later
        self.acts |= {each.id for each in self._acts}
        self.revoked = {
            (each.header.town, (fields_of(each) or {}).get("device"))
            for each in self._acts
            if each.header.kind == "town.revoke"
        }

    def stays(self, record: Record) -> bool:
        """Whether a record of the present town key, or a kept one."""
        present = record.header.device == self.keys[record.header.town][-1]
        return present or self._lists(self._acts, record)

    def by_town_key(self, record: Record) -> bool:
        """Whether a town key said this, and it stays."""
        return record.header.device in self.keys[record.header.town] and self.stays(record)

    def _lists(self, acts: list[Record], record: Record) -> bool:
        lists = [
            (fields_of(each) or {}).get("records")
            for each in acts
            if each.header.kind == "town.keep" and each.header.town == record.header.town
        ]
        return any(isinstance(each, list) and record.id in each for each in lists)
