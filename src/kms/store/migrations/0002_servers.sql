-- What servers on one database know of each other's.

-- Requests that each server took, in the order in which it told of them, so that no other takes them again; kept for as
-- long as they could come again. `requests` holds hashes under a key derived from the root key.
CREATE TABLE seen (
    server TEXT NOT NULL,
    batch BIGINT NOT NULL,
    at BIGINT NOT NULL,
    requests BLOB NOT NULL,
    PRIMARY KEY (server, batch)
);
CREATE INDEX seen_at ON seen (at);

-- Who is signed in to the console. `name` is the hash of the cookie, which is not kept.
CREATE TABLE session (
    name TEXT NOT NULL PRIMARY KEY,
    access_key_id TEXT NOT NULL,
    principal TEXT NOT NULL,
    token TEXT NOT NULL,
    began BIGINT NOT NULL,
    used BIGINT NOT NULL
);
