"""One lane: opened when something is due, paused after failures, ended when nothing is left.

Owns: the life of one device's lane from stream to stream. Spec: docs/spec/delivery.md. A stream's inside is
lane_stream.py, the database's side lane_book.py, the order protocol/lane.py.
Never touches: other lanes, how a path is found.
"""

from __future__ import annotations

import random

import trio

from covey_core.errors import CoveyError, ProtocolViolation
from covey_core.host import Host
from covey_core.peers import peer_id_of
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.net.chat import ChatStream
from covey_node.protocol.lane import Open, Phase, Send, Wait
from covey_node.service.lane_book import LaneBook
from covey_node.service.lane_reach import Reach
from covey_node.service.lane_stream import LaneStream
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.slots import Slots


class LaneRunner:
    """Delivers what is queued for one device; ends when nothing is left and the stream was idle."""

    def __init__(
        self, ledger: Ledger, own: Own, host: Host, reach: Reach, *, contact_id: int, device_key: bytes
    ) -> None:
        self._host = host
        self._reach = reach
        self._peer = peer_id_of(device_key)
        self._book = LaneBook(ledger, own, contact_id=contact_id, device_key=device_key)
        self._woken = Alarm()
        self._path_changed = Alarm()
        self._opening = trio.CancelScope()

    @property
    def dropped(self) -> bool:
        """Whether nothing more goes to the device."""
        return self._book.dropped

    def wake(self, *, queued: bool, seen: bool) -> None:
        """Look again: something was `queued`, or the device's connections changed; `seen` ends a pause."""
        self._book.reload = self._book.reload or queued
        if seen:
            self._book.lane.peer_appeared(now=trio.current_time())
        self._woken.ring()

    def path_changed(self) -> None:
        """Another connection is to be used to the device, or none stands any more."""
        self._path_changed.ring()
        if self._reach.use(self._peer) is not None and self._book.lane.phase is not Phase.OPEN:
            self.wake(queued=False, seen=True)

    def drop(self) -> None:
        """Nothing more goes to this device, from now on."""
        self._book.dropped = True
        self._opening.cancel()
        self._woken.ring()

    async def run(self, slots: Slots) -> None:
        """Deliver until nothing is left."""
        while not self.dropped:
            await self._book.load()
            match self._book.lane.next(now=trio.current_time()):
                case Open():
                    async with slots.hold():
                        await self._deliver(slots)
                case Wait(until):
                    if self._book.lane.empty and not self._book.reload:
                        return
                    await self._woken.wait(until if until is not None else float("inf"))
                case Send():
                    raise AssertionError("a closed lane cannot send")

    async def _deliver(self, slots: Slots) -> None:
        """Open a stream and go on with it, and with those on better paths that follow it."""
        self._book.lane.opening()
        stream = await self._open()
        async with trio.open_nursery() as nursery:
            while stream is not None:
                self._book.lane.opened()
                number, pump = stream.number, self._pump(stream)
                try:
                    await pump.run(slots)
                except CoveyError as exc:
                    gone = pump.delivered and not self._stands(number)
                    await self._failed(_words(exc), number, at_once=gone)
                    if pump.successor is not None:
                        nursery.start_soon(pump.successor.end)
                    return
                finally:
                    nursery.start_soon(stream.end)
                stream = pump.successor
                if stream is None:
                    self._book.lane.idle_closed()
                else:
                    self._book.lane.moved()

    def _pump(self, stream: ChatStream) -> LaneStream:
        return LaneStream(
            self._book, self._host, self._reach, stream, woken=self._woken, path_changed=self._path_changed
        )

    async def _open(self) -> ChatStream | None:
        """Return an open stream on the path to use; None after a failure, which was written down."""
        used = None
        self._reach.in_flight(self._peer, flag=True)
        try:
            with trio.CancelScope() as self._opening, trio.fail_after(limits.OPEN_CHAT_SECONDS):
                await self._reach.connect(self._book.contact_id, self._peer)
                used = self._reach.use(self._peer)
                await self._reach.prepare(self._book.contact_id, self._book.device_key)
                used = self._reach.use(self._peer)
                return await ChatStream.open(self._host, self._peer, on=used)
        except trio.TooSlowError:
            await self._failed("no answer in time", used)
        except CoveyError as exc:
            await self._failed(str(exc), used)
        else:  # dropped meanwhile
            self._reach.in_flight(self._peer, flag=False)
            self._book.lane.idle_closed()
        return None

    def _stands(self, number: int | None) -> bool:
        return any(number in {None, info.number} for info in self._host.connections(self._peer))

    async def _failed(self, reason: str, used: int | None, *, at_once: bool = False) -> None:
        """Pause; or go on `at_once`, also when another path than the one that failed stands."""
        now, jitter = trio.current_time(), random.random()  # noqa: S311 - spreads load, no secret
        self._reach.in_flight(self._peer, flag=False)
        lane = self._book.lane
        at_once = at_once or (used is not None and self._reach.use(self._peer) not in {None, used})
        if lane.phase is Phase.OPEN:
            lane.stream_lost(reason, now=now, jitter=jitter, at_once=at_once)
        else:
            lane.open_failed(reason, now=now, jitter=jitter, at_once=at_once)
        if not at_once:
            await self._book.postpone(reason, seconds=lane.not_before - now)


def _words(error: CoveyError) -> str:
    return "the other side broke the protocol" if isinstance(error, ProtocolViolation) else str(error)
