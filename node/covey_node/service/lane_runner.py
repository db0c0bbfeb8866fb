"""One lane's stream: opened, kept, fed, read; every step of a delivery written down before the next.

Owns: one device's chat stream. Spec: docs/spec/delivery.md. What comes next is decided by protocol/lane.py.
Never touches: other lanes, how a path is found.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost, Unreachable
from covey_core.host import Host
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.net.chat import ChatStream, first_of
from covey_node.protocol.frames import Ack, Outcome, Packet
from covey_node.protocol.lane import Lane, Open, Phase, Send, Settled, Wait
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.settling import settle
from covey_node.service.slots import Slots
from covey_node.store import lanes
from covey_node.store.lanes import Sealed
from covey_node.store.tx import Tx


class Reach(Protocol):
    """How a lane comes to a device: a connection, and a session where contents wait for one."""

    async def connect(self, contact_id: int, peer: PeerId) -> None:
        """Have a connection to a device; Unreachable says in words what was tried."""

    async def prepare(self, contact_id: int, device_key: bytes) -> None:
        """Seal what waits for a session with the device; the connection stands."""

    def path(self, peer: PeerId) -> str:
        """Return the kind of the path that stands to a device."""


class LaneRunner:
    """Delivers what is queued for one device; ends when nothing is left and the stream was idle."""

    def __init__(
        self, ledger: Ledger, own: Own, host: Host, reach: Reach, *, contact_id: int, device_key: bytes
    ) -> None:
        self._ledger = ledger
        self._own = own
        self._host = host
        self._reach = reach
        self._contact_id = contact_id
        self._device_key = device_key
        self._peer = peer_id_of(device_key)
        self._lane = Lane()
        self._loaded = 0
        self._woken = trio.Event()
        self._reload = True
        self.dropped = False
        self._ready: dict[int, bytes] = {}  # packets read along with their ids, for the very next write
        self._written: deque[tuple[float, int]] = deque()
        self._written_more = trio.Event()

    def wake(self, *, queued: bool, seen: bool) -> None:
        """Look again: something was `queued`, or the device's connections changed; `seen` ends a pause."""
        self._reload = self._reload or queued
        if seen:
            self._lane.peer_appeared(now=trio.current_time())
        self._woken.set()

    def drop(self) -> None:
        """Nothing more goes to this device."""
        self.dropped = True
        self._woken.set()

    async def run(self, slots: Slots) -> None:
        """Deliver until nothing is left."""
        while not self.dropped:
            await self._load()
            match self._lane.next(now=trio.current_time()):
                case Open():
                    async with slots.hold():
                        await self._open_and_pump(slots)
                case Wait(until):
                    if self._lane.empty and not self._reload:
                        return
                    await self._sleep(until)
                case Send():
                    raise AssertionError("a closed lane cannot send")

    async def _load(self) -> None:
        """Take over what was queued since, a page at a time, while the lane has room."""
        if not self._reload or len(self._lane) > limits.LANE_PAGE // 2:
            return
        self._reload = False
        room = limits.UNACKED_PACKETS_MAX - len(self._lane) if self._lane.phase is Phase.OPEN else 0

        def look(tx: Tx) -> tuple[tuple[int, ...], tuple[Sealed, ...]]:
            ids = lanes.ids(tx, self._contact_id, self._device_key, after=self._loaded, limit=limits.LANE_PAGE)
            return ids, lanes.packets(tx, ids[:room]) if ids and room > 0 else ()

        try:
            found, sealed = await self._ledger.read(look)
        except BaseException:
            self._reload = True  # cancelled with the stream: nothing was taken over
            raise
        for row_id in found:
            self._lane.queue(row_id)
        self._ready = {row.id: row.packet for row in sealed if row.packet is not None}
        if found:
            self._loaded = found[-1]
        if len(found) == limits.LANE_PAGE:
            self._reload = True

    async def _sleep(self, until: float | None) -> None:
        with trio.move_on_at(until if until is not None else float("inf")):
            await self._woken.wait()
        self._woken = trio.Event()

    async def _open_and_pump(self, slots: Slots) -> None:
        self._lane.opening()
        stream: ChatStream | None = None
        try:
            with trio.fail_after(limits.OPEN_CHAT_SECONDS):
                await self._reach.connect(self._contact_id, self._peer)
                await self._reach.prepare(self._contact_id, self._device_key)
                stream = await ChatStream.open(self._host, self._peer)
        except trio.TooSlowError:
            await self._failed("no answer in time")
            return
        except CoveyError as exc:
            await self._failed(str(exc))
            return
        self._lane.opened()
        try:
            await self._pump(stream, slots)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.close()

    async def _failed(self, reason: str) -> None:
        now = trio.current_time()
        jitter = random.random()  # noqa: S311 - spreads load, no secret
        if self._lane.phase is Phase.OPEN:
            self._lane.stream_lost(reason, now=now, jitter=jitter)
        else:
            self._lane.open_failed(reason, now=now, jitter=jitter)
        until = self._own.now() + self._lane.not_before - now

        def note(tx: Tx, effects: Effects) -> None:
            for row in lanes.postpone_device(tx, self._contact_id, self._device_key, until=until, reason=reason):
                effects.message_now(row)

        await self._ledger.note(note)

    async def _pump(self, stream: ChatStream, slots: Slots) -> None:
        """Send and take acknowledgements until idle; a lost stream or a broken rule ends it with a reason."""
        path = self._reach.path(self._peer)
        acks, found = trio.open_memory_channel[Ack](limits.UNACKED_PACKETS_MAX)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_acks, stream, acks)
                nursery.start_soon(self._settle_acks, found, path)
                nursery.start_soon(self._mark_sent, path)
                await self._write(stream, slots)
                nursery.cancel_scope.cancel()
        except* CoveyError as group:
            await self._failed(_words(first_of(group)))
        if self._lane.phase is Phase.OPEN:
            self._lane.idle_closed()

    async def _write(self, stream: ChatStream, slots: Slots) -> None:
        while not self.dropped:
            await self._load()
            now = trio.current_time()
            batch, until = self._take_batch(now)
            if batch:
                await self._send(stream, batch)
                continue
            self._ready = {}  # what is written later is read then: it may have expired
            if until is not None and now >= until and not self._lane.empty:
                raise StreamLost("no acknowledgement in time")
            if self._lane.empty:
                with trio.move_on_after(limits.CHAT_IDLE_SECONDS) as idle, slots.idle(idle):
                    await self._woken.wait()
                self._woken = trio.Event()
                if idle.cancelled_caught:
                    return
            else:
                await self._sleep(until)

    def _take_batch(self, now: float) -> tuple[list[Send], float | None]:
        batch: list[Send] = []
        while True:
            action = self._lane.next(now=now)
            if isinstance(action, Send):
                self._lane.sending(action, now=now)
                batch.append(action)
            elif isinstance(action, Wait):
                return batch, action.until
            else:
                return batch, None

    async def _send(self, stream: ChatStream, batch: Sequence[Send]) -> None:
        found = await self._packets([item.delivery for item in batch])
        now = trio.current_time()
        packets = []
        for item in batch:
            packet = found.get(item.delivery)
            if packet is not None:
                packets.append(Packet(item.number, packet))
            else:  # expired or dropped meanwhile
                self._lane.acked(item.number, Outcome.ACCEPTED, now=now, jitter=0.0)
        if packets:
            await stream.send(packets)
            self._written.extend((now, item.delivery) for item in batch)
            self._written_more.set()

    async def _packets(self, wanted: Sequence[int]) -> dict[int, bytes | None]:
        """Return what is to be written; a content without a session gets one first, over the connection that stands."""
        ready: dict[int, bytes | None] = {**self._ready}
        self._ready = {}
        ids = [row_id for row_id in wanted if row_id not in ready]
        if not ids:
            return ready
        rows = await self._ledger.read(lambda tx: lanes.packets(tx, ids))
        if any(row.packet is None for row in rows):
            with trio.move_on_after(limits.OPEN_CHAT_SECONDS) as scope:
                await self._reach.prepare(self._contact_id, self._device_key)
            if scope.cancelled_caught:
                raise StreamLost("the other side did not answer the question for its keys")
            rows = await self._ledger.read(lambda tx: lanes.packets(tx, ids))
        return ready | {row.id: row.packet for row in rows}

    async def _read_acks(self, stream: ChatStream, acks: trio.MemorySendChannel[Ack]) -> None:
        while (ack := await stream.next_ack()) is not None:
            await acks.send(ack)
        raise StreamLost("the other side closed the stream")

    async def _settle_acks(self, found: trio.MemoryReceiveChannel[Ack], path: str) -> None:
        async for ack in found:
            batch = [ack]
            while len(batch) < limits.UNACKED_PACKETS_MAX:
                try:
                    batch.append(found.receive_nowait())
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            await self._settle(batch, path)

    async def _settle(self, batch: Sequence[Ack], path: str) -> None:
        now, jitter = trio.current_time(), random.random()  # noqa: S311 - spreads load, no secret
        settled: list[Settled] = []
        try:
            for ack in batch:
                done = self._lane.acked(ack.number, ack.outcome, now=now, jitter=jitter)
                if done is not None:
                    settled.append(done)
            lost = await self._ledger.change(
                lambda tx, effects: settle(
                    tx, effects, self._own, self._contact_id, self._device_key, settled, path=path
                )
            )
        except BaseException:
            self._loaded, self._reload = 0, True  # not written down: these are sent again and answered as duplicates
            raise
        self._woken.set()
        if lost:
            self._lane = _restarted(self._lane)
            self._loaded, self._reload = 0, True
            raise Unreachable("the other side lost the session: a new one is being set up")

    async def _mark_sent(self, path: str) -> None:
        """Show `sent` for what is not acknowledged at once; most packets are, and save the write."""
        while True:
            if not self._written:
                self._written_more = trio.Event()
                await self._written_more.wait()
            await trio.sleep(limits.SENT_GRACE_SECONDS)  # one wake for all that was written meanwhile
            ids = []
            while self._written and self._written[0][0] + limits.SENT_GRACE_SECONDS <= trio.current_time():
                row_id = self._written.popleft()[1]
                if row_id in self._lane:
                    ids.append(row_id)
            if ids:
                await self._ledger.note(partial(_show_sent, ids, self._own.now(), path))


def _show_sent(ids: Sequence[int], now: float, path: str, tx: Tx, effects: Effects) -> None:
    for row in lanes.mark_sent(tx, ids, now=now, path=path):
        effects.message_now(row)


def _restarted(old: Lane) -> Lane:
    """Return a lane that knows nothing, open as the old one, so that the loss that follows pauses it."""
    lane = Lane()
    lane.failures = old.failures
    lane.opening()
    lane.opened()
    return lane


def _words(error: CoveyError) -> str:
    return "the other side broke the protocol" if isinstance(error, ProtocolViolation) else str(error)
