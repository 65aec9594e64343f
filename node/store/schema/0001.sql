-- The first shape of a node's database. Never edited after release: later changes are files of their own.
--
-- Ids are raw bytes as the protocol has them. Times of records are seconds since 1970, those of this node's own doings
-- (named ..._ms) milliseconds since 1970. A stamp is kept less 2^63, so that all 64 bits fit and still sort.
-- Names that repeat in every record (towns, audiences, lanes) have short numbers here, which mean nothing elsewhere.

-- The towns whose records are held. Number 1 is the own town. Name and place come from the town's held profile.
CREATE TABLE towns (
    number INTEGER PRIMARY KEY,
    town BLOB NOT NULL UNIQUE,          -- public key, 32 bytes
    name TEXT,                          -- NULL: no profile held
    lat INTEGER,                        -- 1e-5 degrees
    lon INTEGER                         -- 1e-5 degrees
) STRICT;

-- The different lists of federations that documents name.
CREATE TABLE audiences (
    number INTEGER PRIMARY KEY,
    federations BLOB NOT NULL UNIQUE    -- 16 bytes each, ascending; empty: the town's home set, or a kind without audience
) STRICT;

-- The held sets: one for each federation (or home) and lane.
CREATE TABLE lanes (
    number INTEGER PRIMARY KEY,
    federation BLOB NOT NULL,           -- 16 bytes
    lane INTEGER NOT NULL,              -- 0 urgent, 1 everyday, 2 library
    records INTEGER NOT NULL DEFAULT 0, -- count held
    UNIQUE (federation, lane)
) STRICT;

-- Every document of which a record is held, folded to what the board lists; one that is not shown has no place.
CREATE TABLE documents (
    number INTEGER PRIMARY KEY,
    doc BLOB NOT NULL UNIQUE,           -- id, 16 bytes
    town INTEGER NOT NULL REFERENCES towns,
    kind TEXT NOT NULL,
    lane INTEGER NOT NULL,              -- as the header says
    audience INTEGER NOT NULL REFERENCES audiences,
    born INTEGER NOT NULL,              -- seconds
    expires INTEGER NOT NULL,           -- seconds
    nonce BLOB,                         -- 8 bytes, of the own town's documents only
    governs INTEGER NOT NULL,           -- 1: charter, town.* or another kind that authority is made of
    place INTEGER,                      -- order on the board, the newest greatest: the stamp shown, made unique
    ends INTEGER,                       -- seconds: when people see it end, not after expires
    head INTEGER,                       -- row of the record shown
    heads INTEGER NOT NULL DEFAULT 0,   -- count of versions that nothing follows
    lat INTEGER,                        -- 1e-5 degrees, of the document itself
    lon INTEGER                         -- 1e-5 degrees
) STRICT;
CREATE UNIQUE INDEX documents_place ON documents (place) WHERE place IS NOT NULL;
CREATE INDEX documents_kind ON documents (kind, place) WHERE place IS NOT NULL;
CREATE INDEX documents_town ON documents (town, kind, place);
CREATE INDEX documents_expires ON documents (expires);
CREATE INDEX documents_ends ON documents (ends) WHERE ends < expires;
CREATE INDEX documents_governing ON documents (kind, town) WHERE governs = 1;
CREATE INDEX documents_nonce ON documents (nonce) WHERE nonce IS NOT NULL;

-- How many documents are shown, so that no page has to count them; those that have ended since are among them.
CREATE TABLE shown (
    kind TEXT NOT NULL,
    town INTEGER NOT NULL,
    audience INTEGER NOT NULL,
    documents INTEGER NOT NULL,         -- count
    PRIMARY KEY (kind, town, audience)
) STRICT, WITHOUT ROWID;

-- The held records, with the exact bytes that were signed. Rows ascend in the order of taking in.
CREATE TABLE records (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,            -- 32 bytes
    document INTEGER NOT NULL REFERENCES documents,
    op INTEGER NOT NULL,                -- 0 put, 1 delete, 2 entry
    stamp INTEGER NOT NULL,             -- less 2^63
    header BLOB NOT NULL,
    signature BLOB NOT NULL,            -- 64 bytes
    body BLOB                           -- NULL: a delete
) STRICT;
CREATE INDEX records_document ON records (document);

