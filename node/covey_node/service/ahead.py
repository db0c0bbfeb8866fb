"""Contact records for the days to come, left at relays that publish them while this node is off.

Owns: at which relays, when, and what becomes of an answer. Spec: docs/spec/ahead.md, "What a node does". Never touches:
streams (net/ahead.py), how a record is made (record_making.py), which days and sequences (protocol/ahead_plan.py).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from covey_core.errors import CoveyError
from covey_core.logs import get_logger
from covey_core.network import Network
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire.ahead import AheadAnswer, AheadOutcome, AheadRequest, Leave, Withdraw, expiry_of
from covey_node import crypto, limits
from covey_node.net.ahead import ask_relay
from covey_node.net.alarm import Alarm
from covey_node.protocol.ahead_plan import content_hash, days_ahead, missing, next_sequence, order_of, surviving
from covey_node.protocol.relay_choice import Candidate, choose, networks_of
from covey_node.service.composing import own_addrs
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own, record_keys
from covey_node.service.record_making import make_record
from covey_node.store import account, ahead
from covey_node.store.ahead import AheadRow, Plan
from covey_node.store.tx import Tx

log = get_logger("node.ahead")

Ask = Callable[[Network, PeerId, Sequence[str], AheadRequest], Awaitable[AheadAnswer]]


@dataclass(frozen=True, slots=True)
class Job:
    """One request to one relay, and the row that it is about; `replaces`: something lies there already, it said."""

    row: AheadRow
    request: AheadRequest
    replaces: bool = False


@dataclass(slots=True)
class _Relay:
    """A relay of the network, and how it went there; `ready_at` and `checked_at` on trio's clock."""

    peer: PeerId
    operator: str
    addrs: tuple[str, ...]
    failures: int = 0
    ready_at: float = 0.0
    checked_at: float = -math.inf


