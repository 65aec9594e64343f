-- Who may write at this node. A file of its own beside the records: nothing in it is ever gossiped, exported or
-- written to a bundle, and losing it loses no record.

-- People whom the operator let in. A name is what stands as `by` in their records. Names are compared by the
-- function `folded` of node/accounts.py; NOCASE knows the letters A to Z only.
CREATE TABLE IF NOT EXISTS account (
    name     TEXT PRIMARY KEY COLLATE NOCASE,  -- 1 to 40 characters
    hash     TEXT NOT NULL,                    -- argon2id, in libsodium's own text form
    made_ms  INTEGER NOT NULL                  -- milliseconds since 1970
) STRICT, WITHOUT ROWID;

-- Sign-ins that hold, by the hash of their cookie: a stolen copy of this file signs nobody in.
CREATE TABLE IF NOT EXISTS session (
    hash     BLOB PRIMARY KEY,                 -- BLAKE2b-256 of the cookie
    name     TEXT NOT NULL,                    -- the account; 'operator' for a sign-in by link
    role     TEXT NOT NULL,                    -- resident | operator
    ends_ms  INTEGER NOT NULL                  -- milliseconds since 1970
) STRICT, WITHOUT ROWID;

-- Bearer tokens of programs.
CREATE TABLE IF NOT EXISTS token (
    hash     BLOB PRIMARY KEY,                 -- BLAKE2b-256 of the token
    name     TEXT NOT NULL,                    -- what the operator called it
    made_ms  INTEGER NOT NULL                  -- milliseconds since 1970
) STRICT, WITHOUT ROWID;

-- Browsers in which an account has signed in before. They have tries of their own, so that a stranger who guesses
-- PINs cannot lock anybody out.
CREATE TABLE IF NOT EXISTS browser (
    hash     BLOB PRIMARY KEY,                 -- BLAKE2b-256 of the cookie
    name     TEXT NOT NULL COLLATE NOCASE,     -- the account
    made_ms  INTEGER NOT NULL                  -- milliseconds since 1970
) STRICT, WITHOUT ROWID;