-- Which record is held in which lanes, and since which change.
CREATE TABLE held (
    record INTEGER NOT NULL REFERENCES records,
    lane INTEGER NOT NULL REFERENCES lanes,
    change INTEGER NOT NULL,
    PRIMARY KEY (record, lane)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_lane ON held (lane, change, record);

-- What has left a held set since its snapshot was saved: enough to bring the snapshot forward.
CREATE TABLE removed (
    lane INTEGER NOT NULL,
    change INTEGER NOT NULL,            -- when it left
    added INTEGER NOT NULL,             -- the change that had brought it
    id BLOB NOT NULL                    -- 32 bytes
) STRICT;
CREATE INDEX removed_lane ON removed (lane, change);

-- Snapshots of held sets (digest, cells, counts), so that a start walks over what is newer only.
CREATE TABLE held_sets (
    lane INTEGER PRIMARY KEY,
    change INTEGER NOT NULL,            -- the last change that it contains
    state BLOB NOT NULL
) STRICT;

-- The documents that count against a town's quota in a lane, in the order in which a quota ranks them.
CREATE TABLE quota_documents (
    lane INTEGER NOT NULL,
    town INTEGER NOT NULL,
    allotment INTEGER NOT NULL,         -- what is counted together: 0 posts, 1 certificates, and so on
    born INTEGER NOT NULL,              -- seconds
    doc BLOB NOT NULL,                  -- 16 bytes
    PRIMARY KEY (lane, town, allotment, born, doc)
) STRICT, WITHOUT ROWID;

-- How many these are.
CREATE TABLE quota_counts (
    lane INTEGER NOT NULL,
    town INTEGER NOT NULL,
    allotment INTEGER NOT NULL,         -- as there
    documents INTEGER NOT NULL,         -- count
    PRIMARY KEY (lane, town, allotment)
) STRICT, WITHOUT ROWID;

-- Dropped for good and remembered, so that nobody has to be told twice. Bounded: the oldest are forgotten first.
CREATE TABLE dropped (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,            -- 32 bytes
    town INTEGER,                       -- NULL: nothing that happens to its town can lift the cause
    cause TEXT NOT NULL,                -- stable code
    because BLOB,                       -- 32 bytes: the record that superseded it
    expires INTEGER NOT NULL            -- seconds: from then on its own header says enough
) STRICT;
CREATE INDEX dropped_expires ON dropped (expires);
CREATE INDEX dropped_town ON dropped (town) WHERE town IS NOT NULL;

-- Kept and waiting for a certificate, a membership or a charter. Bounded in bytes: the oldest are let go first.
CREATE TABLE parked (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,            -- 32 bytes
    town BLOB NOT NULL,                 -- 32 bytes
    device BLOB NOT NULL,               -- key that signed, 32 bytes
    kind TEXT NOT NULL,
    source BLOB,                        -- town that sent it, 32 bytes; NULL: none did
    cause TEXT NOT NULL,                -- stable code: what it waits for
    governs INTEGER NOT NULL,           -- as in documents
    expires INTEGER NOT NULL,           -- seconds
    since INTEGER,                      -- seconds of sure time when it began to wait; NULL: not known yet
    bytes INTEGER NOT NULL,             -- size of raw
    raw BLOB NOT NULL
) STRICT;
CREATE INDEX parked_town ON parked (town);
CREATE INDEX parked_expires ON parked (expires);
CREATE INDEX parked_governing ON parked (device) WHERE governs = 1;
CREATE INDEX parked_source ON parked (source, number, bytes) WHERE source IS NOT NULL;

-- What the own town wrote and stands no more: superseded, withdrawn or without room. It is heard again when rights
-- change: what superseded it may have been a thief's. Bounded in time and in bytes: the oldest are let go first.
CREATE TABLE drawer (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,            -- 32 bytes
    kind TEXT NOT NULL,
    doc BLOB NOT NULL,                  -- 16 bytes
    governs INTEGER NOT NULL,           -- as in documents
    expires INTEGER NOT NULL,           -- seconds
    since INTEGER,                      -- seconds of sure time when it was put here; NULL: not known yet
    bytes INTEGER NOT NULL,             -- size of raw
    raw BLOB NOT NULL
) STRICT;
CREATE INDEX drawer_governing ON drawer (kind) WHERE governs = 1;
CREATE INDEX drawer_doc ON drawer (doc);

-- The epochs in which this device's records are known to be its own: one for each start of this node.
CREATE TABLE epochs (
    epoch BLOB PRIMARY KEY,             -- 4 bytes
    until BLOB                          -- 8 bytes: of a clone's, the greatest stamp that is settled; NULL: all of it is ours
) STRICT, WITHOUT ROWID;

-- Single values of this store: epoch, counter, own stamp, last change, last sure time, clean stop and the like.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY
) STRICT, WITHOUT ROWID;

