"""Our slots at relays: where we are reached although nobody can dial us.

Owns: who holds a slot for us until when, one task a relay that is asked. Spec: docs/spec/circuit.md (client side).
Never touches: the database, contacts. The choice is protocol/relay_choice.py, the timetable protocol/reservation.py.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from covey_core.errors import CoveyError, ProtocolViolation, Unreachable
from covey_core.host import ConnectionInfo, Disconnected, Host
from covey_core.host.contained import kind_of
from covey_core.logs import get_logger
from covey_core.network import RelayEntry
from covey_core.peers import PeerId
from covey_core.wire.circuit import CircuitLimit, open_voucher
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.net.circuits import Circuits
from covey_node.net.lasting import failed
from covey_node.net.relay_watch import RelayWatch
from covey_node.protocol.addresses import Direct, circuit, parse
from covey_node.protocol.relay_choice import Candidate, choose, networks_of, order_of
from covey_node.protocol.reservation import ReservationTimetable

log = get_logger("node.relays")


@dataclass(slots=True)
class Relay:
    """One relay: who runs it, where it is, and our slot there. A spare one is a contact's node, not the network's."""

    operator: str
    peer: PeerId
    addrs: tuple[str, ...]
    spare: bool = False
    timetable: ReservationTimetable = field(default_factory=ReservationTimetable)
    lost: Alarm = field(default_factory=Alarm)
    doubted_until: float = 0.0  # on trio's clock
    task: trio.CancelScope | None = None
    watch: RelayWatch | None = None


class RelayClient:
    """Keeps slots at the network's relays and carries circuits into the host."""

    def __init__(
        self,
        host: Host,
        relays: tuple[RelayEntry, ...],
        on_change: Callable[[], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._on_change = on_change
        self._clock = clock
        self._any_change = trio.Event()
        self._choose_again = Alarm()
        self.relays = {relay.peer: relay for relay in map(_relay, relays)}
        self._places = {peer: self._place(relay) for peer, relay in self.relays.items()}
        self._circuits = Circuits(host, lambda peer: peer in self.relays and self._holds(self.relays[peer]))

    def held(self) -> tuple[Relay, ...]:
        """Return the relays that keep a slot for us now."""
        return tuple(relay for relay in self.relays.values() if self._holds(relay))

    async def wait_change(self) -> None:
        """Wait until a slot was granted, refused or lost."""
        await self._any_change.wait()

    def circuit_addrs(self) -> tuple[str, ...]:
        """Return our addresses through the relays that keep a slot for us, a few for each."""
        return tuple(
            circuit(addr, self._host.peer_id)
            for relay in self.held()
            for addr in relay.addrs[: limits.CIRCUIT_ADDRS_PER_RELAY]
        )

    def limit_of(self, info: ConnectionInfo) -> CircuitLimit | None:
        """Return what its relay allows a circuit, as it said when the last one to that device began."""
        return self._circuits.limit_of(info)

    async def dial(self, relay_peer: PeerId, relay_addrs: tuple[str, ...], peer: PeerId) -> None:
        """Open a circuit to `peer` through a relay and make it a connection; Unreachable says why not."""
        await self._circuits.dial(relay_peer, relay_addrs, peer)

    def add_spare(self, peer: PeerId, addrs: tuple[str, ...]) -> None:
        """Take a contact's node, reached at `addrs`, for one more relay: asked when those of the network do not do."""
        if peer not in self.relays:
            relay = self.relays[peer] = Relay("a contact", peer, addrs, spare=True)
            self._places[peer] = self._place(relay)
            self._choose_again.ring()

    def drop_spare(self, peer: PeerId) -> None:
        """Forget a spare relay and the slot there."""
        relay = self.relays.get(peer)
        if relay is None or not relay.spare:
            return
        if relay.task is not None:
            relay.task.cancel()
        del self.relays[peer]
        self._changed()

    def silent_over_quic(self) -> frozenset[PeerId]:
        """Return the relays that answer over TCP, and not over QUIC although they listen on it."""
        return frozenset(it.peer for it in self.relays.values() if it.watch is not None and it.watch.udp_is_silent)

    def doubt(self, peer: PeerId) -> None:
        """A circuit through this relay died without a word: it may be the relay that is dead."""
        relay = self.relays.get(peer)
        if relay is not None:
            relay.doubted_until = trio.current_time() + limits.RELAY_DOUBT_SECONDS
            if relay.watch is not None:
                relay.watch.doubt()

    def is_doubted(self, peer: PeerId) -> bool:
        """Whether a circuit through this relay died lately: others are asked before it."""
        relay = self.relays.get(peer)
        return relay is not None and trio.current_time() < relay.doubted_until

    def network_changed(self) -> None:
        """Our addresses changed: no pause counts any more, every relay is asked whether it still hears us."""
        for relay in self.relays.values():
            relay.timetable.start_afresh()
            if relay.watch is not None:
                relay.watch.network_changed()
        self._choose_again.ring()

    async def run(self) -> None:
        """Keep the slots until cancelled."""
        for peer in self.relays:
            self._host.keep_both(peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_connections)
            while True:
                self._ask_chosen(nursery)
                ready = [relay.timetable.wait_until for relay in self.relays.values() if relay.task is None]
                pause = max(0.0, min((at for at in ready if at > self._clock()), default=math.inf) - self._clock())
                await self._choose_again.wait(trio.current_time() + pause)

    def _ask_chosen(self, nursery: trio.Nursery) -> None:
        """Ask the relays that are chosen; give up those that are not, once enough others keep a slot."""
        now = self._clock()
        keeping = {relay.peer for relay in self.relays.values() if relay.task is not None}
        chosen = choose(
            [self._candidate(relay) for relay in self.relays.values()],
            wanted=limits.RESERVATIONS_WANTED,
            keeping=keeping,
            now=now,
        )
        for peer in chosen:
            relay = self.relays[peer]
            if relay.task is None:
                relay.task = trio.CancelScope()
                nursery.start_soon(self._stay_with, relay, relay.task)
        if all(self.relays[peer].timetable.is_settled(now=now) for peer in chosen):
            for peer in keeping.difference(chosen):
                task = self.relays[peer].task
                if task is not None:
                    task.cancel()

    def _candidate(self, relay: Relay) -> Candidate:
        networks, order = self._places[relay.peer]
        table = relay.timetable
        return Candidate(relay.peer, relay.operator, networks, table.wait_until, table.failures, order, relay.spare)

    def _place(self, relay: Relay) -> tuple[frozenset[str], bytes]:
        return networks_of(relay.addrs), order_of(self._host.peer_id, relay.peer)

    async def _stay_with(self, relay: Relay, scope: trio.CancelScope) -> None:
        """Hold a slot at one relay; an error that nobody foresaw counts as a failure of that relay."""
        error = await failed("relay", partial(self._hold, relay, scope))
        if error is not None:
            relay.timetable.failed(kind_of(error), now=self._clock(), jitter=random.random())  # noqa: S311 - no secret

    async def _hold(self, relay: Relay, scope: trio.CancelScope) -> None:
        """Have a slot at one relay and keep it, until the relay refuses or is lost."""
        try:
            with scope:
                while True:
                    relay.lost = Alarm()
                    with trio.fail_after(limits.CIRCUIT_HANDSHAKE_SECONDS):
                        await self._reserve(relay)
                    self._changed()
                    await self._tend(relay)
        except (CoveyError, trio.TooSlowError) as exc:
            reason = str(exc) or "the relay did not answer in time"
            jitter = random.random()  # noqa: S311 - spreads load, no secret
            relay.timetable.failed(reason, now=self._clock(), jitter=jitter)
            log.debug("node.reservation.failed", relay=relay.operator)
        else:
            relay.timetable.released("other relays are kept instead")
        finally:
            relay.task = None
            self._changed()

    async def _tend(self, relay: Relay) -> None:
        """Return when the slot is to be renewed; Unreachable when the relay was lost before."""
        relay.watch = RelayWatch(self._host, relay.peer, relay.addrs, beside=not relay.spare)
        lost = True

        async def until_lost(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
            await wait()
            scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until_lost, relay.watch.run, nursery.cancel_scope)
                nursery.start_soon(until_lost, relay.lost.wait, nursery.cancel_scope)
                await trio.sleep(max(0.0, relay.timetable.wait_until - self._clock()))
                lost = False
                nursery.cancel_scope.cancel()
        finally:
            relay.watch = None
        if lost:
            raise Unreachable("the connection to the relay ended")

    async def _reserve(self, relay: Relay) -> None:
        await self._host.connect(relay.peer, relay.addrs)  # TCP before QUIC
        slot = await self._circuits.reserve(relay.peer)
        if slot.voucher is not None:
            voucher = open_voucher(slot.voucher, relay=relay.peer)
            if voucher.peer != self._host.peer_id:
                raise ProtocolViolation("the relay's voucher is for somebody else")
        now = self._clock()
        if slot.expires_at <= now:
            raise Unreachable("the relay gave a slot that has ended already: its clock, or ours, is wrong")
        # Never renewed, a slot for ever would be one that the relay may have forgotten long ago.
        relay.timetable.granted(min(float(slot.expires_at), now + limits.RESERVATION_SECONDS_MAX), now=now)
        log.info("node.reservation.granted", relay=relay.operator)

    async def _watch_connections(self) -> None:
        with self._host.subscribe() as events:
            async for event in events:
                relay = self.relays.get(event.peer)
                if relay is None:
                    continue
                direct = any(not info.relayed for info in self._host.connections(event.peer))
                if isinstance(event, Disconnected) and not direct:
                    relay.timetable.lost()
                    relay.lost.ring()
                    self._changed()
                elif not isinstance(event, Disconnected) and relay.task is None:
                    relay.timetable.start_afresh()
                    self._choose_again.ring()

    def _holds(self, relay: Relay) -> bool:
        return relay.timetable.held(now=self._clock())

    def _changed(self) -> None:
        self._choose_again.ring()
        self._any_change.set()
        self._any_change = trio.Event()
        self._on_change()


def _relay(entry: RelayEntry) -> Relay:
    targets = [target for target in map(parse, entry.addrs) if isinstance(target, Direct)]
    if not targets or len({target.peer for target in targets}) != 1:
        raise ProtocolViolation(f"the relay of {entry.operator} has no address, or addresses of several relays")
    return Relay(entry.operator, targets[0].peer, tuple(sorted(entry.addrs, key=lambda addr: "/udp/" in addr)))
