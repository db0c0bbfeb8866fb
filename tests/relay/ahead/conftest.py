"""A relay with a DHT that takes records signed ahead, on loopback and under a clock of the test's."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from prometheus_client import CollectorRegistry

from covey_core.host import Host
from covey_core.host.dht import Dht, open_dht
from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.records import ContactRecordValidator
from covey_core.wire.ahead import AheadAnswer, AheadRequest, begin_of, decode_answer, encode_request
from covey_relay.limits import AheadLimits
from covey_relay.metrics import RelayMetrics
from covey_relay.net.ahead import Ahead, serve_ahead
from tests.relay.conftest import TCP, host_on

TODAY = 20_780
VALIDATORS = {"c": ContactRecordValidator()}


@dataclass
class Clock:
    """Unix seconds, as the test says."""

    now: float = begin_of(TODAY) + 50_000.0

    def __call__(self) -> float:
        return self.now

    def goes_to(self, day: int, second: int = 3_600) -> None:
        self.now = float(begin_of(day) + second)


@dataclass
class Place:
    """A relay where records lie."""

    host: Host
    dht: Dht
    ahead: Ahead
    clock: Clock
    registry: CollectorRegistry = field(repr=False)

    async def ask(self, request: AheadRequest | bytes, *, client: Host | None = None) -> AheadAnswer:
        """Ask as somebody new, or as `client`; `StreamLost` when the stream is reset."""
        if client is None:
            async with host_on(self.host.network) as fresh:
                return await self.ask(request, client=fresh)
        await client.connect(self.host.peer_id, self.host.addrs)
        stream = await client.open_stream(self.host.peer_id, self.host.network.protocol("ahead"))
        payload = request if isinstance(request, bytes) else encode_request(request)
        await stream.write_frame(payload, limit=1 << 20)
        await stream.close_write()
        frame = await stream.read_frame(limit=1 << 10)
        assert frame is not None, "the relay closed without an answer"
        return decode_answer(frame)

    def counted(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, f"no metric {name}{labels}"
        return value


@asynccontextmanager
async def relay_at(
    network: Network, path: Path, clock: Clock, *, bounds: AheadLimits | None = None, identity: Identity | None = None
) -> AsyncIterator[Place]:
    """A relay that is a DHT server and takes records signed ahead."""
    registry = CollectorRegistry()
    with trio.fail_after(30):
        async with (
            host_on(network, TCP, identity=identity) as host,
            open_dht(host, server=True, validators=VALIDATORS, wall_clock=clock) as dht,
            serve_ahead(
                host, dht, path, metrics=RelayMetrics(registry), bounds=bounds, wall_clock=clock,
                rng=random.Random(7),
            ) as ahead,
        ):  # fmt: skip
            yield Place(host, dht, ahead, clock, registry)


@asynccontextmanager
async def holder(place: Place) -> AsyncIterator[Dht]:
    """Another DHT server, which the relay knows."""
    async with (
        host_on(place.host.network, TCP) as host,
        open_dht(host, server=True, validators=VALIDATORS, wall_clock=place.clock) as dht,
    ):
        await dht.bootstrap(place.host.addrs)
        await place.dht.bootstrap(host.addrs)
        yield dht
