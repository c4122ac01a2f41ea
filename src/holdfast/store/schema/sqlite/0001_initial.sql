-- Holdfast's tables on SQLite.
--
-- The database holds one task hub. One process owns the file and one connection writes it, so no table needs a
-- lock of its own. Everything that changes in one step of the engine is one transaction: the rows of an instance,
-- its history, and what it waits for can never disagree.
--
-- Times are microseconds since the Unix epoch, UTC. Payloads are JSON text, kept as bytes exactly as they came.
-- Tables whose key is also their order are WITHOUT ROWID: the row is the key's leaf, written once.

-- Who may write. Every transaction carries the epoch of each partition it touches, and fails whole if one of them
-- is not the present epoch. An epoch only grows. Here the owner of the file takes all partitions at once.
CREATE TABLE partitions (
    partition   INTEGER PRIMARY KEY,
    owner       TEXT,               -- NULL: nobody
    epoch       INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
);

-- One row for each instance: what a list shows, and what a start or an event is checked against.
CREATE TABLE instances (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    status        TEXT NOT NULL,    -- a RuntimeStatus
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    input         BLOB NOT NULL,
    output        BLOB NOT NULL,
    custom_status BLOB NOT NULL,
    generation    INTEGER NOT NULL, -- counts the runs between two continue-as-new, from 0
    parent        BLOB,             -- JSON of a Parent; NULL: started from outside
    held          TEXT              -- why it does not go on although it has messages; NULL: it does
) WITHOUT ROWID;

-- What happened, one row for each step: the message that caused it, and what the orchestrator asked for. Only the
-- present generation is kept. (instance, generation, seq) is dense and is never written twice.
CREATE TABLE history (
    instance_id TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    facts       BLOB NOT NULL,      -- a JSON array
    PRIMARY KEY (instance_id, generation, seq)
) WITHOUT ROWID;

-- Activities that are scheduled and have no recorded result yet. `started` is set before the body of a
-- once-activity runs: after a crash, such a row is the question whether it was done.
CREATE TABLE activities (
    instance_id     TEXT NOT NULL,
    generation      INTEGER NOT NULL,
    task_id         INTEGER NOT NULL,
    name            TEXT NOT NULL,
    input           BLOB NOT NULL,
    attempt         INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL,
    scheduled_at    INTEGER NOT NULL,
    started         INTEGER NOT NULL,
    PRIMARY KEY (instance_id, generation, task_id)
) WITHOUT ROWID;

-- Open timers in the order they are due. The worker reads a window ahead, never all.
CREATE TABLE timers (
    fire_at     INTEGER NOT NULL,
    instance_id TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    task_id     INTEGER NOT NULL,
    PRIMARY KEY (fire_at, instance_id, generation, task_id)
) WITHOUT ROWID;

-- Who waits for what: the open waits for external events.
CREATE TABLE waits (
    instance_id TEXT NOT NULL,
    id          INTEGER NOT NULL,
    name        TEXT NOT NULL,
    since       INTEGER NOT NULL,
    deadline    INTEGER,            -- when the timer raced against it is due; NULL: it waits for ever
    schema      BLOB NOT NULL,      -- JSON Schema of the answer
    PRIMARY KEY (instance_id, id)
) WITHOUT ROWID;

-- Messages on their way to an instance: from other instances, and those that a held instance cannot take yet.
-- A message leaves in the transaction that applies it. AUTOINCREMENT: an id is never used again, so a message in
-- somebody's memory can never be mistaken for a newer one.
CREATE TABLE inbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    instance_id TEXT NOT NULL,
    generation  INTEGER,            -- of the request that it answers; NULL: it came from outside
    fact        BLOB NOT NULL       -- JSON
);
