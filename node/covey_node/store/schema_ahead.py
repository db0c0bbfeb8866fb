"""Step 5 of the tables: the records signed ahead that we left at relays.

Owns: SQL. Spec: docs/spec/store.md. Never touches: what the rows mean (ahead.py).
"""

from __future__ import annotations

from typing import Final

STEP_5: Final = """
CREATE TABLE ahead (
    relay BLOB NOT NULL CHECK (length(relay) BETWEEN 3 AND 44),
    day_key BLOB NOT NULL CHECK (length(day_key) = 32),
    day INTEGER NOT NULL,
    sequence INTEGER NOT NULL CHECK (sequence > 0),
    content BLOB NOT NULL CHECK (length(content) = 16),
    left_at REAL,
    withdrawal BLOB CHECK (withdrawal IS NULL OR length(withdrawal) = 64),
    PRIMARY KEY (relay, day_key)
) WITHOUT ROWID;
CREATE INDEX ahead_by_key ON ahead (day_key, sequence);
CREATE INDEX ahead_by_day ON ahead (day);
"""
