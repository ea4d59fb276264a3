-- What a server remembers beside the log: it is neither fact nor projection.

-- Answers by request id, for repeats. `position` is the last event of the call.
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
    principal TEXT NOT NULL,
    rpc TEXT NOT NULL,
    request_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    answer BLOB NOT NULL,
    position INTEGER NOT NULL,
    at_us INTEGER NOT NULL
) STRICT;

-- One answer a principal, RPC and request id.
CREATE UNIQUE INDEX requests_by_id ON requests (request_id, principal, rpc);

-- Bearer tokens; of the secret only its digest.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    subject TEXT NOT NULL,
    project TEXT NOT NULL,
    queues TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    revoked_us INTEGER
) STRICT;
