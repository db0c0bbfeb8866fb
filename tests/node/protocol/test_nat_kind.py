import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_node import limits
from covey_node.protocol.nat_kind import NatKind, NatMemory, Seen, judge, nat_pair

A, B, C = "198.51.100.1", "198.51.100.2", "198.51.100.3"
OUTSIDE, OURS = "203.0.113.5", "192.168.1.7"
SETTLE, FLIP, FORGET = limits.NAT_SETTLE_SECONDS, limits.NAT_FLIP_SECONDS, limits.NAT_FORGET_SECONDS


def tcp(observer: str, port: int, ip: str = OUTSIDE) -> Seen:
    return Seen(observer, ip, port, "tcp")


def quic(observer: str, port: int, ip: str = OUTSIDE) -> Seen:
    return Seen(observer, ip, port, "quic")


@pytest.mark.parametrize(
    ("kind", "seen", "silent"),
    [
        (NatKind.UNKNOWN, [], []),
        (NatKind.UNKNOWN, [tcp(A, 4001)], []),
        (NatKind.UNKNOWN, [tcp(A, 4001), quic(A, 4001)], []),
        (NatKind.UNKNOWN, [tcp(A, 4001), tcp(A, 4001)], []),  # two relays on one IP
        (NatKind.UNKNOWN, [tcp(A, 4001), tcp(A, 4002)], []),
        (NatKind.UNKNOWN, [tcp(A, 4001), quic(B, 4001)], []),  # nothing to compare
        (NatKind.UNKNOWN, [tcp(A, 4001, OURS)], []),
        (NatKind.NONE, [tcp(A, 4001, OURS), tcp(B, 4001, OURS)], []),
        (NatKind.NONE, [tcp(A, 4001, OURS), quic(B, 4001, OURS)], []),
        (NatKind.EASY, [tcp(A, 4001), tcp(B, 4001)], []),
        (NatKind.EASY, [quic(A, 4001), quic(B, 4001)], []),
        (NatKind.EASY, [tcp(A, 1), tcp(B, 2), quic(A, 7), quic(B, 7)], []),  # one way in is enough
        (NatKind.EASY, [tcp(A, 4001), tcp(B, 4001), tcp(C, 9)], []),
        (NatKind.HARD, [tcp(A, 4001), tcp(B, 4002)], []),
        (NatKind.HARD, [tcp(A, 4001), tcp(B, 4001, "203.0.113.6")], []),  # one port, another address of the pool
        (NatKind.HARD, [tcp(A, 1), tcp(B, 2), quic(A, 3), quic(B, 4)], []),
        (NatKind.HARD, [tcp(A, 1), tcp(B, 2), tcp(C, 3)], []),
        (NatKind.UDP_BLOCKED, [tcp(A, 4001), tcp(B, 4001)], [A, B]),
        (NatKind.UDP_BLOCKED, [tcp(A, 1), tcp(B, 2)], [A, B]),
        (NatKind.EASY, [tcp(A, 4001), tcp(B, 4001)], [A]),  # one relay without QUIC is that relay's matter
        (NatKind.EASY, [tcp(A, 4001), tcp(B, 4001), quic(A, 1)], [B]),
        (NatKind.EASY, [tcp(A, 1), tcp(B, 1), tcp(A, 5, "2001:db8::1"), tcp(B, 6, "2001:db8::1")], []),
        (NatKind.NONE, [tcp("2001:db8::a", 5, "2001:db8::1"), tcp("2001:db8::b", 5, "2001:db8::1")], []),
    ],
)
def test_the_kind_follows_from_what_relays_see(kind, seen, silent):
    assert judge(seen, own_ips={OURS, "2001:db8::1"}, silent_over_quic=silent) is kind


views = st.builds(
    Seen,
    st.sampled_from([A, B, C]),
    st.sampled_from([OUTSIDE, OURS]),
    st.integers(1, 3),
    st.sampled_from(["tcp", "quic"]),
)


@given(st.lists(views, max_size=8), st.randoms())
def test_the_order_of_the_views_does_not_matter(seen, random):
    shuffled = list(seen)
    random.shuffle(shuffled)
    assert judge(seen, own_ips={OURS}) is judge(shuffled, own_ips={OURS})


