"""Contacts on the same local network: connected to directly, also where there is neither internet nor relay.

Owns: which neighbours are contacts' devices, and when they are dialled. Spec: docs/spec/mdns.md.
Never touches: multicast (net/lan.py), what is sent: a direct connection wakes what waits and is preferred by itself.
"""

from __future__ import annotations

import trio

from covey_core.errors import CoveyError, FileDamaged
from covey_core.host import Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.net.lan import LanDiscovery
from covey_node.service.applying import TALKING
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.sealing import device_keys
from covey_node.store import contacts
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.nearby")


class Nearby:
    """Connects to contacts' devices as they are heard on the local network."""

    def __init__(self, ledger: Ledger, host: Host) -> None:
        self._ledger = ledger
        self._host = host
        self._devices: frozenset[PeerId] = frozenset()
        self._devices_changed = trio.Event()
        self._tried_at: dict[PeerId, float] = {}
        self._send, self._receive = trio.open_memory_channel[PeerId](limits.LAN_FOUND_MAX)
        self.lan = LanDiscovery(host, wanted=self._is_contact, found=self._found)
        ledger.follow(self._hear_of_change)

    async def run(self) -> None:
        """Find and connect until cancelled."""
        await self._load_devices()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_devices)
            nursery.start_soon(self.lan.run)
            for _ in range(limits.LAN_DIALS_MAX):
                nursery.start_soon(self._dial_found)

    def _is_contact(self, peer: PeerId) -> bool:
        return peer in self._devices

    def _found(self, peer: PeerId, fresh: bool) -> None:  # noqa: FBT001 - as LanDiscovery calls it
        """A contact's device was heard: it is dialled unless a direct connection stands or was tried just now."""
        now = trio.current_time()
        if self._stands(peer) or (not fresh and now < self._tried_at.get(peer, -limits.LAN_RETRY_SECONDS)):
            return
        self._tried_at[peer] = now + limits.LAN_RETRY_SECONDS
        try:
            self._send.send_nowait(peer)
        except trio.WouldBlock:
            log.debug("node.nearby.left_out", waiting=limits.LAN_FOUND_MAX)

    async def _dial_found(self) -> None:
        async for peer in self._receive.clone():
            try:
                await self._host.connect(peer, self.lan.addrs_of(peer), timeout_seconds=limits.LAN_DIAL_SECONDS)
            except CoveyError as exc:
                log.debug("node.nearby.not_reached", problem=str(exc))

    def _stands(self, peer: PeerId) -> bool:
        return any(item.admitted and not item.relayed for item in self._host.connections(peer))

    def _hear_of_change(self, effects: Effects) -> None:
        if effects.contacts:
            self._devices_changed.set()

    async def _keep_devices(self) -> None:
        while True:
            await self._devices_changed.wait()
            self._devices_changed = trio.Event()
            await self._load_devices()

    async def _load_devices(self) -> None:
        try:
            self._devices = await self._ledger.read(_devices)
        except (StoreError, FileDamaged) as exc:
            log.warning("node.nearby.left_out", problem=type(exc).__name__)
        self._tried_at = {peer: at for peer, at in self._tried_at.items() if peer in self._devices}


def _devices(tx: Tx) -> frozenset[PeerId]:
    return frozenset(peer_id_of(key) for row in contacts.all_in(tx, TALKING) for key in device_keys(tx, row))
