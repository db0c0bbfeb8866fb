"""Records signed ahead, left at relays by the rules: a real database, real tables at the relays, no sockets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from covey_core.errors import Unreachable
from covey_core.identity import Identity
from covey_core.network import Network, RelayEntry, new_network
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire.ahead import (
    AheadAnswer,
    AheadOutcome,
    AheadRequest,
    Leave,
    begin_of,
    verify_ahead,
    verify_withdrawal,
)
from covey_node import crypto, limits
from covey_node.protocol.record import InnerRecord
from covey_node.service.ahead import Ahead
from covey_node.service.composing import note_own_addrs
from covey_node.service.effects import Effects
from covey_node.service.own import record_keys
from covey_node.service.record_making import take_back
from covey_node.store import account, ahead
from covey_node.store.account import AccountRow
from covey_node.store.ahead import AheadRow
from covey_node.store.tx import Tx
from covey_relay.ahead.table import AheadTable
from covey_relay.limits import AheadLimits
from tests.node.service.lane_world import World

DAYS = 31
DAY_SECONDS = 86_400


@dataclass
class Relays:
    """Five relays of five operators, each with its table, asked without a network."""

    folder: Path
    place: World
    peers: list[PeerId] = field(default_factory=lambda: [Identity.generate().peer_id for _ in range(5)])
    down: set[PeerId] = field(default_factory=set)
    says: dict[PeerId, AheadAnswer] = field(default_factory=dict)
    asked: list[tuple[PeerId, AheadRequest]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = {
            peer: AheadTable(self.folder / f"{number}.db", AheadLimits()) for number, peer in enumerate(self.peers)
        }

    @property
    def network(self) -> Network:
        entries = (
            RelayEntry(f"operator {number}", (f"/ip4/9.{number}.0.1/tcp/4101/p2p/{peer}",))
            for number, peer in enumerate(self.peers)
        )
        network = new_network("test", private=False)
        return Network(network.name, network.id, network.scope, network.key, relays=tuple(entries))

    async def ask(self, _network: Network, peer: PeerId, addrs: Sequence[str], request: AheadRequest) -> AheadAnswer:
        await trio.lowlevel.checkpoint()
        assert all(addr.endswith(peer) for addr in addrs)
        self.asked.append((peer, request))
        if peer in self.down:
            raise Unreachable("nobody is there")
        if peer in self.says:
            return self.says[peer]
        now = int(self.place.own.now())
        if isinstance(request, Leave):
            day, record = verify_ahead(request.value)
            due = max(now, begin_of(day))
            kept = self.tables[peer].leave(day, record, request.value, now=now, due=due, may_add=True)
            return AheadAnswer(AheadOutcome.ADDED if kept.added else kept.outcome)
        verify_withdrawal(request, relay=peer)
        return AheadAnswer(self.tables[peer].withdraw(request.day_key, request.sequence))

    def taken(self) -> list[tuple[PeerId, AheadRequest]]:
        """What was asked since the last call."""
        asked, self.asked = self.asked, []
        return asked


class Owner:
    """An account whose records are left ahead."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.relays = Relays(folder, world)
        self.covered: list[int] = []
        self.ahead = Ahead(
            world.ledger,
            world.own,
            self.relays.network,
            ask=self.relays.ask,
            rng=random.Random(5),
            covered=self.covered.append,
        )
        keys = crypto.RecordKeys.generate(world.own.rng)
        prekeys = crypto.Prekeys.generate(world.own.rng, now=world.own.now())
        row = AccountRow(
            account_key=world.own.account_key,
            account_seed=bytes(32),
            name="alice",
            device_list=world.own.local.devices.encode(),
            device_keys=b"",
            prekeys=prekeys.encode(),
            record_seed=keys.seed,
            record_secret=keys.share.secret,
            record_sequence=int(world.own.now()) - 5,
            created_at=0.0,
        )
        self.read = world.database.connection.read
        self.write = world.database.connection.run
        self.write(lambda tx: account.create(tx, row))
        self.circuits("one")

    @property
    def today(self) -> int:
        return crypto.day_of(self.world.own.now())

    def circuits(self, *relays: str) -> None:
        addrs = tuple(
            f"/dns4/{relay}/tcp/4101/p2p/x/p2p-circuit/p2p/{self.world.own.identity.peer_id}" for relay in relays
        )
        self.write(lambda tx: note_own_addrs(tx, (*addrs, "/ip4/192.168.1.7/tcp/4000")))

    def block(self) -> None:
        def replace_keys(tx: Tx) -> None:
            take_back(tx)
            keys = crypto.RecordKeys.generate(self.world.own.rng)
            account.replace_record_keys(tx, record_seed=keys.seed, record_secret=keys.share.secret)

        self.write(replace_keys)

    def rows(self) -> list[AheadRow]:
        return self.read(ahead.rows)

    def opened(self, request: AheadRequest) -> tuple[int, int, InnerRecord]:
        """A record's day, outer sequence and inside."""
        assert isinstance(request, Leave)
        day, record = verify_ahead(request.value)
        row = self.read(account.load)
        assert row is not None
        inner = record_keys(row).share.open(day, record.ciphertext)
        return day, record.sequence, InnerRecord.decode(inner, account_key=row.account_key)


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Owner]:
    world = World(tmp_path)
    world.own = replace(world.own, now=lambda: begin_of(20_780) + 1_000.0 + trio.current_time())
    yield Owner(world, tmp_path)
    world.close()


