-- Bide's tables on PostgreSQL 14 and later. They live in a schema of their own, which is one task hub.
--
-- Many workers share them. A partition has one owner at a time, and only it writes the rows of the partition's
-- instances: every commit carries the epoch of each partition that it touches, and fails whole if one of them is
-- not the present epoch. So rows need no locks of their own, and workers never wait for each other.
--
-- Times are microseconds since the Unix epoch, UTC. Payloads are JSON text, kept as bytes exactly as they came. Ids
-- compare by their bytes, as everywhere else in Bide.
--
-- Rows that come and go (activities, timers, waits, inbox) are vacuumed early, by share and not by cost. Instances
-- leave room in their pages, and no index has a column that changes: so an update stays within its page.

-- Who owns which partition, and until when. An epoch only grows, and is at least the time at which it began: so it is a
-- new one also after a restore, or a failover that lost the last epochs.
CREATE TABLE partitions (
    partition   smallint PRIMARY KEY,
    owner       text,               -- NULL: nobody
    epoch       bigint NOT NULL,
    lease_until bigint NOT NULL,
    cut_off     boolean NOT NULL,   -- whether the owner before did not release it: it was killed, or lost it
    wanted      text NOT NULL       -- the orchestrator that its owner should have, in lower case; empty: any
) WITH (fillfactor = 50);
INSERT INTO partitions SELECT number, NULL, 0, 0, false, '' FROM generate_series(0, 255) AS number;

-- One row for each instance: what a list shows, and what a start or an event is checked against.
CREATE TABLE instances (
    id            text COLLATE "C" PRIMARY KEY,
    name          text COLLATE "C" NOT NULL,
    status        text NOT NULL,    -- a RuntimeStatus
    created_at    bigint NOT NULL,
    updated_at    bigint NOT NULL,
    input         bytea NOT NULL,
    output        bytea NOT NULL,
    custom_status bytea NOT NULL,
    generation    integer NOT NULL, -- counts the runs between two continue-as-new, from 0
    parent        bytea,            -- JSON of a Parent; NULL: started from outside
    held          text,             -- why it does not go on although it has messages; NULL: it does
    tags          bytea,            -- a JSON object; NULL: none
    birth         text NOT NULL,    -- tells it from all others that ever had its id
    held_by       text NOT NULL     -- the version of the code that is not to try it again, or `operator`
) WITH (fillfactor = 70);

-- Lists are pages of this index, newest first. Instances are made in the order of time, so it grows at its end.
CREATE INDEX instances_listed ON instances (created_at, id) INCLUDE (name);

-- What failed, by the time it did so. A table, because an index of it would be one with a column that changes. What
-- went on after it had failed stays here; its instance tells.
CREATE TABLE failures (
    instance_id text COLLATE "C" PRIMARY KEY,
    failed_at   bigint NOT NULL
);
CREATE INDEX failures_listed ON failures (failed_at, instance_id);

-- What is held, in the order of lists. These are few.
CREATE INDEX instances_held ON instances (created_at, id) WHERE held IS NOT NULL;

-- The order of lists once more for each tag: a page of the instances with a tag is a range.
CREATE TABLE tags (
    name        text COLLATE "C" NOT NULL,
    value       text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    instance_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (name, value, created_at, instance_id)
);

-- What happened, one row for each step: the message that caused it, and what the orchestrator asked for. Only the
-- present generation is kept. (instance, generation, seq) is dense and is never written twice.
CREATE TABLE history (
    instance_id text COLLATE "C" NOT NULL,
    generation  integer NOT NULL,
    seq         integer NOT NULL,
    at          bigint NOT NULL,
    facts       bytea NOT NULL,     -- a JSON array
    PRIMARY KEY (instance_id, generation, seq)
);

