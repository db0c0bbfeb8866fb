"""Coming by: contacts hear from us that we are there, so that what they hold for us comes at once.

Owns: when we connect to contacts without having anything to say. Spec: docs/spec/delivery.md, "Being seen".
Never touches: what is sent; a connection alone wakes the other side's outbox.
"""

from __future__ import annotations

import random
from collections.abc import Collection

import trio

from covey_core.errors import CoveyError, FileDamaged
from covey_core.host import Disconnected, Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId, ed25519_key_in, peer_id_of
from covey_node import limits
from covey_node.net.relays import RelayClient
from covey_node.protocol.status import ContactState
from covey_node.service.ledger import Ledger
from covey_node.service.reach import ContactReach
from covey_node.service.sealing import device_keys
from covey_node.store import contacts, devices
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.calling")

_EVERYBODY = (ContactState.ACCEPTED, ContactState.REQUESTED)
_UNANSWERED = (ContactState.REQUESTED,)


class Calling:
    """Connects to contacts when we come, when we lose them, and to those who have not answered now and then."""

    def __init__(self, ledger: Ledger, reach: ContactReach, relays: RelayClient, host: Host) -> None:
        self._ledger = ledger
        self._reach = reach
        self._relays = relays
        self._host = host
        self._lost: set[PeerId] = set()  # whose last connection ended a moment ago

    async def run(self) -> None:
        """Come by until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._call_when_reachable)
            nursery.start_soon(self._call_unanswered)
            nursery.start_soon(self._watch_losses, nursery)

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

    async def _watch_losses(self, nursery: trio.Nursery) -> None:
        """Call back whose last connection ended: it may have been cut, and nobody would look for another one."""
        with self._host.subscribe() as events:
            async for event in events:
                if not isinstance(event, Disconnected) or event.left or event.peer in self._lost:
                    continue
                if len(self._lost) < limits.CALLS_MAX:
                    self._lost.add(event.peer)
                    nursery.start_soon(self._call_back, event.peer)

    async def _call_back(self, peer: PeerId) -> None:
        """Call once, after a while drawn at random: the other side does the same."""
        try:
            await trio.sleep(limits.CALL_BACK_SECONDS * random.uniform(1, 2))  # noqa: S311 - spreads load, no secret
            key = ed25519_key_in(peer)
            if key is None or self._host.connections(peer):
                return
            try:
                contact_id = await self._ledger.read(lambda tx: _contact_of(tx, key))
            except (StoreError, FileDamaged) as exc:
                log.warning("node.calling.left_out", problem=type(exc).__name__)
                return
            if contact_id is not None:
                await self._call(contact_id, key)
                await trio.sleep(limits.CALL_BACK_PAUSE_SECONDS)
        finally:
            self._lost.discard(peer)

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


def _contact_of(tx: Tx, key: bytes) -> int | None:
    """Return the accepted contact whose device has this key."""
    rows = (contacts.get(tx, device.contact_id) for device in devices.with_key(tx, key))
    return next((row.id for row in rows if row is not None and row.state is ContactState.ACCEPTED), None)