-- Words of each shown document and their stems, under its place: so a search comes newest first without sorting.
CREATE VIRTUAL TABLE search USING fts5 (
    terms, tokenize = "unicode61 remove_diacritics 2", detail = none, columnsize = 0
);

-- Ledgers that open as a share of another: what their first entries say, so that their rivals are found.
CREATE TABLE shares (
    record INTEGER PRIMARY KEY REFERENCES records,
    parent BLOB NOT NULL,               -- ledger, 16 bytes
    parent_claim BLOB NOT NULL,         -- claim that was accepted there, 16 bytes
    town INTEGER NOT NULL REFERENCES towns,
    ledger BLOB NOT NULL                -- the share's own ledger, 16 bytes
) STRICT;
CREATE INDEX shares_parent ON shares (parent, parent_claim, town, ledger);

-- When this node first knew of a claim that it answers: who comes first is who was heard first.
CREATE TABLE claims_heard (
    claim BLOB PRIMARY KEY,             -- 16 bytes
    at INTEGER NOT NULL                 -- seconds
) STRICT, WITHOUT ROWID;

-- Towns that the operator agreed to talk to.
CREATE TABLE peers (
    town BLOB PRIMARY KEY,              -- 32 bytes
    name TEXT NOT NULL DEFAULT '',
    url TEXT NOT NULL DEFAULT '',       -- where we dial; empty: it dials us
    approved_ms INTEGER NOT NULL,
    last_heard_ms INTEGER,              -- NULL: never
    synced_change INTEGER NOT NULL DEFAULT 0,   -- it is known to hold all that we may tell it up to this change
    policy TEXT NOT NULL DEFAULT '{}'   -- JSON: which of its URLs it told itself, how near it was seen
) STRICT, WITHOUT ROWID;

-- Invitations that this node wrote. The secret proves itself by a MAC, so it is kept until it is used.
CREATE TABLE invitations (
    secret_hash BLOB PRIMARY KEY,       -- 16 bytes
    secret BLOB,                        -- 16 bytes; NULL once used
    federation BLOB NOT NULL,           -- 16 bytes
    made_ms INTEGER NOT NULL,
    last_day INTEGER NOT NULL,          -- seconds: good until then
    used_by BLOB,                       -- town that used it, 32 bytes
    used_ms INTEGER
) STRICT, WITHOUT ROWID;

-- Invitations of others that this node is using until it is welcomed.
CREATE TABLE joins (
    secret BLOB PRIMARY KEY,            -- 16 bytes
    federation BLOB NOT NULL,           -- 16 bytes
    inviter BLOB NOT NULL,              -- town, 32 bytes
    urls TEXT NOT NULL,                 -- JSON list
    asked_ms INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',      -- waiting, joined, refused
    says TEXT NOT NULL DEFAULT ''       -- the last answer in plain words
) STRICT, WITHOUT ROWID;

-- What people must know of: said once for each thing that it is about. Bounded in number: of the source and code that
-- has most, the oldest goes first, so that nobody crowds out what others are the cause of.
CREATE TABLE incidents (
    number INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,             -- node time
    code TEXT NOT NULL,                 -- stable code
    says TEXT NOT NULL,                 -- one plain sentence
    about BLOB NOT NULL,                -- what it is about, such as the id of a record
    source BLOB NOT NULL,               -- the town or federation that is the cause; empty: this board
    seen INTEGER NOT NULL DEFAULT 0,    -- 1: the operator has put it away
    UNIQUE (code, about)
) STRICT;
