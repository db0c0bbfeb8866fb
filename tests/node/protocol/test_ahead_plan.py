"""Which records are signed ahead: their days, sequences and addresses."""

import os

from hypothesis import given
from hypothesis import strategies as st

from covey_core.limits import AHEAD_DAYS
from covey_node import limits
from covey_node.protocol.ahead_plan import content_hash, days_ahead, missing, next_sequence, surviving

TODAY = 20_780


def test_today_and_thirty_days_are_covered() -> None:
    assert len(days_ahead(TODAY)) == AHEAD_DAYS + 1
    assert missing(TODAY, ()) == tuple(range(TODAY, TODAY + 31))
    assert missing(TODAY, set(range(TODAY - 3, TODAY + 30))) == (TODAY + 30,)


@given(first=st.binary(min_size=4, max_size=4), steps=st.lists(st.binary(min_size=4, max_size=4), max_size=300))
def test_sequences_rise_and_stay_below_the_seconds_of_their_day(first: bytes, steps: list[bytes]) -> None:
    last = 0
    for drawn in (first, *steps):
        sequence = next_sequence(last, lambda _size, drawn=drawn: drawn)  # type: ignore[misc]
        assert last < sequence < TODAY * 86_400
        last = sequence


def test_sequences_stay_below_the_day_for_as_many_replacements_as_a_month_can_have() -> None:
    replacements = 31 * 86_400 // limits.AHEAD_AGAIN_SECONDS * limits.AHEAD_RELAYS
    assert (1 << limits.AHEAD_SEQUENCE_BITS) + replacements * (1 << limits.AHEAD_STEP_BITS) < TODAY * 86_400


def test_sequences_of_two_days_have_nothing_to_do_with_each_other() -> None:
    drawn = [next_sequence(0, os.urandom) for _ in range(64)]
    assert len(set(drawn)) == 64
    assert len({one >> 20 for one in drawn}) > 16


def test_circuits_survive_and_other_addresses_only_where_there_are_none() -> None:
    circuit, direct = "/ip4/192.0.2.1/tcp/1/p2p/x/p2p-circuit/p2p/y", "/ip4/192.0.2.2/tcp/1"
    assert surviving((circuit, direct)) == (circuit,)
    assert surviving((direct,)) == (direct,)
    assert surviving(()) == ()


def test_contents_whose_parts_are_cut_elsewhere_differ() -> None:
    assert content_hash(b"ab", b"c") != content_hash(b"a", b"bc")
    assert content_hash(b"ab", b"c") == content_hash(b"ab", b"c")
