"""One device's lane against a plain model: nothing is lost, doubled or reordered."""

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey_core.errors import ProtocolViolation
from covey_node import limits
from covey_node.protocol.frames import Outcome
from covey_node.protocol.lane import Lane, Open, Phase, Send, Wait


class LaneMachine(RuleBasedStateMachine):
    """Queues, sends, acknowledges, loses streams; the model is the list of ids in the order they must go out."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.lane = Lane()
        self.counter = 0
        self.waiting: deque[int] = deque()
        self.under_way: dict[int, int] = {}
        self.settled: list[int] = []

    @rule(count=st.integers(1, 90))
    def queue(self, count: int) -> None:
        for _ in range(count):
            self.counter += 1
            self.lane.queue(self.counter)
            self.lane.queue(self.counter)
            self.waiting.append(self.counter)

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_peer_appears(self) -> None:
        self.lane.peer_appeared(now=self.now)
        if self.waiting and self.lane.phase is Phase.CLOSED:
            assert self.lane.next(now=self.now) == Open()

    @precondition(lambda self: self.lane.phase is Phase.CLOSED and self.lane.next(now=self.now) == Open())
    @rule(works=st.booleans(), jitter=st.floats(0, 1))
    def open(self, works: bool, jitter: float) -> None:
        self.lane.opening()
        assert self.lane.next(now=self.now) == Wait(None)
        if works:
            self.lane.opened()
            return
        self.lane.open_failed("no path", now=self.now, jitter=jitter)
        action = self.lane.next(now=self.now)
        assert isinstance(action, Wait)
        assert action.until is not None
        assert action.until > self.now

    @precondition(lambda self: self.lane.phase is Phase.OPEN)
    @rule(most=st.integers(1, 100))
    def send(self, most: int) -> None:
        for _ in range(most):
            action = self.lane.next(now=self.now)
            if not isinstance(action, Send):
                return
            assert action.delivery == self.waiting.popleft()
            assert action.number not in self.under_way
            self.under_way[action.number] = action.delivery
            self.lane.sending(action, now=self.now)

    @precondition(lambda self: bool(self.under_way))
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), jitter=st.floats(0, 1))
    def acknowledge(self, data: st.DataObject, outcome: Outcome, jitter: float) -> None:
        number = data.draw(st.sampled_from(sorted(self.under_way)))
        delivery = self.under_way.pop(number)
        settled = self.lane.acked(number, outcome, now=self.now, jitter=jitter)
        if outcome is Outcome.RETRY_LATER:
            assert settled is None
            self.waiting = deque(sorted((*self.waiting, delivery)))
        else:
            assert settled is not None
            assert (settled.delivery, settled.outcome) == (delivery, outcome)
            self.settled.append(delivery)

    @rule(number=st.integers(10_000, 20_000))
    def acknowledge_what_was_never_sent(self, number: int) -> None:
        with pytest.raises(ProtocolViolation):
            self.lane.acked(number, Outcome.ACCEPTED, now=self.now, jitter=0.5)

    @precondition(lambda self: self.lane.phase is Phase.OPEN)
    @rule(jitter=st.floats(0, 1))
    def lose_the_stream(self, jitter: float) -> None:
        self.lane.stream_lost("reset", now=self.now, jitter=jitter)
        self.waiting = deque(sorted((*self.waiting, *self.under_way.values())))
        self.under_way.clear()

    @invariant()
    def every_delivery_is_settled_once_or_still_here(self) -> None:
        here = set(self.waiting) | set(self.under_way.values())
        assert len(self.lane) == len(here)
        assert all(item in self.lane for item in here)
        assert len(self.settled) == len(set(self.settled))
        assert here | set(self.settled) == set(range(1, self.counter + 1))

    @invariant()
    def the_window_is_bounded(self) -> None:
        assert len(self.under_way) <= limits.UNACKED_PACKETS_MAX


TestLane = LaneMachine.TestCase


def test_the_oldest_packet_sets_the_deadline() -> None:
    lane = Lane()
    lane.queue(1)
    lane.opening()
    lane.opened()
    action = lane.next(now=5.0)
    assert isinstance(action, Send)
    lane.sending(action, now=5.0)
    assert lane.next(now=5.0) == Wait(5.0 + limits.ACK_SECONDS)


def test_a_peer_that_refuses_all_is_waited_for_longer_each_time() -> None:
    lane, now, pauses = Lane(), 1000.0, []
    for number in range(1, 8):
        lane.queue(number)
        lane.opening()
        lane.opened()
        send = lane.next(now=now)
        assert isinstance(send, Send)
        lane.sending(send, now=now)
        lane.acked(send.number, Outcome.UNDECRYPTABLE, now=now, jitter=1.0)
        lane.stream_lost("the other side lost the session", now=now, jitter=1.0)
        pauses.append(lane.not_before - now)
        now = lane.not_before
    assert pauses == sorted(pauses)
    assert pauses[-1] > 10 * pauses[0]


def test_many_packets_that_are_put_off_at_once_are_one_failure_and_keep_their_order() -> None:
    lane, now = Lane(), 1000.0
    lane.opening()
    lane.opened()
    for number in range(1, limits.UNACKED_PACKETS_MAX + 1):
        lane.queue(number)
        send = lane.next(now=now)
        assert isinstance(send, Send)
        lane.sending(send, now=now)
    for number in range(1, limits.UNACKED_PACKETS_MAX + 1):
        lane.acked(number, Outcome.RETRY_LATER, now=now, jitter=1.0)
    assert lane.failures == 1
    assert lane.not_before == now + limits.BACKOFF_FIRST_SECONDS
    first = lane.next(now=lane.not_before)
    assert isinstance(first, Send)
    assert first.delivery == 1
