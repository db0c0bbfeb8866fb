"""Step 3 of the tables: where the mailboxes of our contacts' devices are, and what we laid into them.

Owns: SQL and the one look into old contents that it needs. Spec: docs/spec/store.md.
Never touches: what the rows mean (peer_mailboxes.py, deposits.py).
"""

from __future__ import annotations

from typing import Final

from covey_core.errors import ProtocolViolation
from covey_node.protocol.contents import Receipt, decode_content
from covey_node.store.tx import Tx

_TABLES: Final = (
    "ALTER TABLE deliveries ADD COLUMN content_id BLOB CHECK (content_id IS NULL OR length(content_id) = 16)",
    "CREATE INDEX deliveries_by_content ON deliveries (content_id) WHERE content_id IS NOT NULL",
    """CREATE TABLE peer_mailboxes (
    contact_id INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    number INTEGER NOT NULL CHECK (number > 0),
    secret BLOB NOT NULL CHECK (length(secret) IN (0, 32)),
    PRIMARY KEY (contact_id, device_key)
) WITHOUT ROWID""",
    """CREATE TABLE peer_replicas (
    contact_id INTEGER NOT NULL,
    device_key BLOB NOT NULL,
    relay BLOB NOT NULL CHECK (length(relay) BETWEEN 3 AND 44),
    position INTEGER NOT NULL,
    send_id BLOB NOT NULL CHECK (length(send_id) = 24),
    addrs TEXT NOT NULL,
    checked_at REAL,
    next_attempt_at REAL,
    reason TEXT,
    PRIMARY KEY (contact_id, device_key, relay),
    FOREIGN KEY (contact_id, device_key) REFERENCES peer_mailboxes (contact_id, device_key) ON DELETE CASCADE
) WITHOUT ROWID""",
    """CREATE TABLE deposits (
    delivery INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    relay BLOB NOT NULL CHECK (length(relay) BETWEEN 3 AND 44),
    stored_at REAL,
    lost_at REAL,
    reason TEXT,
    PRIMARY KEY (delivery, relay)
) WITHOUT ROWID""",
)


def step_3(tx: Tx) -> None:
    """Make the tables, and write down the id of every content that waits, for its receipt may come."""
    for statement in _TABLES:
        tx.execute(statement)
    for row_id, data in tx.all("SELECT id, content FROM deliveries WHERE content IS NOT NULL"):
        try:
            content = decode_content(data)
        except ProtocolViolation:
            continue
        if not isinstance(content.body, Receipt):
            tx.execute("UPDATE deliveries SET content_id = ? WHERE id = ?", (content.message_id, row_id))
    tx.execute(
        "UPDATE deliveries SET content_id = (SELECT message_id FROM messages WHERE id = message_row) "
        "WHERE content_id IS NULL AND message_row IS NOT NULL"
    )