@given(st.lists(views.filter(lambda view: view.observer_ip == A), max_size=8))
def test_one_observer_alone_decides_nothing(seen):
    assert judge(seen, own_ips={OURS}) is NatKind.UNKNOWN


def test_a_first_judgement_is_taken_at_once():
    memory = NatMemory()
    assert memory.look(NatKind.EASY, now=0)
    assert memory.kind is NatKind.EASY


def test_what_shows_a_moment_later_corrects_the_first_judgement():
    memory = NatMemory()
    memory.look(NatKind.EASY, now=0)
    assert memory.look(NatKind.UDP_BLOCKED, now=SETTLE - 1)
    assert memory.kind is NatKind.UDP_BLOCKED


def test_one_odd_judgement_changes_nothing():
    memory = NatMemory()
    memory.look(NatKind.EASY, now=0)
    assert not memory.look(NatKind.HARD, now=SETTLE)
    assert not memory.look(NatKind.EASY, now=SETTLE + FLIP / 2)
    assert not memory.look(NatKind.HARD, now=SETTLE + FLIP)
    assert memory.kind is NatKind.EASY


def test_a_judgement_that_stands_is_believed_in_the_end():
    memory = NatMemory()
    memory.look(NatKind.EASY, now=0)
    memory.look(NatKind.HARD, now=SETTLE)
    assert not memory.look(NatKind.HARD, now=SETTLE + FLIP - 1)
    assert memory.look(NatKind.HARD, now=SETTLE + FLIP)
    assert memory.kind is NatKind.HARD


def test_another_rival_starts_anew():
    memory = NatMemory()
    memory.look(NatKind.EASY, now=0)
    memory.look(NatKind.HARD, now=SETTLE)
    assert not memory.look(NatKind.UDP_BLOCKED, now=SETTLE + FLIP)
    assert memory.kind is NatKind.EASY


def test_lost_observers_leave_the_last_kind_for_a_while():
    memory = NatMemory()
    memory.look(NatKind.EASY, now=0)
    memory.look(NatKind.UNKNOWN, now=10)
    assert not memory.look(NatKind.UNKNOWN, now=10 + FORGET - 1)
    assert memory.look(NatKind.UNKNOWN, now=10 + FORGET)
    assert memory.kind is NatKind.UNKNOWN


def test_another_network_is_judged_from_the_start():
    memory = NatMemory()
    memory.look(NatKind.EASY, now=0)
    memory.forget()
    assert memory.kind is NatKind.UNKNOWN
    assert memory.look(NatKind.HARD, now=1)


@given(st.lists(st.tuples(st.sampled_from(NatKind), st.floats(0, FLIP / 4)), max_size=40))
def test_no_kind_is_left_before_another_one_stood_its_time(steps):
    memory, now = NatMemory(), SETTLE
    memory.look(NatKind.EASY, now=0)
    changed = now
    for judged, wait in steps:
        now += wait
        before = memory.kind
        if memory.look(judged, now=now):
            assert before is NatKind.UNKNOWN or now - changed >= FLIP
            changed = now


@pytest.mark.parametrize(
    ("ours", "theirs", "pair"),
    [
        (NatKind.NONE, NatKind.HARD, "none"),
        (NatKind.NONE, NatKind.UNKNOWN, "none"),
        (NatKind.EASY, NatKind.EASY, "easy_easy"),
        (NatKind.EASY, NatKind.HARD, "easy_hard"),
        (NatKind.HARD, NatKind.HARD, "hard_hard"),
        (NatKind.EASY, NatKind.UDP_BLOCKED, "easy_hard"),
        (NatKind.UDP_BLOCKED, NatKind.UDP_BLOCKED, "hard_hard"),
        (NatKind.UNKNOWN, NatKind.EASY, "unknown"),
    ],
)
def test_the_pair_is_the_same_from_both_sides(ours, theirs, pair):
    assert nat_pair(ours, theirs) == nat_pair(theirs, ours) == pair