async def test_a_month_lies_at_three_relays_of_different_operators(owner: Owner, autojump_clock: MockClock) -> None:
    assert await owner.ahead.look() == DAYS
    asked = owner.relays.taken()
    assert sorted(Counter(peer for peer, _ in asked).values()) == [DAYS] * 3
    for peer in {peer for peer, _ in asked}:
        days = [owner.opened(request)[0] for asked_peer, request in asked if asked_peer == peer]
        assert sorted(days) == list(range(owner.today, owner.today + DAYS))
        assert days != sorted(days)
    assert owner.covered == [DAYS]
    assert await owner.ahead.look() == DAYS
    assert owner.relays.taken() == []


async def test_what_lies_there_says_where_the_owner_may_be_again_and_is_of_its_time(
    owner: Owner, autojump_clock: MockClock
) -> None:
    before = owner.read(account.load)
    await owner.ahead.look()
    row = owner.read(account.load)
    assert before is not None
    assert row is not None
    for _, request in owner.relays.taken():
        day, sequence, inner = owner.opened(request)
        assert len(inner.addrs) == 1
        assert "/p2p-circuit/" in inner.addrs[0]
        assert inner.sequence == sequence < begin_of(day)
        assert before.record_sequence < inner.made == row.record_sequence
        bundle = crypto.Bundle.decode(inner.bundle)
        bundle.verify(now=begin_of(day + 1), account=row.account_key)
        prekeys = crypto.Prekeys.decode(row.prekeys)
        assert prekeys.generation(bundle.generation).deleted_at >= begin_of(day) + 30 * DAY_SECONDS
    assert owner.write(account.next_record_sequence) > row.record_sequence


async def test_a_new_day_costs_one_record_a_relay(owner: Owner, autojump_clock: MockClock) -> None:
    await owner.ahead.look()
    owner.relays.taken()
    await trio.sleep(DAY_SECONDS)
    assert await owner.ahead.look() == DAYS
    asked = owner.relays.taken()
    days = Counter(owner.opened(request)[0] for _, request in asked)
    assert days.pop(owner.today + DAYS - 1) >= 3
    assert days.total() <= 3  # one anew at each, to see whether all is still there
    assert min(row.day for row in owner.rows()) == owner.today


