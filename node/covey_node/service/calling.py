"""Coming by: contacts hear from us that we are there, so that what they hold for us comes at once.

Owns: when we connect to contacts without having anything to say. Spec: docs/spec/delivery.md, "Being seen".
Never touches: what is sent; a connection alone wakes the other side's outbox.
"""

from __future__ import annotations

from collections.abc import Collection

import trio

from covey_core.errors import CoveyError, FileDamaged
from covey_core.logs import get_logger
from covey_core.peers import peer_id_of
from covey_node import limits
from covey_node.net.relays import RelayClient
from covey_node.protocol.status import ContactState
from covey_node.service.ledger import Ledger
from covey_node.service.reach import ContactReach
from covey_node.service.sealing import device_keys
from covey_node.store import contacts
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.calling")

_EVERYBODY = (ContactState.ACCEPTED, ContactState.REQUESTED)
_UNANSWERED = (ContactState.REQUESTED,)


class Calling:
    """Connects to contacts when we come, and to those who have not answered every quarter of an hour."""

    def __init__(self, ledger: Ledger, reach: ContactReach, relays: RelayClient) -> None:
        self._ledger = ledger
        self._reach = reach
        self._relays = relays

    async def run(self) -> None:
        """Come by until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._call_when_reachable)
            nursery.start_soon(self._call_unanswered)

    async def _call_when_reachable(self) -> None:
        """Call at the start, and each time that a first relay keeps a slot for us: then we can be called back."""
        await self._call_all(_EVERYBODY)
        while True:
            while self._relays.held():
                await self._relays.wait_change()
            while not self._relays.held():
                await self._relays.wait_change()
            await self._call_all(_EVERYBODY)

    async def _call_unanswered(self) -> None:
        while True:
            await trio.sleep(limits.CALL_SECONDS)
            await self._call_all(_UNANSWERED)

    async def _call_all(self, states: Collection[ContactState]) -> None:
        try:
            called = await self._ledger.read(lambda tx: _lately_seen(tx, states))
        except (StoreError, FileDamaged) as exc:
            log.warning("node.calling.left_out", problem=type(exc).__name__)
            return
        async with trio.open_nursery() as nursery:
            for contact_id, key in called:
                nursery.start_soon(self._call, contact_id, key)

    async def _call(self, contact_id: int, key: bytes) -> None:
        try:
            with trio.move_on_after(limits.OPEN_CHAT_SECONDS):
                await self._reach.connect(contact_id, peer_id_of(key))
        except CoveyError:
            return  # not there: it will call when it comes


def _lately_seen(tx: Tx, states: Collection[ContactState]) -> tuple[tuple[int, bytes], ...]:
    """Return contacts' devices, those seen last first, `limits.CALLS_MAX` at most."""
    rows = sorted(contacts.all_in(tx, states), key=lambda row: row.last_seen or 0.0, reverse=True)
    return tuple((row.id, key) for row in rows for key in device_keys(tx, row))[: limits.CALLS_MAX]
