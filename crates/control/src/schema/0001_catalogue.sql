-- Products, releases, channels, blobs and the change log.
-- Times are Unix seconds. Portable on purpose: BLOB is BYTEA elsewhere, nothing else differs.

-- Numbers handed out inside the transaction that uses them, so that none is ever skipped.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO counters (name, last) VALUES ('change_log', 0), ('releases', 0);

-- What edges are told, in order. `body` is one CatalogChange as JSON.
CREATE TABLE change_log (
    sequence BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
);

-- `publisher` is pinned by the first release and empty before; rotations lead on from it.
CREATE TABLE products (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    access TEXT NOT NULL CHECK (access IN ('open', 'registered', 'licensed', 'closed')),
    export_class TEXT NOT NULL,
    created BIGINT NOT NULL,
    publisher TEXT NOT NULL DEFAULT '',
    delegation BLOB,
    delegation_sequence BIGINT NOT NULL DEFAULT 0
);

-- Signed successions of the publisher's keys, oldest first.
CREATE TABLE rotations (
    product TEXT NOT NULL REFERENCES products (id),
    step BIGINT NOT NULL,
    added BIGINT NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (product, step)
);

-- Every blob that came in through this node. `blob` is the 32 bytes of its hash.
CREATE TABLE blobs (
    blob BLOB PRIMARY KEY,
    bytes BIGINT NOT NULL,
    added BIGINT NOT NULL,
    is_open BIGINT NOT NULL DEFAULT 0 CHECK (is_open IN (0, 1))
);

CREATE TABLE releases (
    id BIGINT PRIMARY KEY,
    product TEXT NOT NULL REFERENCES products (id),
    platform TEXT NOT NULL,
    version TEXT NOT NULL,
    manifest BLOB NOT NULL REFERENCES blobs (blob),
    manifest_bytes BIGINT NOT NULL,
    content_bytes BIGINT NOT NULL,
    entry_count BIGINT NOT NULL,
    registered BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('live', 'withdrawn')),
    UNIQUE (product, platform, version)
);

-- Manifest, parts and packs of each release, and who may read them.
CREATE TABLE release_blobs (
    release_id BIGINT NOT NULL REFERENCES releases (id),
    blob BLOB NOT NULL REFERENCES blobs (blob),
    component TEXT NOT NULL,
    access_group TEXT NOT NULL,
    PRIMARY KEY (release_id, blob, component)
);
CREATE INDEX release_blobs_by_blob ON release_blobs (blob);

-- Every head that was ever signed; `channels` says which one is in force.
CREATE TABLE heads (
    product TEXT NOT NULL,
    platform TEXT NOT NULL,
    channel TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    version TEXT NOT NULL,
    issued BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (product, platform, channel, sequence),
    FOREIGN KEY (product, platform, version) REFERENCES releases (product, platform, version)
);

-- `previous` is the version offered before the present one, renewals aside.
CREATE TABLE channels (
    product TEXT NOT NULL,
    platform TEXT NOT NULL,
    channel TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    previous TEXT,
    PRIMARY KEY (product, platform, channel),
    FOREIGN KEY (product, platform, channel, sequence) REFERENCES heads (product, platform, channel, sequence)
);
