"""How many packets are on their way to mailboxes at a time, so that no contact's silent mailboxes hold up the others'.

Owns: the shares. Spec: docs/spec/delivery.md, "Mailboxes". Never touches: which packet is next
(protocol/replication.py), calls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import trio

from covey_node import limits


class DepositRoom:
    """Room for all; within it each contact has a share, and within that each mailbox of a device."""

    def __init__(self) -> None:
        self._all = trio.CapacityLimiter(limits.DEPOSITS_UNDER_WAY_IN_ALL)
        self._contacts: WeakValueDictionary[int, trio.CapacityLimiter] = WeakValueDictionary()

    def of(self, contact_id: int, *, mailboxes: int) -> Share:
        """Return the share of one mailbox of a device that has so many."""
        contact = self._contacts.get(contact_id)
        if contact is None:
            contact = self._contacts[contact_id] = trio.CapacityLimiter(limits.DEPOSITS_UNDER_WAY_A_CONTACT)
        each = max(1, limits.DEPOSITS_UNDER_WAY_A_CONTACT // mailboxes)
        return Share(trio.CapacityLimiter(each), contact, self._all)


class Share:
    """What one mailbox may have under way. The narrowest is waited for first: who waits there takes nobody's room."""

    def __init__(self, mailbox: trio.CapacityLimiter, contact: trio.CapacityLimiter, everybody: trio.CapacityLimiter):
        self._mailbox = mailbox
        self._contact = contact
        self._all = everybody

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold room for one packet for the length of the block, once there is some."""
        async with self._mailbox, self._contact, self._all:
            yield
