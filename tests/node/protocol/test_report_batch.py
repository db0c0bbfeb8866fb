"""Reports leave late, mixed, and never for too few peers."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from covey_core.wire.report import NatPair, PunchKind, PunchOutcome, PunchTransport
from covey_node import limits
from covey_node.protocol.report_batch import ReportBatch

WON = PunchKind(PunchOutcome.SUCCESS, PunchTransport.QUIC, NatPair.EASY_EASY)
LOST = PunchKind(PunchOutcome.FAILED, PunchTransport.OTHER, NatPair.HARD_HARD)
FIRST, LAST = limits.REPORT_DELAY_SECONDS_MIN, limits.REPORT_DELAY_SECONDS_MAX


def batch(share: float = 0.5) -> ReportBatch:
    return ReportBatch(lambda: share)


def test_outcomes_of_enough_peers_are_told_together_after_their_delay() -> None:
    one = batch(0.0)
    for number, peer in enumerate(("bob", "carol", "dave")):
        one.add(peer, WON, now=number)
    assert one.next_deadline() == FIRST + 2
    assert one.due(now=FIRST + 1.9) is None
    assert one.due(now=FIRST + 2) == {WON: 3}
    assert len(one) == 0
    assert one.next_deadline() is None


def test_nothing_is_told_of_one_peer_or_two_however_often() -> None:
    one = batch(0.0)
    for number in range(limits.REPORTS_WAITING):
        one.add("bob" if number % 2 else "carol", WON, now=0)
    assert one.next_deadline() is None
    assert one.due(now=LAST * 2) is None
    one.add("dave", LOST, now=0)
    assert one.due(now=LAST * 2) == {WON: limits.REPORTS_WAITING - 1, LOST: 1}


def test_an_outcome_that_is_not_ready_waits_for_the_next_report() -> None:
    one = ReportBatch(iter([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).__next__)
    for peer in ("bob", "carol", "dave", "eve"):
        one.add(peer, WON if peer != "eve" else LOST, now=0)
    assert one.due(now=FIRST) == {WON: 3}
    assert len(one) == 1


def test_reports_keep_a_distance() -> None:
    one = batch(0.0)
    for moment in (0, 1):
        for peer in ("bob", "carol", "dave"):
            one.add(peer, WON, now=moment)
        if not moment:
            assert one.due(now=FIRST) == {WON: 3}
    assert one.next_deadline() == FIRST + limits.REPORT_PAUSE_SECONDS
    assert one.due(now=FIRST + limits.REPORT_PAUSE_SECONDS - 1) is None
    assert one.due(now=FIRST + limits.REPORT_PAUSE_SECONDS) == {WON: 3}


def test_what_waited_for_a_day_is_dropped() -> None:
    one = batch()
    one.add("bob", WON, now=0)
    one.add("carol", WON, now=10)
    assert one.due(now=limits.REPORT_KEEP_SECONDS) is None
    assert len(one) == 1


@given(
    st.lists(st.tuples(st.floats(0, 5000), st.integers(0, 5), st.sampled_from([WON, LOST])), max_size=80),
    st.integers(0, 2**32),
)
def test_no_report_ever_holds_too_few_peers_or_too_young_an_outcome(
    events: list[tuple[float, int, PunchKind]], seed: int
) -> None:
    one, now = ReportBatch(Random(seed).random), 0.0
    waiting: list[tuple[float, int]] = []
    for seconds, peer, kind in events:
        now += seconds
        one.add(peer, kind, now=now)
        waiting = [*waiting, (now, peer)][-limits.REPORTS_WAITING :]
        waiting = [item for item in waiting if item[0] > now - limits.REPORT_KEEP_SECONDS]
        report = one.due(now=now)
        if report is None:
            continue
        old_enough = [item for item in waiting if item[0] <= now - FIRST]
        assert limits.REPORT_PEERS_MIN <= sum(report.values()) <= len(old_enough)
        assert len({peer for _, peer in old_enough}) >= limits.REPORT_PEERS_MIN
        assert len(one) == len(waiting) - sum(report.values())
        return  # which ones are left is drawn: the model ends here
