"""How the relays of our queues have behaved.

Owns: table `queue_relays`. Functions take a `Tx`. What follows from it: protocol/queue_choice.py.
"""

from __future__ import annotations

from covey_node.protocol.queue_choice import Behaviour
from covey_node.store.tx import Row, Tx

_SELECT = "SELECT relay, away_seconds, failures, failed_at, reached_at, lost_at, left_at, reason FROM queue_relays"


def load(tx: Tx, relay: bytes) -> Behaviour:
    """Return what is known of a relay (PeerId as multihash); of an unknown one, nothing."""
    row = tx.one(f"{_SELECT} WHERE relay = ?", (relay,))
    return Behaviour() if row is None else _behaviour(row)


def all_known(tx: Tx) -> dict[bytes, Behaviour]:
    """Return what is known, by relay."""
    return {bytes(row[0]): _behaviour(row) for row in tx.all(f"{_SELECT} ORDER BY relay")}


def save(tx: Tx, relay: bytes, behaviour: Behaviour) -> None:
    """Write down how a relay behaves."""
    tx.execute(
        "INSERT INTO queue_relays (relay, away_seconds, failures, failed_at, reached_at, lost_at, left_at, reason) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (relay) DO UPDATE SET away_seconds = excluded.away_seconds, "
        "failures = excluded.failures, failed_at = excluded.failed_at, reached_at = excluded.reached_at, "
        "lost_at = excluded.lost_at, left_at = excluded.left_at, reason = excluded.reason",
        (
            relay,
            behaviour.away_seconds,
            behaviour.failures,
            behaviour.failed_at,
            behaviour.reached_at,
            behaviour.lost_at,
            behaviour.left_at,
            behaviour.reason,
        ),
    )


def _behaviour(row: Row) -> Behaviour:
    return Behaviour(*row[1:])
