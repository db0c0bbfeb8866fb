"""Base keys of first-contact packets that were taken, so that none is taken twice.

Owns: table `base_keys_seen`. An entry must outlive the last-resort key it was used with (DESIGN 4).
"""

from __future__ import annotations

from covey_node.store.tx import Tx


def remember(tx: Tx, base_key_hash: bytes, *, until: float) -> bool:
    """Remember a base key's hash (32 bytes) until a time; False when it was seen before: a replay."""
    changed = tx.execute(
        "INSERT INTO base_keys_seen (hash, until) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING", (base_key_hash, until)
    )
    return changed == 1


def seen(tx: Tx, base_key_hash: bytes) -> bool:
    """Tell whether a base key was seen before."""
    return tx.one("SELECT 1 FROM base_keys_seen WHERE hash = ?", (base_key_hash,)) is not None


def prune(tx: Tx, *, now: float) -> int:
    """Forget the base keys whose time is over; return how many."""
    return tx.execute("DELETE FROM base_keys_seen WHERE until < ?", (now,))
