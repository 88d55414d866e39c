-- Who may call, and who changed what.

-- `secret_hash` is BLAKE3 of the secret's 32 random bytes. `products` is a JSON list; empty means no limit.
CREATE TABLE credentials (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    account TEXT REFERENCES accounts (id),
    products TEXT NOT NULL DEFAULT '',
    created BIGINT NOT NULL,
    expires BIGINT,
    revoked BIGINT
);

-- Append-only. `hash` is over the entry and the hash before it: see core::audit. `before_body` and `after_body` are
-- compact JSON, empty when there is nothing.
CREATE TABLE audit (
    sequence BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    before_body TEXT NOT NULL,
    after_body TEXT NOT NULL,
    hash BLOB NOT NULL
);
CREATE INDEX audit_by_subject ON audit (subject, sequence);
CREATE INDEX audit_by_actor ON audit (actor, sequence);

-- Answers to calls that may be repeated. `body_hash` is BLAKE3 of what was asked.
CREATE TABLE kept_answers (
    actor TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body_hash BLOB NOT NULL,
    status BIGINT NOT NULL,
    answer BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (actor, idempotency_key)
);
CREATE INDEX kept_answers_by_age ON kept_answers (at);

INSERT INTO counters (name, last) VALUES ('audit', 0);
