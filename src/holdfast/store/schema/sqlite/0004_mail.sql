-- What many workers need of each other. One process owns this database, so here it serves whoever tries them out.

-- All that a message says, as JSON, where that is more than its fact: who asked, under which key, who waits for the
-- verdict.
ALTER TABLE inbox ADD COLUMN message BLOB;

-- What became of messages that a worker left in the inbox for another one. Each is read once.
CREATE TABLE verdicts (
    worker   TEXT NOT NULL,
    inbox_id INTEGER NOT NULL,
    error    TEXT NOT NULL,         -- the name of the error that refused it; empty: it was accepted
    text     TEXT NOT NULL,
    path     TEXT NOT NULL,
    PRIMARY KEY (worker, inbox_id)
) WITHOUT ROWID;