async def test_other_circuits_leave_all_days_anew_but_not_twice_in_ten_minutes(
    owner: Owner, autojump_clock: MockClock
) -> None:
    await owner.ahead.look()
    first = {owner.opened(request)[:2] for _, request in owner.relays.taken()}
    owner.circuits("two")
    await owner.ahead.look()
    assert owner.relays.taken() == []
    await trio.sleep(limits.AHEAD_AGAIN_SECONDS)
    await owner.ahead.look()
    asked = owner.relays.taken()
    assert len(asked) == 3 * DAYS
    highest = {day: max(sequence for d, sequence in first if d == day) for day, _ in first}
    made = set()
    for _, request in asked:
        day, sequence, inner = owner.opened(request)
        assert sequence > highest[day]
        assert inner.addrs[0].startswith("/dns4/two/")
        made.add(inner.made)
    assert len(made) == 1


async def test_circuits_that_come_back_are_left_anew_where_they_lay_before(
    owner: Owner, autojump_clock: MockClock
) -> None:
    owner.relays.down.update(owner.relays.peers[:2])
    away = owner.relays.peers[2]
    await owner.ahead.look()
    (first,) = {owner.opened(request)[2].made for peer, request in owner.relays.taken() if peer == away}
    owner.circuits("two")
    owner.relays.down.add(away)
    await trio.sleep(limits.AHEAD_RETRY_SECONDS)
    await owner.ahead.look()
    owner.circuits("one")
    owner.relays.down.remove(away)
    owner.relays.taken()
    await trio.sleep(2 * limits.AHEAD_RETRY_SECONDS)
    await owner.ahead.look()
    again = [owner.opened(request)[2].made for peer, request in owner.relays.taken() if peer == away]
    assert len(again) == DAYS
    assert min(again) > first  # what lay there is older than what was said of "two" meanwhile


async def test_a_new_generation_of_prekeys_is_left_within_the_hour(owner: Owner, autojump_clock: MockClock) -> None:
    await owner.ahead.look()
    (old,) = {crypto.Bundle.decode(owner.opened(one)[2].bundle).generation for _, one in owner.relays.taken()}
    await trio.sleep(8 * DAY_SECONDS)
    await owner.ahead.look()
    asked = owner.relays.taken()
    assert len(asked) == 3 * DAYS
    assert old not in {crypto.Bundle.decode(owner.opened(one)[2].bundle).generation for _, one in asked}


async def test_another_relay_takes_the_place_of_one_that_is_gone(owner: Owner, autojump_clock: MockClock) -> None:
    await owner.ahead.look()
    gone = owner.relays.taken()[0][0]
    owner.relays.down.add(gone)
    await trio.sleep(DAY_SECONDS)
    await owner.ahead.look()
    asked = Counter(peer for peer, _ in owner.relays.taken())
    assert asked[gone] == 1
    assert max(asked.values()) == DAYS
    assert asked.total() <= 1 + 2 * 2 + DAYS
    await trio.sleep(limits.AHEAD_RETRY_SECONDS / 2)
    await owner.ahead.look()
    assert owner.relays.taken() == []
    await trio.sleep(limits.AHEAD_RETRY_SECONDS)
    owner.relays.down.clear()
    await owner.ahead.look()
    assert sum(peer == gone for peer, _ in owner.relays.taken()) <= 1


async def test_a_relay_that_lost_its_disk_gets_everything_anew_within_a_day(
    owner: Owner, autojump_clock: MockClock
) -> None:
    await owner.ahead.look()
    forgetful = owner.relays.taken()[0][0]
    owner.relays.tables[forgetful] = AheadTable(owner.relays.folder / "new.db", AheadLimits())
    await trio.sleep(limits.AHEAD_CHECK_SECONDS)
    await owner.ahead.look()
    asked = Counter(peer for peer, _ in owner.relays.taken())
    assert asked.pop(forgetful) >= DAYS
    assert max(asked.values()) <= 2
    assert owner.relays.tables[forgetful].usage[0] == DAYS


async def test_with_two_relays_of_five_a_month_lies_at_two(owner: Owner, autojump_clock: MockClock) -> None:
    owner.relays.down.update(owner.relays.peers[:3])
    assert await owner.ahead.look() == DAYS
    assert len({row.relay for row in owner.rows() if row.left_at is not None}) == 2


