"""The mailboxes of one device at work: one runner each, anew when the device tells another set.

Owns: their life together. Spec: docs/spec/delivery.md, "Mailboxes". Never touches: calls, other devices.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from covey_core.peers import PeerId, peer_id_from_bytes, peer_id_of
from covey_node import limits
from covey_node.crypto.replica import ReplicaKeys, send_seed
from covey_node.net.mailbox import At
from covey_node.protocol.replication import Replica, next_check
from covey_node.service.deposit_book import DepositBook
from covey_node.service.deposit_pauses import Pauses
from covey_node.service.deposit_replica import Client, Queue, ReplicaRunner
from covey_node.service.deposit_room import DepositRoom
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import lanes, peer_mailboxes
from covey_node.store.deposits import Place
from covey_node.store.peer_mailboxes import PeerReplica, PeerSet
from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Tools:
    """What all devices share: `name_of` a relay for people, `stands`: whether a path to a device does."""

    ledger: Ledger
    own: Own
    client: Client
    name_of: Callable[[PeerId], str]
    stands: Callable[[PeerId], bool]
    room: DepositRoom = field(default_factory=DepositRoom)
    pauses: Pauses = field(default_factory=Pauses)


class DepositLane:
    """Brings what waits for one device to its mailboxes."""

    def __init__(self, tools: Tools, *, contact_id: int, device_key: bytes) -> None:
        self._tools = tools
        self._contact_id = contact_id
        self._device_key = device_key
        self._peer = peer_id_of(device_key)
        self._runners: list[ReplicaRunner] = []
        self._scope = trio.CancelScope()
        self._again = False
        self._dropped = False
        self._until = float("inf")

    def wake(self) -> None:
        """Something was queued."""
        self._until, self._again = 0.0, True
        for runner in self._runners:
            runner.wake()

    def look(self) -> None:
        """A pause has ended early."""
        for runner in self._runners:
            runner.look()

    def hurry(self) -> None:
        """No path to the device stands any more."""
        for runner in self._runners:
            runner.hurry()

    def restart(self) -> None:
        """The device told another set."""
        self._again = True
        self._scope.cancel()

    def drop(self) -> None:
        """Nothing more goes to the device."""
        self._dropped = True
        self._scope.cancel()

    async def run(self) -> float | None:
        """Work until nothing is to be done for a while; return until when (trio's clock), None: until it is woken."""
        while not self._dropped:
            self._again = False
            found, waits = await self._tools.ledger.read(self._look)
            if found is None or not found.replicas or not waits:
                return None
            await self._count_from_now(found)
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    self._runners = [self._runner(found, one) for one in found.replicas]
                    for runner in self._runners:
                        nursery.start_soon(runner.run)
            self._runners = []
            if not self._again:
                return self._until
        return None

    def _look(self, tx: Tx) -> tuple[PeerSet | None, tuple[int, ...]]:
        return (
            peer_mailboxes.load(tx, self._contact_id, self._device_key),
            lanes.ids(tx, self._contact_id, self._device_key, after=0, limit=1),
        )

    async def _count_from_now(self, found: PeerSet) -> None:
        """Let the time until the first check run from the first deposit: nothing lies there longer."""
        fresh = [one.relay for one in found.replicas if one.checked_at is None]
        if not fresh:
            return
        now = self._tools.own.now()

        def note(tx: Tx, _effects: Effects) -> None:
            peer_mailboxes.note_checked(tx, self._contact_id, self._device_key, fresh, at=now)

        await self._tools.ledger.change(note)

    def _runner(self, found: PeerSet, one: PeerReplica) -> ReplicaRunner:
        tools, place = self._tools, Place(self._contact_id, self._device_key, one.relay, one.send_id)
        relay = peer_id_from_bytes(one.relay)
        name, now = tools.name_of(relay), trio.current_time()
        ago = tools.own.now() - one.checked_at if one.checked_at is not None else 0.0
        due = next_check(now - max(0.0, ago), jitter=random.random())  # noqa: S311 - spreads load, no secret
        relay_pause, own = tools.pauses.of(place)
        queue = Queue(
            At(relay, one.addrs, name),
            name,
            ReplicaKeys.derive(found.secret, one.relay, one.send_id),
            send_seed(found.secret, one.relay),
        )
        return ReplicaRunner(
            DepositBook(tools.ledger, tools.own, place, told=one.reason),
            Replica(relay_pause, due, own),
            queue,
            tools.client,
            room=tools.room.of(self._contact_id, mailboxes=len(found.replicas)),
            path_stands=lambda: tools.stands(self._peer),
            looked=self._looked,
        )

    def _looked(self) -> None:
        """End when no mailbox has anything to do for a while."""
        ends = [runner.idle_until for runner in self._runners]
        times = [end for end in ends if end is not None]
        if len(times) == len(ends) and min(times) > trio.current_time() + limits.DEPOSIT_LINGER_SECONDS:
            self._until, self._again = min(times), False
            self._scope.cancel()
