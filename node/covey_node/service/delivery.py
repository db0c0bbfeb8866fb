"""The outbox at work: one lane a device, opened when something is due, woken when the device shows itself.

Owns: the running lanes. Spec: docs/spec/delivery.md. One lane's rules are protocol/lane.py, its stream lane_runner.py.
Never touches: how a path is found (dialer, lookup).
"""

from __future__ import annotations

import trio

from covey_core.errors import FileDamaged
from covey_core.host import Connected, Disconnected, Host
from covey_core.host.contained import Contained
from covey_core.logs import get_logger
from covey_core.peers import PeerId, ed25519_key_in
from covey_node import limits
from covey_node.net.lasting import note
from covey_node.protocol.status import Status
from covey_node.service.effects import Effects, Wake
from covey_node.service.lane_reach import Reach
from covey_node.service.lane_runner import LaneRunner
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.slots import Slots
from covey_node.store import deliveries, lanes, messages
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.delivery")

Key = tuple[int, bytes]
"""A contact's row id and one of its devices' keys."""


class Delivery:
    """Runs the lanes."""

    def __init__(self, ledger: Ledger, own: Own, host: Host, reach: Reach) -> None:
        self._ledger = ledger
        self._own = own
        self._host = host
        self._reach = reach
        self._running: dict[Key, LaneRunner] = {}
        self._slots = Slots(limits.LANES_MAX)
        self._wanted: dict[Key, None] = {}
        self._more = trio.Event()
        self._sweep = trio.Event()
        ledger.follow(self._followed)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._begin)
            nursery.start_soon(self._watch_connections)
            nursery.start_soon(self._expire)
            while True:
                await self._more.wait()
                self._more = trio.Event()
                for key in [key for key in self._wanted if key not in self._running]:
                    del self._wanted[key]
                    self._running[key] = LaneRunner(
                        self._ledger, self._own, self._host, self._reach, contact_id=key[0], device_key=key[1]
                    )
                    nursery.start_soon(self._run_lane, key)

    def path_changed(self, peer: PeerId) -> None:
        """Another connection is to be used to a device, or none stands any more."""
        for runner in self._of(peer):
            runner.path_changed()

    async def _begin(self) -> None:
        """Start the lanes of what was left from the last run."""
        while True:
            try:
                found = await self._ledger.read(lanes.devices)
            except (StoreError, FileDamaged) as exc:
                log.warning("node.lanes.unread", problem=type(exc).__name__)
                await trio.sleep(limits.STORE_RETRY_SECONDS)
                continue
            self._wanted.update(dict.fromkeys(found))
            self._more.set()
            return

    async def _run_lane(self, key: Key) -> None:
        try:
            with Contained() as outcome:
                await self._running[key].run(self._slots)
            if outcome.error is not None:
                if isinstance(outcome.error, StoreError | FileDamaged):
                    log.warning("node.lane.ended", problem=type(outcome.error).__name__)
                else:
                    note("lane", outcome.error)
                await trio.sleep(limits.STORE_RETRY_SECONDS)
                self._wanted[key] = None  # it begins anew
        finally:
            del self._running[key]
            if key in self._wanted:
                self._more.set()

    def _followed(self, effects: Effects) -> None:
        for contact_id in effects.dropped:
            for key, runner in self._running.items():
                if key[0] == contact_id:
                    runner.drop()
        for key, why in effects.wake.items():
            self._wake(key, why)
        if effects.expiring:
            self._sweep.set()

    def _wake(self, key: Key, why: Wake) -> None:
        runner = self._running.get(key)
        if runner is not None:
            runner.wake(queued=Wake.NEW in why, seen=Wake.SEEN in why)
        if Wake.NEW in why and (runner is None or runner.dropped):  # one that was dropped is followed by a new one
            self._wanted[key] = None
            self._more.set()

    async def _watch_connections(self) -> None:
        with self._host.subscribe() as events:
            async for event in events:
                for runner in self._of(event.peer):
                    if isinstance(event, Connected):
                        runner.wake(queued=False, seen=True)
                    elif isinstance(event, Disconnected):
                        runner.wake(queued=False, seen=False)

    def _of(self, peer: PeerId) -> list[LaneRunner]:
        device_key = ed25519_key_in(peer)
        return [runner for key, runner in self._running.items() if key[1] == device_key]

    async def _expire(self) -> None:
        """End what was not delivered in time and empty what was to disappear, when it is due."""
        while True:
            self._sweep = trio.Event()
            try:
                due = await self._ledger.change(self._sweep_now)
            except (StoreError, FileDamaged) as exc:
                log.warning("node.sweep.left_out", problem=type(exc).__name__)
                await trio.sleep(limits.STORE_RETRY_SECONDS)
                continue
            wait = float("inf") if due is None else max(0.0, due - self._own.now())
            with trio.move_on_after(min(wait, limits.SWEEP_SECONDS)):
                await self._sweep.wait()

    def _sweep_now(self, tx: Tx, effects: Effects) -> float | None:
        now = self._own.now()
        expired = deliveries.expire(tx, now=now)
        for row in expired:
            effects.message(row.id)
        gone = messages.disappear(tx, now=now)
        for row in gone:
            for delivery in deliveries.of_message(tx, row.id):
                deliveries.finish(tx, delivery.id, Status.EXPIRED, now=now, reason="it was to disappear by now")
            effects.message(row.id)
        return now if expired or gone else messages.next_expiry(tx)  # each takes a page at a time: look again
