"""Contacts on the same local network: connected to directly, also where there is neither internet nor relay.

Owns: which neighbours are contacts' devices, and when they are dialled. Spec: docs/spec/mdns.md.
Never touches: multicast (net/lan.py), what is sent: a direct connection wakes what waits and is preferred by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from covey_core.errors import CoveyError, FileDamaged
from covey_core.host import Disconnected, Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.net.dialer import Dialer
from covey_node.net.lan import LanDiscovery
from covey_node.service.applying import TALKING
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.sealing import device_keys
from covey_node.store import contacts
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.nearby")


@dataclass(slots=True)
class _Tries:
    """How often dialling one neighbour failed in a row, and when it is tried next at the earliest (trio's time)."""

    failed: int = 0
    next_at: float = 0.0


class Nearby:
    """Connects to contacts' devices as they are heard on the local network.

    The `dialer` asks it for addresses; it wants to `hear_of_change` of this machine's interfaces.
    """

    def __init__(self, ledger: Ledger, host: Host, dialer: Dialer, hear_of_change: list[Callable[[], None]]) -> None:
        self._ledger = ledger
        self._host = host
        self._devices: frozenset[PeerId] = frozenset()
        self._devices_changed = trio.Event()
        self._tries: dict[PeerId, _Tries] = {}
        self._dialled: set[PeerId] = set()
        self._send, self._receive = trio.open_memory_channel[PeerId](limits.LAN_FOUND_MAX)
        self.lan = LanDiscovery(host, wanted=self._is_contact, found=self._found)
        dialer.near = self.lan.addrs_of
        hear_of_change.append(self.lan.network_changed)
        ledger.follow(self._hear_of_change)

    async def run(self) -> None:
        """Find and connect until cancelled."""
        self._dialled.clear()
        await self._load_devices()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_devices)
            nursery.start_soon(self.lan.run)
            nursery.start_soon(self._watch_connections)
            nursery.start_soon(self._try_again)
            for _ in range(limits.LAN_DIALS_MAX):
                nursery.start_soon(self._dial_waiting)

    def _is_contact(self, peer: PeerId) -> bool:
        return peer in self._devices

    def _found(self, peer: PeerId, fresh: bool) -> None:  # noqa: FBT001 - as LanDiscovery calls it
        """A contact's device was heard; an address that is new is tried at once."""
        if fresh:
            self._tries.pop(peer, None)
        self._try(peer)

    def _try(self, peer: PeerId) -> None:
        """Have a neighbour dialled, unless a direct connection stands or the last try was a short time ago.

        Once at a time: with ever new addresses anybody here could keep all dials to a contact waiting for each other.
        """
        tries, now = self._tries.setdefault(peer, _Tries()), trio.current_time()
        if self._stands(peer) or now < tries.next_at or peer in self._dialled or not self.lan.addrs_of(peer):
            return
        pause = limits.LAN_RETRY_SECONDS * 2 ** min(tries.failed, limits.LAN_RETRY_DOUBLINGS)
        tries.next_at = now + pause
        try:
            self._send.send_nowait(peer)
        except trio.WouldBlock:
            log.debug("node.nearby.left_out", waiting=limits.LAN_FOUND_MAX)
        else:
            self._dialled.add(peer)

    async def _dial_waiting(self) -> None:
        async for peer in self._receive.clone():
            try:
                await self._host.connect(peer, self.lan.addrs_of(peer), timeout_seconds=limits.LAN_DIAL_SECONDS)
            except CoveyError as exc:
                self._tries.setdefault(peer, _Tries()).failed += 1
                log.debug("node.nearby.not_reached", problem=str(exc))
            else:
                self._tries.pop(peer, None)
            finally:
                self._dialled.discard(peer)

    async def _watch_connections(self) -> None:
        """Connect anew to a neighbour whose connection ended: it may have got another address."""
        with self._host.subscribe() as events:
            async for event in events:
                if isinstance(event, Disconnected) and event.peer in self._devices:
                    self._try(event.peer)

    async def _try_again(self) -> None:
        while True:
            await trio.sleep(limits.LAN_RETRY_SECONDS)
            for peer in self.lan.peers():
                self._try(peer)

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
        self._tries = {peer: tries for peer, tries in self._tries.items() if peer in self._devices}


def _devices(tx: Tx) -> frozenset[PeerId]:
    return frozenset(peer_id_of(key) for row in contacts.all_in(tx, TALKING) for key in device_keys(tx, row))
