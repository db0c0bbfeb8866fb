"""Giving room back: freed pages to the file system, the write-ahead log into the file.

Owns: when freed room really leaves the file. Call it now and then (hourly). Spec: docs/spec/store.md "Room".
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_node.limits import STORE_VACUUM_PAGES
from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Room:
    """How large the database is, in bytes, and how much of that is free."""

    file_bytes: int
    free_bytes: int


def room(tx: Tx) -> Room:
    """Return the size of the database."""
    page = tx.number("PRAGMA page_size")
    return Room(file_bytes=page * tx.number("PRAGMA page_count"), free_bytes=page * tx.number("PRAGMA freelist_count"))


def shrink(tx: Tx) -> int:
    """Give freed pages back to the file system, `STORE_VACUUM_PAGES` at one time; return how many stay free."""
    tx.all(f"PRAGMA incremental_vacuum({STORE_VACUUM_PAGES:d})")
    return tx.number("PRAGMA freelist_count")
