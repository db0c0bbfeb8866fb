"""NAT-PMP packets: RFC 6886's layouts byte by byte, any bytes, and when a router has begun anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node.protocol import natpmp
from covey_node.protocol.portmap import Protocol


def test_requests_have_the_layout_of_the_rfc() -> None:
    assert bytes(2) == natpmp.ASK_ADDRESS  # section 3.2
    tcp = natpmp.ask_mapping(Protocol.TCP, internal_port=4001, suggested_port=8080, lifetime_seconds=7200)
    assert tcp == bytes.fromhex("00 02 0000 0fa1 1f90 00001c20")  # section 3.3: opcode 2 is TCP
    udp = natpmp.ask_mapping(Protocol.UDP, internal_port=4001, suggested_port=0, lifetime_seconds=0)
    assert udp == bytes.fromhex("00 01 0000 0fa1 0000 00000000")  # section 3.4: the end of a mapping


def test_answers_are_read() -> None:
    address = bytes.fromhex("00 80 0000 00000064 2d4f2865")
    assert natpmp.decode(address) == natpmp.ExternalAddress(100, "45.79.40.101")
    mapped = bytes.fromhex("00 82 0000 00000064 0fa1 1f90 00001c20")
    assert natpmp.decode(mapped) == natpmp.Mapped(100, Protocol.TCP, 4001, 8080, 7200)


@pytest.mark.parametrize("rest", ["", "00000000", "0fa100000000001c"])
def test_a_refusal_is_read_whatever_stands_behind_its_code(rest: str) -> None:
    packet = bytes.fromhex("00 81 0002 00000064" + rest)
    assert natpmp.decode(packet) == natpmp.Failure(100, 1, natpmp.Result.NOT_AUTHORIZED)


@pytest.mark.parametrize(
    "text",
    ["", "0080", "00 00 0000 00000064 2d4f2865", "02 80 0000 00000064 2d4f2865", "00 80 0000 00000064 2d4f28",
     "00 82 0000 00000064 0fa1 1f90", "00 83 0000 00000064 0fa1 1f90 00001c20"],
)  # fmt: skip
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        natpmp.decode(bytes.fromhex(text))


@given(st.binary(max_size=24) | st.binary(max_size=20).map(lambda rest: b"\x00\x82\x00\x00" + rest))
def test_any_bytes_are_read_or_refused(packet: bytes) -> None:
    try:
        natpmp.decode(packet)
    except ProtocolViolation:
        return


@pytest.mark.parametrize(
    ("before", "now", "elapsed", "lost"),
    [
        (100, 160, 60.0, False),
        (100, 100, 1.0, False),
        (100, 150, 59.0, False),  # an eighth slow, and rounding
        (100, 140, 60.0, True),
        (1000, 3, 60.0, True),
        (100, 5000, 60.0, False),  # fast clocks prove nothing: section 3.6
    ],
)
def test_a_clock_that_lags_tells_of_a_new_beginning(before: int, now: int, elapsed: float, lost: bool) -> None:
    assert natpmp.lost_state(before=before, now=now, elapsed_seconds=elapsed) is lost
