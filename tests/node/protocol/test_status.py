"""A message's status only moves forward, whatever is reported in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from covey_node.protocol.status import OPEN, ContactState, Status, advance, derive, is_final
from covey_node.service import port

ORDER = (Status.QUEUED, Status.SENT, Status.STORED, Status.DELIVERED, Status.READ)
ENDS = (Status.EXPIRED, Status.FAILED)
OUTGOING = st.sampled_from((*ORDER, *ENDS))


@given(reports=st.lists(OUTGOING, max_size=20))
def test_a_status_never_goes_back(reports: list[Status]) -> None:
    current = Status.QUEUED
    for report in reports:
        after = advance(current, report)
        assert after in {current, report}
        if current in ENDS:
            assert after == current
        elif after in ENDS:
            assert current in OPEN
        else:
            assert ORDER.index(after) >= ORDER.index(current)
        current = after


@given(reports=st.lists(st.sampled_from(ORDER), min_size=1, max_size=20))
def test_without_an_end_the_highest_report_counts(reports: list[Status]) -> None:
    current = Status.QUEUED
    for report in reports:
        current = advance(current, report)
    assert ORDER.index(current) == max(ORDER.index(report) for report in reports)


@given(reports=st.lists(st.sampled_from(tuple(Status)), max_size=10))
def test_an_incoming_message_stays_received_and_an_outgoing_one_never_becomes_it(reports: list[Status]) -> None:
    incoming, outgoing = Status.RECEIVED, Status.QUEUED
    for report in reports:
        incoming, outgoing = advance(incoming, report), advance(outgoing, report)
    assert incoming == Status.RECEIVED
    assert outgoing != Status.RECEIVED


def test_a_delivered_message_cannot_expire_or_fail() -> None:
    for end in ENDS:
        assert advance(Status.DELIVERED, end) == Status.DELIVERED
        assert advance(Status.SENT, end) == end


def test_only_ends_and_read_are_final() -> None:
    assert {status for status in Status if is_final(status)} == {Status.READ, *ENDS, Status.RECEIVED}


@given(states=st.lists(OUTGOING, max_size=8))
def test_one_device_that_has_it_makes_the_message_delivered(states: list[Status]) -> None:
    got = derive(states)
    if not states:
        assert got is None
    elif Status.READ in states:
        assert got == Status.READ
    elif Status.DELIVERED in states:
        assert got == Status.DELIVERED
    elif OPEN & set(states):
        assert got in OPEN
        assert (got == Status.STORED) == (Status.STORED in states)
        assert (got == Status.SENT) == (Status.SENT in states and Status.STORED not in states)
    else:
        assert got == (Status.FAILED if Status.FAILED in states else Status.EXPIRED)


def test_the_api_shows_the_same_words() -> None:
    assert [(status.name, status.value) for status in port.Status] == [(status.name, status.value) for status in Status]
    assert [(state.name, state.value) for state in port.ContactState] == [
        (state.name, state.value) for state in ContactState
    ]
