"""The timetable of one relay."""

from hypothesis import given
from hypothesis import strategies as st

from covey_node import limits
from covey_node.protocol.reservation import ReservationTimetable


def test_a_slot_is_refreshed_before_it_ends() -> None:
    table = ReservationTimetable()
    table.granted(3600.0, now=0.0)
    assert table.held(now=3599.0)
    assert not table.held(now=3600.0)
    assert table.wait_until == 3600 * limits.RESERVATION_REFRESH_SHARE


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_pauses_grow_and_stay_in_their_bounds(jitters: list[float]) -> None:
    table = ReservationTimetable()
    for count, jitter in enumerate(jitters):
        table.failed("no answer", now=100.0, jitter=jitter)
        pause = table.wait_until - 100.0
        top = min(limits.RELAY_RETRY_SECONDS_MAX, limits.RELAY_RETRY_SECONDS_MIN * 2**count)
        assert top / 2 <= pause <= top


def test_a_failed_refresh_keeps_the_slot_and_a_lost_relay_does_not() -> None:
    table = ReservationTimetable()
    table.granted(3600.0, now=0.0)
    table.failed("busy", now=2700.0, jitter=0.0)
    assert table.held(now=2800.0)
    assert not table.is_settled(now=2800.0)
    table.lost()
    assert not table.held(now=2801.0)
    table.granted(9000.0, now=2900.0)
    assert table.failures == 0
    assert table.reason is None
