"""Contact records in the DHT, through a host of its own under a throw-away PeerId.

Owns: that host: it never listens and is never the device's (DESIGN 6). Spec: docs/spec/contact-record.md.
Never touches: keys, contents of records, the database.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from covey_core.host import HostConfig, open_host
from covey_core.host.dht import Dht, open_dht
from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.records import ContactRecordValidator


@asynccontextmanager
async def open_record_exchange(network: Network, *, wall_clock: Callable[[], float] = time.time) -> AsyncIterator[Dht]:
    """Run a DHT client on a throw-away identity for the length of the block; `wall_clock` gives Unix seconds."""
    config = HostConfig(identity=Identity.generate(), network=network)
    async with (
        open_host(config) as host,
        open_dht(host, server=False, validators={"c": ContactRecordValidator()}, wall_clock=wall_clock) as dht,
    ):
        yield dht


def servers_of(network: Network) -> tuple[str, ...]:
    """Return the addresses of the network's DHT servers: its seeds and its relays."""
    return (*network.bootstraps, *(addr for relay in network.relays for addr in relay.addrs))
