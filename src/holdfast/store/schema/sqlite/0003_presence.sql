-- What people look at beside instances and waits: who works, what failed lately.

-- The workers there are, and the last of those there were. Each says that it is alive every other second; one that
-- ends in order says that, too. A killed one falls silent, and its row stays: it tells when that was, and the next
-- row who went on. This is for people. Who may write is decided by epochs, never by this table.
CREATE TABLE workers (
    name       TEXT PRIMARY KEY,    -- the owner's name in `partitions`
    started_at INTEGER NOT NULL,
    presence   BLOB NOT NULL        -- JSON of a Presence
) WITHOUT ROWID;

-- What failed, by the time it did so. It has the failed instances only, so it costs the others nothing.
CREATE INDEX instances_failed ON instances (updated_at, id) WHERE status = 'Failed';
