"""Who starts, who yields, who is refused, and when: the puncher against hosts in memory, under a MockClock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_core.wire.dcutr import HolePunch, HolePunchType, decode_hole_punch, encode_hole_punch
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits
from covey_node.net.puncher import Puncher
from covey_node.protocol.dcutr import connect_message
from covey_node.protocol.punch_log import Ending, PunchOutcome, Reason, Side
from tests.support.punch_world import DCUTR_PROTOCOL, FakeHost, FakeStream, World, world

ALICE_ADDR, BOB_ADDR = "/ip4/45.79.40.101/tcp/20001", "/ip4/45.79.50.102/tcp/20002"
SMALL, LARGE = sorted(Identity.generate().peer_id for _ in range(2))


@dataclass
class Person:
    host: FakeHost
    puncher: Puncher
    outcomes: list[PunchOutcome] = field(default_factory=list)


async def person(where: World, peer: PeerId, addr: str, *, addrs: tuple[str, ...] = (), knows: Any = None) -> Person:
    host = where.host(peer, *addrs)
    outcomes: list[PunchOutcome] = []
    puncher = Puncher(host, lambda: (addr,), outcomes.append, knows=knows)  # type: ignore[arg-type]
    assert where.nursery is not None
    where.nursery.start_soon(puncher.run)
    await trio.testing.wait_all_tasks_blocked()
    return Person(host, puncher, outcomes)


@asynccontextmanager
async def two(**settings: Any) -> AsyncIterator[tuple[World, Person, Person]]:
    """Alice, who dials, and bob, who is dialed and starts."""
    async with world(**settings) as where:
        yield where, await person(where, SMALL, ALICE_ADDR), await person(where, LARGE, BOB_ADDR)


async def settle(*people: Person, count: int = 1) -> None:
    with trio.fail_after(300):
        while any(len(one.outcomes) < count for one in people):  # noqa: ASYNC110 - virtual time
            await trio.sleep(0.001)


# --- the good case ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.001, 0.04, 0.5])
async def test_both_begin_at_the_same_moment_whatever_the_round_trip_time(
    delay: float, autojump_clock: MockClock
) -> None:
    async with two(delay=delay) as (where, alice, bob):
        where.connect(alice.host, bob.host, relayed=True)
        await settle(alice, bob)
        (ours,), (theirs,) = bob.host.punches, alice.host.punches
        assert ours.at == pytest.approx(theirs.at, abs=1e-6)
        assert (ours.client, theirs.client) == (False, True)
        assert (ours.addrs, theirs.addrs) == ((ALICE_ADDR,), (BOB_ADDR,))
        assert [one.outcome for one in (*alice.outcomes, *bob.outcomes)] == [Ending.SUCCESS, Ending.SUCCESS]
        assert (alice.outcomes[0].side, bob.outcomes[0].side) == (Side.RECEIVER, Side.INITIATOR)


async def test_a_direct_connection_takes_no_more_than_the_round_trips_of_the_protocol(
    autojump_clock: MockClock,
) -> None:
    async with two(delay=0.04) as (where, alice, bob):
        began = trio.current_time()
        where.connect(alice.host, bob.host, relayed=True)
        await settle(alice, bob)
        # CONNECT, with the proposal, and its answer 80 ms, SYNC 40 ms: nothing is waited for besides
        assert bob.host.punches[0].at - began == pytest.approx(0.12, abs=0.005)


async def test_between_coveys_three_attempts_are_made_on_one_stream_and_the_last_with_swapped_roles(
    autojump_clock: MockClock,
) -> None:
    async with two(works=lambda: False) as (where, alice, bob):
        where.connect(alice.host, bob.host, relayed=True)
        await settle(alice, bob)
        assert bob.host.opened == 1
        assert [one.client for one in bob.host.punches] == [False, False, True]
        assert [one.client for one in alice.host.punches] == [True, True, False]
        for ours, theirs in zip(bob.host.punches, alice.host.punches, strict=True):
            assert ours.at == pytest.approx(theirs.at, abs=1e-6)
        for one in (*alice.outcomes, *bob.outcomes):
            assert (one.outcome, one.attempts, one.reason) == (Ending.FAILED, 3, Reason.DIAL_TIMEOUT)


async def test_another_implementation_gets_a_stream_an_attempt(autojump_clock: MockClock) -> None:
    async with two(works=lambda: False) as (where, alice, bob):
        where.connect(alice.host, bob.host, relayed=True, agent="go-libp2p/0.43")
        await settle(bob)
        assert bob.host.opened == 3
        assert [one.client for one in bob.host.punches] == [False, False, False]
        assert bob.outcomes[0].attempts == 3


async def test_all_addresses_refused_is_told_as_refused(autojump_clock: MockClock) -> None:
    async with two(works=lambda: False, failure="refused") as (where, alice, bob):
        where.connect(alice.host, bob.host, relayed=True)
        await settle(bob)
        assert bob.outcomes[0].reason is Reason.REFUSED


# --- step 0 -----------------------------------------------------------------------------------------------------------


async def test_a_peer_with_a_public_address_is_dialed_before_any_punch(autojump_clock: MockClock) -> None:
    async with world() as where:
        alice = await person(where, SMALL, ALICE_ADDR, addrs=("/ip4/45.79.20.11/tcp/4001", "/ip4/10.0.0.3/tcp/4001"))
        bob = await person(where, LARGE, BOB_ADDR)
        where.dialable.add("/ip4/45.79.20.11/tcp/4001")
        where.connect(alice.host, bob.host, relayed=True)
        await settle(bob)
        assert bob.host.dialed == [("/ip4/45.79.20.11/tcp/4001",)]
        assert bob.host.punches == []
        assert (bob.outcomes[0].outcome, bob.outcomes[0].attempts) == (Ending.DIRECT, 0)


async def test_a_public_address_that_does_not_answer_costs_a_second_and_then_a_hole_is_punched(
    autojump_clock: MockClock,
) -> None:
    async with world() as where:
        alice = await person(where, SMALL, ALICE_ADDR, addrs=("/ip4/45.79.20.11/tcp/4001",))
        bob = await person(where, LARGE, BOB_ADDR)
        began = trio.current_time()
        where.connect(alice.host, bob.host, relayed=True)
        await settle(bob)
        assert bob.outcomes[0].outcome is Ending.SUCCESS
        assert bob.host.punches[0].at - began < limits.PUNCH_DIRECT_SECONDS + 0.5


async def test_a_contact_in_our_own_network_is_dialed_there_while_the_hole_is_punched(
    autojump_clock: MockClock,
) -> None:
    async def known(_peer: PeerId) -> bool:
        return True

    async with world() as where:
        alice = await person(where, SMALL, ALICE_ADDR, addrs=("/ip4/192.168.1.3/tcp/4001",))
        bob = await person(where, LARGE, BOB_ADDR, addrs=("/ip4/192.168.1.2/tcp/4001",), knows=known)
        where.dialable.add("/ip4/192.168.1.3/tcp/4001")
        where.works = lambda: False
        where.connect(alice.host, bob.host, relayed=True)
        await settle(bob)
        assert bob.host.dialed == [("/ip4/192.168.1.3/tcp/4001",)]
        assert bob.outcomes[0].outcome in {Ending.DIRECT, Ending.SUCCESS}


async def test_a_peer_that_nobody_knows_makes_us_dial_nothing_at_home(autojump_clock: MockClock) -> None:
    async with world() as where:
        alice = await person(where, SMALL, ALICE_ADDR, addrs=("/ip4/192.168.1.3/tcp/4001",))
        bob = await person(where, LARGE, BOB_ADDR, addrs=("/ip4/192.168.1.2/tcp/4001",))
        where.connect(alice.host, bob.host, relayed=True)
        await settle(bob)
        assert bob.host.dialed == []


# --- who starts, and with whom ----------------------------------------------------------------------------------------


async def test_a_stranger_learns_no_address_of_ours_on_either_side(autojump_clock: MockClock) -> None:
    async def unknown(_peer: PeerId) -> bool:
        return False

    async with world() as where:
        alice = await person(where, SMALL, ALICE_ADDR)
        bob = await person(where, LARGE, BOB_ADDR, knows=unknown)
        where.connect(alice.host, bob.host, relayed=True)  # bob would start
        where.connect(bob.host, alice.host, relayed=True)  # alice starts
        await settle(alice)
        told = [decode_hole_punch(frame).addrs for frame in where.said]
        assert DirectAddr.parse(BOB_ADDR).encode() not in [addr for addrs in told for addr in addrs]  # type: ignore[union-attr]
        assert bob.host.punches == []
        assert (alice.outcomes[0].outcome, alice.outcomes[0].reason) == (Ending.FAILED, Reason.REFUSED)


async def test_a_stranger_who_becomes_known_is_punched_with_at_once(autojump_clock: MockClock) -> None:
    people: set[PeerId] = set()

    async def knows(peer: PeerId) -> bool:
        return peer in people

    async with world() as where:
        alice = await person(where, SMALL, ALICE_ADDR)
        bob = await person(where, LARGE, BOB_ADDR, knows=knows)
        where.connect(alice.host, bob.host, relayed=True)
        bob.puncher.acquainted()  # with somebody else
        await trio.sleep(1)
        assert bob.host.punches == []
        people.add(SMALL)
        bob.puncher.acquainted()
        await settle(alice, bob)
        assert bob.outcomes[0].outcome is Ending.SUCCESS


async def test_when_both_start_at_once_the_smaller_peer_ids_punch_is_made(autojump_clock: MockClock) -> None:
    async with two() as (where, small, large):
        where.connect(small.host, large.host, relayed=True)
        where.connect(large.host, small.host, relayed=True)
        await settle(small, large)
        assert (small.outcomes[0].side, large.outcomes[0].side) == (Side.INITIATOR, Side.RECEIVER)
        assert len(small.host.punches) == len(large.host.punches) == 1
        assert small.host.punches[0].at == pytest.approx(large.host.punches[0].at, abs=1e-6)
        assert small.outcomes[0].outcome is large.outcomes[0].outcome is Ending.SUCCESS


async def test_two_punches_with_one_peer_never_run_at_once(autojump_clock: MockClock) -> None:
    async with two(works=lambda: False) as (where, alice, bob):
        where.connect(alice.host, bob.host, relayed=True)
        await trio.sleep(0.3)
        assert (await bob.puncher.punch(SMALL)).outcome is Ending.CANCELLED
        where.connect(alice.host, bob.host, relayed=True)
        await settle(alice, bob)
        spans = [(one.at, one.at + one.window_seconds) for one in bob.host.punches]
        assert len(spans) == 3
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


async def test_only_who_received_the_relayed_connection_may_try_again(autojump_clock: MockClock) -> None:
    async with two(works=lambda: False) as (where, alice, bob):
        assert (await alice.puncher.punch(LARGE)).reason is Reason.NO_RESERVATION
        where.connect(alice.host, bob.host, relayed=True)
        await settle(alice, bob)
        assert (await alice.puncher.punch(LARGE)).reason is Reason.NOT_OURS_TO_START
        where.works = lambda: True
        again = await bob.puncher.punch(SMALL)
        assert again.outcome is Ending.SUCCESS
        assert (await bob.puncher.punch(SMALL)).outcome is Ending.DIRECT
        assert [one.outcome for one in bob.puncher.log.of(SMALL)] == [Ending.SUCCESS, Ending.FAILED]


async def test_a_relayed_connection_that_ends_in_between_is_told_as_the_relays_limit(
    autojump_clock: MockClock,
) -> None:
    async with two() as (where, alice, bob):
        where.connect(alice.host, bob.host, relayed=True)
        await trio.sleep(0.05)
        where.cut(alice.host, bob.host)
        await settle(bob)
        assert (bob.outcomes[0].outcome, bob.outcomes[0].reason) == (Ending.FAILED, Reason.RELAY_LIMIT)


async def test_a_peer_that_does_not_speak_it_is_told_as_no_stream(autojump_clock: MockClock) -> None:
    async with two() as (where, alice, bob):
        alice.host.handlers.clear()
        where.connect(alice.host, bob.host, relayed=True)
        await settle(bob)
        assert bob.outcomes[0].reason is Reason.NO_STREAM


# --- hostile peers ----------------------------------------------------------------------------------------------------


async def refused(stream: FakeStream) -> bool:
    with trio.move_on_after(30):
        try:
            return await stream.read_frame(limit=4096) is None and False
        except trio.BrokenResourceError:
            return True
        except Exception as exc:  # noqa: BLE001 - whatever a reset looks like here
            return "reset" in str(exc)
    return False


async def test_a_stream_on_a_direct_connection_or_from_the_wrong_side_is_reset(autojump_clock: MockClock) -> None:
    async with two() as (where, alice, bob):
        direct = where.connect(alice.host, bob.host, relayed=False)
        assert await refused(where.stream(alice.host, bob.host, direct, DCUTR_PROTOCOL))
    async with world() as where:
        mallory, bob = where.host(SMALL), await person(where, LARGE, BOB_ADDR)
        circuit = where.connect(mallory, bob.host, relayed=True)  # bob received it: bob starts, nobody else
        await settle(bob)
        stream = where.stream(mallory, bob.host, circuit, DCUTR_PROTOCOL)
        await stream.write_frame(encode_hole_punch(connect_message((ALICE_ADDR,))), limit=4096)
        assert await refused(stream)
        assert len(bob.outcomes) == 1, "its CONNECT was not looked at"


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xff" * 10, encode_hole_punch(HolePunch(HolePunchType.SYNC)), bytes(5000)],
    ids=["empty", "garbage", "SYNC first", "too large"],
)
async def test_garbage_ends_the_stream_and_nothing_else(frame: bytes, autojump_clock: MockClock) -> None:
    async with world() as where:
        mallory, alice = where.host(LARGE), await person(where, SMALL, ALICE_ADDR)
        where.connect(alice.host, mallory, relayed=True)
        circuit = mallory.connections(SMALL)[0]
        stream = where.stream(mallory, alice.host, circuit, DCUTR_PROTOCOL)
        await stream.write_frame(frame, limit=1 << 20)
        assert await refused(stream)
        await settle(alice)
        assert alice.outcomes[0].reason is Reason.PROTOCOL
        assert alice.host.punches == []


async def test_a_peer_that_is_silent_is_given_up_after_five_seconds(autojump_clock: MockClock) -> None:
    async with world() as where:
        mallory, alice = where.host(LARGE), await person(where, SMALL, ALICE_ADDR)
        where.connect(alice.host, mallory, relayed=True)
        began = trio.current_time()
        stream = where.stream(mallory, alice.host, mallory.connections(SMALL)[0], DCUTR_PROTOCOL)
        assert await refused(stream)
        assert trio.current_time() - began <= limits.PUNCH_ANSWER_SECONDS + 0.1
        assert alice.outcomes[0].reason is Reason.SYNC_TIMEOUT


async def test_a_peer_cannot_have_us_write_to_many_or_to_our_own_site(autojump_clock: MockClock) -> None:
    async with world() as where:
        mallory, alice = where.host(LARGE), await person(where, SMALL, ALICE_ADDR)
        where.connect(alice.host, mallory, relayed=True)
        stream = where.stream(mallory, alice.host, mallory.connections(SMALL)[0], DCUTR_PROTOCOL)
        home = tuple(f"/ip4/192.168.1.{n}/tcp/8080" for n in range(1, 6))
        crowd = tuple(f"/ip4/45.79.60.{n}/tcp/{port}" for n in range(1, 9) for port in (22, 2000))
        told = connect_message((*home, "/ip4/169.254.169.254/tcp/8080", *crowd[:10]))
        await stream.write_frame(encode_hole_punch(told), limit=4096)
        await stream.read_frame(limit=4096)
        await stream.write_frame(encode_hole_punch(HolePunch(HolePunchType.SYNC)), limit=4096)
        await trio.sleep(1)
        (punch,) = alice.host.punches
        assert punch.addrs == tuple(f"/ip4/45.79.60.{n}/tcp/2000" for n in range(1, 5))


async def test_a_peer_whose_punches_come_to_nothing_must_wait(autojump_clock: MockClock) -> None:
    async with world(works=lambda: False) as where:
        mallory, alice = where.host(LARGE), await person(where, SMALL, ALICE_ADDR)
        where.connect(alice.host, mallory, relayed=True)
        circuit = mallory.connections(SMALL)[0]

        async def exchange() -> bool:
            stream = where.stream(mallory, alice.host, circuit, DCUTR_PROTOCOL)
            await stream.write_frame(encode_hole_punch(connect_message((BOB_ADDR,))), limit=4096)
            if await refused_or_answered(stream):
                return False
            await stream.write_frame(encode_hole_punch(HolePunch(HolePunchType.SYNC)), limit=4096)
            await trio.sleep(0.2)
            return True

        began = trio.current_time()
        for _ in range(100):
            await exchange()
        minutes = (trio.current_time() - began) / 60
        assert len(alice.host.punches) <= limits.PUNCH_FAILURES_PER_PEER_PER_MINUTE * (minutes + 1) + 1
        await trio.sleep(61)
        assert await exchange(), "and after a minute it may again"


async def refused_or_answered(stream: FakeStream) -> bool:
    """Whether the stream was reset rather than answered."""
    try:
        return await stream.read_frame(limit=4096) is None
    except Exception:  # noqa: BLE001 - whatever a reset looks like here
        return True


async def test_a_peer_that_begins_anew_ends_its_old_punch(autojump_clock: MockClock) -> None:
    async with world(works=lambda: False) as where:
        mallory, alice = where.host(LARGE), await person(where, SMALL, ALICE_ADDR)
        where.connect(alice.host, mallory, relayed=True)
        for _ in range(2):
            stream = where.stream(mallory, alice.host, mallory.connections(SMALL)[0], DCUTR_PROTOCOL)
            await stream.write_frame(encode_hole_punch(connect_message((BOB_ADDR,))), limit=4096)
            assert await stream.read_frame(limit=4096) is not None
            await stream.write_frame(encode_hole_punch(HolePunch(HolePunchType.SYNC)), limit=4096)
            await trio.sleep(1)
        first, second = alice.host.punches
        assert second.at < first.at + first.window_seconds
        assert where.punching == {(SMALL, LARGE)}


async def test_no_more_than_so_many_punches_run_at_once(autojump_clock: MockClock) -> None:
    async with world(works=lambda: False) as where:
        alice = await person(where, SMALL, ALICE_ADDR)
        callers = [where.host(Identity.generate().peer_id) for _ in range(limits.PUNCHES_MAX + 5)]
        for caller in callers:

            async def silent(_stream: FakeStream) -> None:
                await trio.sleep_forever()

            caller.handle(DCUTR_PROTOCOL, silent)
            where.connect(caller, alice.host, relayed=True)
        await trio.sleep(1)
        assert [one.reason for one in alice.outcomes] == [Reason.BACKOFF] * 5


@given(drops=st.lists(st.sampled_from(["ok", "lost", "late", "garbage"]), max_size=8), both=st.booleans())
def test_whatever_is_lost_both_come_to_an_end_and_never_punch_twice_at_once(drops: list[str], both: bool) -> None:
    async def story() -> None:
        async with two(works=lambda: False) as (where, alice, bob):
            faults = iter(drops)
            original = FakeStream.give

            def give(self: FakeStream, item: Any) -> None:
                fault = next(faults, "ok") if isinstance(item, bytes) else "ok"
                if fault == "lost":
                    return
                if fault == "late":
                    self._send.send_nowait((trio.current_time() + 3, item))
                    return
                original(self, b"\xff\xff" if fault == "garbage" else item)

            FakeStream.give = give  # type: ignore[method-assign]
            try:
                where.connect(alice.host, bob.host, relayed=True)
                if both:
                    where.connect(bob.host, alice.host, relayed=True)
                await trio.sleep(120)
            finally:
                FakeStream.give = original  # type: ignore[method-assign]
            for one in (alice, bob):
                assert one.puncher._runs == {}
                spans = sorted((punch.at, punch.at + punch.window_seconds) for punch in one.host.punches)
                assert len(spans) <= 2 * limits.PUNCH_ATTEMPTS
            assert where.punching == set()

    trio.run(story, clock=MockClock(autojump_threshold=0))
