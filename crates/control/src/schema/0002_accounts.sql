-- Accounts, what they were given, and on which terms.

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    -- The 16 bytes under which edges know it; also the order of snapshots.
    pseudonym BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('individual', 'business', 'reseller')),
    standing TEXT NOT NULL CHECK (standing IN ('active', 'suspended', 'on_hold', 'denied')),
    tokens_from BIGINT,
    -- JSON: agreements, devices, attributes; empty when there are none.
    extras TEXT NOT NULL DEFAULT '',
    created BIGINT NOT NULL
);

-- What a million entitlements share. `body` is one Terms as JSON, always written the same way.
CREATE TABLE terms (
    id BIGINT PRIMARY KEY,
    product TEXT NOT NULL REFERENCES products (id),
    body TEXT NOT NULL UNIQUE
);

CREATE TABLE entitlements (
    id BIGINT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id),
    terms BIGINT NOT NULL REFERENCES terms (id),
    starts BIGINT NOT NULL,
    ends BIGINT,
    granted BIGINT NOT NULL,
    revoked BIGINT
);
CREATE INDEX entitlements_account ON entitlements (account);

-- Snapshots of all accounts in the store. `sequence` is the last change that one holds.
CREATE TABLE snapshots (
    sequence BIGINT PRIMARY KEY,
    blob BLOB NOT NULL,
    accounts BIGINT NOT NULL,
    -- How many imports it holds: those are told by snapshots only.
    imports BIGINT NOT NULL,
    created BIGINT NOT NULL
);

INSERT INTO counters (name, last) VALUES ('terms', 0), ('entitlements', 0), ('imports', 0);
