"""Covey's DHT: values at the servers nearest to their keys, on libp2p's Kademlia wire format.

Owns: joining, put, get, and the upkeep of the routing table. Spec: docs/spec/dht.md; libp2p specs, kad-dht. It is our
own, not py-libp2p's: docs/adr/0015 says why. Never touches: what the values mean (validators do).
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog
import trio

from covey_core.errors import ProtocolViolation
from covey_core.host import kad_limits as limits
from covey_core.host.dht_metrics import DhtMetrics
from covey_core.host.dht_server import DhtServer
from covey_core.host.kad_addrs import dialable
from covey_core.host.kad_asking import Asking
from covey_core.host.kad_lookup import Lookup
from covey_core.host.kad_search import search
from covey_core.host.kad_store import PutOutcome, RecordStore, RecordValidator
from covey_core.host.kad_table import RoutingTable, position
from covey_core.host.kad_wire import KadMessage, KadPeer, Kind, rfc3339
from covey_core.network import peer_in
from covey_core.peers import PeerId, peer_id_bytes, short

if TYPE_CHECKING:
    from covey_core.host import Host

_log: Final = structlog.get_logger("covey.dht")

_Closer = Sequence[KadPeer]
_FROM_US = "self"


class Dht:
    """One DHT on one host. Made by `open_dht`."""

    def __init__(
        self,
        host: Host,
        protocol: str,
        table: RoutingTable,
        store: RecordStore,
        *,
        server: bool,
        wall_clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._table = table
        self._store = store
        self._server = server
        self._wall_clock = wall_clock
        self._asking = Asking(host, protocol, table)
        self._seeds: dict[PeerId, tuple[str, ...]] = {}

    @property
    def routing_peers(self) -> int:
        """How many servers the routing table holds."""
        return len(self._table)

    @property
    def records(self) -> int:
        """How many records we hold for others."""
        return len(self._store)

    def servers(self) -> tuple[KadPeer, ...]:
        """Return the servers that answered last time, with their addresses."""
        return self._table.known_good(position(peer_id_bytes(self._host.peer_id)), len(self._table))

    async def bootstrap(self, addrs: Iterable[str]) -> int:
        """Join at the servers at `addrs` (multiaddrs ending in /p2p/<PeerId>) and fill the routing table.

        The addresses come from whoever made the network or from our own memory, so the scope is not asked. Those that
        do not answer are tried again in the background. Returns how many servers the table holds; never raises for a
        peer that does not answer.
        """
        for addr in addrs:
            peer = peer_in(addr)
            if peer != self._host.peer_id and (peer in self._seeds or len(self._seeds) < limits.SEED_ADDRESSES):
                known = self._seeds.get(peer, ())
                self._seeds[peer] = tuple(dict.fromkeys((*known, addr)))[-limits.PEER_ADDRESSES :]
        await self._join()
        return len(self._table)

    async def put(self, key: str, value: bytes) -> int:
        """Put a value (up to 32 KiB) under `key` ("/namespace/rest", up to 50 bytes) at the 20 nearest servers.

        Returns how many hold it now, ourselves included when we are a server; 0 when none could be reached within
        15 s. Raises `ProtocolViolation` when the value does not pass the namespace's validator.
        """
        raw_key = key.encode()
        self._store.check(raw_key, value, now=self._wall_clock())
        message = KadMessage(Kind.PUT_VALUE, raw_key, value, rfc3339(self._wall_clock()))
        holders: list[PeerId] = []
        scope = trio.CancelScope()

        async def put_at(peer: KadPeer) -> None:
            answer = await self._asking.ask(peer, message)
            if answer is not None and answer.value == value:
                holders.append(peer.peer)
                scope.deadline = min(scope.deadline, trio.current_time() + limits.PUT_PATIENCE_SECONDS)

        with trio.move_on_after(limits.OPERATION_SECONDS):
            nearest = await self._nearest(raw_key, impatient=True)
            with scope:
                async with trio.open_nursery() as nursery:
                    for peer in nearest:
                        nursery.start_soon(put_at, peer)
        if self._server:
            now = self._wall_clock()
            outcome = self._store.put(raw_key, value, source=_FROM_US, share=limits.RELAY_RECORDS, now=now)
            return len(holders) + (outcome in {PutOutcome.STORED, PutOutcome.REFRESHED})
        return len(holders)

    async def get(self, key: str) -> tuple[bytes, ...]:
        """Return the distinct valid values that the servers nearest to `key` hold, the best one first.

        All of the 20 nearest are asked, or as many as it takes until 8 held a value; a copy of our own counts as one
        holder and never answers alone. Empty when none was found within 15 s.
        """
        raw_key = key.encode()
        values: list[bytes] = []

        async def get_at(peer: KadPeer) -> _Closer | None:
            answer = await self._asking.ask(peer, KadMessage(Kind.GET_VALUE, raw_key))
            if answer is None:
                return None
            if answer.value is not None and answer.key == raw_key:
                try:
                    self._store.check(raw_key, answer.value, now=self._wall_clock())
                    values.append(answer.value)
                except ProtocolViolation as exc:
                    _log.debug("dht.value.refused", peer=short(peer.peer), problem=str(exc))
            return answer.closer

        with trio.move_on_after(limits.OPERATION_SECONDS):
            await self._look_up(
                raw_key,
                get_at,
                enough=lambda: len(values) >= limits.QUORUM_HOLDERS,
                impatient=lambda: bool(values),
            )
        own = self._store.get(raw_key, now=self._wall_clock())
        distinct = tuple(dict.fromkeys((*values, own[0]) if own is not None else values))
        if len(distinct) < 2:  # noqa: PLR2004 - nothing to choose from
            return distinct
        best = distinct[self._store.check(raw_key, distinct[0], now=self._wall_clock()).select(distinct)]
        return (best, *(value for value in distinct if value != best))

    async def find_peer(self, peer: PeerId) -> tuple[str, ...]:
        """Return the addresses of a DHT server, empty when nobody near its id knows it."""
        target = peer_id_bytes(peer)
        found: list[str] = []

        async def find_at(asked: KadPeer) -> _Closer | None:
            answer = await self._asking.ask(asked, KadMessage(Kind.FIND_NODE, target))
            if answer is None:
                return None
            for named in (*answer.closer, asked):
                if named.peer == peer:
                    found.extend(dialable(named.addrs, self._host.network.scope))
            return answer.closer

        with trio.move_on_after(limits.OPERATION_SECONDS):
            await self._look_up(target, find_at, enough=lambda: bool(found))
        return tuple(dict.fromkeys(found))

    async def keep_up(self) -> None:
        """Every 5 s join again while the table is empty, ask failed servers whose pause is over, and refresh when due.

        A refresh, every 5 minutes, looks up our own id and a random one (libp2p specs, kad-dht, "Bootstrap process").
        """
        refreshed_at = trio.current_time()
        while True:
            await trio.sleep(limits.UPKEEP_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load
            if trio.current_time() - refreshed_at >= limits.REFRESH_SECONDS:
                refreshed_at = trio.current_time()
                await self._join()
                with trio.move_on_after(limits.OPERATION_SECONDS):
                    await self._nearest(secrets.token_bytes(32))
            elif not len(self._table):
                await self._join()
            async with trio.open_nursery() as nursery:
                for peer in self._table.due(now=trio.current_time())[: limits.CONCURRENT_REQUESTS]:
                    nursery.start_soon(self._asking.ask, peer, KadMessage(Kind.PING))

    async def _join(self) -> None:
        """Ask the seeds that are not in the table for the servers near us, then those."""
        own = peer_id_bytes(self._host.peer_id)
        message = KadMessage(Kind.FIND_NODE, own)
        async with trio.open_nursery() as nursery:
            dials = trio.Semaphore(limits.CONCURRENT_REQUESTS)

            async def ask(seed: KadPeer) -> None:
                async with dials:
                    await self._asking.ask(seed, message)

            for peer, addrs in self._seeds.items():
                if peer not in self._table:
                    nursery.start_soon(ask, KadPeer(peer, addrs))
        with trio.move_on_after(limits.OPERATION_SECONDS):
            await self._nearest(own)

    async def _nearest(self, key: bytes, *, impatient: bool = False) -> _Closer:
        """Return the servers nearest to a key; an impatient caller does not wait for slow ones and gets them too."""

        async def find_at(peer: KadPeer) -> _Closer | None:
            answer = await self._asking.ask(peer, KadMessage(Kind.FIND_NODE, key))
            return None if answer is None else answer.closer

        return (await self._look_up(key, find_at, impatient=lambda: impatient)).found(with_slow=True)

    async def _look_up(
        self,
        key: bytes,
        ask: Callable[[KadPeer], Awaitable[_Closer | None]],
        *,
        enough: Callable[[], bool] = lambda: False,
        impatient: Callable[[], bool] = lambda: False,
    ) -> Lookup:
        """Ask ever nearer servers until the nearest have answered, or `enough`.

        When the caller is `impatient` and only slow ones are left, wait for them 1 s more.
        """
        start = self._table.closest(position(key), limits.BUCKET_PEERS, now=trio.current_time())
        if not start:
            start = tuple(KadPeer(peer, addrs) for peer, addrs in self._seeds.items())
        lookup = Lookup(position(key), start, own=self._host.peer_id)
        for slow in await search(lookup, lambda peer: self._asked(peer, ask), enough=enough, impatient=impatient):
            self._table.failed(slow.peer, now=trio.current_time())
        return lookup

    async def _asked(self, peer: KadPeer, ask: Callable[[KadPeer], Awaitable[_Closer | None]]) -> _Closer | None:
        closer = await ask(peer)
        return None if closer is None else self._asking.worth_asking(closer)


@asynccontextmanager
async def open_dht(
    host: Host,
    *,
    server: bool,
    validators: Mapping[str, RecordValidator],
    metrics: DhtMetrics | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncIterator[Dht]:
    """Run a DHT on `host` until the block ends.

    `validators` maps a namespace ("c" for keys "/c/...") to its rules; values of other namespaces are refused. A
    `server` answers others and holds values; a client only asks. Several DHTs in one process, one a host, do not know
    of each other. `wall_clock` gives Unix seconds for the validators.
    """
    table = RoutingTable(host.peer_id)
    store = RecordStore(validators)
    protocol = f"{host.network.kad_prefix}/kad/1.0.0"
    dht = Dht(host, protocol, table, store, server=server, wall_clock=wall_clock)
    if metrics is not None:
        metrics.observe(routing_peers=lambda: len(table), records=lambda: len(store))
    serving: DhtServer | None = None
    async with trio.open_nursery() as nursery:
        if server:
            serving = DhtServer(host, protocol, table, store, nursery, metrics=metrics, wall_clock=wall_clock)
            host.handle(protocol, serving.serve)
        nursery.start_soon(dht.keep_up)
        try:
            yield dht
        finally:
            if serving is not None:
                host.unhandle(protocol)
                serving.stop()
            nursery.cancel_scope.cancel()
