"""Which of several connections to one peer is used, which ones go: never all of them, and never back and forth."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from covey_core.host import Disconnected, Host, duplicates, limits
from covey_core.identity import Identity
from covey_core.network import Network
from tests.host.conftest import TCP, host_on
from tests.host.test_listen_port import QUIC


@dataclass(frozen=True)
class Leg:
    """A connection as one side sees it."""

    number: int
    opened_at: float
    inbound: bool
    is_admitted: bool = True
    relayed: bool = False
    is_quic: bool = False
    retired: bool = False
    suspect: bool = False


def legs(**fixed: bool) -> st.SearchStrategy[list[Leg]]:
    one = st.builds(
        Leg,
        number=st.just(0),
        opened_at=st.floats(0, 20),
        inbound=st.booleans(),
        is_admitted=st.booleans() if "is_admitted" not in fixed else st.just(fixed["is_admitted"]),
        relayed=st.booleans(),
        is_quic=st.booleans(),
        retired=st.booleans() if "retired" not in fixed else st.just(fixed["retired"]),
        suspect=st.booleans(),
    )
    return st.lists(one, max_size=8).map(
        lambda found: [replace(leg, number=n, is_quic=leg.is_quic and not leg.relayed) for n, leg in enumerate(found)]
    )


def kinds(found: Iterable[Leg]) -> list[str]:
    return sorted("relayed" if leg.relayed else "quic" if leg.is_quic else "tcp" for leg in found)


def without(found: list[Leg], gone: list[Leg]) -> list[Leg]:
    return [leg for leg in found if leg not in gone]


@given(legs(), st.booleans(), st.booleans())
def test_what_is_closed_always_leaves_an_admitted_one_of_its_kind(
    found: list[Leg], ours_is_smaller: bool, keeps_both: bool
) -> None:
    gone = duplicates.surplus(found, ours_is_smaller=ours_is_smaller, keeps_both=keeps_both)
    left = without(found, gone)
    assert all(leg.is_admitted for leg in gone)
    for leg in gone:
        assert [one for one in left if one.is_admitted and one.relayed == leg.relayed]
    assert len([one for one in left if one.is_admitted and one.relayed]) <= limits.KEPT_RELAYED


@given(legs(is_admitted=True, retired=False), st.booleans(), st.booleans())
def test_the_choice_is_final(found: list[Leg], ours_is_smaller: bool, keeps_both: bool) -> None:
    """What stays is not judged anew when the rest has gone: nothing flaps."""
    gone = duplicates.surplus(found, ours_is_smaller=ours_is_smaller, keeps_both=keeps_both)
    left = without(found, gone)
    assert not duplicates.surplus(left, ours_is_smaller=ours_is_smaller, keeps_both=keeps_both)
    order = duplicates.to_keep(found, ours_is_smaller=ours_is_smaller)
    assert order[: 1 if found else 0] == duplicates.to_keep(left, ours_is_smaller=ours_is_smaller)[: 1 if found else 0]
    most = {"relayed": 2, "tcp": 1, "quic": 1 if keeps_both or not kinds(found).count("tcp") else 0}
    assert {kind: kinds(left).count(kind) for kind in most} == {
        kind: min(count, kinds(found).count(kind)) for kind, count in most.items()
    }


@given(legs(is_admitted=True, retired=False), st.booleans())
def test_the_order_is_one_order(found: list[Leg], ours_is_smaller: bool) -> None:
    """Whatever the order in which they came: no circle of three, each better than the next."""
    wanted = duplicates.to_keep(found, ours_is_smaller=ours_is_smaller)
    for shuffled in itertools.islice(itertools.permutations(found), 24):
        assert duplicates.to_keep(shuffled, ours_is_smaller=ours_is_smaller) == wanted


@given(legs(is_admitted=True, retired=False), st.data())
def test_both_sides_use_the_same_one_however_late_each_saw_it(found: list[Leg], data: st.DataObject) -> None:
    """The far side sees each connection up to 0.5 s later, in another order, from the other end."""
    latest = [leg.opened_at for leg in found]
    apart = all(
        abs(abs(a - b) - limits.SIMULTANEOUS_SECONDS) > 1 and abs(a - b) > 1
        for a, b in itertools.combinations(latest, 2)
    )
    delays = data.draw(st.lists(st.floats(0, 0.5), min_size=len(found), max_size=len(found)))
    theirs = [
        replace(leg, inbound=not leg.inbound, opened_at=leg.opened_at + delay)
        for leg, delay in zip(found, delays, strict=True)
    ]
    if apart and found:
        ours = duplicates.to_keep(found, ours_is_smaller=True)
        other = duplicates.to_keep(theirs, ours_is_smaller=False)
        assert [leg.number for leg in ours] == [leg.number for leg in other]


@given(legs(), st.booleans())
def test_one_in_doubt_is_used_last_but_not_closed_for_it(found: list[Leg], ours_is_smaller: bool) -> None:
    used = duplicates.to_use(found, ours_is_smaller=ours_is_smaller)
    assert [leg for leg in used if leg.is_admitted][-1:] == [
        leg for leg in sorted(used, key=lambda one: one.suspect) if leg.is_admitted
    ][-1:]
    trusted = [replace(leg, suspect=False) for leg in found]
    for keeps_both in (True, False):
        judged = [
            [leg.number for leg in duplicates.surplus(some, ours_is_smaller=ours_is_smaller, keeps_both=keeps_both)]
            for some in (found, trusted)
        ]
        assert judged[0] == judged[1]


@pytest.mark.parametrize("ours_is_smaller", [True, False])
def test_of_two_that_crossed_the_smaller_ones_stays(*, ours_is_smaller: bool) -> None:
    begun_by_us, begun_by_peer = Leg(1, 10.0, inbound=False), Leg(2, 11.0, inbound=True)
    best = duplicates.to_keep([begun_by_us, begun_by_peer], ours_is_smaller=ours_is_smaller)[0]
    assert best is (begun_by_us if ours_is_smaller else begun_by_peer)
    later = replace(begun_by_peer, opened_at=10.0 + limits.SIMULTANEOUS_SECONDS + 1)
    assert duplicates.to_keep([begun_by_us, later], ours_is_smaller=ours_is_smaller)[0] is later


# --- with hosts ------------------------------------------------------------------------------------------------------


def ordered() -> tuple[Identity, Identity]:
    """Two identities, the smaller PeerId first."""
    first, second = sorted((Identity.generate() for _ in range(2)), key=lambda one: one.peer_id)
    return first, second


async def both_ways(alice: Host, bob: Host) -> None:
    """Connect over TCP and over QUIC."""
    for address in bob.addrs:
        await alice.dial_also(bob.peer_id, address)


async def until(host: Host, transports: list[str]) -> None:
    with host.subscribe() as events:
        while sorted(one.transport for one in host.connections()) != transports:
            await events.receive()


@pytest.mark.parametrize("smaller_dials", [True, False])
async def test_quic_beside_tcp_goes(public: Network, monkeypatch: pytest.MonkeyPatch, *, smaller_dials: bool) -> None:
    monkeypatch.setattr(limits, "RETIRE_SECONDS", 0.05)
    first, second = ordered() if smaller_dials else ordered()[::-1]
    with trio.fail_after(30):
        async with (
            host_on(public, TCP, QUIC, identity=first) as alice,
            host_on(public, TCP, QUIC, identity=second) as bob,
        ):
            for addrs in (bob.addrs, bob.addrs[::-1]):
                for address in addrs:
                    await alice.dial_also(bob.peer_id, address)
                await until(alice, ["tcp"])
                await until(bob, ["tcp"])
                assert await alice.ping(bob.peer_id) > 0
                await alice.disconnect(bob.peer_id)
                await until(bob, [])


@pytest.mark.parametrize("smaller_is_relay", [True, False])
async def test_quic_beside_tcp_stays_where_both_are_wanted(
    public: Network, monkeypatch: pytest.MonkeyPatch, *, smaller_is_relay: bool
) -> None:
    monkeypatch.setattr(limits, "RETIRE_SECONDS", 0.0)
    first, second = ordered()[::-1] if smaller_is_relay else ordered()
    with trio.fail_after(30):
        async with (
            host_on(public, TCP, QUIC, identity=first) as node,
            host_on(public, TCP, QUIC, identity=second, keeps_both=True) as relay,
        ):
            node.keep_both(relay.peer_id)
            await both_ways(node, relay)
            for _ in range(5):
                await wait_all_tasks_blocked(0.02)
                assert len(node.connections()) == len(relay.connections()) == 2
            await node.dial_also(relay.peer_id, relay.addrs[0])
            await until(node, ["quic", "tcp"])
            await until(relay, ["quic", "tcp"])


async def test_a_dead_tcp_connection_does_not_cost_the_quic_one_that_lives(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path died silently, one side punched a new one over QUIC, the other side has not noticed yet."""
    monkeypatch.setattr(limits, "RETIRE_SECONDS", 0.0)
    monkeypatch.setattr(limits, "PING_SECONDS", 0.3)
    monkeypatch.setattr(limits, "OPEN_STREAM_SECONDS", 0.3)
    monkeypatch.setattr(limits, "NEGOTIATE_SECONDS", 0.3)
    first, second = ordered()
    with trio.fail_after(30):
        async with (
            host_on(public, TCP, QUIC, identity=first, liveness_timeout_seconds=0.3) as alice,
            host_on(public, TCP, QUIC, identity=second) as bob,
        ):
            await alice.dial_also(bob.peer_id, bob.addrs[0])
            (dead,) = alice._swarm.all_connections()

            async def swallow(data: bytes) -> None:
                await trio.lowlevel.checkpoint()

            monkeypatch.setattr(dead.muxed_conn, "_write_frame", swallow)
            with alice.subscribe() as events:
                await alice.dial_also(bob.peer_id, bob.addrs[1])
                gone: Any = await events.receive()
                while not isinstance(gone, Disconnected):
                    gone = await events.receive()
            assert (gone.connection.transport, gone.left) == ("tcp", 1)
            (left,) = alice._swarm.best(dead.muxed_conn.peer_id)
            assert left.is_quic
            while left.retired:
                await trio.lowlevel.checkpoint()
            assert await alice.ping(bob.peer_id) > 0


