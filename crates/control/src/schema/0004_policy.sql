-- Embargo, segments, rollouts, minimum versions and revoked tokens.

-- Tokens that are worth nothing any more, under the 16 bytes of their pseudonym; forgotten some time after `until`.
CREATE TABLE revocations (
    token BLOB PRIMARY KEY,
    until BIGINT NOT NULL,
    revoked BIGINT NOT NULL
);
CREATE INDEX revocations_until ON revocations (until);

-- Every version of the embargo policy; the highest is in force. `body` is its classes as JSON.
CREATE TABLE embargoes (
    version BIGINT PRIMARY KEY,
    body TEXT NOT NULL,
    changed BIGINT NOT NULL
);

-- `body` is one rule as JSON, with ids as they were given. `listed` counts them, 0 for other rules.
CREATE TABLE segments (
    name TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    listed BIGINT NOT NULL,
    changed BIGINT NOT NULL
);

-- What those get whose turn it is not; NULL while everybody gets the target.
ALTER TABLE heads ADD COLUMN fallback TEXT;

-- Rollouts that run, and those that ran. `body` is one Rollout as JSON, and `outcome` says how it ended.
CREATE TABLE rollouts (
    id BIGINT PRIMARY KEY,
    product TEXT NOT NULL,
    platform TEXT NOT NULL,
    channel TEXT NOT NULL,
    target TEXT NOT NULL,
    fallback TEXT NOT NULL,
    body TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT,
    outcome TEXT CHECK (outcome IN ('halted', 'finished')),
    FOREIGN KEY (product, platform, target) REFERENCES releases (product, platform, version),
    FOREIGN KEY (product, platform, fallback) REFERENCES releases (product, platform, version)
);
CREATE UNIQUE INDEX rollouts_open ON rollouts (product, platform, channel) WHERE ended IS NULL;

-- The oldest version of a channel that is supported, and what players of older ones are told.
CREATE TABLE minimums (
    product TEXT NOT NULL,
    platform TEXT NOT NULL,
    channel TEXT NOT NULL,
    version TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (product, platform, channel),
    FOREIGN KEY (product, platform, version) REFERENCES releases (product, platform, version)
);

INSERT INTO counters (name, last) VALUES ('revocations', 0), ('segments', 0), ('rollouts', 0);
