-- Announcements: to whom, of which jobs, and what became of each. It follows the log with a checkpoint of its own and is
-- no projection: what was delivered is not in the log, so a rebuild leaves it as it is.

-- How far the log was looked through for announcements. What is due of the events up to there is in `deliveries`.
CREATE TABLE outbox (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A store that had no outbox before has no job that anything is announced of: it begins at the end of the log.
INSERT INTO outbox (name, position) SELECT 'webhooks', coalesce(max(position), 0) FROM events;

-- Endpoints. `secrets` is a list of [secret in hexadecimal, made, good until or null]; `disabled` says why nothing is
-- sent, empty: it is.
CREATE TABLE webhooks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    created_by TEXT NOT NULL,
    project TEXT NOT NULL,
    event_types TEXT NOT NULL,
    disabled TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    secrets TEXT NOT NULL
) STRICT;

-- An owner has a URL once.
CREATE UNIQUE INDEX webhooks_by_url ON webhooks (created_by, project, url);

-- Jobs that have not ended and are announced: to which endpoint, and the number of the last announcement.
CREATE TABLE webhook_jobs (
    job_id TEXT PRIMARY KEY,
    webhook INTEGER NOT NULL,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The jobs of an endpoint.
CREATE INDEX webhook_jobs_by_webhook ON webhook_jobs (webhook);

-- One row an event and endpoint. States: 1 waits, 2 delivered, 3 dead. `next_us` is when it is tried next; of a job's
-- deliveries to an endpoint only the first that waits has it.
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    webhook INTEGER NOT NULL,
    position INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    type TEXT NOT NULL,
    host TEXT NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    made_us INTEGER NOT NULL,
    next_us INTEGER,
    tried_us INTEGER,
    status INTEGER NOT NULL,
    error TEXT NOT NULL
) STRICT;

-- An event is announced to an endpoint once.
CREATE UNIQUE INDEX deliveries_by_event ON deliveries (webhook, position);

-- What is to be tried, host by host, the next one first.
CREATE INDEX deliveries_due ON deliveries (host, next_us, number) WHERE next_us IS NOT NULL;

-- What waits of a job, in its order.
CREATE INDEX deliveries_waiting ON deliveries (webhook, job_id, sequence) WHERE state = 1;

-- What an endpoint has not taken, to be counted.
CREATE INDEX deliveries_open ON deliveries (webhook, state) WHERE state <> 2;

-- The deliveries of a job.
CREATE INDEX deliveries_by_job ON deliveries (job_id);

-- What does not wait any more, the oldest first, to be forgotten.
CREATE INDEX deliveries_old ON deliveries (made_us) WHERE state <> 1;
