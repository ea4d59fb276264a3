-- What attempts printed last, beside the log and not part of it: neither fact nor projection. A rebuild leaves it as it
-- is.

-- One row an attempt that printed something: the offset of the first byte that is kept, and at most 64 KiB.
CREATE TABLE outputs (
    number INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    first INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

-- One output an attempt.
CREATE UNIQUE INDEX outputs_by_attempt ON outputs (job_id, attempt);
