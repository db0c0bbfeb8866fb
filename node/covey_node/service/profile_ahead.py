"""Our public profile for the days to come, left at relays that publish it while this node is off.

Owns: which days lie where, and that all of it is taken back when the profile is hidden. Spec: docs/spec/profile.md,
docs/spec/ahead.md. Never touches: streams (net/ahead.py), contact records (ahead.py), what the profile says.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import trio

from covey_core.errors import CoveyError
from covey_core.logs import get_logger
from covey_core.network import Network, RelayEntry
from covey_core.peers import PeerId
from covey_core.records import ContactRecord, encode_record, signed_part
from covey_core.wire.ahead import (
    AheadAnswer,
    AheadOutcome,
    AheadRequest,
    Leave,
    Withdraw,
    begin_of,
    expiry_of,
    withdrawal_part,
)
from covey_node import crypto, limits
from covey_node.net.ahead import ask_relay
from covey_node.protocol.profile import PublicProfile
from covey_node.protocol.relay_choice import Candidate, choose, networks_of, order_of
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import account
from covey_node.store.tx import Tx

log = get_logger("node.profile")

_META = "profile_ahead"
_FIRST_BITS = 29  # a day's sequences begin at a random number of so many bits
_ROUND_WIDTH = 1 << 17  # and each round takes one of the next so many: 9,000 rounds fit below a day's own seconds

Ask = Callable[[Network, PeerId, Sequence[str], AheadRequest], Awaitable[AheadAnswer]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to lie at relays: the round's number, what it says (a hash), its `made`, when it was begun; what lies."""

    salt: str
    number: int = 0
    content: str = ""
    made: int = 0
    begun_at: float = 0.0
    there: dict[str, list[int]] = field(default_factory=dict)  # relay: days of this round
    older: dict[str, list[int]] = field(default_factory=dict)  # the same, of any round: to be taken back one day


