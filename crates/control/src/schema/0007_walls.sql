-- Whether everything in a blob is content of the release that lists it. Until now that was not said, but a publisher puts
-- only a release's own content into new packs: so it is so for the first release that lists a blob.
ALTER TABLE release_blobs ADD COLUMN whole BIGINT NOT NULL DEFAULT 0 CHECK (whole IN (0, 1));
UPDATE release_blobs SET whole = 1 WHERE NOT EXISTS (
    SELECT 1 FROM release_blobs earlier
    WHERE earlier.blob = release_blobs.blob AND earlier.release_id < release_blobs.release_id);
