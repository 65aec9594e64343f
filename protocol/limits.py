"""Every bound of the wire: its name with the unit last, and why it is what it is.

`docs/protocol.md` shows these numbers; a test compares the two.
"""

from __future__ import annotations

from typing import Final

# Records.
RECORD_VERSION: Final = 1
"""The record format; a greater one is "not now"."""
HEADER_BYTES_MAX: Final = 1_024
"""Eight federations and eight citations fill about 600 bytes; the rest is room for the names of kinds."""
BODY_BYTES_MAX: Final = 32_768
"""A long guide fits; a batch holds at least seven of the longest bodies."""
RECORD_BYTES_MAX: Final = HEADER_BYTES_MAX + BODY_BYTES_MAX + 128
"""Header, body, the 64 bytes of signature and the wrapping."""
CITES_MAX: Final = 8
"""Parents of a merge, or what an act rests on."""
FEDERATIONS_MAX: Final = 8
"""Audiences of one record."""
KIND_CHARS_MAX: Final = 32
"""The longest name of a kind; the longest of ours has 18 characters."""
LIFETIME_S_MAX: Final = 100 * 366 * 86_400
"""A hundred years, the lifetime of a charter."""
SECONDS_MAX: Final = 2**40
"""No time of a header lies beyond the year 36,812: additions stay far below 64 bits."""
COUNTER_MAX: Final = 2**48
"""Records of one device and epoch."""
STAMP_MAX: Final = 2**64 - 1
"""48 bits of milliseconds and 16 of counter."""
DEPTH_MAX: Final = 8
"""Nesting of lists and maps in a body."""
NONCE_BYTES: Final = 8
"""Enough that two documents of one town, kind and second never meet by chance."""
SALT_BYTES: Final = 16
"""Keeps the hash of a body from telling a guesser what it says."""
SEALED_TOWNS_MAX: Final = 8
"""Towns that a sealed body is sealed to, the author's among them; each costs 80 bytes and one box to try."""
SEALED_PAD_BYTES: Final = 256
"""What is sealed is padded to a multiple of this, so that its size tells little."""

# Time.
AHEAD_S_MAX: Final = 86_400
"""What is born or stamped further ahead of sure time than this is "not now"."""
STAMP_RESET_MS: Final = 600_000
"""The own stamp falls back to the clock when it stands further ahead of sure time than this."""

# Documents and quotas.
ENTRIES_MAX: Final = 4_096
"""Entries that one document keeps; a ledger opens anew before that."""
QUOTA_URGENT_DOCUMENTS: Final = 2_000
"""Documents of one town in the urgent lane of a federation, unless the charter says otherwise."""
QUOTA_EVERYDAY_DOCUMENTS: Final = 20_000
"""The same in the everyday lane."""
QUOTA_LIBRARY_DOCUMENTS: Final = 5_000
"""The same in the library lane."""
DEVICES_MAX: Final = 16
"""Certificates of one town that count: the newest of those that stand."""
CERTIFICATES_MAX: Final = 64
"""Documents of `town.device` of one town in a federation; withdrawn ones count until they end."""
SUCCESSORS_MAX: Final = 7
"""Times that a town key can be followed by the next: all links of the chain are made with the first."""
REVOCATIONS_MAX: Final = 64
"""Records of `town.revoke` of one town that count: the greatest `(stamp, id)`."""
KEEPS_MAX: Final = 256
"""Records of `town.keep` of one town that count: some 230,000 ids, 25 MB of memory."""
ACTS_MAX: Final = 1_024
"""Admissions and suspensions of a steward in a lane; withdrawn ones count until they end."""
FEW_MAX: Final = 64
"""Documents of one town in a lane: consents; vouches; acts of no steward; other kinds of `town.*`."""
STEPS_MAX: Final = 1_024
"""Steps of one federation, its charter among them: ten a year for a century."""
ROUNDS_MAX: Final = 64
"""Rounds in which the stewards may vote on one step; each needs a vote that was split before."""
SIGNATURES_MAX: Final = 8
"""Signatures of one steward that count in one round: an honest one gives a single one."""
STEWARDS_MAX: Final = 64
"""Stewards that a charter or a step may name: more than half of them must sign a step."""
MEMBERS_MAX: Final = 512
"""Towns beside that one may name: 512 keys take half of a body."""
DECIDED_MAX: Final = 256
"""Acts that one step may name; with its towns and the signatures of a split round they fit in a body."""
SPLIT_MAX: Final = 64
"""Votes by which a step may show that the round before is over: one of each steward is enough."""

# Frames and batches.
WIRE_VERSION: Final = 1
"""What two nodes say to each other; apart from the record format."""
FRAME_BYTES_MAX: Final = 65_519
"""A Noise message holds 65,535 bytes, 16 of them the tag."""
BATCH_BYTES_MAX: Final = 262_144
"""Raw records of one batch: the most that a broken link loses."""
BATCH_RECORDS_MAX: Final = 1_024
"""Records of one batch; keeps a batch of tiny records from stalling the reader."""
BATCHES_IN_FLIGHT_MAX: Final = 2
"""Batches sent and not yet acknowledged, in each direction of a link."""
EVIDENCE_BYTES_MAX: Final = 65_536
"""Charter, steps, acts and certificates that one side may present before reconciling."""
OUTBOX_IDS_MAX: Final = 4_096
"""Ids that wait on one link; beyond that the lane is reconciled again."""
URLS_MAX: Final = 4
"""Addresses that a device tells of itself."""
URL_CHARS_MAX: Final = 256
"""The longest of them."""

# Reconciliation.
SHORT_ID_BYTES: Final = 8
"""The part of an id that a sketch carries."""
WANT_PREFIX_BYTES: Final = 5
"""The part of an id by which a record is asked for: among 1,000,000, one in 10^6 has a second match."""
CELL_BYTES: Final = 13
"""Short id 8, checksum 4, count 1."""
CELLS_KEPT: Final = 16_384
"""Cells of each set that are kept up to date."""
CELLS_FIRST: Final = 24
"""Cells that go along with an unequal digest: enough for most differences up to 10."""
RETRY_CELLS_MAX: Final = 65_536
"""Cells of a salted retry."""

# Links.
HANDSHAKE_S_MAX: Final = 30
"""From the first byte to the end of AUTH."""
PING_MS: Final = 15_000
"""Idle time after which a link is asked whether it lives."""
PING_LATE_MS: Final = 6_000
"""An answer later than this makes the dialer try beside the old link."""
SILENCE_MS: Final = 45_000
"""A link that says nothing for so long is dropped."""
BEAT_MS: Final = 60_000
"""Digests are compared at least so often."""
MEETING_AGAIN_MS: Final = 2_000
"""And once more so long after a meeting that moved something."""
LINKS_MAX: Final = 64
"""Links in all; a town has a handful of neighbours."""
HALF_OPEN_MAX: Final = 16
"""Connections that have not shown who they are."""
BAD_RECORDS_MAX: Final = 20
"""Malformed or forged records of one peer, then it is left alone for `BAN_S`."""
BAN_S: Final = 3_600
"""How long that is."""
