-- What the management of instances needs: lists that are fast at any size, tags, audit, and requests that are safe
-- to repeat.

-- Tags as they were given, a JSON object; NULL: none.
ALTER TABLE instances ADD COLUMN tags BLOB;

-- Lists are pages of this index, newest first. It has everything that lists filter by, so a filter reads the index
-- alone, and only the rows of the page are fetched. Instances are made in the order of time, so it grows at its end.
CREATE INDEX instances_listed ON instances (created_at, id, status, name);

-- The same order once more for each tag: a page of the instances with a tag is a range.
CREATE TABLE tags (
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    instance_id TEXT NOT NULL,
    PRIMARY KEY (name, value, created_at, instance_id)
) WITHOUT ROWID;

-- Open waits, the most urgent first; those without a deadline last, as if they were due at NEVER (2^62).
CREATE INDEX waits_due ON waits (ifnull(deadline, 4611686018427387904), instance_id, id);

-- Requests that took effect and may come again: under the same key, with a digest of what was asked for.
CREATE TABLE requests (
    instance_id TEXT NOT NULL,
    key         TEXT NOT NULL,
    digest      BLOB NOT NULL,
    expires_at  INTEGER,            -- NULL: remembered as long as the instance exists
    PRIMARY KEY (instance_id, key)
) WITHOUT ROWID;
CREATE INDEX requests_expiring ON requests (expires_at) WHERE expires_at IS NOT NULL;

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
