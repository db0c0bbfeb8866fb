"""Where our queues are: three at relays that answer, moved only with a reason, and told when enough of them stand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.peers import PeerId
from covey_node import limits
from covey_node.protocol.queue_choice import Behaviour, Choice, Held, Telling, choose
from covey_node.protocol.relay_choice import Candidate

NOW = 1_000_000.0
GONE = Behaviour(away_seconds=limits.MAILBOX_GONE_SECONDS, failures=9)
LEFT = Behaviour(left_at=NOW)
SILENT = Behaviour(failures=1, failed_at=NOW)


def relay(name: str, operator: str = "", network: str = "") -> Candidate:
    return Candidate(PeerId(name), operator or name, frozenset({network or name}), order=name.encode())


def standing(*names: str) -> list[Held]:
    return [Held(number, PeerId(name), stands=True) for number, name in enumerate(names)]


FIVE = [relay(name) for name in "abcde"]


def test_three_relays_are_chosen_where_there_are_more() -> None:
    assert choose([], FIVE, {}, now=NOW) == Choice(make=("a", "b", "c"))


def test_all_are_chosen_where_there_are_fewer() -> None:
    assert choose([], FIVE[:2], {}, now=NOW) == Choice(make=("a", "b"))
    assert choose([], [], {}, now=NOW) == Choice()


def test_other_operators_come_first_and_then_other_networks() -> None:
    known = [relay("a", "x", "1"), relay("b", "x", "2"), relay("c", "y", "1"), relay("d", "z", "3")]
    assert choose([], known, {}, now=NOW).make == ("a", "d", "c")


def test_relays_that_nobody_named_are_taken_last() -> None:
    known = [replace(relay("a"), spare=True), relay("b", "x"), relay("c", "x"), relay("d", "x")]
    assert choose([], known, {}, now=NOW).make == ("b", "c", "d")
    assert choose([], known[:3], {}, now=NOW).make == ("b", "c", "a")


def test_queues_that_stand_stay_when_a_more_different_relay_becomes_known() -> None:
    known = [relay("a", "x"), relay("b", "x"), relay("c", "x"), relay("d", "y")]
    assert choose(standing("a", "b", "c"), known, {}, now=NOW) == Choice()


def test_a_further_relay_brings_a_further_queue() -> None:
    assert choose(standing("a", "b"), FIVE[:3], {}, now=NOW) == Choice(make=("c",))


def test_a_relay_that_does_not_answer_is_passed_over_where_another_does() -> None:
    assert choose([], FIVE, {PeerId("b"): SILENT}, now=NOW).make == ("a", "c", "d")
    begun = [*standing("a", "c"), Held(7, PeerId("b"), stands=False)]
    assert choose(begun, FIVE, {PeerId("b"): SILENT}, now=NOW) == Choice(make=("d",), leave=(7,))


def test_a_relay_that_does_not_answer_is_tried_on_where_no_other_is_known() -> None:
    begun = [*standing("a", "c"), Held(7, PeerId("b"), stands=False)]
    assert choose(begun, FIVE[:3], {PeerId("b"): SILENT}, now=NOW) == Choice()
    both = {PeerId("b"): SILENT, PeerId("d"): SILENT}
    assert choose(begun, FIVE[:4], both, now=NOW) == Choice()


def test_of_silent_relays_each_is_tried_again_after_a_while() -> None:
    begun = [*standing("a", "c"), Held(7, PeerId("b"), stands=False)]
    both = {PeerId("b"): SILENT, PeerId("d"): SILENT}
    later = NOW + limits.MAILBOX_QUIET_SECONDS
    assert choose(begun, FIVE[:4], both, now=later) == Choice(make=("d",), leave=(7,))


def test_a_relay_that_stood_and_does_not_answer_is_kept_for_a_day_and_then_replaced() -> None:
    held = standing("a", "b", "c")
    assert choose(held, FIVE, {PeerId("b"): SILENT}, now=NOW) == Choice()
    assert choose(held, FIVE, {PeerId("b"): GONE}, now=NOW) == Choice(make=("d",))


def test_the_one_that_is_gone_leaves_when_its_successor_stands() -> None:
    held = standing("a", "b", "c")
    begun = [*held, Held(3, PeerId("d"), stands=False)]
    assert choose(begun, FIVE, {PeerId("b"): GONE}, now=NOW) == Choice()
    done = [*held, Held(3, PeerId("d"), stands=True)]
    assert choose(done, FIVE, {PeerId("b"): GONE}, now=NOW) == Choice(leave=(1,))


def test_the_one_that_is_gone_stays_where_no_other_is_known() -> None:
    assert choose(standing("a", "b", "c"), FIVE[:3], {PeerId("b"): GONE}, now=NOW) == Choice()


def test_a_relay_that_came_back_before_it_was_replaced_is_kept() -> None:
    held = [*standing("a", "b", "c"), Held(3, PeerId("d"), stands=False)]
    assert choose(held, FIVE, {}, now=NOW) == Choice(leave=(3,))


def test_a_relay_that_the_user_left_is_replaced_and_then_left() -> None:
    held = standing("a", "b", "c")
    assert choose(held, FIVE, {PeerId("a"): LEFT}, now=NOW) == Choice(make=("d",))
    done = [*held, Held(3, PeerId("d"), stands=True)]
    assert choose(done, FIVE, {PeerId("a"): LEFT}, now=NOW) == Choice(leave=(0,))


def test_a_relay_that_the_user_left_is_left_without_a_successor_but_never_as_the_last() -> None:
    assert choose(standing("a", "b"), FIVE[:2], {PeerId("a"): LEFT}, now=NOW) == Choice(leave=(0,))
    assert choose(standing("a"), FIVE[:1], {PeerId("a"): LEFT}, now=NOW) == Choice()


def test_a_relay_that_lost_a_queue_is_chosen_last_for_a_day() -> None:
    lost = Behaviour().lost_queue(made_at=NOW - 9, now=NOW)
    assert choose([], FIVE[:4], {PeerId("a"): lost}, now=NOW + 1).make == ("b", "c", "d")
    assert choose([], FIVE[:3], {PeerId("a"): lost}, now=NOW + 1).make == ("b", "c", "a")
    assert choose([], FIVE, {PeerId("a"): lost}, now=NOW + limits.MAILBOX_LOST_SECONDS).make == ("a", "b", "c")


@given(
    st.lists(st.sampled_from("abcdef"), unique=True, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.lists(st.sampled_from("abcdef"), unique=True),
    st.dictionaries(st.sampled_from("abcdef").map(PeerId), st.sampled_from([GONE, LEFT, SILENT, Behaviour()])),
)
def test_a_choice_that_is_carried_out_ends_and_never_gives_up_the_last_that_stands(
    held: list[str], stands: list[bool], known: list[str], behaviour: dict[PeerId, Behaviour]
) -> None:
    queues = [
        Held(number, PeerId(name), stands=stand) for number, (name, stand) in enumerate(zip(held, stands, strict=False))
    ]
    candidates = [relay(name) for name in known]
    for step in range(10):
        choice = choose(queues, candidates, behaviour, now=NOW)
        if choice == Choice():
            break
        assert len(set(choice.make)) == len(choice.make)
        assert not set(choice.make) & {one.relay for one in queues}
        left = [one for one in queues if one.queue not in choice.leave]
        assert not any(one.stands for one in queues) or any(one.stands for one in left)
        answers = [name for name in choice.make if not behaviour.get(name, Behaviour()).failures]
        queues = [
            *(one if behaviour.get(one.relay, Behaviour()).failures else replace(one, stands=True) for one in left),
            *(Held(100 + 10 * step + n, name, stands=name in answers) for n, name in enumerate(choice.make)),
        ]
    else:
        pytest.fail("the choice never comes to rest")
    assert len([one for one in queues if one.relay in known and one.stands]) <= limits.MAILBOX_REPLICAS + 2


def test_only_time_between_looks_while_another_relay_answers_makes_a_relay_gone() -> None:
    one = Behaviour().silent("no answer", now=NOW, online=True)
    assert one.away_seconds == 0
    one = one.silent("no answer", now=NOW + 300, online=True)
    assert one.away_seconds == 300
    one = one.silent("no answer", now=NOW + 600, online=False)
    assert one.away_seconds == 300
    one = one.silent("no answer", now=NOW + 3 * 86400, online=True)
    assert one.away_seconds == 300 + limits.MAILBOX_AWAY_STEP_SECONDS
    assert not one.gone
    assert one.silent("no answer", now=NOW, online=True).away_seconds == one.away_seconds, "the clock was set back"


def test_a_relay_is_gone_after_a_day_of_looks_and_back_with_one_answer() -> None:
    one = Behaviour()
    for look in range(289):
        assert not one.gone
        one = one.silent("no answer", now=NOW + 300 * look, online=True)
    assert one.gone
    assert one.answered(now=NOW) == Behaviour(reached_at=NOW)


def test_a_set_is_told_at_once_when_all_stand_and_waits_for_the_others_otherwise() -> None:
    telling = Telling()
    assert telling.tell_at(1, stand=0, making=0, now=NOW) is None
    assert telling.tell_at(1, stand=0, making=1, now=NOW) is None
    assert telling.tell_at(1, stand=1, making=0, now=NOW) == NOW
    assert telling.tell_at(1, stand=3, making=0, now=NOW) == NOW
    assert telling.tell_at(1, stand=2, making=1, now=NOW) == NOW + limits.MAILBOX_SETTLE_SECONDS
    assert telling.tell_at(1, stand=1, making=2, now=NOW) == NOW + limits.MAILBOX_FEW_SECONDS


def test_a_set_waits_since_its_first_queue_stood_however_often_another_one_is_begun() -> None:
    telling = Telling()
    telling.tell_at(1, stand=2, making=1, now=NOW)
    assert telling.tell_at(1, stand=2, making=1, now=NOW + 1) == NOW + limits.MAILBOX_SETTLE_SECONDS
    assert telling.tell_at(2, stand=2, making=1, now=NOW + 1) == NOW + 1 + limits.MAILBOX_SETTLE_SECONDS
    telling.told(1, frozenset({1, 2}), now=NOW + 2)
    assert telling.tell_at(1, stand=2, making=1, now=NOW + 9) == NOW + 9 + limits.MAILBOX_SETTLE_SECONDS


def test_a_set_gets_some_numbers_at_once_and_then_one_in_a_minute() -> None:
    telling, now, told = Telling(), NOW, list[float]()
    while now < NOW + 3600:
        if telling.tell_at(1, stand=3, making=0, now=now) == now:
            telling.told(1, frozenset({1, 2}), now=now)
            told.append(now)
        now += 1
    assert len(told) == pytest.approx(60 + limits.MAILBOX_NUMBERS_AT_ONCE, abs=1)
    assert told[limits.MAILBOX_NUMBERS_AT_ONCE] == NOW + limits.MAILBOX_NUMBER_SECONDS
    at = telling.tell_at(1, stand=3, making=0, now=NOW - 86_400)
    assert at is not None
    assert at <= NOW - 86_400 + limits.MAILBOX_NUMBER_SECONDS, "the clock was set back"
    assert telling.known(1, frozenset({2, 1}))
    assert not telling.known(1, frozenset({1, 3}))
    telling.ended(1)
    assert not telling.known(1, frozenset({1, 2}))
    assert telling.tell_at(1, stand=3, making=0, now=now) == now


def test_a_relay_that_loses_what_is_made_there_is_left_alone_for_ever_longer() -> None:
    one, now, pauses = Behaviour(), NOW, list[float]()
    for _ in range(16):
        one = one.lost_queue(made_at=now, now=now)
        until = one.held_back_until(now=now)
        pauses.append(0 if until is None else until - now)
        now = until or now
    assert pauses[:4] == [0, 2, 4, 8]
    assert pauses[-1] == limits.MAILBOX_LOST_PAUSE_SECONDS_MAX
    later = now + limits.MAILBOX_LOST_SECONDS
    assert one.lost_queue(made_at=later, now=later).held_back_until(now=later) is None


def test_queues_that_went_with_one_disk_are_one_loss() -> None:
    one = Behaviour()
    for number in range(300):
        one = one.lost_queue(made_at=NOW - 9, now=NOW + number / 100)
    assert one == Behaviour(lost_at=NOW, losses=1)
    again = one.lost_queue(made_at=NOW + 1, now=NOW + 4).lost_queue(made_at=NOW + 5, now=NOW + 5)
    assert again.losses == 2, "none was made in the pause"


def test_where_no_other_relay_is_known_one_that_loses_queues_is_taken_when_its_pause_has_passed() -> None:
    lost = {PeerId("a"): Behaviour(lost_at=NOW, losses=3)}
    assert choose(standing("b", "c"), FIVE[:3], lost, now=NOW + 1) == Choice(again_at=NOW + 4)
    assert choose(standing("b", "c"), FIVE[:3], lost, now=NOW + 4) == Choice(make=("a",))
    assert choose(standing("b", "c"), FIVE[:4], lost, now=NOW + 1) == Choice(make=("d",))
    left = {**lost, PeerId("b"): LEFT}
    assert choose(standing("b", "c"), FIVE[:3], left, now=NOW + 1) == Choice(leave=(0,), again_at=NOW + 4)
