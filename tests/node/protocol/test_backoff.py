"""Waits between attempts grow, stay bounded, and differ between peers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_node.limits import BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS
from covey_node.protocol.backoff import OUTBOX, Backoff

JITTER = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(attempts=st.integers(min_value=1, max_value=10**6), jitter=JITTER)
def test_a_wait_lies_between_half_the_longest_and_the_longest(attempts: int, jitter: float) -> None:
    wait = OUTBOX.wait_seconds(attempts, random=lambda: jitter)
    longest = OUTBOX.longest_seconds(attempts)
    assert longest / 2 <= wait <= longest <= BACKOFF_MAX_SECONDS


@given(attempts=st.integers(min_value=1, max_value=200))
def test_the_longest_wait_never_shrinks(attempts: int) -> None:
    assert OUTBOX.longest_seconds(attempts) <= OUTBOX.longest_seconds(attempts + 1)


def test_it_starts_small_doubles_and_reaches_its_bound() -> None:
    assert [OUTBOX.longest_seconds(n) for n in (1, 2, 3)] == [BACKOFF_FIRST_SECONDS * 2**n for n in (0, 1, 2)]
    assert OUTBOX.longest_seconds(1000) == BACKOFF_MAX_SECONDS


def test_two_peers_that_failed_together_do_not_come_back_together() -> None:
    assert OUTBOX.wait_seconds(3, random=lambda: 0.1) != OUTBOX.wait_seconds(3, random=lambda: 0.9)


@pytest.mark.parametrize("bounds", [(0.0, 1.0, 2.0), (2.0, 1.0, 2.0), (1.0, 2.0, 0.5)])
def test_bounds_that_make_no_sense_are_refused(bounds: tuple[float, float, float]) -> None:
    first, longest, factor = bounds
    with pytest.raises(ValueError, match="makes no sense"):
        Backoff(first_seconds=first, max_seconds=longest, factor=factor)
