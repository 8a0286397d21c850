-- Keys in the HSM that no version needs: those of a version that is being made, in case that it never comes to be, and
-- those of keys that were destroyed.
CREATE TABLE hsm_object (
    -- The id of the version, which is the object's CKA_ID.
    version TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL,
    -- When it is to be destroyed.
    due BIGINT NOT NULL
);
CREATE INDEX hsm_object_due ON hsm_object (due);