async def test_a_relay_that_is_busy_is_left_alone_as_long_as_it_says(owner: Owner, autojump_clock: MockClock) -> None:
    await owner.ahead.look()
    busy = owner.relays.taken()[0][0]
    owner.relays.says[busy] = AheadAnswer(AheadOutcome.BUSY, 5_000)
    await trio.sleep(DAY_SECONDS)
    await owner.ahead.look()
    del owner.relays.says[busy]
    owner.relays.taken()
    await trio.sleep(4_900)
    await owner.ahead.look()
    assert busy not in {peer for peer, _ in owner.relays.taken()}


@pytest.mark.parametrize("outcome", [AheadOutcome.FULL, AheadOutcome.TIME, AheadOutcome.NEWER])
async def test_relays_that_refuse_are_not_pestered(
    owner: Owner, outcome: AheadOutcome, autojump_clock: MockClock
) -> None:
    for peer in owner.relays.peers:
        owner.relays.says[peer] = AheadAnswer(outcome)
    assert await owner.ahead.look() == 0
    assert len(owner.relays.taken()) <= 5 * (limits.AHEAD_REFUSED_MAX + 1)
    for _ in range(3):
        await owner.ahead.look()
    assert owner.relays.taken() == []
    assert all(row.left_at is None for row in owner.rows())


async def test_a_relay_that_has_a_higher_sequence_gets_a_still_higher_one(
    owner: Owner, autojump_clock: MockClock
) -> None:
    await owner.ahead.look()
    owner.write(lambda tx: tx.execute("UPDATE ahead SET sequence = sequence - 3, left_at = NULL"))
    assert await owner.ahead.look() == DAYS
    assert all(row.left_at is not None for row in owner.rows())


async def test_a_record_whose_answer_was_lost_is_left_again_under_a_higher_sequence(
    owner: Owner, autojump_clock: MockClock
) -> None:
    ask, lost = owner.relays.ask, list[AheadRequest]()

    async def loses(network: Network, peer: PeerId, addrs: Sequence[str], request: AheadRequest) -> AheadAnswer:
        await ask(network, peer, addrs, request)
        lost.append(request)
        raise Unreachable("the answer did not come")

    owner.ahead._ask = loses
    await owner.ahead.look()
    assert len(lost) == 5
    owner.ahead._ask = ask
    owner.relays.taken()
    await trio.sleep(limits.AHEAD_RETRY_SECONDS)
    assert await owner.ahead.look() == DAYS
    again = [owner.opened(request)[:2] for _, request in owner.relays.taken()]
    for request in lost:
        day, sequence, _ = owner.opened(request)
        assert [new for of, new in again if of == day] == [new for of, new in again if of == day and new > sequence]


async def test_a_change_whose_answer_was_lost_is_not_taken_for_done(owner: Owner, autojump_clock: MockClock) -> None:
    await owner.ahead.look()
    owner.circuits("two")
    await trio.sleep(limits.AHEAD_AGAIN_SECONDS)
    owner.relays.down.update(owner.relays.peers)
    await owner.ahead.look()
    owner.relays.down.clear()
    owner.relays.taken()
    await trio.sleep(limits.AHEAD_RETRY_SECONDS)
    await owner.ahead.look()
    told = Counter(
        peer for peer, request in owner.relays.taken() if owner.opened(request)[2].addrs[0].startswith("/dns4/two/")
    )
    assert sorted(told.values()) == [DAYS] * 3


async def test_blocking_takes_everything_back_and_leaves_it_anew(owner: Owner, autojump_clock: MockClock) -> None:
    await owner.ahead.look()
    old = {row.day_key for row in owner.rows()}
    owner.relays.taken()
    owner.block()
    assert await owner.ahead.look() == DAYS
    for table in owner.relays.tables.values():
        for one in table._raw.execute("SELECT day_key, value FROM records").fetchall():
            assert (one[0] in old) == (one[1] is None)
    first = [request for _, request in owner.relays.taken()]
    assert sum(not isinstance(request, Leave) for request in first) == 3 * DAYS
    assert {row.day_key for row in owner.rows()}.isdisjoint(old)
    assert not any(row.withdrawal for row in owner.rows())


