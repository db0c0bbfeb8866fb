"""One lane's side of the database: what waits is read in pages, what was answered is written down.

Owns: what of one device's deliveries is in memory. Spec: docs/spec/delivery.md. The order is protocol/lane.py's.
Never touches: streams, paths.
"""

from __future__ import annotations

from collections.abc import Sequence

from covey_node import limits
from covey_node.protocol.frames import Ack
from covey_node.protocol.lane import Lane, Phase, Settled
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.settling import settle
from covey_node.store import lanes
from covey_node.store.lanes import Sealed
from covey_node.store.tx import Tx


class LaneBook:
    """The lane of one device, filled from the database and emptied into it."""

    def __init__(self, ledger: Ledger, own: Own, *, contact_id: int, device_key: bytes) -> None:
        self.lane = Lane()
        self.reload = True
        """Something was queued that is not in memory yet."""
        self.dropped = False
        """Nothing more goes to the device."""
        self._ledger = ledger
        self._own = own
        self.contact_id = contact_id
        self.device_key = device_key
        self._loaded = 0
        self._ready: dict[int, bytes] = {}  # packets read along with their ids, for the very next write

    async def load(self) -> None:
        """Take over what was queued since, a page at a time, while the lane has room."""
        if not self.reload or len(self.lane) > limits.LANE_PAGE // 2:
            return
        self.reload, after = False, self._loaded
        room = limits.UNACKED_PACKETS_MAX - len(self.lane) if self.lane.phase is Phase.OPEN else 0

        def look(tx: Tx) -> tuple[tuple[int, ...], tuple[Sealed, ...]]:
            ids = lanes.ids(tx, self.contact_id, self.device_key, after=after, limit=limits.LANE_PAGE)
            return ids, lanes.packets(tx, ids[:room]) if ids and room > 0 else ()

        try:
            found, sealed = await self._ledger.read(look)
        except BaseException:
            self.reload = True  # cancelled with the stream: nothing was taken over
            raise
        for row_id in found:
            self.lane.queue(row_id)
        self._ready = {row.id: row.packet for row in sealed if row.packet is not None}
        if found and self._loaded == after:  # else all is to be read again: an answer could not be written down
            self._loaded = found[-1]
        if len(found) == limits.LANE_PAGE:
            self.reload = True

    def take_ready(self) -> dict[int, bytes]:
        """Return the packets that were read along, once: what is written later may have expired by then."""
        ready, self._ready = self._ready, {}
        return ready

    async def packets(self, wanted: Sequence[int]) -> dict[int, bytes | None]:
        """Read packets; None where the content waits for a session, missing where the delivery is no longer wanted."""
        rows = await self._ledger.read(lambda tx: lanes.packets(tx, wanted))
        return {row.id: row.packet for row in rows}

    async def settle(self, batch: Sequence[Ack], *, now: float, jitter: float, path: str) -> bool:
        """Write down what acknowledgements mean; return whether the session is lost and all is to be sealed anew."""
        settled: list[Settled] = []
        try:
            for ack in batch:
                done = self.lane.acked(ack.number, ack.outcome, now=now, jitter=jitter)
                if done is not None:
                    settled.append(done)
            lost = await self._ledger.change(
                lambda tx, effects: settle(tx, effects, self._own, self.contact_id, self.device_key, settled, path=path)
            )
        except BaseException:
            self._loaded, self.reload = 0, True  # not written down: these are sent again and answered as duplicates
            raise
        if lost:
            self.lane = _restarted(self.lane)
            self._loaded, self.reload = 0, True
        return lost

    async def show_sent(self, ids: Sequence[int], *, path: str) -> None:
        """Show `sent` for deliveries that were written and are not acknowledged."""

        def note(tx: Tx, effects: Effects) -> None:
            for row in lanes.mark_sent(tx, ids, now=self._own.now(), path=path):
                effects.message_now(row)

        await self._ledger.note(note)

    async def postpone(self, reason: str, *, seconds: float) -> None:
        """Show why nothing was delivered, and that the next try is in `seconds`."""
        until = self._own.now() + seconds

        def note(tx: Tx, effects: Effects) -> None:
            for row in lanes.postpone_device(tx, self.contact_id, self.device_key, until=until, reason=reason):
                effects.message_now(row)

        await self._ledger.note(note)


def _restarted(old: Lane) -> Lane:
    """Return a lane that knows nothing, open as the old one, so that the loss that follows pauses it."""
    lane = Lane()
    lane.failures = old.failures
    lane.opening()
    lane.opened()
    return lane
