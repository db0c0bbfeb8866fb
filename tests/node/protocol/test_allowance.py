"""How often somebody may ask."""

from hypothesis import given
from hypothesis import strategies as st

from covey_node.protocol.allowance import Allowance


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 20)), max_size=200))
def test_no_window_ever_holds_more_than_it_may(steps: list[tuple[str, float]]) -> None:
    allowance = Allowance(per_key=3, in_all=5, window_seconds=60, keys_max=10)
    now, taken = 0.0, []
    for key, pause in steps:
        now += pause
        foretold = allowance.has_room(key, now=now)
        allowed = allowance.take(key, now=now)
        assert foretold == allowed
        recent = [(at, who) for at, who in taken if at > now - 60]
        room = len(recent) < 5 and sum(who == key for _, who in recent) < 3
        assert allowed == room
        if allowed:
            taken.append((now, key))


def test_a_crowd_of_keys_is_bounded_and_still_counted_together() -> None:
    allowance = Allowance(per_key=1, in_all=50, window_seconds=60, keys_max=4)
    assert sum(allowance.take(number, now=0.0) for number in range(1000)) == 50
    assert len(allowance._keys) == 4
