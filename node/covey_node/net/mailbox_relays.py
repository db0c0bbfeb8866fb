"""Which relays there are for mailboxes, and where.

Owns: the relays of the network file, and those found at rendezvous points under a throw-away identity. Spec:
docs/spec/mailbox.md, "A client"; docs/spec/rendezvous.md. Never touches: which of them are chosen for a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from covey_core.errors import CoveyError
from covey_core.host import HostConfig, open_host
from covey_core.host.kad_addrs import dialable
from covey_core.host.rendezvous import discover, relay_namespace
from covey_core.identity import Identity
from covey_core.logs import get_logger
from covey_core.network import Network, peer_in
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.protocol.mailbox_call import At

log = get_logger("node.mailboxes")


class MailboxRelays:
    """The relays that are known. Those of the network file come first and have operators; the others have none."""

    def __init__(self, network: Network, known: Callable[[PeerId], tuple[str, ...]]) -> None:
        self._network = network
        self._known = known
        self._listed = {entry.peer: At(entry.peer, entry.addrs, entry.operator) for entry in network.relays}
        self._found: dict[PeerId, At] = {}
        self._absent_until: dict[PeerId, float] = {}

    def all(self) -> tuple[At, ...]:
        """Return those that are not known to serve no mailboxes."""
        now = trio.current_time()
        named = {**self._found, **self._listed}
        order = (*self._listed, *(peer for peer in self._found if peer not in self._listed))
        return tuple(named[peer] for peer in order if self._absent_until.get(peer, 0.0) <= now)

    def knows(self, relay: PeerId) -> bool:
        """Whether the network itself says where a relay is: its file, or the relay's own word at rendezvous."""
        return relay in self._listed or relay in self._found

    def addrs_of(self, at: At) -> tuple[str, ...]:
        """Return where to dial a relay; those that others told, as the network's scope allows, only where it says none.

        An address that a contact told may be a proxy of its own, which would see from where and when we write.
        """
        if not self.knows(at.relay):
            return dialable(dict.fromkeys((*at.addrs, *self._known(at.relay))), self._network.scope)
        listed, found = self._listed.get(at.relay), self._found.get(at.relay)
        first = sorted(listed.addrs, key=_is_udp) if listed else ()
        own = dialable(found.addrs, self._network.scope) if found else ()
        return tuple(dict.fromkeys((*first, *own)))

    def said(self, relay: PeerId, *, serves: bool) -> None:
        """Take note whether a relay spoke the protocol when it was asked."""
        if serves:
            self._absent_until.pop(relay, None)
        elif self.knows(relay):
            self._absent_until[relay] = trio.current_time() + limits.MAILBOX_ABSENT_SECONDS

    async def run(self) -> None:
        """Look at the rendezvous points from time to time, until cancelled."""
        while self._network.bootstraps:
            heard = await self._look()
            pause = limits.MAILBOX_RENDEZVOUS_SECONDS if heard else limits.MAILBOX_RENDEZVOUS_RETRY_SECONDS
            await trio.sleep(pause)
        await trio.sleep_forever()

    async def _look(self) -> bool:
        """Ask every point once; return whether one answered."""
        heard = False
        async with open_host(HostConfig(Identity.generate(), self._network)) as host:
            for point, addrs in _points(self._network.bootstraps).items():
                try:
                    await host.connect(point, addrs)
                    records = await discover(host, point, namespace=relay_namespace(self._network))
                except CoveyError as exc:
                    log.debug("node.rendezvous.failed", problem=str(exc))
                    continue
                heard = True
                self._take(At(record.peer, record.addrs) for record in records)
        return heard

    def _take(self, found: Iterable[At]) -> None:
        for at in found:
            self._found.pop(at.relay, None)
            self._found[at.relay] = at
        for relay in tuple(self._found)[: -limits.MAILBOX_FOUND]:
            del self._found[relay]
            if relay not in self._listed:
                self._absent_until.pop(relay, None)


def _points(addrs: Iterable[str]) -> dict[PeerId, tuple[str, ...]]:
    found: dict[PeerId, tuple[str, ...]] = {}
    for addr in addrs:
        peer = peer_in(addr)
        found[peer] = (*found.get(peer, ()), addr)
    return found


def _is_udp(addr: str) -> bool:
    return "/udp/" in addr