class Ahead:
    """Sees to it that records for the days to come lie at some relays."""

    def __init__(
        self,
        ledger: Ledger,
        own: Own,
        network: Network,
        *,
        ask: Ask = ask_relay,
        rng: random.Random | None = None,
        covered: Callable[[int], None] = lambda _days: None,
    ) -> None:
        self._ledger = ledger
        self._own = own
        self._network = network
        self._ask = ask
        self._rng = rng or random.SystemRandom()
        self._covered = covered
        self._relays = {it.peer: _Relay(it.peer, it.operator, it.addrs) for it in network.relays}
        self._alarm = Alarm()
        self._settled_at = 0.0  # before it no other content is signed, on the wall clock
        ledger.follow(self._followed)

    async def run(self) -> None:
        """Look at the start, when circuits or keys change, and every hour or so; until cancelled."""
        await trio.sleep(limits.AHEAD_START_SECONDS)
        while True:
            await self.look()
            pause = limits.AHEAD_LOOK_SECONDS * self._rng.uniform(0.75, 1.25)
            wait = self._settled_at - self._own.now()
            await self._alarm.wait(trio.current_time() + (min(pause, wait) if wait > 0 else pause))
            await trio.sleep(limits.RECORD_SETTLE_SECONDS)

    async def look(self) -> int:
        """Send what is to be taken back, leave what is missing; return for how many days a record lies somewhere."""
        self._settled_at = 0.0
        served: set[PeerId] = set()
        for _ in range(limits.AHEAD_ROUNDS):  # others take the places of those that failed
            todo = await self._todo(served)
            async with trio.open_nursery() as nursery:
                for relay, chosen in todo:
                    nursery.start_soon(partial(self._serve, relay, chosen=chosen))
            served.update(relay.peer for relay, _ in todo)
        days = await self._ledger.read(lambda tx: ahead.days_covered(tx, today=crypto.day_of(self._own.now())))
        self._covered(days)
        return days

    async def _todo(self, served: set[PeerId]) -> list[tuple[_Relay, bool]]:
        """Return the relays to be asked that were not yet, and whether records are to lie there."""
        there = await self._ledger.read(ahead.rows)
        owed = {row.relay for row in there if row.withdrawal is not None}
        lying = {row.relay for row in there if row.left_at is not None and row.withdrawal is None}
        chosen = self._choose(lying)
        for relay in self._relays.values():
            if peer_id_bytes(relay.peer) not in lying:
                relay.checked_at = trio.current_time()
        return [
            (relay, relay.peer in chosen)
            for relay in self._relays.values()
            if relay.peer not in served
            and relay.ready_at <= trio.current_time()
            and (relay.peer in chosen or peer_id_bytes(relay.peer) in owed)
        ]

    def _followed(self, effects: Effects) -> None:
        if effects.publish_record:
            self._alarm.ring()

    def _choose(self, there: set[bytes]) -> tuple[PeerId, ...]:
        now, own = trio.current_time(), self._own.identity.peer_id
        return choose(
            [
                Candidate(it.peer, it.operator, networks_of(it.addrs), it.ready_at, it.failures, order_of(own, it.peer))
                for it in self._relays.values()
            ],
            wanted=limits.AHEAD_RELAYS,
            keeping={it.peer for it in self._relays.values() if it.ready_at <= now and peer_id_bytes(it.peer) in there},
            now=now,
        )

    # --- one relay ----------------------------------------------------------------------------------------------------

    async def _serve(self, relay: _Relay, *, chosen: bool) -> None:
        old = 0
        while old <= limits.AHEAD_REFUSED_MAX:
            check = relay.checked_at + limits.AHEAD_CHECK_SECONDS <= trio.current_time()
            job = await self._ledger.note(partial(self._next, relay.peer, chosen=chosen, check=check))
            if job is None:
                return
            try:
                answer = await self._ask(self._network, relay.peer, relay.addrs, job.request)
            except CoveyError as exc:
                log.debug("node.ahead.failed", problem=str(exc))
                self._leave_alone(relay, limits.AHEAD_RETRY_SECONDS)
                return
            match answer.outcome, job.request:
                case (AheadOutcome.DONE | AheadOutcome.ADDED, Leave()):
                    lost = job.replaces and answer.outcome is AheadOutcome.ADDED
                    await self._ledger.note(partial(self._note_left, job.row, lost=lost))
                    relay.failures = 0
                    if job.replaces:
                        relay.checked_at = trio.current_time()
                case (_, Withdraw()) if answer.outcome is not AheadOutcome.BUSY:
                    await self._ledger.note(partial(self._note_gone, job.row))
                case (AheadOutcome.NEWER, _):
                    old += 1
                case _:
                    log.info("node.ahead.refused", reason=answer.outcome.name.lower())
                    self._leave_alone(relay, answer.retry_after or limits.AHEAD_RETRY_SECONDS)
                    return
            await trio.sleep(self._rng.uniform(0, limits.AHEAD_PAUSE_SECONDS))
        self._leave_alone(relay, limits.AHEAD_RETRY_SECONDS)

    def _leave_alone(self, relay: _Relay, seconds: float) -> None:
        relay.failures += 1
        relay.ready_at = trio.current_time() + seconds

    # --- in a transaction ---------------------------------------------------------------------------------------------

    def _next(self, relay: PeerId, tx: Tx, _effects: Effects, *, chosen: bool, check: bool) -> Job | None:
        """Return what is to be asked of the relay next, written down before it leaves.

        With `check`, when nothing is missing: one record anew, to see whether what lay there is still there.
        """
        now, name = self._own.now(), peer_id_bytes(relay)
        today = crypto.day_of(now)
        ahead.prune(tx, today=today)
        owed = ahead.next_withdrawal(tx, name)
        if owed is not None and owed.withdrawal is not None:
            return Job(owed, Withdraw(owed.day_key, owed.sequence, owed.withdrawal))
        row = account.load(tx)
        if not chosen or row is None:
            return None
        keys = record_keys(row)
        prekeys = crypto.Prekeys.decode(row.prekeys).rotate(self._own.rng, now=now)
        addrs = surviving(own_addrs(tx))
        plan = self._plan(tx, keys.share.public, prekeys.generations[-1].id, addrs, now=now)
        if plan is None:
            return None
        gaps = missing(today, ahead.days_there(tx, name, plan.mark)) or (tuple(days_ahead(today)) if check else ())
        if not gaps:
            return None
        day = self._rng.choice(gaps)
        replaces = ahead.is_there(tx, name, keys.share.blinded_key(day))
        kept = prekeys.signed_ahead(until=expiry_of(days_ahead(today)[-1]))
        if kept.encode() != row.prekeys:
            account.set_prekeys(tx, kept.encode())
        sequence = next_sequence(ahead.last_sequence(tx, keys.share.blinded_key(day)), self._own.rng)
        made = make_record(
            self._own,
            keys,
            day=day,
            sequence=sequence,
            made=plan.made,
            expires_at=expiry_of(day),
            addrs=addrs,
            bundle=kept.bundle(self._own.local, now=now),
        )
        reserved = AheadRow(name, made.day_key, day, sequence, plan.mark)
        ahead.reserve(tx, reserved)
        return Job(reserved, Leave(made.value), replaces)

    def _note_left(self, row: AheadRow, tx: Tx, _effects: Effects, *, lost: bool) -> None:
        if lost:
            log.info("node.ahead.lost")
            ahead.note_lost(tx, row.relay)
        ahead.note_left(tx, row, now=self._own.now())

    def _note_gone(self, row: AheadRow, tx: Tx, _effects: Effects) -> None:
        ahead.forget(tx, row)

    def _plan(self, tx: Tx, record_key: bytes, generation: int, addrs: tuple[str, ...], *, now: float) -> Plan | None:
        """Return what is to lie at relays now; None while another content has only just been begun."""
        devices = self._own.local.devices.encode()
        content = content_hash(record_key, generation.to_bytes(4, "big"), devices, json.dumps(addrs).encode())
        plan = ahead.plan(tx)
        if plan is not None and plan.content == content:
            return plan
        if plan is not None and plan.record_key == record_key and 0 <= now - plan.at < limits.AHEAD_AGAIN_SECONDS:
            self._settled_at = plan.at + limits.AHEAD_AGAIN_SECONDS
            return None
        plan = Plan(content, account.next_record_sequence(tx, at_least=int(now)), now, record_key)
        ahead.set_plan(tx, plan)
        return plan