async def test_a_connection_is_not_closed_when_its_better_one_ended_meanwhile(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETIRE_SECONDS", 0.3)
    first, second = ordered()
    with trio.fail_after(30):
        async with (
            host_on(public, TCP, QUIC, identity=first) as alice,
            host_on(public, TCP, QUIC, identity=second) as bob,
        ):
            await both_ways(alice, bob)
            (quic,) = [one for one in alice._swarm.all_connections() if one.is_quic]
            assert quic.retired
            assert not any(one.retired for one in bob._swarm.all_connections()), "the smaller PeerId's side closes"
            (tcp,) = [one for one in alice.connections() if one.transport == "tcp"]
            await alice.close_connection(tcp.number)
            while quic.retired:
                await trio.lowlevel.checkpoint()
            assert [one.transport for one in alice.connections()] == ["quic"]
            assert await alice.ping(bob.peer_id) > 0


async def test_a_stream_goes_on_the_next_connection_while_the_first_is_in_doubt(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first waits in vain: the others do not ask the silent one again before it has answered."""
    monkeypatch.setattr(limits, "OPEN_STREAM_SECONDS", 1.0)
    monkeypatch.setattr(limits, "NEGOTIATE_SECONDS", 0.4)
    monkeypatch.setattr(limits, "RETIRE_SECONDS", 60.0)
    with trio.fail_after(30):
        async with (
            host_on(public, TCP, QUIC, liveness_interval_seconds=1_000, liveness_timeout_seconds=1_000) as alice,
            host_on(public, TCP, QUIC) as bob,
        ):
            await both_ways(alice, bob)
            (tcp,) = [one for one in alice._swarm.all_connections() if not one.is_quic]

            async def swallow(data: bytes) -> None:
                await trio.lowlevel.checkpoint()

            with monkeypatch.context() as silent:
                silent.setattr(tcp.muxed_conn, "_write_frame", swallow)
                assert await alice.ping(bob.peer_id) > 0
                assert tcp.suspect
                began = trio.current_time()
                for _ in range(5):
                    assert await alice.ping(bob.peer_id) > 0
                assert trio.current_time() - began < 0.4
                assert alice.connections(bob.peer_id)[0].transport == "quic"
            assert not tcp.is_closed
