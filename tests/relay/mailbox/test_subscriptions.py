"""Subscriptions against a plain model: one stream a queue, the latest; each is due once."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from covey_relay.mailbox.subscriptions import Feed, Subscriptions

STREAMS, QUEUES = 3, 4
streams, queues = st.integers(0, STREAMS - 1), st.integers(0, QUEUES - 1)


class Machine(RuleBasedStateMachine):
    """The model: which stream has a queue, and which queues are due there."""

    @initialize()
    def begin(self) -> None:
        self.everywhere = Subscriptions()
        self.told = [0] * STREAMS
        self.feeds = [Feed(self.everywhere, changed=partial(self.tell, number)) for number in range(STREAMS)]
        self.owner: dict[int, int] = {}
        self.due: list[list[int]] = [[] for _ in range(STREAMS)]

    def tell(self, stream: int) -> None:
        self.told[stream] += 1

    @rule(stream=streams, queue=queues)
    def subscribe(self, stream: int, queue: int) -> None:
        if queue in self.owner and queue in self.due[self.owner[queue]]:
            self.due[self.owner[queue]].remove(queue)
        before = self.told[stream]
        self.feeds[stream].begin(recv_key=bytes([queue]), recv_id=b"", request_id=1, after=0)
        self.owner[queue] = stream
        self.due[stream].append(queue)
        assert self.told[stream] > before

    @rule(queue=queues)
    def deposit(self, queue: int) -> None:
        before = list(self.told)
        self.everywhere.wake(bytes([queue]))
        if queue in self.owner:
            stream = self.owner[queue]
            if queue not in self.due[stream]:
                self.due[stream].append(queue)
            before[stream] += 1
        assert self.told == before

    @rule()
    def anything(self) -> None:
        self.everywhere.wake_all()
        for queue, stream in self.owner.items():
            if queue not in self.due[stream]:
                self.due[stream].append(queue)
        for stream in range(STREAMS):  # the order is that of the table, which is not promised
            self.due[stream] = [one.recv_key[0] for one in self.feeds[stream]._due]

    @rule(stream=streams, most=st.integers(1, 3))
    def push(self, stream: int, most: int) -> None:
        taken = self.feeds[stream].take_due(most)
        assert [one.recv_key[0] for one in taken] == self.due[stream][:most]
        del self.due[stream][:most]
        assert all(self.feeds[stream].holds(one) for one in taken)

    @rule(stream=streams)
    def queue_is_gone(self, stream: int) -> None:
        for one in self.feeds[stream].take_due(1):
            queue = one.recv_key[0]
            self.due[stream].remove(queue)
            del self.owner[queue]
            self.feeds[stream].end(one)
            assert not self.feeds[stream].holds(one)

    @rule(stream=streams)
    def stream_ends(self, stream: int) -> None:
        self.feeds[stream].close()
        self.owner = {queue: one for queue, one in self.owner.items() if one != stream}
        self.due[stream] = []

    @invariant()
    def agrees(self) -> None:
        assert len(self.everywhere) == len(self.owner)
        for stream, feed in enumerate(self.feeds):
            assert len(feed) == sum(one == stream for one in self.owner.values())
            assert feed.has_due == bool(self.due[stream])


TestSubscriptions = Machine.TestCase
