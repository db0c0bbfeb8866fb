"""One stream of a lane from its first packet to its end: written, read, and left for a better path.

Owns: the tasks of one open chat stream. Spec: docs/spec/delivery.md. What comes next is decided by protocol/lane.py.
Never touches: how streams are opened for the first time, pauses, other lanes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

import trio

from covey_core.errors import CoveyError, StreamLost, Unreachable
from covey_core.host import Host
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.net.chat import ChatStream, first_of
from covey_node.protocol.frames import Ack, Outcome, Packet
from covey_node.protocol.lane import Send, Wait
from covey_node.service.lane_book import LaneBook
from covey_node.service.lane_reach import Reach
from covey_node.service.slots import Slots


class LaneStream:
    """Sends and takes acknowledgements on `stream`."""

    def __init__(
        self, book: LaneBook, host: Host, reach: Reach, stream: ChatStream, *, woken: Alarm, path_changed: Alarm
    ) -> None:
        self._book = book
        self._host = host
        self._reach = reach
        self._stream = stream
        self._woken = woken
        self._path_changed = path_changed
        self._written: deque[tuple[float, int]] = deque()
        self._written_more = trio.Event()
        self.delivered = False
        """Whether anything was acknowledged on this stream."""
        self.successor: ChatStream | None = None
        """After `run`: the open stream on a better path, with which to go on."""

    async def run(self, slots: Slots) -> None:
        """Return when idle for long, dropped, or when a `successor` stands; CoveyError when the stream is lost."""
        path = self._reach.path(self._stream.peer)
        acks, found = trio.open_memory_channel[Ack](limits.UNACKED_PACKETS_MAX)
        error: CoveyError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_acks, acks)
                nursery.start_soon(self._settle_acks, found, path)
                nursery.start_soon(self._mark_sent, path)
                nursery.start_soon(self._follow_path, nursery.cancel_scope)
                await self._write(slots)
                nursery.cancel_scope.cancel()
        except* CoveyError as group:
            error = first_of(group)
        finally:
            self._reach.in_flight(self._stream.peer, flag=False)
        if error is not None:
            raise error

    # --- writing --------------------------------------------------------------------------------------------------

    async def _write(self, slots: Slots) -> None:
        while not self._book.dropped:
            await self._book.load()
            now = trio.current_time()
            batch, until = self._take_batch(now)
            if batch:
                await self._send(batch)
                continue
            self._book.take_ready()
            lane = self._book.lane
            if until is not None and now >= until and not lane.empty:
                raise StreamLost("no acknowledgement in time")
            if lane.empty:
                with trio.move_on_after(limits.CHAT_IDLE_SECONDS) as idle, slots.idle(idle):
                    await self._woken.wait()
                if idle.cancelled_caught:
                    return
            else:
                await self._woken.wait(until if until is not None else float("inf"))

    def _take_batch(self, now: float) -> tuple[list[Send], float | None]:
        batch: list[Send] = []
        while True:
            action = self._book.lane.next(now=now)
            if isinstance(action, Send):
                self._book.lane.sending(action, now=now)
                batch.append(action)
            elif isinstance(action, Wait):
                return batch, action.until
            else:
                return batch, None

    async def _send(self, batch: Sequence[Send]) -> None:
        found = await self._packets([item.delivery for item in batch])
        now = trio.current_time()
        packets = []
        for item in batch:
            packet = found.get(item.delivery)
            if packet is not None:
                packets.append(Packet(item.number, packet))
            else:  # expired or dropped meanwhile
                self._book.lane.acked(item.number, Outcome.ACCEPTED, now=now, jitter=0.0)
        if packets:
            self._reach.in_flight(self._stream.peer, flag=True)
            self._reach.carried(self._stream.peer, self._stream.number, sum(len(item.blob) for item in packets))
            await self._stream.send(packets)
            self._written.extend((now, item.delivery) for item in batch)
            self._written_more.set()

    async def _packets(self, wanted: Sequence[int]) -> dict[int, bytes | None]:
        """Return what is to be written; a content without a session gets one first, over the connection that stands."""
        ready: dict[int, bytes | None] = {**self._book.take_ready()}
        ids = [row_id for row_id in wanted if row_id not in ready]
        if not ids:
            return ready
        found = await self._book.packets(ids)
        if None in found.values():
            with trio.move_on_after(limits.OPEN_CHAT_SECONDS) as scope:
                await self._reach.prepare(self._book.contact_id, self._book.device_key)
            if scope.cancelled_caught:
                raise StreamLost("the other side did not answer the question for its keys")
            found = await self._book.packets(ids)
        return ready | found

    # --- acknowledgements -----------------------------------------------------------------------------------------

    async def _read_acks(self, acks: trio.MemorySendChannel[Ack]) -> None:
        while (ack := await self._stream.next_ack()) is not None:
            self._reach.acknowledged(self._stream.peer, self._stream.number)
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
            jitter = random.random()  # noqa: S311 - spreads load, no secret
            lost = await self._book.settle(batch, now=trio.current_time(), jitter=jitter, path=path)
            self.delivered = True
            if not self._book.lane.under_way:
                self._reach.in_flight(self._stream.peer, flag=False)
            self._woken.ring()
            if lost:
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
                if row_id in self._book.lane:
                    ids.append(row_id)
            if ids:
                await self._book.show_sent(ids, path=path)

    # --- a better path --------------------------------------------------------------------------------------------

    async def _follow_path(self, scope: trio.CancelScope) -> None:
        """Open a stream on another path as soon as that is the one to use; this one works on until it stands."""
        while True:
            number = self._reach.use(self._stream.peer)
            if number is not None and self._stream.number is not None and number != self._stream.number:
                try:
                    with trio.move_on_after(limits.MOVE_STREAM_SECONDS):
                        self.successor = await ChatStream.open(self._host, self._stream.peer, on=number)
                except CoveyError:
                    await trio.sleep(limits.MOVE_STREAM_SECONDS)  # the path is asked meanwhile whether it lives
                if self.successor is not None:
                    scope.cancel()
                    return
                continue
            await self._path_changed.wait()
