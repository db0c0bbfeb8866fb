"""Punch reports on the wire: numbers of what the page names, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import CoveyError, FrameTooLarge, ProtocolViolation
from covey_core.metrics import Transport
from covey_core.wire.pb import report_pb2 as pb
from covey_core.wire.report import NatPair, PunchKind, PunchOutcome, PunchTransport, decode_report, encode_report

kinds = st.builds(PunchKind, st.sampled_from(PunchOutcome), st.sampled_from(PunchTransport), st.sampled_from(NatPair))
WON = PunchKind(PunchOutcome.SUCCESS, PunchTransport.QUIC, NatPair.EASY_EASY)
LOST = PunchKind(PunchOutcome.FAILED, PunchTransport.OTHER, NatPair.HARD_HARD)


@given(st.dictionaries(kinds, st.integers(1, 4), min_size=1, max_size=16))
def test_what_was_written_is_read(report: dict[PunchKind, int]) -> None:
    assert decode_report(encode_report(report)) == report


@given(st.dictionaries(kinds, st.integers(1, 4), min_size=2, max_size=16), st.randoms())
def test_the_order_of_outcomes_cannot_be_read(report: dict[PunchKind, int], rng: object) -> None:
    items = list(report.items())
    rng.shuffle(items)  # type: ignore[attr-defined]
    assert encode_report(dict(items)) == encode_report(report)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode_report(data)
    except ProtocolViolation:
        pass


@pytest.mark.parametrize(
    "count",
    [
        {"outcome": 0, "transport": 1, "nat_pair": 1, "count": 1},
        {"outcome": 4, "transport": 1, "nat_pair": 1, "count": 1},
        {"outcome": 1, "transport": 5, "nat_pair": 1, "count": 1},
        {"outcome": 1, "transport": 1, "nat_pair": 6, "count": 1},
        {"outcome": 1, "transport": 1, "nat_pair": -1, "count": 1},
        {"outcome": 1, "transport": 1, "nat_pair": 1, "count": 0},
        {"outcome": 1, "transport": 1, "nat_pair": 1, "count": 65},
    ],
)
def test_what_no_report_may_say_is_refused(count: dict[str, int]) -> None:
    fine = {"outcome": 2, "transport": 4, "nat_pair": 4, "count": 1}
    with pytest.raises(ProtocolViolation):
        decode_report(pb.PunchReport(counts=[pb.PunchCount(**fine), pb.PunchCount(**count)]).SerializeToString())


def test_an_empty_report_and_one_that_counts_twice_are_refused() -> None:
    fine = pb.PunchCount(outcome=1, transport=1, nat_pair=1, count=1)
    for counts in ([], [fine, fine]):
        with pytest.raises(ProtocolViolation):
            decode_report(pb.PunchReport(counts=counts).SerializeToString())
    for report in ({}, {WON: 0}, {WON: 65}, {WON: 64, LOST: 1}, {WON: 2, LOST: -1}):
        with pytest.raises(ProtocolViolation):
            encode_report(report)
    with pytest.raises(FrameTooLarge):
        decode_report(bytes(1025))


def test_all_kinds_at_once_fit_a_message() -> None:
    every = {
        PunchKind(outcome, transport, pair): 1
        for outcome in PunchOutcome
        for transport in PunchTransport
        for pair in NatPair
    }
    assert len(every) == 60
    assert len(encode_report(every)) <= 1024


def test_the_vector_of_the_page() -> None:
    assert encode_report({LOST: 1, WON: 3}).hex() == "0a0808011002180220030a080802100418042001"
    assert decode_report(bytes.fromhex("0a080802100418042001")) == {LOST: 1}


def test_transports_are_called_as_everywhere() -> None:
    assert [one.value for one in PunchTransport] == [one.value for one in Transport]
    assert issubclass(FrameTooLarge, CoveyError)
