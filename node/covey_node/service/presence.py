"""Which devices of contacts are connected, since when, and over what.

Owns: the times of connections, `last_seen` of contacts, the events of kind `path`.
Never touches: dialling, lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import trio

from covey_core.errors import FileDamaged
from covey_core.host import Connected, Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId, ed25519_key_in
from covey_node.net.alarm import Alarm
from covey_node.net.dialer import Dialer
from covey_node.protocol.paths import PathKind
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.port import PeerPathView
from covey_node.store import contacts, devices
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.presence")


class Presence:
    """Watches the host's connections on behalf of contacts."""

    def __init__(self, ledger: Ledger, own: Own, host: Host, dialer: Dialer) -> None:
        self._ledger = ledger
        self._own = own
        self._host = host
        self._dialer = dialer
        self._since: dict[PeerId, float] = {}
        self._shown: dict[PeerId, tuple[PathKind, str | None]] = {}
        self._moved: dict[PeerId, None] = {}
        self._more = Alarm()
        self.details: Callable[[PeerId], tuple[str | None, str | None]] = lambda _peer: (None, None)
        """What carries the path in use to a device, and the operator of its relay, by path_watch.py's word."""

    def since(self, peer: PeerId | None) -> float | None:
        """Return since when a device is connected (Unix seconds), None when it is not."""
        return self._since.get(peer) if peer is not None and self._host.connections(peer) else None

    def path_changed(self, peer: PeerId) -> None:
        """Another path is used to a device than before: those who watch are told soon."""
        self._moved[peer] = None
        self._more.ring()

    async def is_contact(self, peer: PeerId) -> bool:
        """Whether the device is one of a contact's; False also when the database fails."""
        found = await self._find(peer)
        return found is not None

    async def run(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show_moves)
            with self._host.subscribe() as events:
                async for event in events:
                    self._forget_who_left()
                    if self._host.connections(event.peer):
                        self._since.setdefault(event.peer, self._own.now())
                    await self._show(event.peer, seen=isinstance(event, Connected))
            nursery.cancel_scope.cancel()

    async def _show_moves(self) -> None:
        while True:
            await self._more.wait()
            for peer in list(self._moved):
                del self._moved[peer]
                await self._show(peer, seen=False)

    def _forget_who_left(self) -> None:
        """Forget since when those are here who are not: an event of theirs may have been lost."""
        here = {info.peer for info in self._host.connections()}
        for peer in self._since.keys() - here:
            del self._since[peer]

    async def _show(self, peer: PeerId, *, seen: bool) -> None:
        """Tell those who watch of a contact's path, unless it is what they were told last."""
        alias = await self._note(peer, seen=seen)
        path, address = self._dialer.path(peer)
        if alias is None or self._shown.get(peer, (PathKind.NONE, None)) == (path, address):
            return
        if path is PathKind.NONE:
            del self._shown[peer]
        else:
            self._shown[peer] = path, address
        transport, relay = self.details(peer)
        since = self.since(peer)
        view = PeerPathView(alias=alias, path=path, address=address, since=since, transport=transport, relay=relay)
        self._ledger.events.publish("path", asdict(view))

    async def _note(self, peer: PeerId, *, seen: bool) -> str | None:
        """Write down that a contact's device was seen; return the contact's name, None for strangers and relays."""
        found = await self._find(peer)
        if found is None:
            return None
        if seen:

            def note(tx: Tx, _effects: Effects) -> None:
                contacts.seen(tx, found[0], now=self._own.now())

            await self._ledger.note(note)
        return found[1]

    async def _find(self, peer: PeerId) -> tuple[int, str] | None:
        """Return row id and name of the contact whose device it is."""
        key = ed25519_key_in(peer)
        if key is None:
            return None

        def find(tx: Tx) -> tuple[int, str] | None:
            for device in devices.with_key(tx, key):
                row = contacts.get(tx, device.contact_id)
                if row is not None:
                    return row.id, row.alias
            return None

        try:
            return await self._ledger.read(find)
        except (StoreError, FileDamaged) as exc:
            log.warning("node.presence.left_out", problem=type(exc).__name__)
            return None
