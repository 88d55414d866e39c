-- Users, seats, packages, resellers and what they may give.

-- People of companies. Each is an account of its own, because tokens are issued for accounts.
CREATE TABLE users (
    account TEXT PRIMARY KEY REFERENCES accounts (id),
    company TEXT NOT NULL REFERENCES accounts (id),
    role TEXT NOT NULL CHECK (role IN ('admin', 'member')),
    added BIGINT NOT NULL
);
CREATE INDEX users_company ON users (company, account);

-- The reseller whose customer an account is.
ALTER TABLE accounts ADD COLUMN seller TEXT REFERENCES accounts (id);
CREATE INDEX accounts_seller ON accounts (seller, id) WHERE seller IS NOT NULL;

CREATE TABLE packages (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    changed BIGINT NOT NULL
);
CREATE TABLE package_items (
    package TEXT NOT NULL REFERENCES packages (id),
    position BIGINT NOT NULL,
    terms BIGINT NOT NULL REFERENCES terms (id),
    PRIMARY KEY (package, position)
);

-- What resellers may give. `used` follows the entitlements given out of it, in their transactions.
CREATE TABLE allocations (
    id BIGINT PRIMARY KEY,
    reseller TEXT NOT NULL REFERENCES accounts (id),
    terms BIGINT REFERENCES terms (id),
    package TEXT REFERENCES packages (id),
    quantity BIGINT NOT NULL,
    used BIGINT NOT NULL DEFAULT 0,
    starts BIGINT NOT NULL,
    ends BIGINT,
    made BIGINT NOT NULL,
    closed BIGINT,
    CHECK ((terms IS NULL) <> (package IS NULL)),
    CHECK (used >= 0 AND used <= quantity)
);
CREATE INDEX allocations_reseller ON allocations (reseller);

-- Entitlements may be of a package, have seats, and come out of an allocation. SQLite cannot lift a NOT NULL, so the table
-- is made anew.
CREATE TABLE entitlements_anew (
    id BIGINT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id),
    -- Either terms, or a package, which stands for all its items.
    terms BIGINT REFERENCES terms (id),
    package TEXT REFERENCES packages (id),
    -- How many users may have a seat; without a number it is the account's own.
    seats BIGINT CHECK (seats > 0),
    allocation BIGINT REFERENCES allocations (id),
    starts BIGINT NOT NULL,
    ends BIGINT,
    granted BIGINT NOT NULL,
    revoked BIGINT,
    CHECK ((terms IS NULL) <> (package IS NULL))
);
INSERT INTO entitlements_anew (id, account, terms, starts, ends, granted, revoked)
    SELECT id, account, terms, starts, ends, granted, revoked FROM entitlements;
DROP TABLE entitlements;
ALTER TABLE entitlements_anew RENAME TO entitlements;
CREATE INDEX entitlements_account ON entitlements (account);
CREATE INDEX entitlements_package ON entitlements (package) WHERE package IS NOT NULL;

-- Who has a seat. Rows of a revoked entitlement stay and mean nothing; those of a user that leaves go.
CREATE TABLE seats (
    entitlement BIGINT NOT NULL REFERENCES entitlements (id),
    account TEXT NOT NULL REFERENCES users (account),
    given BIGINT NOT NULL,
    PRIMARY KEY (entitlement, account)
);
CREATE INDEX seats_account ON seats (account);

INSERT INTO counters (name, last) VALUES ('allocations', 0);
