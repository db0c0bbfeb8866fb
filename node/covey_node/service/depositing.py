"""The outbox's second way: packets laid into the mailboxes of their device, at all of them, until the device has them.

Owns: which devices' mailboxes are at work, and when they are looked at again. Spec: docs/spec/delivery.md, "Mailboxes".
One device's mailboxes are deposit_lane.py's. Never touches: the direct way (delivery.py), what lies where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import trio

from covey_core.errors import FileDamaged
from covey_core.host import Disconnected, Host
from covey_core.host.contained import Contained
from covey_core.logs import get_logger
from covey_core.peers import PeerId, ed25519_key_in, peer_id_of
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.net.lasting import note
from covey_node.service.deposit_lane import DepositLane, Tools
from covey_node.service.deposit_pauses import Key
from covey_node.service.deposit_replica import Client
from covey_node.service.effects import Effects, Wake
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import peer_mailboxes
from covey_node.store.errors import StoreError

log = get_logger("node.depositing")


_peer_of = lru_cache(limits.STRANGERS_KEPT)(peer_id_of)  # asked with every message that is written


class Depositing:
    """Runs the devices' mailboxes."""

    def __init__(
        self, ledger: Ledger, own: Own, host: Host, client: Client, *, name_of: Callable[[PeerId], str]
    ) -> None:
        self._ledger = ledger
        self._host = host
        self._tools = Tools(ledger, own, client, name_of, self._stands)
        self._running: dict[Key, DepositLane] = {}
        self._later: dict[Key, float] = {}
        self._more = Alarm()
        self._room = trio.CapacityLimiter(limits.DEPOSIT_LANES_MAX)
        ledger.follow(self._followed)

    async def run(self) -> None:
        """Lay packets down until cancelled."""
        self._running.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._begin)
            nursery.start_soon(self._watch_connections)
            while True:
                now = trio.current_time()
                for key in [key for key, at in self._later.items() if at <= now and key not in self._running]:
                    del self._later[key]
                    self._running[key] = DepositLane(self._tools, contact_id=key[0], device_key=key[1])
                    nursery.start_soon(self._run_lane, key)
                waits = (at for key, at in self._later.items() if key not in self._running)
                await self._more.wait(min(waits, default=float("inf")))

    def network_changed(self) -> None:
        """Our network is another one: relays that could not be reached are tried now."""
        self._tools.pauses.network_changed()
        for lane in self._running.values():
            lane.look()
        for key in self._later:
            self._look_at(key, trio.current_time())

    async def _begin(self) -> None:
        """Go on with what was left from the last run."""
        while True:
            try:
                found = await self._ledger.read(peer_mailboxes.devices)
            except (StoreError, FileDamaged) as exc:
                log.warning("node.deposits.unread", problem=type(exc).__name__)
                await trio.sleep(limits.STORE_RETRY_SECONDS)
                continue
            for key in found:
                self._look_at(key, trio.current_time())
            return

    async def _run_lane(self, key: Key) -> None:
        lane, until = self._running[key], None
        with Contained() as outcome:
            async with self._room:
                until = await lane.run()
        if outcome.error is not None:
            errors = tuple(_single(outcome.error))
            if all(isinstance(error, StoreError | FileDamaged) for error in errors):
                log.warning("node.deposits.ended", problem=type(errors[0]).__name__)
            else:
                note("deposits", outcome.error)
            until = trio.current_time() + limits.STORE_RETRY_SECONDS
        del self._running[key]
        if until is not None and until != float("inf"):
            self._look_at(key, until)
        self._more.ring()

    def _followed(self, effects: Effects) -> None:
        for contact_id in effects.dropped:
            for key, lane in self._running.items():
                if key[0] == contact_id:
                    lane.drop()
            for key in [key for key in self._later if key[0] == contact_id]:
                del self._later[key]
        now = trio.current_time()
        for key, why in effects.wake.items():
            lane_of = self._running.get(key)
            if Wake.MAILBOXES in why:
                if lane_of is not None:
                    lane_of.restart()
                self._look_at(key, now)
            elif Wake.NEW in why:
                if lane_of is not None:
                    lane_of.wake()
                stands = self._stands(_peer_of(key[1]))
                self._look_at(key, now + limits.DEPOSIT_AFTER_SECONDS if stands else now)
            if Wake.SEEN in why and self._tools.pauses.seen(key):
                if lane_of is not None:
                    lane_of.look()
                self._look_at(key, now)

    def _look_at(self, key: Key, at: float) -> None:
        if at < self._later.get(key, float("inf")):
            self._later[key] = at
            self._more.ring()

    async def _watch_connections(self) -> None:
        with self._host.subscribe() as events:
            async for event in events:
                if isinstance(event, Disconnected) and not self._stands(event.peer):
                    device_key = ed25519_key_in(event.peer)
                    for key in [key for key in (*self._running, *self._later) if key[1] == device_key]:
                        if (lane := self._running.get(key)) is not None:
                            lane.hurry()
                        self._look_at(key, trio.current_time())

    def _stands(self, peer: PeerId) -> bool:
        return any(info.admitted for info in self._host.connections(peer))


def _single(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of what may be a group of groups: each mailbox has a task of its own."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _single(one)
    else:
        yield error