-- Activities that are scheduled and have no recorded result yet. `started` is set before the body of a
-- once-activity runs: after a crash, such a row is the question whether it was done.
CREATE TABLE activities (
    instance_id     text COLLATE "C" NOT NULL,
    generation      integer NOT NULL,
    task_id         integer NOT NULL,
    name            text NOT NULL,
    input           bytea NOT NULL,
    attempt         integer NOT NULL,
    call_id         integer NOT NULL,   -- the task id of the first attempt
    scheduled_at    bigint NOT NULL,
    started         boolean NOT NULL,
    birth           text NOT NULL,  -- the instance's
    partition       smallint NOT NULL,
    PRIMARY KEY (instance_id, generation, task_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- What was about to run again after the worker before was killed: an activity's body, or the step for a timer or for
-- a message of the inbox (task -1; `birth` is the message's id). What has ended so many processes that way is held. Empty at nearly all times.
CREATE TABLE reruns (
    instance_id text COLLATE "C" NOT NULL,
    generation  integer NOT NULL,
    task_id     integer NOT NULL,
    birth       text NOT NULL,
    times       integer NOT NULL,
    partition   smallint NOT NULL,
    PRIMARY KEY (instance_id, generation, task_id, birth)
);

-- Open timers in the order they are due. A worker reads a window ahead, never all.
CREATE TABLE timers (
    partition   smallint NOT NULL,
    fire_at     bigint NOT NULL,
    instance_id text COLLATE "C" NOT NULL,
    generation  integer NOT NULL,
    task_id     integer NOT NULL,
    birth       text NOT NULL,      -- the instance's
    PRIMARY KEY (partition, fire_at, instance_id, generation, task_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Who waits for what: the open waits for external events.
CREATE TABLE waits (
    instance_id text COLLATE "C" NOT NULL,
    id          integer NOT NULL,
    name        text NOT NULL,
    lower_name  text COLLATE "C" NOT NULL,
    since       bigint NOT NULL,
    deadline    bigint,             -- when the timer raced against it is due; NULL: it waits for ever
    schema      bytea NOT NULL,     -- JSON Schema of the answer
    PRIMARY KEY (instance_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Open waits, the most urgent first; those without a deadline last, as if they were due at NEVER (2^62).
CREATE INDEX waits_due ON waits (coalesce(deadline, 4611686018427387904), instance_id, id);

-- Messages on their way to an instance: from other instances, from workers that do not own it, and those that a
-- held instance cannot take yet. A message leaves in the transaction that applies it. The ids of a sequence are
-- never used again, so a message in somebody's memory can never be mistaken for a newer one. What an instance gives
-- back between two generations comes before all others, under negative ids.
CREATE TABLE inbox (
    id          bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    partition   smallint NOT NULL,
    instance_id text COLLATE "C" NOT NULL,
    birth       text NOT NULL,      -- of the one instance that it is for, and is deleted with; empty: it is judged
    message     bytea NOT NULL      -- JSON of a Message
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX inbox_of_partition ON inbox (partition, id);

-- What became of messages that a worker left in the inbox for another one. Each is read once.
CREATE TABLE verdicts (
    worker   text COLLATE "C" NOT NULL,
    inbox_id bigint NOT NULL,
    error    text NOT NULL,         -- the name of the error that refused it; empty: it was accepted
    text     text NOT NULL,
    path     text NOT NULL,
    PRIMARY KEY (worker, inbox_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Requests that were met, or refused, and may come again: under the same key, with a digest of what was asked for.
CREATE TABLE requests (
    instance_id text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    digest      bytea NOT NULL,
    expires_at  bigint NOT NULL,
    outlives    boolean NOT NULL,   -- whether it is remembered when the instance is replaced
    error       text NOT NULL,      -- the name of the error that refused it; empty: it was accepted
    text        text NOT NULL,
    path        text NOT NULL,
    PRIMARY KEY (instance_id, key)
);
CREATE INDEX requests_expiring ON requests (expires_at);

-- Who asked for what, and what became of it. Written in the transaction that did it.
CREATE TABLE audit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id text COLLATE "C" NOT NULL,  -- empty: the call was about the hub
    at          bigint NOT NULL,
    verb        text NOT NULL,
    caller      text NOT NULL,
    address     text NOT NULL,
    reason      text NOT NULL,
    result      text NOT NULL
);
CREATE INDEX audit_of_instance ON audit (instance_id, id);

-- The workers there are, and the last of those there were: for people. Who may write is decided by epochs.
CREATE TABLE workers (
    name       text COLLATE "C" PRIMARY KEY,    -- the owner's name in `partitions`
    started_at bigint NOT NULL,
    presence   bytea NOT NULL       -- JSON of a Presence
) WITH (fillfactor = 50);

-- What tokens are signed with and codes derived from, the same for all workers.
CREATE TABLE secrets (
    name   text PRIMARY KEY,
    secret bytea NOT NULL
);

-- What else all workers share, such as the keys of callers: JSON, replaced as a whole.
CREATE TABLE documents (
    name    text PRIMARY KEY,
    content bytea               -- NULL: nobody has put anything there
);

-- What a batch consists of. The types belong to the function below and change with it: a later migration adds new
-- ones beside them, so that workers of the version before can go on while it runs.
CREATE TYPE fence AS (partition smallint, epoch bigint);
CREATE TYPE instance_row AS (
    id text, name text, status text, created_at bigint, updated_at bigint, input bytea, output bytea,
    custom_status bytea, generation integer, parent bytea, held text, tags bytea, birth text, held_by text
);
CREATE TYPE tag_row AS (name text, value text, created_at bigint, instance_id text);
CREATE TYPE history_row AS (instance_id text, generation integer, seq integer, at bigint, facts bytea);
CREATE TYPE place AS (instance_id text, generation integer, seq integer);
CREATE TYPE task_key AS (instance_id text, generation integer, task_id integer, birth text);
CREATE TYPE activity_row AS (
    instance_id text, generation integer, task_id integer, name text, input bytea, attempt integer,
    call_id integer, scheduled_at bigint, started boolean, birth text, partition smallint
);
CREATE TYPE rerun_row AS (
    instance_id text, generation integer, task_id integer, birth text, times integer, partition smallint
);
CREATE TYPE timer_row AS (
    partition smallint, fire_at bigint, instance_id text, generation integer, task_id integer, birth text
);
CREATE TYPE wait_row AS (
    instance_id text, id integer, name text, lower_name text, since bigint, deadline bigint, schema bytea
);
CREATE TYPE wait_key AS (instance_id text, id integer);
CREATE TYPE deadline_row AS (instance_id text, id integer, deadline bigint);
CREATE TYPE message_row AS (partition smallint, instance_id text, birth text, message bytea, first boolean);
CREATE TYPE kept_row AS (id bigint, birth text, message bytea);
CREATE TYPE verdict_row AS (worker text, inbox_id bigint, error text, text text, path text);
CREATE TYPE request_row AS (
    instance_id text, key text, digest bytea, expires_at bigint, outlives boolean, error text, text text, path text
);
CREATE TYPE audit_row AS (
    at bigint, verb text, caller text, address text, reason text, result text, instance_id text
);

-- Puts messages into the inbox, in their order, and tells their owners, but not the one who put them there. The first
-- ones may be marked to come before all that are there: each under the negative of its new id.
CREATE FUNCTION put_messages(messages message_row[], sender text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
    firsts integer := (SELECT count(*) FROM unnest(messages) AS m WHERE m.first);
BEGIN
    WITH put AS (
        INSERT INTO inbox (partition, instance_id, birth, message)
            SELECT m.partition, m.instance_id, m.birth, m.message FROM unnest(messages) AS m RETURNING id
    ) SELECT array_agg(id) INTO ids FROM put;
    IF firsts > 0 THEN
        UPDATE inbox SET id = -id WHERE id = ANY (ids[:firsts]);
    END IF;
    PERFORM pg_notify('bide', told.owner) FROM
        (SELECT DISTINCT p.owner FROM partitions AS p JOIN unnest(messages) AS m ON p.partition = m.partition
         WHERE p.owner IS NOT NULL AND p.owner IS DISTINCT FROM sender) AS told;
    RETURN ids;
END $$;

-- The tags in a row, and none if the row is damaged: it must be possible to delete it.
CREATE FUNCTION readable(tags bytea) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE json_typeof(convert_from(tags, 'UTF8')::json)
        WHEN 'object' THEN convert_from(tags, 'UTF8')::json ELSE '{}' END;
EXCEPTION WHEN data_exception THEN
    RETURN '{}';
END $$;

-- One batch, one transaction, one call: what is empty costs nothing. Raises BD001 if a partition has another owner.
CREATE FUNCTION commit_batch(
    fences fence[], purged text[], replaced text[], undone place[], instances_in instance_row[], failed text[],
    tags_in tag_row[], history_in history_row[], forgotten place[], activities_in activity_row[], started task_key[],
    activities_closed task_key[], cleared text[], reruns_in rerun_row[], reruns_closed task_key[],
    timers_in timer_row[], timers_closed timer_row[], waits_in wait_row[], waits_closed wait_key[],
    deadlines_in deadline_row[], requests_in request_row[], expired_at bigint, audit_in audit_row[],
    inbox_closed bigint[], inbox_kept kept_row[], inbox_in message_row[], verdicts_in verdict_row[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    locked integer;
    ids bigint[] := '{}';
    gone text[] := purged || replaced;
BEGIN
    -- The share of a lock keeps whoever takes a partition waiting until this batch is there to be seen.
    PERFORM FROM partitions AS p JOIN unnest(fences) AS f ON p.partition = f.partition AND p.epoch = f.epoch
        FOR SHARE OF p;
    GET DIAGNOSTICS locked = ROW_COUNT;
    IF locked <> cardinality(fences) THEN
        RAISE EXCEPTION 'a partition has another owner now' USING ERRCODE = 'BD001';
    END IF;

    IF gone <> '{}' THEN  -- an instance that has ended has no timers, activities or waits
        DELETE FROM tags WHERE (name, value, created_at, instance_id) IN
            (SELECT t.key, t.value, i.created_at, i.id
             FROM instances AS i, json_each_text(readable(i.tags)) AS t WHERE i.id = ANY (gone));
        DELETE FROM history WHERE instance_id = ANY (gone);
        DELETE FROM reruns WHERE instance_id = ANY (gone);
        DELETE FROM inbox WHERE instance_id = ANY (gone) AND birth <> ''  -- the others are for whoever has the id
            AND partition IN (SELECT f.partition FROM unnest(fences) AS f);
        DELETE FROM requests WHERE instance_id = ANY (purged) OR (instance_id = ANY (replaced) AND NOT outlives);
        DELETE FROM audit WHERE instance_id = ANY (purged);
        DELETE FROM failures WHERE instance_id = ANY (gone);
        DELETE FROM instances WHERE id = ANY (gone);
    END IF;
    IF undone <> '{}' THEN
        DELETE FROM history AS h USING unnest(undone) AS u
            WHERE h.instance_id = u.instance_id AND h.generation = u.generation AND h.seq >= u.seq;
    END IF;
    IF instances_in <> '{}' THEN
        INSERT INTO instances SELECT * FROM unnest(instances_in)
            ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status,
                updated_at = excluded.updated_at, input = excluded.input, output = excluded.output,
                custom_status = excluded.custom_status, generation = excluded.generation, held = excluded.held,
                held_by = excluded.held_by;
    END IF;
    IF failed <> '{}' THEN
        INSERT INTO failures SELECT id, updated_at FROM instances WHERE id = ANY (failed)
            ON CONFLICT (instance_id) DO UPDATE SET failed_at = excluded.failed_at;
    END IF;
    IF tags_in <> '{}' THEN
        INSERT INTO tags SELECT * FROM unnest(tags_in) ON CONFLICT DO NOTHING;
    END IF;
    IF history_in <> '{}' THEN
        INSERT INTO history SELECT * FROM unnest(history_in);
    END IF;
    IF forgotten <> '{}' THEN
        DELETE FROM history AS h USING unnest(forgotten) AS f
            WHERE h.instance_id = f.instance_id AND h.generation < f.generation;
    END IF;
    -- What is closed comes first: the next instance of an id may open the same in this batch.
    IF cleared <> '{}' THEN
        DELETE FROM activities WHERE instance_id = ANY (cleared);
        DELETE FROM timers WHERE instance_id = ANY (cleared);
        DELETE FROM waits WHERE instance_id = ANY (cleared);
    END IF;
    IF activities_closed <> '{}' THEN
        DELETE FROM activities AS a USING unnest(activities_closed) AS c
            WHERE (a.instance_id, a.generation, a.task_id, a.birth)
                = (c.instance_id, c.generation, c.task_id, c.birth);
    END IF;
    IF activities_in <> '{}' THEN
        INSERT INTO activities SELECT * FROM unnest(activities_in);
    END IF;
    IF started <> '{}' THEN
        UPDATE activities AS a SET started = true FROM unnest(commit_batch.started) AS s
            WHERE (a.instance_id, a.generation, a.task_id, a.birth)
                = (s.instance_id, s.generation, s.task_id, s.birth);
    END IF;
    IF reruns_closed <> '{}' THEN
        DELETE FROM reruns AS r USING unnest(reruns_closed) AS c
            WHERE (r.instance_id, r.generation, r.task_id, r.birth)
                = (c.instance_id, c.generation, c.task_id, c.birth);
    END IF;
    IF reruns_in <> '{}' THEN
        INSERT INTO reruns SELECT * FROM unnest(reruns_in)
            ON CONFLICT (instance_id, generation, task_id, birth) DO UPDATE SET times = excluded.times;
    END IF;
    IF timers_closed <> '{}' THEN
        DELETE FROM timers AS t USING unnest(timers_closed) AS c
            WHERE (t.partition, t.fire_at, t.instance_id, t.generation, t.task_id, t.birth)
                = (c.partition, c.fire_at, c.instance_id, c.generation, c.task_id, c.birth);
    END IF;
    IF timers_in <> '{}' THEN
        INSERT INTO timers SELECT * FROM unnest(timers_in);
    END IF;
    IF waits_closed <> '{}' THEN
        DELETE FROM waits AS w USING unnest(waits_closed) AS c
            WHERE (w.instance_id, w.id) = (c.instance_id, c.id);
    END IF;
    IF waits_in <> '{}' THEN
        INSERT INTO waits SELECT * FROM unnest(waits_in);
    END IF;
    IF deadlines_in <> '{}' THEN
        UPDATE waits AS w SET deadline = d.deadline FROM unnest(deadlines_in) AS d
            WHERE (w.instance_id, w.id) = (d.instance_id, d.id);
    END IF;
    IF requests_in <> '{}' THEN
        INSERT INTO requests SELECT * FROM unnest(requests_in)
            ON CONFLICT (instance_id, key) DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at,
                error = excluded.error, text = excluded.text, path = excluded.path;
        DELETE FROM requests WHERE (instance_id, key) IN
            (SELECT instance_id, key FROM requests WHERE expires_at <= expired_at
             ORDER BY expires_at LIMIT 2 * cardinality(requests_in) FOR UPDATE SKIP LOCKED);
    END IF;
    IF audit_in <> '{}' THEN
        INSERT INTO audit (at, verb, caller, address, reason, result, instance_id) SELECT * FROM unnest(audit_in);
    END IF;
    IF inbox_closed <> '{}' THEN
        DELETE FROM inbox WHERE id = ANY (inbox_closed);
    END IF;
    IF inbox_kept <> '{}' THEN
        UPDATE inbox AS i SET birth = k.birth, message = k.message FROM unnest(inbox_kept) AS k WHERE i.id = k.id;
    END IF;
    IF verdicts_in <> '{}' THEN
        INSERT INTO verdicts SELECT * FROM unnest(verdicts_in);
        PERFORM pg_notify('bide', told.worker) FROM (SELECT DISTINCT worker FROM unnest(verdicts_in)) AS told;
    END IF;
    IF inbox_in <> '{}' THEN
        ids := put_messages(inbox_in, (SELECT p.owner FROM partitions AS p WHERE p.partition = fences[1].partition));
    END IF;
    RETURN ids;
END $$;
