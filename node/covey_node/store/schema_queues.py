"""Step 2 of the tables: our queues at relays, what was told of them, and receipts that are due.

Owns: SQL that defines tables. Spec: docs/spec/store.md; what the rows mean: queues.py, queue_told.py, queue_relays.py,
receipts.py, received.py.
"""

from __future__ import annotations

from typing import Final

STEP_2: Final = """
CREATE TABLE queue_sets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    purpose TEXT NOT NULL,
    contact_id INTEGER UNIQUE REFERENCES contacts (id) ON DELETE SET NULL,
    number INTEGER NOT NULL,
    stale INTEGER NOT NULL,
    opened_at REAL NOT NULL,
    secret BLOB CHECK (secret IS NULL OR length(secret) = 32)
);
CREATE UNIQUE INDEX queue_sets_by_purpose ON queue_sets (purpose) WHERE purpose <> 'contact';
CREATE TABLE queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    set_id INTEGER NOT NULL REFERENCES queue_sets (id) ON DELETE CASCADE,
    relay BLOB NOT NULL CHECK (length(relay) BETWEEN 3 AND 44),
    state TEXT NOT NULL,
    recv_seed BLOB NOT NULL CHECK (length(recv_seed) = 32),
    recv_id BLOB CHECK (recv_id IS NULL OR length(recv_id) = 24),
    send_id BLOB CHECK (send_id IS NULL OR length(send_id) = 24),
    max_ttl_seconds INTEGER,
    quota_messages INTEGER,
    quota_bytes INTEGER,
    left_number INTEGER,
    made_at REAL NOT NULL,
    stood_at REAL,
    addrs TEXT NOT NULL
);
CREATE UNIQUE INDEX queues_in_use ON queues (set_id, relay) WHERE state IN ('making', 'standing');
CREATE UNIQUE INDEX queues_by_recv_id ON queues (relay, recv_id) WHERE recv_id IS NOT NULL;
CREATE INDEX queues_by_set ON queues (set_id);
CREATE TABLE queue_relays (
    relay BLOB PRIMARY KEY CHECK (length(relay) BETWEEN 3 AND 44),
    away_seconds REAL NOT NULL,
    failures INTEGER NOT NULL,
    failed_at REAL,
    reached_at REAL,
    lost_at REAL,
    left_at REAL,
    reason TEXT
) WITHOUT ROWID;
CREATE TABLE queue_told (
    set_id INTEGER NOT NULL REFERENCES queue_sets (id) ON DELETE CASCADE,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    number INTEGER NOT NULL,
    content_id BLOB NOT NULL CHECK (length(content_id) = 16),
    confirmed INTEGER NOT NULL,
    PRIMARY KEY (set_id, device_key)
) WITHOUT ROWID;
CREATE INDEX queue_told_by_content ON queue_told (content_id);
CREATE TABLE receipts_due (
    contact_id INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    content_id BLOB NOT NULL CHECK (length(content_id) = 16),
    due_at REAL NOT NULL,
    PRIMARY KEY (contact_id, device_key, content_id)
) WITHOUT ROWID;
ALTER TABLE received ADD COLUMN content_id BLOB CHECK (content_id IS NULL OR length(content_id) = 16);
ALTER TABLE received ADD COLUMN answered_at REAL;
"""
