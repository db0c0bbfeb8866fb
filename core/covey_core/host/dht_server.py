"""Answers the DHT requests of others.

Owns: the serving end of DHT streams, their limits, and how a stranger becomes a routing entry. Spec: libp2p specs,
kad-dht; docs/spec/dht.md. Never touches: lookups of our own.

A peer enters the routing table only after it said (identify) that it serves this DHT, at an address that the network's
scope lets us dial, and answered a PING of ours. Clients are never told to anybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
import trio

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost
from covey_core.host import kad_limits as limits
from covey_core.host.addresses import ip_group, ip_of, parse
from covey_core.host.dht_metrics import DhtMetrics, RequestOutcome
from covey_core.host.kad_addrs import dialable
from covey_core.host.kad_client import request
from covey_core.host.kad_identify import identify
from covey_core.host.kad_slots import RequestRates, StreamSlots
from covey_core.host.kad_store import PutOutcome, RecordStore
from covey_core.host.kad_table import RoutingTable, position
from covey_core.host.kad_wire import KadMessage, KadPeer, Kind, decode_message, encode_message, rfc3339
from covey_core.peers import PeerId, peer_id_bytes, short

if TYPE_CHECKING:
    from covey_core.host import Host, Stream

_log: Final = structlog.get_logger("covey.dht")


class _Refused(Exception):
    """The request is not served: the specification has no refusal but the stream's reset."""


