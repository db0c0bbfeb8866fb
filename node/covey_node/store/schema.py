"""The tables, as the numbered steps that lead to them.

Owns: SQL that defines tables. A released step is never edited: a change is a new step. Spec: docs/spec/store.md.
Times are Unix seconds (REAL, UTC); keys and hashes are raw bytes; lengths are checked here once more.
Large columns stand last: SQLite reads a row from its front (sqlite.org/fileformat2.html, 2.1).
"""

from __future__ import annotations

from typing import Final

STEP_1: Final = """
CREATE TABLE account (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    account_key BLOB NOT NULL CHECK (length(account_key) = 32),
    account_seed BLOB CHECK (account_seed IS NULL OR length(account_seed) = 32),
    name TEXT NOT NULL,
    device_list BLOB NOT NULL,
    device_keys BLOB NOT NULL,
    prekeys BLOB NOT NULL,
    record_seed BLOB NOT NULL CHECK (length(record_seed) = 32),
    record_secret BLOB NOT NULL CHECK (length(record_secret) = 32),
    record_sequence INTEGER NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE contacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_key BLOB NOT NULL UNIQUE CHECK (length(account_key) = 32),
    alias TEXT NOT NULL,
    alias_folded TEXT NOT NULL UNIQUE,
    profile_name TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    accepted_at REAL,
    verified_at REAL,
    last_seen REAL,
    intro TEXT,
    reason TEXT,
    invite_token BLOB,
    device_list BLOB,
    record_key BLOB CHECK (record_key IS NULL OR length(record_key) = 32),
    record_secret BLOB CHECK (record_secret IS NULL OR length(record_secret) = 32),
    record_sequence_seen INTEGER NOT NULL,
    addrs TEXT NOT NULL,
    relays TEXT NOT NULL
);
CREATE TABLE devices (
    contact_id INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    dh_key BLOB NOT NULL CHECK (length(dh_key) = 32),
    bundle BLOB,
    bundle_at REAL,
    added_at REAL NOT NULL,
    revoked_at REAL,
    PRIMARY KEY (contact_id, device_key)
) WITHOUT ROWID;
CREATE INDEX devices_by_key ON devices (device_key);
CREATE TABLE key_changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    contact_id INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    change TEXT NOT NULL,
    reason TEXT NOT NULL,
    changed_at REAL NOT NULL,
    accepted_at REAL
);
CREATE INDEX key_changes_by_contact ON key_changes (contact_id, id);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    contact_id INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    base_key_hash BLOB NOT NULL UNIQUE CHECK (length(base_key_hash) = 32),
    initiator INTEGER NOT NULL,
    awaiting_reply INTEGER NOT NULL,
    created_at REAL NOT NULL,
    last_received_at REAL,
    state BLOB NOT NULL
);
CREATE INDEX sessions_by_device ON sessions (contact_id, device_key);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    contact_id INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    outgoing INTEGER NOT NULL,
    message_id BLOB NOT NULL CHECK (length(message_id) = 16),
    kind TEXT NOT NULL,
    reply_to BLOB CHECK (reply_to IS NULL OR length(reply_to) = 16),
    sent_at REAL NOT NULL,
    received_at REAL,
    status TEXT NOT NULL,
    status_at REAL NOT NULL,
    reason TEXT,
    path TEXT,
    attempts INTEGER NOT NULL,
    read_at REAL,
    edited_at REAL,
    deleted_at REAL,
    disappear_seconds REAL,
    expires_at REAL,
    text TEXT,
    body BLOB NOT NULL,
    UNIQUE (message_id, contact_id, outgoing)
);
CREATE INDEX messages_by_contact ON messages (contact_id, id);
CREATE INDEX messages_unread ON messages (contact_id, id) WHERE outgoing = 0 AND read_at IS NULL;
CREATE INDEX messages_by_status ON messages (status, contact_id) WHERE outgoing = 1;
CREATE INDEX messages_expiring ON messages (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE reactions (
    message_row INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    mine INTEGER NOT NULL,
    emoji TEXT NOT NULL,
    reacted_at REAL NOT NULL,
    PRIMARY KEY (message_row, mine)
) WITHOUT ROWID;
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_row INTEGER REFERENCES messages (id) ON DELETE SET NULL,
    contact_id INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    packet_hash BLOB CHECK (packet_hash IS NULL OR length(packet_hash) = 32),
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at REAL NOT NULL,
    reason TEXT,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    content BLOB,
    packet BLOB,
    CHECK (content IS NOT NULL OR (packet IS NOT NULL AND packet_hash IS NOT NULL))
);
CREATE INDEX deliveries_by_device ON deliveries (contact_id, device_key);
CREATE INDEX deliveries_unsealed ON deliveries (contact_id, device_key) WHERE packet IS NULL;
CREATE INDEX deliveries_expiring ON deliveries (expires_at);
CREATE INDEX deliveries_by_message ON deliveries (message_row) WHERE message_row IS NOT NULL;
CREATE TABLE received (
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    packet_hash BLOB NOT NULL CHECK (length(packet_hash) = 32),
    outcome TEXT NOT NULL,
    received_at REAL NOT NULL,
    PRIMARY KEY (device_key, packet_hash)
) WITHOUT ROWID;
CREATE INDEX received_by_time ON received (device_key, received_at);
CREATE TABLE invites (
    token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
    label TEXT NOT NULL,
    one_use INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    used_at REAL,
    used_by INTEGER REFERENCES contacts (id) ON DELETE SET NULL,
    revoked_at REAL
) WITHOUT ROWID;
CREATE TABLE base_keys_seen (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX base_keys_seen_until ON base_keys_seen (until);
"""
