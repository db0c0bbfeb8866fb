"""Mail for us that lies at relays: where our queues are, and that what lies in them comes here.

Owns: the look at what there ought to be (collect_plan.py) and the task of each relay (collect_relay.py). Spec:
docs/spec/mailbox.md, "Replicas". Never touches: what packets mean (collect_use.py), connections (net/mailbox.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import trio

from covey_core.errors import FileDamaged
from covey_core.logs import get_logger
from covey_core.peers import PeerId, peer_id_bytes, peer_id_from_bytes
from covey_node import limits
from covey_node.net.lasting import failed
from covey_node.net.mailbox import At
from covey_node.protocol.queue_choice import Behaviour, Telling
from covey_node.service import collect_plan
from covey_node.service.collect_making import Parts
from covey_node.service.collect_plan import Surroundings
from covey_node.service.collect_receipts import Receipting
from covey_node.service.collect_relay import RelayQueues
from covey_node.service.effects import Effects
from covey_node.service.mailbox_views import Seen
from covey_node.store import queue_relays, queues
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.collecting")


class Collecting:
    """Keeps our queues as they ought to be and reads them. `path_stands`: whether a device is connected to us."""

    def __init__(self, parts: Parts, *, path_stands: Callable[[PeerId], bool]) -> None:
        self._parts = parts
        self._receipts = Receipting(parts.ledger, parts.own, path_stands)
        self._relays: dict[PeerId, RelayQueues] = {}
        self._known: dict[PeerId, At] = {}
        self._behaviour: dict[PeerId, Behaviour] = {}
        self._read = False  # whether what was known of relays was read
        self._unsaved: set[PeerId] = set()
        self._answered_at: dict[PeerId, float] = {}  # trio's time
        self._people: set[int] = set()
        self._sets: set[int] = set()
        self._due: dict[int, float] = {}
        self._telling = Telling()
        self._all = True
        self._woken = trio.Event()
        parts.ledger.follow(self._followed)

    def network_changed(self) -> None:
        """Our network is another one: relays that did not answer are asked at once."""
        for relay in self._relays.values():
            relay.wake(hurry=True)

    async def load(self) -> None:
        """Know what was known of relays before, and those that are known now."""
        if not self._read:
            known = await self._parts.ledger.read(_behaviours)
            self._behaviour, self._read = {**known, **self._behaviour}, True
        self._learn_relays()

    def seen(self) -> Seen:
        """Return what is known of relays, as of the last look."""

        def usage(relay: PeerId, recv_id: bytes) -> tuple[int, int] | None:
            return self._relays[relay].usage(recv_id) if relay in self._relays else None

        return Seen(
            operators={relay: at.operator for relay, at in self._known.items()},
            behaviour=dict(self._behaviour),
            listening=frozenset(peer for peer, relay in self._relays.items() if relay.listening),
            usage=usage,
        )

    async def leave(self, relay: PeerId, *, back: bool) -> None:
        """Have no queues at a relay from now on, or have them there again; durable when this returns."""
        old = self._behaviour.get(relay, Behaviour())
        self._note(relay, replace(old, left_at=None if back else self._parts.own.now()))
        await self._save_behaviour()

    async def run(self) -> None:
        """Collect until cancelled."""
        self._relays.clear()
        self._all = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receipts.run)
            while True:
                wait = float(limits.STORE_RETRY_SECONDS)
                try:
                    wait = await self._look(nursery)
                except (StoreError, FileDamaged) as exc:
                    log.warning("node.collecting.left_out", problem=type(exc).__name__)
                    self._all = True
                await trio.sleep(limits.MAILBOX_PLAN_PAUSE_SECONDS)
                with trio.move_on_after(wait):
                    await self._woken.wait()

    # --- what ought to be ---------------------------------------------------------------------------------------------

    async def _look(self, nursery: trio.Nursery) -> float:
        """Bring all that has changed closer to what it ought to be; return after how many seconds to look again."""
        timely = not self._woken.is_set()
        self._woken = trio.Event()
        ledger, own = self._parts.ledger, self._parts.own
        await self.load()
        await self._save_behaviour()
        people, self._people = self._people, set()
        sets, self._sets = self._sets, set()
        everything, self._all = self._all, False
        opened, touched = await ledger.change(lambda tx, _effects: collect_plan.open_and_close(tx, own))
        sets |= {*opened, *(set_id for set_id, due in self._due.items() if due <= own.now())}
        sets |= set(await ledger.read(lambda tx: _to_look_at(tx, people, everything=everything, timely=timely)))
        for page in _pages(sorted(sets)):
            touched |= await self._improve(page)
        await self._attend(nursery, touched)
        if len(opened) == limits.MAILBOX_PLAN_SETS or self._woken.is_set():
            return 0.0
        return max(0.0, min([due - own.now() for due in self._due.values()] + [float(limits.MAILBOX_PLAN_SECONDS)]))

    async def _improve(self, page: Sequence[int]) -> set[PeerId]:
        parts, around = self._parts, Surroundings(self._known, self._behaviour)

        def improve(tx: Tx, effects: Effects) -> tuple[set[PeerId], dict[int, float]]:
            touched, again = collect_plan.improve(tx, parts.own, page, around)
            due = collect_plan.tell(tx, effects, parts.own, page, parts.uses, self._telling)
            return touched, {id_: min(found[id_] for found in (again, due) if id_ in found) for id_ in {**again, **due}}

        touched, due = await parts.ledger.change(improve)
        for set_id in page:
            self._due.pop(set_id, None)
        self._due.update(due)
        return touched

    async def _attend(self, nursery: trio.Nursery, touched: Iterable[PeerId]) -> None:
        """Have a task for each relay with queues of ours, and wake those that have something to do."""
        own = self._parts.own

        def relays(tx: Tx, _effects: Effects) -> tuple[tuple[bytes, tuple[str, ...]], ...]:
            for relay, behaviour in self._behaviour.items():
                if behaviour.failures:
                    collect_plan.give_up(tx, relay, behaviour, now=own.now())
            return queues.relays(tx)

        for raw, addrs in await self._parts.ledger.change(relays):
            relay = peer_id_from_bytes(raw)
            self._known.setdefault(relay, At(relay, addrs))
            if relay not in self._relays:
                self._relays[relay] = RelayQueues(self._parts, self, relay)
                nursery.start_soon(self._run_relay, relay)
        for relay in touched:
            if relay in self._relays:
                self._relays[relay].wake()

    async def _run_relay(self, relay: PeerId) -> None:
        try:
            if await failed("mailboxes", self._relays[relay].run) is not None:
                await trio.sleep(limits.TASK_AGAIN_SECONDS_MAX)
        finally:
            del self._relays[relay]
            self._woken.set()  # it may have been given something to do just now

    def _learn_relays(self) -> None:
        found = {one.relay: one for one in self._parts.client.relays()}
        if found.items() - self._known.items():
            self._all = True
        self._known = {**{peer: at for peer, at in self._known.items() if peer in self._relays}, **found}

    def _followed(self, effects: Effects) -> None:
        if effects.contacts or effects.dropped or effects.queues:
            self._people.update(effects.contacts)
            self._all = self._all or effects.queues
            self._woken.set()

    # --- what relays tell (Around) ------------------------------------------------------------------------------------

    def at(self, relay: PeerId) -> At:
        """Return where a relay is, as far as is known now."""
        return self._known.get(relay, At(relay))

    def answered(self, relay: PeerId) -> None:
        """A relay has answered."""
        self._answered_at[relay] = trio.current_time()
        now, old = self._parts.own.now(), self._behaviour.get(relay, Behaviour())
        if old.failures or old.reached_at is None or abs(now - old.reached_at) > limits.MAILBOX_REACHED_SECONDS:
            self._note(relay, old.answered(now=now))

    async def silent(self, relay: PeerId, reason: str) -> None:
        """A relay has not answered. It counts as away when another one has answered: each is asked now and then."""
        since = trio.current_time() - limits.MAILBOX_ONLINE_SECONDS
        online = any(at > since for peer, at in self._answered_at.items() if peer != relay)
        old = self._behaviour.get(relay, Behaviour())
        self._note(relay, old.silent(reason, now=self._parts.own.now(), online=online))

    async def lost(self, relay: PeerId, *, made_at: float) -> None:
        """A relay has said that a queue of ours, which was planned at `made_at`, is gone."""
        old = self._behaviour.get(relay, Behaviour())
        self._note(relay, old.lost_queue(made_at=made_at, now=self._parts.own.now()))

    def changed(self, set_ids: Iterable[int]) -> None:
        """The queues of these sets are others now."""
        self._sets.update(set_ids)
        self._woken.set()

    def taken(self, relay: PeerId, set_id: int, packets: Sequence[bytes]) -> None:
        """Packets of a set that lay at a relay are durable here: the other relays need not keep them."""
        self._receipts.wake()
        for other, at_other in self._relays.items():
            if other != relay:
                at_other.acknowledge(set_id, packets)

    def _note(self, relay: PeerId, new: Behaviour) -> None:
        old = self._behaviour.get(relay, Behaviour())
        self._behaviour = {**self._behaviour, relay: new}
        self._unsaved.add(relay)
        if (old.gone, bool(old.failures), old.left_at) != (new.gone, bool(new.failures), new.left_at):
            self._all = True
            self._woken.set()

    async def _save_behaviour(self) -> None:
        unsaved, known = frozenset(self._unsaved), self._behaviour

        def save(tx: Tx, _effects: Effects) -> None:
            for relay in unsaved:
                queue_relays.save(tx, peer_id_bytes(relay), known[relay])

        if unsaved:
            await self._parts.ledger.change(save)
            self._unsaved -= {relay for relay in unsaved if self._behaviour[relay] is known[relay]}


def _behaviours(tx: Tx) -> dict[PeerId, Behaviour]:
    return {peer_id_from_bytes(raw): behaviour for raw, behaviour in queue_relays.all_known(tx).items()}


def _to_look_at(tx: Tx, people: set[int], *, everything: bool, timely: bool) -> tuple[int, ...]:
    if everything:
        return collect_plan.all_open(tx)
    found = collect_plan.of_contacts(tx, people)
    return (*found, *collect_plan.unfinished(tx)) if timely else found


def _pages(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    size = limits.MAILBOX_PLAN_SETS
    return (ids[start : start + size] for start in range(0, len(ids), size))
