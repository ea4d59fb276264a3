-- What the log makes of jobs and queues. `tenure log rebuild` makes all of it again, to the same bytes.

-- What a job was created as, as far as it is searched for; written once. The rest is in the job's first event.
CREATE TABLE origins (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    project TEXT NOT NULL,
    application TEXT NOT NULL,
    product_id TEXT NOT NULL,
    product_category TEXT NOT NULL,
    product_provider TEXT NOT NULL,
    labels TEXT NOT NULL
) STRICT;

-- Jobs by id. Ids are made in the order of time, so that new ones go to the end.
CREATE UNIQUE INDEX origins_by_id ON origins (id);

-- The jobs of an owner, in the order of creation.
CREATE INDEX origins_by_owner ON origins (created_by);

-- The jobs of a project, in the order of creation.
CREATE INDEX origins_by_project ON origins (project) WHERE project <> '';

-- What a job is now: one small row, written once a commit. `fold` is the job's value, `marks` where its history is in
-- its stream; the other columns are what it is found by.
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    state INTEGER NOT NULL,
    queue TEXT NOT NULL,
    place INTEGER,
    not_before_us INTEGER,
    leased INTEGER,
    due_us INTEGER,
    expires_us INTEGER,
    twin INTEGER,
    fold BLOB NOT NULL,
    marks BLOB NOT NULL
) STRICT;

-- Jobs that wait for a worker, in the order in which they are given out.
CREATE INDEX jobs_ready ON jobs (queue, place) WHERE place IS NOT NULL;

-- Jobs that a worker has.
CREATE INDEX jobs_leased ON jobs (number) WHERE leased IS NOT NULL;

-- Jobs that time alone concerns, the next one first.
CREATE INDEX jobs_due ON jobs (due_us) WHERE due_us IS NOT NULL;

-- Jobs that have not ended.
CREATE INDEX jobs_live ON jobs (number) WHERE twin IS NOT NULL;

-- … and again by their owner and specification, to find duplicates.
CREATE INDEX jobs_twins ON jobs (twin) WHERE twin IS NOT NULL;

-- What a queue is now. Its number is the position of its first event.
CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    fold BLOB NOT NULL
) STRICT, WITHOUT ROWID;