class ProfileAhead:
    """Keeps 30 days at two relays, each record under a sequence and over a connection of its own."""

    def __init__(
        self, ledger: Ledger, own: Own, network: Network, *, ask: Ask = ask_relay, rng: random.Random | None = None
    ) -> None:
        self._ledger = ledger
        self._own = own
        self._network = network
        self._ask = ask
        self._rng = rng or random.SystemRandom()

    async def keep(self, profile: PublicProfile | None) -> bool:
        """Leave what is missing, or with None take everything back; whether nothing is left to be done."""
        if profile is None:
            plan = await self._ledger.change(
                lambda tx, _: self._saved(tx, replace(self._load(tx), content="", there={}))
            )
            jobs = [partial(self._take_back, relay) for relay in self._network.relays if relay.peer in plan.older]
        else:
            plan = await self._ledger.change(lambda tx, _: self._begin(tx, profile))
            jobs = [partial(self._leave_at, relay, replace(profile, made=plan.made)) for relay in self._chosen()]
        done: list[bool] = []

        async def run(job: Callable[[], Awaitable[bool]]) -> None:
            done.append(await job())

        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(run, job)
        return all(done)

    def _chosen(self) -> list[RelayEntry]:
        own = self._own.identity.peer_id
        found = choose(
            [
                Candidate(one.peer, one.operator, networks_of(one.addrs), order=order_of(own, one.peer))
                for one in self._network.relays
            ],
            wanted=limits.PROFILE_AHEAD_RELAYS,
            keeping=(),
            now=trio.current_time(),
        )
        return [one for one in self._network.relays if one.peer in found]

    # --- one relay ----------------------------------------------------------------------------------------------------

    async def _leave_at(self, relay: RelayEntry, profile: PublicProfile) -> bool:
        plan = await self._ledger.read(self._load)
        today = crypto.day_of(self._own.now())
        gaps = [
            day
            for day in range(today + 1, today + 1 + limits.PROFILE_AHEAD_DAYS)
            if day not in plan.there.get(relay.peer, ())
        ]
        self._rng.shuffle(gaps)
        for day in gaps:
            await self._ledger.change(lambda tx, _, day=day: self._note(tx, relay.peer, day, lies=None))  # type: ignore[misc]
            answer = await self._asked(relay, Leave(self._record(profile, plan, day)))
            if answer is None or answer.outcome not in {AheadOutcome.DONE, AheadOutcome.ADDED, AheadOutcome.NEWER}:
                return False
            await self._ledger.change(lambda tx, _, day=day: self._note(tx, relay.peer, day, lies=True))  # type: ignore[misc]
            await trio.sleep(self._rng.uniform(0, limits.AHEAD_PAUSE_SECONDS))
        return True

    async def _take_back(self, relay: RelayEntry) -> bool:
        plan, keys = await self._ledger.read(self._load), crypto.profile_keys(self._own.account)
        today = crypto.day_of(self._own.now())
        for day in sorted(plan.older.get(relay.peer, ())):
            if day >= today - 1:
                day_key = keys.share.blinded_key(day)
                last = _first_of(plan, day) + _ROUND_WIDTH - 1  # the next round's lie above it
                part = withdrawal_part(relay=relay.peer, day_key=day_key, sequence=last)
                answer = await self._asked(relay, Withdraw(day_key, last, keys.sign(day, part)))
                if answer is None or answer.outcome is AheadOutcome.BUSY:
                    return False
            await self._ledger.change(lambda tx, _, day=day: self._note(tx, relay.peer, day, lies=False))  # type: ignore[misc]
        return True

    async def _asked(self, relay: RelayEntry, request: AheadRequest) -> AheadAnswer | None:
        try:
            return await self._ask(self._network, relay.peer, relay.addrs, request)
        except CoveyError as exc:
            log.debug("node.profile.not_left", problem=str(exc))
            return None

    def _record(self, profile: PublicProfile, plan: _Plan, day: int) -> bytes:
        keys = crypto.profile_keys(self._own.account)
        sequence = min(_first_of(plan, day) + self._rng.randrange(_ROUND_WIDTH), begin_of(day) - 1)
        day_key, expires_at = keys.share.blinded_key(day), expiry_of(day)
        ciphertext = keys.share.seal(day, profile.encode(self._network), self._own.rng)
        part = signed_part(day_key=day_key, sequence=sequence, expires_at=expires_at, ciphertext=ciphertext)
        return encode_record(ContactRecord(day_key, sequence, expires_at, ciphertext, keys.sign(day, part)))

    # --- in a transaction ---------------------------------------------------------------------------------------------

    def _begin(self, tx: Tx, profile: PublicProfile) -> _Plan:
        """Return the round to leave; a new one when the profile says something else, not more than once in a while."""
        plan, now = self._load(tx), self._own.now()
        content = hashlib.sha256(replace(profile, made=0).encode(self._network)).hexdigest()
        if plan.content and (plan.content == content or 0 <= now - plan.begun_at < limits.AHEAD_AGAIN_SECONDS):
            return plan
        fresh = replace(plan, number=plan.number + 1, content=content, made=profile.made, begun_at=now, there={})
        return self._saved(tx, fresh)

    def _note(self, tx: Tx, relay: PeerId, day: int, *, lies: bool | None) -> None:
        """Write down that a day may lie at a relay (None, before it is left), does, or was taken back."""
        plan, today = self._load(tx), crypto.day_of(self._own.now())
        there, older = ({peer: {*days} for peer, days in part.items()} for part in (plan.there, plan.older))
        for part in (there, older):
            part.setdefault(relay, set())
        if lies is False:
            there[relay].discard(day)
            older[relay].discard(day)
        else:
            older[relay].add(day)
        if lies:
            there[relay].add(day)
        kept = [
            {peer: sorted(one for one in days if one >= today - 1) for peer, days in part.items()}
            for part in (there, older)
        ]
        self._saved(tx, replace(plan, there=kept[0], older={peer: days for peer, days in kept[1].items() if days}))

    def _load(self, tx: Tx) -> _Plan:
        stored = account.get_meta(tx, _META)
        return _Plan(self._own.rng(16).hex()) if stored is None else _Plan(**json.loads(stored))

    def _saved(self, tx: Tx, plan: _Plan) -> _Plan:
        account.set_meta(tx, _META, json.dumps(asdict(plan)).encode())
        return plan


def _first_of(plan: _Plan, day: int) -> int:
    """Return the lowest sequence of a round for a day: one day's tell nothing of another's."""
    drawn = hashlib.sha256(bytes.fromhex(plan.salt) + day.to_bytes(8, "big")).digest()
    return 1 + int.from_bytes(drawn[:8], "big") % (1 << _FIRST_BITS) + plan.number * _ROUND_WIDTH
