"""Where we are: our addresses, direct and through relays, written down whenever they change.

Owns: the order in which addresses are told, and the word to the record that it is to be published anew.
Spec: docs/spec/paths.md, "What is announced".
Never touches: who is told (records.py, invites, acceptances).
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from covey_core.host import Host
from covey_node import limits
from covey_node.net.interfaces import expand
from covey_node.net.relays import RelayClient
from covey_node.protocol.addresses import host_of
from covey_node.service.composing import note_own_addrs
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.store.tx import Tx


class AddressBook:
    """Our own addresses, from all who know some. Each source is set once it exists."""

    def __init__(self, ledger: Ledger, host: Host) -> None:
        self._ledger = ledger
        self._host = host
        self._changed = trio.Event()
        self.relays: RelayClient | None = None
        self.public: Callable[[], tuple[str, ...]] = tuple
        """Addresses at which others have dialled us back."""
        self.mapped: Callable[[], tuple[str, ...]] = tuple
        """Addresses that a router forwards to us."""

    def changed(self) -> None:
        """A relay's slot came or went, an address was proven, mapped, or lost."""
        self._changed.set()

    async def run(self) -> None:
        """Write down changes until cancelled; without a word from anybody, look once a minute."""
        while True:
            with trio.move_on_after(limits.ADDRS_CHECK_SECONDS):
                await self._changed.wait()
            self._changed = trio.Event()
            await self.note()

    async def note(self) -> None:
        """Write down where we are now."""
        addrs = self.current()

        def write(tx: Tx, effects: Effects) -> None:
            effects.publish_record = note_own_addrs(tx, addrs)

        await self._ledger.note(write)

    def current(self) -> tuple[str, ...]:
        """Return where we are now: through relays, then what is proven, mapped, and listened on."""
        scope = self._host.network.scope
        listening = [
            addr for addr in expand(self._host.addrs) if (ip := host_of(addr)) is not None and scope.may_dial_nearby(ip)
        ]
        relayed = () if self.relays is None else self.relays.circuit_addrs()
        direct = (self._full(addr) for addr in (*self.public(), *self.mapped(), *listening))
        return tuple(dict.fromkeys((*relayed, *direct)))

    def _full(self, addr: str) -> str:
        return addr if "/p2p/" in addr else f"{addr}/p2p/{self._host.peer_id}"
