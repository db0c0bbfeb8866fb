"""Which other relays this one forwards to, and where they are.

Owns: the list, from the network file and from the seeds' rendezvous points. Spec: docs/spec/mailbox.md, "Forwarding";
docs/spec/rendezvous.md. Never touches: what is forwarded, files.
"""

from collections.abc import Iterable
from typing import Final

import structlog
import trio

from covey_core.errors import CoveyError
from covey_core.host import Host
from covey_core.host.rendezvous import discover, relay_namespace
from covey_core.network import Network
from covey_core.peers import PeerId, short
from covey_relay import limits
from covey_relay.net.presence import by_peer

_log: Final = structlog.get_logger("covey.relay")


class KnownRelays:
    """The relays that one relay knows. Those in the network file are known for as long as it runs."""

    def __init__(self, network: Network, *, own: PeerId) -> None:
        self._network = network
        self._own = own
        self._listed: Final = {entry.peer: entry.addrs for entry in network.relays if entry.peer != own}
        self._found: dict[PeerId, tuple[str, ...]] = {}

    def is_listed(self, peer: PeerId) -> bool:
        """Whether the network file names this relay: somebody vouched for it."""
        return peer in self._listed

    def addrs_of(self, peer: PeerId) -> tuple[str, ...]:
        """Return where a relay is; nothing when it is not known. What it registered itself comes first."""
        return self._found.get(peer, ()) + self._listed.get(peer, ())

    async def keep_up(self, host: Host) -> None:
        """Ask the seeds again and again which relays there are; runs until cancelled."""
        while True:
            found: dict[PeerId, tuple[str, ...]] = {}
            for seed, addrs in by_peer(self._network.bootstraps).items():
                found |= await self._registered_at(host, seed, addrs)
            if found:  # seeds that do not answer take nothing away
                self._found = dict(list(found.items())[: limits.KNOWN_RELAYS])
            await trio.sleep(limits.KNOWN_RELAYS_SECONDS if found else limits.REGISTER_RETRY_MAX_SECONDS)

    async def _registered_at(self, host: Host, seed: PeerId, addrs: Iterable[str]) -> dict[PeerId, tuple[str, ...]]:
        try:
            await host.connect(seed, tuple(addrs))
            records = await discover(host, seed, namespace=relay_namespace(self._network))
        except CoveyError as exc:
            _log.debug("relay.discovery.failed", seed=short(seed), problem=str(exc))
            return {}
        return {one.peer: one.addrs for one in records if one.peer != self._own and one.addrs}
