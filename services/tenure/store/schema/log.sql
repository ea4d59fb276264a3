-- The log: the facts. Everything else can be made from it again.

-- What this log is: its id, its epoch, how often it was opened, and the version of this schema.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row an event, with dense positions. A stream's number is the position of its first event, which holds its name;
-- `type` is the number of the payload's field in tenure.events.v1.Event, and `data` that message less what has a column.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    type INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

-- A stream in order; and no two writers ever append the same version.
CREATE UNIQUE INDEX events_by_stream ON events (stream, version);

-- One row a commit: the position of its last event, and the hash chain up to there.
CREATE TABLE commits (
    position INTEGER PRIMARY KEY,
    hash BLOB NOT NULL
) STRICT;

-- The log is only ever appended to.
CREATE TRIGGER events_stay BEFORE DELETE ON events
BEGIN
    SELECT raise(ABORT, 'events are never deleted');
END;

-- … and never rewritten.
CREATE TRIGGER events_last BEFORE UPDATE ON events
BEGIN
    SELECT raise(ABORT, 'events are never changed');
END;
