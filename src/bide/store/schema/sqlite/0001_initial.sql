-- Bide's tables on SQLite.
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
    lease_until INTEGER NOT NULL,
    cut_off     INTEGER NOT NULL,   -- whether the owner before did not release it: it was killed
    wanted      TEXT NOT NULL       -- the orchestrator that its owner should have, in lower case; empty: any
);

-- One row for each instance: what a list shows, what a start or an event is checked against, and the beginning of
-- its history. Most instances have few steps, and each step changes this row anyway: so there is one page to write
-- and to read, not two. A table with row ids: a tree whose inner pages held whole rows would be deep. Instances are
-- made in the order of time, so both the table and the index of ids grow at their ends.
CREATE TABLE instances (
    id            TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL,
    status        TEXT NOT NULL,    -- a RuntimeStatus
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    input         BLOB NOT NULL,
    output        BLOB NOT NULL,
    custom_status BLOB NOT NULL,
    generation    INTEGER NOT NULL, -- counts the runs between two continue-as-new, from 0
    parent        BLOB,             -- JSON of a Parent; NULL: started from outside
    held          TEXT,             -- why it does not go on although it has messages; NULL: it does
    held_by       TEXT NOT NULL,    -- the version of the code that is not to try it again, or `operator`
    tags          BLOB,             -- as they were given, a JSON object; NULL: none
    birth         TEXT NOT NULL,    -- tells it from all others that ever had its id
    length        INTEGER NOT NULL, -- how many steps the history of the present generation has
    steps         BLOB NOT NULL     -- the first of them, if they are small: JSON, each followed by a comma. All
                                    -- others are in `history`.
);

-- Lists are pages of this index, newest first. It has everything that lists filter by, so a filter reads the index
-- alone, and only the rows of the page are fetched.
CREATE INDEX instances_listed ON instances (created_at, id, status, name);

-- What failed, by the time it did so. It has the failed instances only, so it costs the others nothing.
CREATE INDEX instances_failed ON instances (updated_at, id) WHERE status = 'Failed';

-- What is held, in the order of lists. These are few.
CREATE INDEX instances_held ON instances (created_at, id, status, name) WHERE held IS NOT NULL;

-- The order of lists once more for each tag: a page of the instances with a tag is a range.
CREATE TABLE tags (
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    instance_id TEXT NOT NULL,
    PRIMARY KEY (name, value, created_at, instance_id)
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
    call_id         INTEGER NOT NULL,   -- the task id of the first attempt
    scheduled_at    INTEGER NOT NULL,
    started         INTEGER NOT NULL,
    birth           TEXT NOT NULL,  -- the instance's
    PRIMARY KEY (instance_id, generation, task_id)
) WITHOUT ROWID;

-- What was about to run again after the worker before was killed: an activity's body, or the step for a timer or for
-- a message of the inbox (task -1; `birth` is the message's id). What has ended so many processes that way is held. Empty at nearly all times.
CREATE TABLE reruns (
    instance_id TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    task_id     INTEGER NOT NULL,
    birth       TEXT NOT NULL,
    times       INTEGER NOT NULL,
    PRIMARY KEY (instance_id, generation, task_id, birth)
) WITHOUT ROWID;

-- Open timers in the order they are due. The worker reads a window ahead, never all.
CREATE TABLE timers (
    fire_at     INTEGER NOT NULL,
    instance_id TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    task_id     INTEGER NOT NULL,
    birth       TEXT NOT NULL,      -- the instance's
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

-- Open waits, the most urgent first; those without a deadline last, as if they were due at NEVER (2^62).
CREATE INDEX waits_due ON waits (ifnull(deadline, 4611686018427387904), instance_id, id);

-- Messages on their way to an instance: from other instances, and those that a held instance cannot take yet.
-- A message leaves in the transaction that applies it. AUTOINCREMENT: an id is never used again, so a message in
-- somebody's memory can never be mistaken for a newer one. What an instance gives back between two generations comes
-- before all others, under negative ids.
CREATE TABLE inbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    instance_id TEXT NOT NULL,
    generation  INTEGER,            -- of the request that it answers; NULL: it came from outside
    birth       TEXT NOT NULL,      -- of the one instance that it is for, and is deleted with; empty: it is judged
    fact        BLOB NOT NULL,      -- JSON
    message     BLOB                -- all that the message says, as JSON, where that is more than its fact: who asked,
                                    -- under which key, who waits for the verdict
);

-- What became of messages that a worker left in the inbox for another one. Each is read once. One process owns this
-- database, so here it serves whoever tries out many workers.
CREATE TABLE verdicts (
    worker   TEXT NOT NULL,
    inbox_id INTEGER NOT NULL,
    error    TEXT NOT NULL,         -- the name of the error that refused it; empty: it was accepted
    text     TEXT NOT NULL,
    path     TEXT NOT NULL,
    PRIMARY KEY (worker, inbox_id)
) WITHOUT ROWID;

-- Requests that were met, or refused, and may come again: under the same key, with a digest of what was asked for.
CREATE TABLE requests (
    instance_id TEXT NOT NULL,
    key         TEXT NOT NULL,
    digest      BLOB NOT NULL,
    expires_at  INTEGER NOT NULL,
    outlives    INTEGER NOT NULL,   -- whether it is remembered when the instance is replaced
    error       TEXT NOT NULL,      -- the name of the error that refused it; empty: it was accepted
    text        TEXT NOT NULL,
    path        TEXT NOT NULL,
    PRIMARY KEY (instance_id, key)
) WITHOUT ROWID;
CREATE INDEX requests_expiring ON requests (expires_at);

-- Who asked for what, and what became of it. Written in the transaction that did it. AUTOINCREMENT: an id that was
-- shown as the end of a page never comes again.
CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    instance_id TEXT NOT NULL,      -- empty: the call was about the hub
    at          INTEGER NOT NULL,
    verb        TEXT NOT NULL,
    caller      TEXT NOT NULL,
    address     TEXT NOT NULL,
    reason      TEXT NOT NULL,
    result      TEXT NOT NULL
);
CREATE INDEX audit_of_instance ON audit (instance_id, id);

-- The workers there are, and the last of those there were. Each says that it is alive every other second; one that
-- ends in order says that, too. A killed one falls silent, and its row stays: it tells when that was, and the next
-- row who went on. This is for people. Who may write is decided by epochs, never by this table.
CREATE TABLE workers (
    name       TEXT PRIMARY KEY,    -- the owner's name in `partitions`
    started_at INTEGER NOT NULL,
    presence   BLOB NOT NULL        -- JSON of a Presence
) WITHOUT ROWID;
