"""A peer session counts once, at its path after 30 seconds or at its end."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey_node.limits import PATH_COUNT_SECONDS
from covey_node.protocol.path_count import Counted, PathCount, Stood, Way
from covey_node.protocol.paths import PathKind

RELAYED = Way(PathKind.RELAYED, "tcp", "ip4")
PUNCHED = Way(PathKind.PUNCHED, "quic", "ip4")
LAN = Way(PathKind.LAN, "tcp", "ip6")


def test_a_session_counts_at_the_path_it_has_after_thirty_seconds() -> None:
    count = PathCount[str]()
    assert count.changed("bob", RELAYED, now=100) == ()
    assert count.next_deadline() == 130
    assert count.changed("bob", PUNCHED, now=101) == (Stood("bob", PathKind.PUNCHED, 1),)
    assert count.due(now=129.9) == ()
    assert count.due(now=130) == (Counted("bob", PUNCHED),)
    assert count.next_deadline() is None


def test_a_session_is_counted_once_however_long_it_goes_on() -> None:
    count = PathCount[str]()
    count.changed("bob", PUNCHED, now=0)
    assert count.due(now=30) == (Counted("bob", PUNCHED),)
    assert count.changed("bob", RELAYED, now=50) == (Stood("bob", PathKind.RELAYED, 50),)
    assert count.changed("bob", None, now=99) == ()
    count.changed("bob", RELAYED, now=200)
    assert count.due(now=230) == (Counted("bob", RELAYED),)


def test_a_session_that_ends_before_counts_at_its_last_path() -> None:
    count = PathCount[str]()
    count.changed("bob", RELAYED, now=0)
    assert count.changed("bob", None, now=5) == (Counted("bob", RELAYED),)
    assert count.next_deadline() is None
    assert count.due(now=1000) == ()


def test_a_change_after_the_thirty_seconds_does_not_change_what_is_counted() -> None:
    count = PathCount[str]()
    count.changed("bob", RELAYED, now=0)
    assert count.changed("bob", PUNCHED, now=31) == (Counted("bob", RELAYED), Stood("bob", PathKind.PUNCHED, 31))


def test_the_time_to_a_path_runs_from_the_first_try() -> None:
    count = PathCount[str]()
    count.wanted("bob", now=10)
    count.wanted("bob", now=12)
    assert count.changed("bob", RELAYED, now=12.5) == (Stood("bob", PathKind.RELAYED, 2.5),)
    assert count.changed("bob", RELAYED, now=12.6) == ()
    assert count.changed("bob", PUNCHED, now=13) == (Stood("bob", PathKind.PUNCHED, 3),)


def test_who_comes_by_itself_takes_no_time() -> None:
    count = PathCount[str]()
    assert count.changed("bob", LAN, now=10) == ()
    count.changed("bob", None, now=11)
    count.wanted("bob", now=20)
    count.given_up("bob")
    assert count.changed("bob", LAN, now=30) == ()


class Sessions(RuleBasedStateMachine):
    """Against a model that keeps every change and looks the answer up afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.count = PathCount()
        self.now = 0.0
        self.histories: dict[int, list[tuple[float, Way]]] = {}
        self.ended: list[list[tuple[float, Way]]] = []
        self.ends: list[float] = []
        self.counted: Counter[Way] = Counter()

    def take(self, found: tuple[object, ...]) -> None:
        self.counted.update(one.way for one in found if isinstance(one, Counted))

    @rule(seconds=st.sampled_from([0.0, 0.5, 10.0, 29.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(peer=st.integers(0, 3), way=st.sampled_from([RELAYED, PUNCHED, LAN]))
    def path_changes(self, peer: int, way: Way) -> None:
        self.take(self.count.changed(peer, way, now=self.now))
        self.histories.setdefault(peer, []).append((self.now, way))

    @precondition(lambda self: bool(self.histories))
    @rule(data=st.data())
    def peer_leaves(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(sorted(self.histories)))
        self.take(self.count.changed(peer, None, now=self.now))
        self.ended.append(self.histories.pop(peer))
        self.ends.append(self.now)

    @rule()
    def deadline_is_kept(self) -> None:
        self.take(self.count.due(now=self.now))

    @invariant()
    def every_session_is_counted_once_at_the_right_path(self) -> None:
        self.take(self.count.due(now=self.now))
        wanted: Counter[Way] = Counter()
        for history, end in zip(self.ended, self.ends, strict=True):
            wanted[at(history, min(end, history[0][0] + PATH_COUNT_SECONDS))] += 1
        for history in self.histories.values():
            if self.now >= history[0][0] + PATH_COUNT_SECONDS:
                wanted[at(history, history[0][0] + PATH_COUNT_SECONDS)] += 1
        assert self.counted == wanted
        assert self.count.standing() == {peer: history[-1][1].kind for peer, history in self.histories.items()}


def at(history: list[tuple[float, Way]], moment: float) -> Way:
    """The path that stood at a moment: a change at the very moment of counting comes after the count, unless first."""
    begin = history[0][0]
    full = moment == begin + PATH_COUNT_SECONDS
    return [way for when, way in history if when < moment or not full][-1]


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
