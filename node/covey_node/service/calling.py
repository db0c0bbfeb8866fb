"""Coming by: those who have our request and no way to us hear from us that we are there.

Owns: when we connect to contacts that have not answered yet. Spec: docs/spec/invite.md.
Never touches: what is sent; a connection alone wakes the other side's outbox.
"""

from __future__ import annotations

import trio

from covey_core.errors import CoveyError
from covey_core.peers import peer_id_of
from covey_node import limits
from covey_node.protocol.status import ContactState
from covey_node.service.ledger import Ledger
from covey_node.service.reach import ContactReach
from covey_node.service.sealing import device_keys
from covey_node.store import contacts
from covey_node.store.tx import Tx


class Calling:
    """Connects to unanswered contacts at the start and then every quarter of an hour."""

    def __init__(self, ledger: Ledger, reach: ContactReach) -> None:
        self._ledger = ledger
        self._reach = reach

    async def run(self) -> None:
        """Come by until cancelled."""
        while True:
            async with trio.open_nursery() as nursery:
                for contact_id, key in await self._ledger.read(_unanswered):
                    nursery.start_soon(self._call, contact_id, key)
            await trio.sleep(limits.CALL_SECONDS)

    async def _call(self, contact_id: int, key: bytes) -> None:
        try:
            with trio.move_on_after(limits.OPEN_CHAT_SECONDS):
                await self._reach.connect(contact_id, peer_id_of(key))
        except CoveyError:
            return  # not there: next time


def _unanswered(tx: Tx) -> tuple[tuple[int, bytes], ...]:
    rows = contacts.all_in(tx, {ContactState.REQUESTED})[: limits.CALLS_MAX]
    return tuple((row.id, key) for row in rows for key in device_keys(tx, row))
