"""What one asker, and relays that nobody vouched for, may take up of the forwarding."""

from __future__ import annotations

import pytest

from covey_core.identity import Identity
from covey_relay import limits
from covey_relay.mailbox.forward_shares import Pauses, Shares

HOME, OFFICE = frozenset({"10.0.0.1", "10.0.0.0/24"}), frozenset({"10.0.9.9", "10.0.9.0/24"})
RELAY, OTHER = Identity.generate().peer_id, Identity.generate().peer_id


def taken(shares: Shares, groups: frozenset[str], *, listed: bool, tries: int = 1_000) -> int:
    return sum(shares.take(groups, listed=listed) for _ in range(tries))


def test_one_address_leaves_room_for_others() -> None:
    shares = Shares()
    assert taken(shares, HOME, listed=True) == 128
    assert not shares.take(HOME, listed=False)
    assert taken(shares, OFFICE, listed=True) == 128
    assert len(shares) == 256


def test_neighbours_share_what_their_network_may_take() -> None:
    shares = Shares()
    assert taken(shares, HOME, listed=True, tries=40) == 40
    assert taken(shares, frozenset({"10.0.0.2", "10.0.0.0/24"}), listed=True) == 88


def test_all_addresses_together_have_a_bound() -> None:
    shares = Shares()
    assert sum(taken(shares, frozenset({str(number)}), listed=True) for number in range(20)) == limits.FORWARDS == 512


def test_relays_that_nobody_vouched_for_share_a_part_and_the_others_keep_theirs() -> None:
    shares = Shares()
    assert [taken(shares, frozenset({name}), listed=False) for name in "abc"] == [128, 128, 0]
    assert [taken(shares, frozenset({name}), listed=True) for name in "abcd"] == [0, 0, 128, 128]


def test_what_is_given_back_may_be_taken_again_and_nothing_is_kept() -> None:
    shares = Shares()
    for _ in range(3):
        assert taken(shares, HOME, listed=False, tries=16) == 16
        assert taken(shares, HOME, listed=True, tries=200) == 112
        for listed, times in ((False, 16), (True, 112)):
            for _ in range(times):
                shares.leave(HOME, listed=listed)
        assert len(shares) == 0
        assert not shares._of_address
    assert taken(shares, HOME, listed=False) == 128


@pytest.mark.parametrize(("listed", "seconds"), [(True, [5] * 10), (False, [5, 10, 20, 40, 80, 160, 320, 640, 640])])
def test_who_nobody_vouched_for_is_left_alone_for_longer_each_time(listed: bool, seconds: list[int]) -> None:
    pauses, now = Pauses(), 1_000.0
    for pause in seconds:
        pauses.failed(RELAY, now=now)
        assert pauses.lasts(RELAY, listed=listed, now=now + pause - 0.01)
        assert not pauses.lasts(RELAY, listed=listed, now=now + pause)
        assert not pauses.lasts(OTHER, listed=listed, now=now)
        now += pause


def test_after_an_hour_a_failure_is_forgotten() -> None:
    pauses = Pauses()
    for _ in range(6):
        pauses.failed(RELAY, now=0.0)
    assert not pauses.lasts(OTHER, listed=False, now=3_600.0)
    assert len(pauses) == 0
    pauses.failed(RELAY, now=4_000.0)
    assert not pauses.lasts(RELAY, listed=False, now=4_005.0)


def test_so_many_failures_are_remembered_and_no_more() -> None:
    pauses = Pauses()
    relays = [Identity.generate().peer_id for _ in range(limits.KNOWN_RELAYS + 3)]
    for relay in relays:
        pauses.failed(relay, now=1.0)
    assert len(pauses) == limits.KNOWN_RELAYS
    assert pauses.lasts(relays[-1], listed=False, now=1.0)
