"""Reactions to messages: one of ours and one of theirs for each message.

Owns: table `reactions`. Functions take a `Tx`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class ReactionRow:
    """One reaction: `mine` is ours, else the contact's."""

    message_row: int
    mine: bool
    emoji: str
    reacted_at: float


def put(tx: Tx, row: ReactionRow) -> bool:
    """Store a reaction in place of the author's earlier one; an empty emoji takes it back.

    False when an earlier report is newer: reactions may arrive out of order.
    """
    changed = tx.execute(
        "INSERT INTO reactions (message_row, mine, emoji, reacted_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (message_row, mine) DO UPDATE SET emoji = excluded.emoji, reacted_at = excluded.reacted_at "
        "WHERE excluded.reacted_at >= reacted_at",
        (row.message_row, row.mine, row.emoji, row.reacted_at),
    )
    return changed == 1


def of(tx: Tx, message_rows: Collection[int]) -> dict[int, tuple[ReactionRow, ...]]:
    """Return the reactions that stand, by message row; rows without any are left out."""
    found: dict[int, tuple[ReactionRow, ...]] = {}
    marks = ", ".join("?" * len(message_rows))
    for message_row, mine, emoji, reacted_at in tx.all(
        f"SELECT message_row, mine, emoji, reacted_at FROM reactions WHERE message_row IN ({marks}) AND emoji <> '' "  # noqa: S608
        "ORDER BY message_row, reacted_at",
        tuple(message_rows),
    ):
        found[message_row] = (*found.get(message_row, ()), ReactionRow(message_row, bool(mine), emoji, reacted_at))
    return found