class DhtServer:
    """The server of one DHT on one host. `nursery` runs the questions to strangers and ends with the DHT."""

    def __init__(
        self,
        host: Host,
        protocol: str,
        table: RoutingTable,
        store: RecordStore,
        nursery: trio.Nursery,
        *,
        metrics: DhtMetrics | None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._protocol = protocol
        self._table = table
        self._store = store
        self._nursery = nursery
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._slots = StreamSlots()
        self._rates = RequestRates()
        self._asked: dict[PeerId, float] = {}
        self._asking = 0
        self._stopped = False
        self._relays = frozenset(relay.peer for relay in host.network.relays)

    def stop(self) -> None:
        """Answer nobody any more: what comes from now on is reset."""
        self._stopped = True

    async def serve(self, stream: Stream) -> None:
        """Answer the requests on one stream until it ends, is idle for 10 s, or breaks a rule (then it is reset)."""
        with trio.CancelScope() as pushed_out:
            slot = None if self._stopped else self._slots.open(stream.peer, pushed_out.cancel)
            if slot is None:
                self._count(None, RequestOutcome.LIMITED)
                await stream.reset()
                return
            try:
                while await self._serve_one(stream, slot):
                    self._slots.idle(slot, pushed_out.cancel)
            except StreamLost:
                return
            except ProtocolViolation as exc:
                self._count(None, RequestOutcome.VIOLATION)
                _log.debug("dht.request.refused", peer=short(stream.peer), problem=str(exc))
            except (_Refused, trio.TooSlowError):
                _log.debug("dht.stream.ended", peer=short(stream.peer))
            else:
                await stream.close()
                return
            finally:
                self._slots.close(slot)
        await stream.reset()

    async def _serve_one(self, stream: Stream, slot: int) -> bool:
        """Serve the next request; return False when the stream has ended instead."""
        with trio.fail_after(limits.STREAM_IDLE_SECONDS):
            payload = await stream.read_frame(limit=limits.MESSAGE_BYTES)
        if payload is None:
            return False
        self._slots.busy(slot)
        message = decode_message(payload)
        if self._stopped or not self._rates.allow(stream.peer, now=trio.current_time()):
            self._count(message.kind, RequestOutcome.LIMITED)
            raise _Refused
        self._meet(stream)
        answer, outcome = self._answer(message, stream)
        self._count(message.kind, outcome)
        if answer is not None:
            with trio.fail_after(limits.REQUEST_SECONDS):
                await stream.write_frame(encode_message(answer), limit=limits.MESSAGE_BYTES)
        elif message.kind is not Kind.ADD_PROVIDER:
            raise _Refused
        return True

    def _answer(self, message: KadMessage, stream: Stream) -> tuple[KadMessage | None, RequestOutcome | PutOutcome]:
        match message.kind:
            case Kind.PING:
                return KadMessage(Kind.PING), RequestOutcome.ANSWERED
            case Kind.ADD_PROVIDER:  # contact records are all this DHT is for; the specification knows no refusal
                return None, RequestOutcome.ANSWERED
            case Kind.PUT_VALUE:
                return self._put(message, stream)
            case Kind.GET_VALUE:
                held = self._store.get(message.key, now=self._wall_clock())
                value, received = (held[0], rfc3339(held[1])) if held is not None else (None, "")
                closer = self._closer(message.key, stream.peer)
                return KadMessage(message.kind, message.key, value, received, closer), RequestOutcome.ANSWERED
            case Kind.FIND_NODE | Kind.GET_PROVIDERS:
                closer = self._closer(message.key, stream.peer, include=message.kind is Kind.FIND_NODE)
                return KadMessage(message.kind, message.key, closer=closer), RequestOutcome.ANSWERED

    def _put(self, message: KadMessage, stream: Stream) -> tuple[KadMessage | None, PutOutcome]:
        if message.value is None:
            raise ProtocolViolation("a PUT_VALUE without a record")
        if stream.peer in self._relays:  # it publishes for others (docs/spec/ahead.md)
            source, share = f"relay {stream.peer}", limits.RELAY_RECORDS
        else:
            source, share = source_of(stream), limits.SOURCE_RECORDS
        now = self._wall_clock()
        outcome = self._store.put(message.key, message.value, source=source, share=share, now=now)
        if outcome in {PutOutcome.STORED, PutOutcome.REFRESHED}:
            return KadMessage(Kind.PUT_VALUE, message.key, message.value, message.received), outcome
        return None, outcome

    def _closer(self, key: bytes, asker: PeerId, *, include: bool = False) -> tuple[KadPeer, ...]:
        """Return the k nearest good servers; with `include` the server whose PeerId `key` is comes first, or we."""
        if not key:
            raise ProtocolViolation("a DHT request without a key")
        scope = self._host.network.scope
        found = {p.peer: p for p in self._table.known_good(position(key), limits.BUCKET_PEERS + 1) if p.peer != asker}
        if include and key == peer_id_bytes(self._host.peer_id):
            found = {self._host.peer_id: KadPeer(self._host.peer_id, self._host.addrs)} | found
        told = (KadPeer(p.peer, dialable(p.addrs, scope)) for p in found.values())
        return tuple(p for p in told if p.addrs)[: limits.BUCKET_PEERS]

    def _meet(self, stream: Stream) -> None:
        """Find out in the background whether the peer of a direct stream is a server, unless we know or just did."""
        peer, now = stream.peer, trio.current_time()
        if peer in self._table:
            self._table.answered(peer, (), now=now)
            return
        if stream.relayed or self._asking >= limits.INTRODUCTIONS:
            return
        if now - self._asked.get(peer, -limits.INTRODUCED_SECONDS) < limits.INTRODUCED_SECONDS:
            return
        self._asked.pop(peer, None)
        if len(self._asked) >= limits.INTRODUCED_PEERS:
            del self._asked[next(iter(self._asked))]
        self._asked[peer] = now
        self._asking += 1
        self._nursery.start_soon(self._introduce, peer)

    async def _introduce(self, peer: PeerId) -> None:
        try:
            said = await identify(self._host, peer)
            addrs = dialable(said.addrs, self._host.network.scope)
            if self._protocol in said.protocols and addrs:
                await request(self._host, self._protocol, KadPeer(peer, addrs), KadMessage(Kind.PING))
                self._table.answered(peer, addrs, now=trio.current_time())
        except CoveyError as exc:
            self._asked.pop(peer, None)
            _log.debug("dht.peer.not_met", peer=short(peer), problem=str(exc))
        finally:
            self._asking -= 1

    def _count(self, kind: Kind | None, outcome: RequestOutcome | PutOutcome) -> None:
        if self._metrics is not None:
            self._metrics.requested(kind, outcome)


def source_of(stream: Stream) -> str:
    """Return who is charged for what comes over a stream: the address group, over a circuit the peer itself."""
    ip = None if stream.relayed else ip_of(parse(stream.remote_addr))
    return ip_group(ip) if ip is not None else stream.peer
