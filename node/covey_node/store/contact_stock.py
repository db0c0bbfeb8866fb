"""Our contact queues' stock and admission: which one-time pairs lie where, whom a queue lets in.

Owns: tables `one_time_pairs`, `contact_stock`, `invite_admissions`. Functions take a `Tx`. Spec:
docs/spec/first-contact.md, "Stock", "Token". Never touches: relays, what a pair is (crypto).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class StockRow:
    """What a relay has acknowledged of one queue. `admitted`: SHA-256 over the hashes that it lets in."""

    queue_id: int
    admitted: bytes | None = None
    generation: int | None = None  # of the bundle that lies there
    device_list: bytes | None = None  # its device list's SHA-256
    bundle_at: float | None = None
    offered_at: float | None = None  # when pairs were last offered and its answer was clear


# --- whom a queue lets in -------------------------------------------------------------------------------------------


def admit(tx: Tx, token_hash: bytes, secrets: Mapping[bytes, bytes]) -> None:
    """Write down with an invite what its holder shows at each relay: SHA-256 of the secret, 32 bytes."""
    tx.execute_many(
        "INSERT OR REPLACE INTO invite_admissions (token_hash, relay, secret_hash) VALUES (?, ?, ?)",
        [(token_hash, relay, secret_hash) for relay, secret_hash in secrets.items()],
    )


def admitted(tx: Tx, relay: bytes, *, now: float, limit: int) -> tuple[bytes, ...]:
    """Return the hashes that open invites, newest first, let in at a relay."""
    rows = tx.all(
        "SELECT secret_hash FROM invite_admissions JOIN invites USING (token_hash) WHERE relay = ? AND expires_at > ? "
        "AND revoked_at IS NULL AND used_at IS NULL ORDER BY created_at DESC, token_hash LIMIT ?",
        (relay, now, limit),
    )
    return tuple(bytes(one) for (one,) in rows)


def next_expiry(tx: Tx, *, now: float) -> float | None:
    """Return when the next open invite that a queue lets in is over, or None."""
    row = tx.one(
        "SELECT min(expires_at) FROM invites WHERE expires_at > ? AND revoked_at IS NULL AND used_at IS NULL "
        "AND token_hash IN (SELECT token_hash FROM invite_admissions)",
        (now,),
    )
    return None if row is None or row[0] is None else float(row[0])


# --- what lies at a queue -------------------------------------------------------------------------------------------


def load(tx: Tx, queue_id: int) -> StockRow:
    """Return what a queue's relay has acknowledged; of a new queue nothing."""
    row = tx.one(
        "SELECT queue_id, admitted, generation, device_list, bundle_at, offered_at FROM contact_stock "
        "WHERE queue_id = ?",
        (queue_id,),
    )
    return StockRow(queue_id) if row is None else StockRow(*row)


def save(tx: Tx, row: StockRow) -> None:
    """Write down what a queue's relay has acknowledged; nothing when the queue is gone meanwhile."""
    tx.execute(
        "INSERT OR REPLACE INTO contact_stock (queue_id, admitted, generation, device_list, bundle_at, offered_at) "
        "SELECT ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM queues WHERE id = ?)",
        (row.queue_id, row.admitted, row.generation, row.device_list, row.bundle_at, row.offered_at, row.queue_id),
    )


# --- one-time pairs -------------------------------------------------------------------------------------------------


def pair_ids(tx: Tx) -> frozenset[int]:
    """Return the ids of all pairs that are held or were used lately."""
    return frozenset(int(one) for (one,) in tx.all("SELECT id FROM one_time_pairs"))


def add_pairs(tx: Tx, queue_id: int, pairs: Sequence[tuple[int, bytes]], *, now: float, most: int) -> None:
    """Keep new pairs (id, encoded private half) of a queue's share, not offered yet; over `most` the oldest go."""
    tx.execute_many(
        "INSERT INTO one_time_pairs (id, queue_id, created_at, pair) VALUES (?, ?, ?, ?)",
        [(number, queue_id, now, pair) for number, pair in pairs],
    )
    tx.execute(
        "DELETE FROM one_time_pairs WHERE queue_id = ? AND pair IS NOT NULL AND id NOT IN (SELECT id FROM "
        "one_time_pairs WHERE queue_id = ? AND pair IS NOT NULL ORDER BY created_at DESC, rowid DESC LIMIT ?)",
        (queue_id, queue_id, most),
    )


def not_offered(tx: Tx, queue_id: int, *, limit: int) -> tuple[tuple[int, bytes], ...]:
    """Return pairs (id, encoded private half) of a queue's share that its relay was never asked to take."""
    rows = tx.all(
        "SELECT id, pair FROM one_time_pairs WHERE queue_id = ? AND offered_at IS NULL AND pair IS NOT NULL "
        "ORDER BY created_at LIMIT ?",
        (queue_id, limit),
    )
    return tuple((int(number), bytes(pair)) for number, pair in rows)


def offered(tx: Tx, ids: Sequence[int], *, at: float | None) -> None:
    """Write down that pairs are being offered to their relay, before they are; None: it clearly did not take them."""
    tx.execute_many("UPDATE one_time_pairs SET offered_at = ? WHERE id = ?", [(at, one) for one in ids])


def unused(tx: Tx, queue_id: int) -> tuple[int, float | None]:
    """Return how many pairs of a share were offered to its relay and not used as far as is known, and when last."""
    row = tx.one(
        "SELECT count(*), max(offered_at) FROM one_time_pairs "
        "WHERE queue_id = ? AND offered_at IS NOT NULL AND pair IS NOT NULL",
        (queue_id,),
    )
    return (0, None) if row is None else (int(row[0]), row[1])


def pair(tx: Tx, number: int) -> bytes | None:
    """Return the private half of a pair; None when it is not held."""
    row = tx.one("SELECT pair FROM one_time_pairs WHERE id = ?", (number,))
    return None if row is None or row[0] is None else bytes(row[0])


def was_used(tx: Tx, number: int) -> bool:
    """Tell whether a pair was used before: somebody had it from its relay twice, or used it twice."""
    return tx.one("SELECT 1 FROM one_time_pairs WHERE id = ? AND used_at IS NOT NULL", (number,)) is not None


def use(tx: Tx, number: int, *, now: float) -> None:
    """Wipe the private half of a pair; its id is remembered until it would have gone anyway."""
    tx.execute("UPDATE one_time_pairs SET pair = NULL, used_at = ? WHERE id = ? AND pair IS NOT NULL", (now, number))


def prune(tx: Tx, *, before: float) -> int:
    """Forget the pairs that were made before a time; return how many."""
    return tx.execute("DELETE FROM one_time_pairs WHERE created_at < ?", (before,))