async def test_a_relay_that_is_away_when_somebody_is_blocked_hears_of_it_when_it_is_back(
    owner: Owner, autojump_clock: MockClock
) -> None:
    await owner.ahead.look()
    away = owner.relays.taken()[0][0]
    owner.relays.down.add(away)
    old = next(row for row in owner.rows() if row.relay == peer_id_bytes(away))
    owner.block()
    owner.block()
    await owner.ahead.look()
    owed = [row for row in owner.rows() if row.withdrawal is not None]
    assert {row.relay for row in owed} == {peer_id_bytes(away)}
    owner.relays.down.clear()
    await trio.sleep(limits.AHEAD_RETRY_SECONDS)
    await owner.ahead.look()
    assert not any(row.withdrawal for row in owner.rows())
    left = owner.relays.tables[away]._raw.execute("SELECT value FROM records WHERE day_key = ?", (old.day_key,))
    assert left.fetchall() == [(None,)]


async def test_what_was_reserved_and_never_answered_is_taken_back_too(owner: Owner, autojump_clock: MockClock) -> None:
    ask = owner.relays.ask

    async def loses(network: Network, peer: PeerId, addrs: Sequence[str], request: AheadRequest) -> AheadAnswer:
        await ask(network, peer, addrs, request)
        raise Unreachable("the answer did not come")

    owner.ahead._ask = loses
    await owner.ahead.look()
    owner.block()
    assert all(row.withdrawal is not None for row in owner.rows())
    assert len(owner.rows()) == 5


async def test_withdrawals_end_with_their_days(owner: Owner, autojump_clock: MockClock) -> None:
    await owner.ahead.look()
    owner.relays.down.update(owner.relays.peers)
    owner.block()
    await trio.sleep(40 * DAY_SECONDS)
    await owner.ahead.look()
    assert not any(row.withdrawal for row in owner.rows())


async def test_it_begins_after_the_start_and_hears_of_changes(owner: Owner, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner.ahead.run)
        await trio.sleep(limits.AHEAD_START_SECONDS - 1)
        assert owner.relays.taken() == []
        await trio.sleep(600)
        assert len(owner.relays.taken()) == 3 * DAYS
        owner.circuits("two")

        def changed(_tx: Tx, effects: Effects) -> None:
            effects.publish_record = True

        await trio.sleep(limits.AHEAD_AGAIN_SECONDS)
        await owner.world.ledger.change(changed)
        await trio.sleep(300)
        assert len(owner.relays.taken()) == 3 * DAYS
        owner.circuits("three")
        await owner.world.ledger.change(changed)
        await trio.sleep(limits.RECORD_SETTLE_SECONDS + 1)
        assert owner.relays.taken() == []
        await trio.sleep(limits.AHEAD_AGAIN_SECONDS)
        assert len(owner.relays.taken()) == 3 * DAYS
        owner.block()
        await owner.world.ledger.change(changed)
        await trio.sleep(300)
        asked = owner.relays.taken()
        assert len(asked) == 6 * DAYS
        await trio.sleep(3 * DAY_SECONDS)
        assert 0 < len(owner.relays.taken()) <= 9 + 9
        nursery.cancel_scope.cancel()


async def test_a_disk_that_fails_once_costs_an_hour_of_one_relay_at_most(
    owner: Owner, autojump_clock: MockClock
) -> None:
    ask = owner.relays.ask

    async def fails(network: Network, peer: PeerId, addrs: Sequence[str], request: AheadRequest) -> AheadAnswer:
        owner.world.database.failures = 1
        owner.ahead._ask = ask
        return await ask(network, peer, addrs, request)

    owner.ahead._ask = fails
    await owner.ahead.look()
    assert await owner.ahead.look() == DAYS
    assert all(row.left_at is not None for row in owner.rows())
