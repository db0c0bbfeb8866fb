"""Which records are to be signed ahead, under which sequences, with which addresses.

Owns: those three decisions, and which days are missing at a relay. Spec: docs/spec/ahead.md. Never touches: sockets,
the clock, randomness (callers pass `rng`: bytes of a length), how a record is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence

from covey_core.limits import AHEAD_DAYS
from covey_core.peers import PeerId
from covey_node import limits

_CIRCUIT = "/p2p-circuit"


def days_ahead(today: int) -> range:
    """Return the UTC days for which a record should lie at each relay: today and those to come."""
    return range(today, today + AHEAD_DAYS + 1)


def missing(today: int, there: Collection[int]) -> tuple[int, ...]:
    """Return the days that are not `there` yet."""
    return tuple(day for day in days_ahead(today) if day not in there)


def next_sequence(last: int, rng: Callable[[int], bytes]) -> int:
    """Return a sequence for a day, above `last`, the highest for that day so far (0: none).

    Nothing but a day's own sequences follows from it: not when it was signed, nor which days are one account's.
    """
    bits = limits.AHEAD_STEP_BITS if last else limits.AHEAD_SEQUENCE_BITS
    return last + 1 + int.from_bytes(rng(4), "big") % (1 << bits)


def surviving(addrs: Sequence[str]) -> tuple[str, ...]:
    """Return those of our addresses at which we may be again: circuits at relays; without any, all of them."""
    return tuple(addr for addr in addrs if _CIRCUIT in addr) or tuple(addrs)


def order_of(own: PeerId, relay: PeerId) -> bytes:
    """Return a relay's place for one node: lasting, and another than for its slots (relay_choice.py).

    Where there are relays enough, those that know the device by its slot are not those that keep its records.
    """
    return hashlib.sha256(f"covey ahead order {own} {relay}".encode()).digest()


def content_hash(*parts: bytes) -> bytes:
    """Return what tells one content of our records from another, 16 bytes; parts have their lengths before them."""
    whole = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.sha256(b"covey ahead content" + whole).digest()[:16]
