"""Step 4 of the tables: what lies in stock at our contact queues, and where a request of ours is laid down.

Owns: SQL that defines tables. Spec: docs/spec/store.md; what the rows mean: contact_stock.py, contact_places.py.
"""

from __future__ import annotations

from typing import Final

STEP_4: Final = """
CREATE TABLE invite_admissions (
    token_hash BLOB NOT NULL REFERENCES invites (token_hash) ON DELETE CASCADE,
    relay BLOB NOT NULL CHECK (length(relay) BETWEEN 3 AND 44),
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    PRIMARY KEY (token_hash, relay)
) WITHOUT ROWID;
CREATE TABLE one_time_pairs (
    id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 4294967295),
    queue_id INTEGER REFERENCES queues (id) ON DELETE SET NULL,
    created_at REAL NOT NULL,
    offered_at REAL,
    used_at REAL,
    pair BLOB CHECK (pair IS NULL OR length(pair) = 108),
    CHECK ((pair IS NULL) = (used_at IS NOT NULL))
);
CREATE INDEX one_time_pairs_by_queue ON one_time_pairs (queue_id, id);
CREATE INDEX one_time_pairs_by_time ON one_time_pairs (created_at);
CREATE TABLE contact_stock (
    queue_id INTEGER PRIMARY KEY REFERENCES queues (id) ON DELETE CASCADE,
    admitted BLOB CHECK (admitted IS NULL OR length(admitted) = 32),
    generation INTEGER,
    device_list BLOB CHECK (device_list IS NULL OR length(device_list) = 32),
    bundle_at REAL,
    offered_at REAL
);
CREATE TABLE contact_places (
    contact_id INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    relay BLOB NOT NULL CHECK (length(relay) BETWEEN 3 AND 44),
    position INTEGER NOT NULL,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    secret BLOB NOT NULL CHECK (length(secret) = 32),
    send_id BLOB NOT NULL CHECK (length(send_id) = 24),
    addrs TEXT NOT NULL,
    packet_hash BLOB CHECK (packet_hash IS NULL OR length(packet_hash) = 32),
    stored_at REAL,
    reason TEXT,
    PRIMARY KEY (contact_id, relay)
) WITHOUT ROWID;
"""
