"""DCUtR's two roles against each other, over a wire that delays, loses and breaks, under a clock of our own."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.wire.dcutr import HolePunch, HolePunchType
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits
from covey_node.protocol.dcutr import (
    Command,
    Finish,
    Initiator,
    OpenStream,
    Punch,
    Receiver,
    Send,
    StopPunch,
    connect_message,
    window,
)
from covey_node.protocol.punch_log import Ending, Reason

ALICE = ("/ip4/45.79.40.101/tcp/4001", "/ip4/45.79.40.101/udp/4001/quic-v1")
BOB = ("/ip4/45.79.50.102/tcp/4001",)
CONNECT_B = connect_message(BOB)
CONNECT_A = connect_message(ALICE)
SYNC = HolePunch(HolePunchType.SYNC)


def choose(told: object, _ours: object) -> tuple[str, ...]:
    return tuple(str(DirectAddr.decode(addr)) for addr in told)  # type: ignore[attr-defined]


def initiator(*, own: tuple[str, ...] = BOB, shares: bool = True) -> Initiator:
    return Initiator(lambda: own, choose, lambda: shares)


def receiver(*, own: tuple[str, ...] = ALICE) -> Receiver:
    return Receiver(lambda: own, choose)


def synced(machine: Initiator, *, rtt: float = 0.08, now: float = 1.0) -> list[Command]:
    """An initiator that just got the answer to its CONNECT."""
    machine.begin(now=now)
    return machine.received(CONNECT_A, now=now + rtt)


# --- one role at a time ---------------------------------------------------------------------------------------------


def test_the_initiator_waits_half_the_round_trip_time_and_punches_as_server() -> None:
    machine = initiator()
    assert machine.begin(now=1) == [OpenStream(CONNECT_B)]
    sync, punch = machine.received(CONNECT_A, now=1.08)
    assert sync == Send(SYNC)
    assert isinstance(punch, Punch)
    assert (punch.addrs, punch.client, punch.after_seconds) == (ALICE, False, pytest.approx(0.04))
    assert punch.window_seconds == pytest.approx(window(0.08))


def test_the_receiver_punches_at_once_when_sync_comes_and_as_client() -> None:
    machine = receiver()
    assert machine.begin(now=0) == []
    assert machine.received(CONNECT_B, now=1) == [Send(CONNECT_A)]
    (punch,) = machine.received(SYNC, now=2)
    assert punch == Punch(BOB, client=True, after_seconds=0, window_seconds=limits.PUNCH_WINDOW_SECONDS_MAX)


def test_a_covey_gets_three_exchanges_on_one_stream_with_the_roles_swapped_in_the_last() -> None:
    ours, theirs = initiator(), receiver()
    commands = synced(ours)
    roles = []
    for exchange in range(1, 4):
        theirs.received(CONNECT_B, now=0)
        (client,) = theirs.received(SYNC, now=0)
        server = commands[-1]
        assert isinstance(server, Punch)
        assert isinstance(client, Punch)
        roles.append((server.client, client.client))
        assert theirs.punched(stands=False, refused=False, now=1) in (
            [],
            [Finish(Ending.FAILED, Reason.DIAL_TIMEOUT)],
        )
        commands = ours.punched(stands=False, refused=False, now=1)
        if exchange < 3:
            assert commands == [Send(CONNECT_B)]
            commands = ours.received(CONNECT_A, now=2)
    assert roles == [(False, True), (False, True), (True, False)]
    assert commands == [Finish(Ending.FAILED, Reason.DIAL_TIMEOUT)]
    assert ours.attempts == theirs.attempts == 3


def test_others_get_a_new_stream_for_each_attempt_and_the_roles_never_swap() -> None:
    machine = initiator(shares=False)
    commands = synced(machine)
    for _ in range(2):
        assert commands[-1].client is False  # type: ignore[union-attr]
        assert machine.punched(stands=False, refused=False, now=6) == [OpenStream(CONNECT_B)]
        commands = machine.received(CONNECT_A, now=6.1)
    assert commands[-1].client is False  # type: ignore[union-attr]
    assert machine.punched(stands=False, refused=True, now=5) == [Finish(Ending.FAILED, Reason.REFUSED)]


def test_a_covey_that_ended_the_stream_gets_a_new_one() -> None:
    machine = initiator(shares=True)
    synced(machine)
    assert machine.ended() == []
    assert machine.punched(stands=False, refused=False, now=5) == [OpenStream(CONNECT_B)]


def test_each_exchange_measures_its_own_round_trip_time() -> None:
    machine = initiator()
    synced(machine, rtt=2.0)
    machine.punched(stands=False, refused=False, now=10)
    commands = machine.received(CONNECT_A, now=10.1)
    assert commands[-1].after_seconds == pytest.approx(0.05)  # type: ignore[union-attr]


def test_a_connect_while_the_receiver_punches_begins_the_next_exchange() -> None:
    machine = receiver()
    machine.received(CONNECT_B, now=0)
    machine.received(SYNC, now=0)
    assert machine.received(CONNECT_B, now=3) == [StopPunch(), Send(CONNECT_A)]
    assert machine.punched(stands=False, refused=False, now=3) == [], "the word of the punch that was stopped"
    assert machine.received(SYNC, now=3.1) != []


def test_a_fourth_exchange_on_one_stream_is_a_violation() -> None:
    machine = receiver()
    for _ in range(3):
        machine.received(CONNECT_B, now=0)
        machine.received(SYNC, now=0)
    assert machine.received(CONNECT_B, now=0) == [Finish(Ending.FAILED, Reason.PROTOCOL, reset=True)]


def test_the_receiver_goes_on_when_the_stream_ends_after_sync() -> None:
    machine = receiver()
    machine.received(CONNECT_B, now=0)
    machine.received(SYNC, now=0)
    assert machine.ended() == []  # go-libp2p closes it then
    assert machine.punched(stands=False, refused=False, now=1) == [Finish(Ending.FAILED, Reason.DIAL_TIMEOUT)]


def test_an_initiator_that_leaves_before_sync_is_no_failure() -> None:
    machine = receiver()
    machine.received(CONNECT_B, now=0)
    assert machine.ended() == [Finish(Ending.CANCELLED)]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: _last(initiator(own=()), lambda m: [m.begin(now=0)]), Reason.NO_PUBLIC_ADDR),
        (lambda: _last(initiator(), lambda m: [m.begin(now=0), m.not_opened()]), Reason.NO_STREAM),
        (lambda: _last(initiator(), lambda m: [m.begin(now=0), m.ended()]), Reason.REFUSED),
        (
            lambda: _last(
                initiator(),
                lambda m: [m.begin(now=0), m.received(HolePunch(HolePunchType.CONNECT), now=1)],
            ),
            Reason.NO_PUBLIC_ADDR,
        ),
        (
            lambda: _last(initiator(), lambda m: [m.begin(now=0), m.received(SYNC, now=1)]),
            Reason.PROTOCOL,
        ),
        (
            lambda: _last(
                initiator(),
                lambda m: [m.begin(now=0), m.timed_out(now=limits.PUNCH_ANSWER_SECONDS)],
            ),
            Reason.SYNC_TIMEOUT,
        ),
        (lambda: _last(receiver(), lambda m: [m.received(SYNC, now=0)]), Reason.PROTOCOL),
        (lambda: _last(receiver(), lambda m: [m.violated()]), Reason.PROTOCOL),
        (lambda: _last(receiver(own=()), lambda m: [m.received(CONNECT_B, now=0)]), Reason.NO_PUBLIC_ADDR),
        (
            lambda: _last(
                receiver(), lambda m: [m.received(CONNECT_B, now=0), m.timed_out(now=limits.PUNCH_ANSWER_SECONDS)]
            ),
            Reason.SYNC_TIMEOUT,
        ),
        (
            lambda: _last(receiver(), lambda m: [m.received(CONNECT_B, now=0), m.received(CONNECT_B, now=0)]),
            Reason.PROTOCOL,
        ),
    ],
)
def test_each_end_has_its_reason(make: Callable[[], Finish], reason: Reason) -> None:
    assert make().reason is reason


def _last(machine: object, steps: Callable[..., list[list[Command]]]) -> Finish:
    (end,) = steps(machine)[-1]
    assert isinstance(end, Finish)
    assert end.ending is Ending.FAILED
    return end


def test_addresses_that_all_lead_nowhere_for_us_are_no_common_transport() -> None:
    machine = Initiator(lambda: BOB, lambda _told, _ours: (), lambda: True)
    machine.begin(now=0)
    assert machine.received(CONNECT_A, now=1) == [Finish(Ending.FAILED, Reason.NO_COMMON_TRANSPORT, reset=True)]


def test_a_connection_that_stands_is_a_success_also_when_the_peer_began_anew_meanwhile() -> None:
    machine = receiver()
    machine.received(CONNECT_B, now=0)
    machine.received(SYNC, now=0)
    machine.received(CONNECT_B, now=3)
    assert machine.punched(stands=True, refused=False, now=3) == [Finish(Ending.SUCCESS)]


# --- both, over a bad wire ------------------------------------------------------------------------------------------


@dataclass
class World:
    """One stream between the two, events by time, and what each did."""

    delays: list[float]
    faults: list[str]
    works_at: int | None
    shares: bool
    now: float = 0.0
    queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    punches: dict[str, list[tuple[float, bool]]] = field(default_factory=lambda: {"i": [], "r": []})
    ends: dict[str, Finish] = field(default_factory=dict)
    sent: int = 0
    ids: itertools.count[int] = field(default_factory=itertools.count)
    streams: int = 0

    def run(self) -> None:
        self.i = Initiator(lambda: BOB, choose, lambda: self.shares)
        self.receivers: list[Receiver] = []
        self.do("i", self.i.begin(now=0))
        for _ in range(500):
            self.expire()
            if not self.queue:
                return
            at, _, act = heapq.heappop(self.queue)
            self.now = max(self.now, at)
            act()
        raise AssertionError("it never ends")

    def expire(self) -> None:
        """Let deadlines come that lie before the next event."""
        following = self.queue[0][0] if self.queue else float("inf")
        for side, machine in (("i", self.i), *((f"r{n}", one) for n, one in enumerate(self.receivers))):
            if machine.deadline is not None and machine.deadline <= following:
                self.now = max(self.now, machine.deadline)
                self.do(side, machine.timed_out(now=self.now))
                self.expire()
                return

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + seconds, next(self.ids), act))

    def machine(self, side: str) -> Initiator | Receiver:
        return self.i if side == "i" else self.receivers[int(side[1:])]

    def do(self, side: str, commands: list[Command]) -> None:
        assert side not in self.ends or commands == []
        for command in commands:
            match command:
                case OpenStream(message):
                    self.open()
                    self.carry("i", message)
                case Send(message):
                    self.carry(side, message)
                case Punch():
                    self.punch(side, command)
                case Finish():
                    self.ends[side] = command
                    self.end_stream(side)

    def punch(self, side: str, command: Punch) -> None:
        assert command.addrs
        self.punches[side[0]].append((self.now + command.after_seconds, command.client))
        stands = self.works_at is not None and len(self.punches["i"]) > self.works_at
        seconds = 0.1 if stands else command.window_seconds
        self.later(
            command.after_seconds + seconds,
            lambda: self.do(side, self.machine(side).punched(stands=stands, refused=False, now=self.now)),
        )

    def end_stream(self, side: str) -> None:
        other, stream = self.other(side), self.streams

        def notice() -> None:
            if other is not None and stream == self.streams:
                self.do(other, self.machine(other).ended())

        self.later(0.04, notice)

    def other(self, side: str) -> str | None:
        if side != "i":
            return "i" if int(side[1:]) == self.streams - 1 else None
        return f"r{self.streams - 1}" if self.streams else None

    def open(self) -> None:
        old = self.other("i")
        if old is not None:
            self.do(old, self.machine(old).ended())
        self.streams += 1
        self.receivers.append(Receiver(lambda: ALICE, choose))
        self.do(f"r{self.streams - 1}", self.receivers[-1].begin(now=self.now))

    def carry(self, side: str, message: HolePunch) -> None:
        other = self.other(side)
        if other is None:
            return
        fault = self.faults[self.sent] if self.sent < len(self.faults) else "ok"
        delay = self.delays[self.sent % len(self.delays)]
        self.sent += 1
        arrive: Callable[[], None] = lambda: self.do(other, self.machine(other).received(message, now=self.now))  # noqa: E731
        if fault == "ok":
            self.later(delay, arrive)
        elif fault == "twice":
            self.later(delay, arrive)
            self.later(delay, arrive)
        elif fault == "garbage":
            self.later(delay, lambda: self.do(other, self.machine(other).violated()))
        elif fault == "reset":
            self.later(delay, lambda: self.do(other, self.machine(other).ended()))
            self.later(delay, lambda: self.do(side, self.machine(side).ended()))
        elif fault == "wrong":
            wrong = SYNC if message.type is HolePunchType.CONNECT else CONNECT_A
            self.later(delay, lambda: self.do(other, self.machine(other).received(wrong, now=self.now)))


@given(
    delays=st.lists(st.floats(0.001, 2), min_size=1, max_size=6),
    faults=st.lists(st.sampled_from(["ok", "ok", "ok", "lost", "twice", "garbage", "reset", "wrong"]), max_size=12),
    works_at=st.none() | st.integers(0, 3),
    shares=st.booleans(),
)
def test_whatever_the_wire_does_both_end_in_bounded_time_after_three_attempts_at_most(
    delays: list[float], faults: list[str], works_at: int | None, shares: bool
) -> None:
    world = World(delays, faults, works_at, shares)
    world.run()
    assert "i" in world.ends
    assert set(world.ends) == {"i", *(f"r{n}" for n in range(world.streams))}
    assert len(world.punches["i"]) <= limits.PUNCH_ATTEMPTS
    assert all(one.attempts <= limits.PUNCH_ATTEMPTS for one in world.receivers)
    assert world.now <= limits.PUNCH_ATTEMPTS * (2 * limits.PUNCH_WINDOW_SECONDS_MAX + 20)
    for end in world.ends.values():
        assert (end.ending is Ending.FAILED) == (end.reason is not None)


@given(delay=st.floats(0.001, 1), works_at=st.none() | st.integers(0, 2), shares=st.booleans())
def test_over_a_good_wire_both_begin_at_the_same_moment_in_opposite_roles(
    delay: float, works_at: int | None, shares: bool
) -> None:
    world = World([delay], [], works_at, shares)
    world.run()
    attempts = 3 if works_at is None else works_at + 1
    assert len(world.punches["i"]) == len(world.punches["r"]) == attempts
    for ours, theirs in zip(world.punches["i"], world.punches["r"], strict=True):
        assert ours[0] == pytest.approx(theirs[0])
        assert ours[1] is not theirs[1]
    if works_at is not None:
        assert world.ends["i"].ending is Ending.SUCCESS
        assert world.ends[f"r{world.streams - 1}"].ending is Ending.SUCCESS
    assert world.streams == (1 if shares else attempts)
