"""Metrics wired to what happens: deliveries, bytes of packets, packets that do not open, the outbox.

Owns: who tells NodeMetrics what. Spec: docs/operators.md, "Metrics of a node". Paths are path_watch.py's.
Never touches: what is measured; every wrapper hands on what it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from covey_core.errors import FileDamaged
from covey_core.logs import get_logger
from covey_core.metrics import Direction
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.metrics import NodeMetrics
from covey_node.net.chat import Receiver
from covey_node.protocol.frames import Outcome
from covey_node.protocol.status import Status
from covey_node.service.effects import Effects
from covey_node.service.lane_reach import Reach
from covey_node.service.ledger import Ledger
from covey_node.service.path_watch import PathWatch
from covey_node.store import lanes
from covey_node.store.errors import StoreError

log = get_logger("node.measuring")


class Measuring:
    """Counts messages as they come and go."""

    def __init__(self, metrics: NodeMetrics, ledger: Ledger) -> None:
        self._metrics = metrics
        self._ledger = ledger
        self._changed = trio.Event()
        self._changed.set()
        ledger.follow(self._followed)

    def receiver(self, receive: Receiver, path_of: Callable[[PeerId], str]) -> Receiver:
        """Return `receive` that counts the bytes that it was given."""

        async def counted(peer: PeerId, blobs: Sequence[bytes]) -> list[Outcome]:
            self._metrics.payload(path_of(peer), Direction.INBOUND, sum(map(len, blobs)))
            return await receive(peer, blobs)

        return counted

    def reach(self, reach: Reach, watch: PathWatch) -> Reach:
        """Return `reach` that counts the bytes which lanes write, and the time until a device is reached."""
        return _CountedReach(reach, watch, self._metrics)

    async def run(self) -> None:
        """Count the outbox whenever something changed, every 15 s at most, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            try:
                self._metrics.outbox(await self._ledger.read(lanes.waiting))
            except (StoreError, FileDamaged) as exc:
                log.warning("node.outbox.uncounted", problem=type(exc).__name__)
            await trio.sleep(limits.OUTBOX_COUNT_SECONDS)

    def _followed(self, effects: Effects) -> None:
        """Take the messages that a commit moved: one that an acknowledgement made delivered comes as a row, once."""
        if effects.messages or effects.wake:
            self._changed.set()
        for row in effects.messages.values():
            if row is not None and row.outgoing and row.status is Status.DELIVERED:
                self._metrics.delivered(row.path, row.status_at - row.sent_at)


class _CountedReach:
    """A lane's way to a device, counted."""

    def __init__(self, reach: Reach, watch: PathWatch, metrics: NodeMetrics) -> None:
        self._reach = reach
        self._watch = watch
        self._metrics = metrics

    async def connect(self, contact_id: int, peer: PeerId) -> None:
        """Have a connection to a device; the time runs while somebody tries."""
        self._watch.wanted(peer)
        try:
            await self._reach.connect(contact_id, peer)
        except BaseException:
            self._watch.given_up(peer)
            raise

    async def prepare(self, contact_id: int, device_key: bytes) -> None:
        """Seal what waits for a session with the device."""
        await self._reach.prepare(contact_id, device_key)

    def path(self, peer: PeerId) -> str:
        """Return the kind of the path that is used to a device."""
        return self._reach.path(peer)

    def use(self, peer: PeerId) -> int | None:
        """Return the number of the connection to use."""
        return self._reach.use(peer)

    def in_flight(self, peer: PeerId, *, flag: bool) -> None:
        """Packets to the device are on their way, or none are any more."""
        self._reach.in_flight(peer, flag=flag)

    def acknowledged(self, peer: PeerId, number: int | None) -> None:
        """An acknowledgement came over this connection."""
        self._reach.acknowledged(peer, number)

    def carried(self, peer: PeerId, number: int | None, size: int) -> None:
        """`size` bytes of packets were written to this connection."""
        self._metrics.payload(self._watch.kind_at(peer, number).value, Direction.OUTBOUND, size)
        self._reach.carried(peer, number, size)
