"""Which devices of contacts are connected, since when, and over what.

Owns: the times of connections, `last_seen` of contacts, the events of kind `path`.
Never touches: dialling, lanes.
"""

from __future__ import annotations

from dataclasses import asdict

from covey_core.errors import FileDamaged
from covey_core.host import Connected, Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId, ed25519_key_in
from covey_node.net.dialer import Dialer
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

    def since(self, peer: PeerId | None) -> float | None:
        """Return since when a device is connected (Unix seconds), None when it is not."""
        return self._since.get(peer) if peer is not None and self._host.connections(peer) else None

    async def run(self) -> None:
        """Watch until cancelled."""
        with self._host.subscribe() as events:
            async for event in events:
                connected = bool(self._host.connections(event.peer))
                if connected and event.peer not in self._since:
                    self._since[event.peer] = self._own.now()
                elif not connected:
                    self._since.pop(event.peer, None)
                alias = await self._note(event.peer, seen=isinstance(event, Connected))
                if alias is not None:
                    path, address = self._dialer.path(event.peer)
                    view = PeerPathView(alias=alias, path=path, address=address, since=self.since(event.peer))
                    self._ledger.events.publish("path", asdict(view))

    async def _note(self, peer: PeerId, *, seen: bool) -> str | None:
        """Write down that a contact's device was seen; return the contact's name, None for strangers and relays."""
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
            found = await self._ledger.read(find)
        except (StoreError, FileDamaged) as exc:
            log.warning("node.presence.left_out", problem=type(exc).__name__)
            return None
        if found is None:
            return None
        if seen:

            def note(tx: Tx, _effects: Effects) -> None:
                contacts.seen(tx, found[0], now=self._own.now())

            await self._ledger.note(note)
        return found[1]
