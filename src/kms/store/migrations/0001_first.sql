-- Read by SQLite and by PostgreSQL, where BLOB is written BYTEA. Times are milliseconds since 1970, in UTC;
-- what is wrapped is under a key derived from the root key.

CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- The root key under each key-encryption key that opens it.
CREATE TABLE root_slot (
    uri TEXT NOT NULL PRIMARY KEY,
    key_version TEXT NOT NULL,
    wrapped BLOB NOT NULL
);

-- The number of the last change. Whoever writes takes it first, so that all who write stand in one queue and the
-- numbers are seen in their order.
CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('change', 0);

-- What other servers must forget; kept for an hour.
CREATE TABLE change (
    seq BIGINT NOT NULL,
    part BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (seq, part)
);

CREATE TABLE kms_key (
    id TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    description TEXT NOT NULL,
    spec TEXT NOT NULL,
    usage TEXT NOT NULL,
    origin TEXT NOT NULL,
    protection TEXT NOT NULL,
    state TEXT NOT NULL,
    created BIGINT NOT NULL,
    creator TEXT NOT NULL,
    deletion BIGINT,
    material_expires BIGINT,
    primary_version TEXT,
    rotation_period BIGINT,
    rotation_last BIGINT,
    rotation_next BIGINT,
    deletion_protection TEXT,
    policy TEXT NOT NULL
);
CREATE INDEX kms_key_created ON kms_key (created, id);
CREATE INDEX kms_key_deletion ON kms_key (deletion);
CREATE INDEX kms_key_material_expires ON kms_key (material_expires);
CREATE INDEX kms_key_rotation_next ON kms_key (rotation_next);

CREATE TABLE key_version (
    id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES kms_key (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    created BIGINT NOT NULL,
    enabled BIGINT NOT NULL,
    cause TEXT NOT NULL,
    -- NULL once imported material was forgotten.
    material BLOB,
    -- Of imported material: an HMAC that tells whether it is the same.
    fingerprint BLOB,
    produced BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    last_used BIGINT,
    UNIQUE (key_id, number)
);

CREATE TABLE alias (
    name TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES kms_key (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL
);
CREATE INDEX alias_key ON alias (key_id);

CREATE TABLE tag (
    key_id TEXT NOT NULL REFERENCES kms_key (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key_id, name)
);

CREATE TABLE key_grant (
    id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES kms_key (id) ON DELETE CASCADE,
    token TEXT NOT NULL UNIQUE,
    name TEXT,
    created BIGINT NOT NULL,
    grantee TEXT NOT NULL,
    retiring TEXT,
    issuer TEXT NOT NULL,
    -- JSON: an array of names.
    operations TEXT NOT NULL,
    -- JSON: {"equals": {…}} or {"subset": {…}}.
    limits TEXT
);
CREATE INDEX key_grant_key ON key_grant (key_id);
CREATE INDEX key_grant_retiring ON key_grant (retiring);

CREATE TABLE import_token (
    -- SHA-256 of the token, in hexadecimal digits.
    id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES kms_key (id) ON DELETE CASCADE,
    algorithm TEXT NOT NULL,
    spec TEXT NOT NULL,
    private_key BLOB NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX import_token_key ON import_token (key_id);

CREATE TABLE principal (
    name TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE credential (
    id TEXT NOT NULL PRIMARY KEY,
    principal TEXT NOT NULL REFERENCES principal (name) ON DELETE CASCADE,
    -- Wrapped: an HMAC is checked with the secret itself.
    secret BLOB NOT NULL,
    created BIGINT NOT NULL,
    enabled BIGINT NOT NULL
);
CREATE INDEX credential_principal ON credential (principal);
