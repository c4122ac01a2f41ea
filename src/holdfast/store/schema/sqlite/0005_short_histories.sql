-- Short histories are in their instances' rows: most instances have few steps, and each step changes the row anyway,
-- so there is one page to write and to read, not two.

-- As before, but a table with row ids: rows are larger now, and a tree whose inner pages held whole rows would be
-- deep. Instances are made in the order of time, so both the table and the index of ids grow at their ends.
CREATE TABLE instances_with_steps (
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
    tags          BLOB,             -- a JSON object; NULL: none
    length        INTEGER NOT NULL, -- how many steps the history of the present generation has
    steps         BLOB NOT NULL     -- the first of them, if they are small: JSON, each followed by a comma. All
                                    -- others are in `history`.
);

INSERT INTO instances_with_steps
    (id, name, status, created_at, updated_at, input, output, custom_status, generation, parent, held, tags, length,
     steps)
    SELECT id, name, status, created_at, updated_at, input, output, custom_status, generation, parent, held, tags,
        (SELECT count(*) FROM history
         WHERE history.instance_id = instances.id AND history.generation = instances.generation), x''
    FROM instances ORDER BY created_at;
DROP TABLE instances;
ALTER TABLE instances_with_steps RENAME TO instances;

CREATE INDEX instances_listed ON instances (created_at, id, status, name);
CREATE INDEX instances_failed ON instances (updated_at, id) WHERE status = 'Failed';
