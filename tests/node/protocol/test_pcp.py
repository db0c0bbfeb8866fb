"""PCP packets: RFC 6887's layouts byte by byte, any bytes, and when a server has begun anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node.protocol import pcp
from covey_node.protocol.portmap import Protocol

NONCE = bytes(range(1, 13))
# RFC 6887 figures 2 and 9: header of 24 bytes, MAP of 36; IPv4 addresses are mapped into IPv6 (section 5).
REQUEST = bytes.fromhex(
    "02 01 0000 00000e10 00000000000000000000ffffc0a80102"  # version, opcode, lifetime 3600, client 192.168.1.2
    "0102030405060708090a0b0c 06 000000 0fa1 0fa2 00000000000000000000ffff00000000"
)
# RFC 6887 figures 3 and 10.
ANSWER = bytes.fromhex(
    "02 81 00 00 00000708 00000064 000000000000000000000000"
    "0102030405060708090a0b0c 06 000000 0fa1 1f90 00000000000000000000ffff2d4f2865"
)


def test_a_request_for_a_mapping_has_the_layout_of_the_rfc() -> None:
    request = pcp.MapRequest("192.168.1.2", NONCE, Protocol.TCP, 4001, 4002, pcp.NO_ADDRESS, 3600)
    assert request.encode() == REQUEST


def test_an_answer_to_it_is_read() -> None:
    assert pcp.decode(ANSWER) == pcp.MapAnswer(0, 1800, 100, NONCE, Protocol.TCP, 4001, 8080, "45.79.40.101")


def test_an_answer_with_options_and_an_ipv6_address_is_read() -> None:
    packet = ANSWER[:-16] + bytes.fromhex("20010db8000000000000000000000001") + bytes.fromhex("80010004deadbeef")
    answer = pcp.decode(packet)
    assert isinstance(answer, pcp.MapAnswer)
    assert answer.external_ip == "2001:db8::1"


def test_a_refusal_is_read_with_its_code() -> None:
    answer = pcp.decode(ANSWER[:3] + bytes([pcp.Result.NOT_AUTHORIZED]) + ANSWER[4:])
    assert isinstance(answer, pcp.MapAnswer)
    assert answer.result == pcp.Result.NOT_AUTHORIZED


def test_a_question_for_the_epoch_and_its_answer() -> None:
    assert pcp.announce("192.168.1.2") == bytes.fromhex("02 00 0000 00000000 00000000000000000000ffffc0a80102")
    packet = bytes.fromhex("02 80 00 00 00000000 00000064 000000000000000000000000")
    assert pcp.decode(packet) == pcp.Announcement(0, 100)


def test_a_router_of_nat_pmp_says_that_it_is_one() -> None:
    # RFC 6886 section 3.5: to a version that it does not know a NAT-PMP router answers in version 0, result 1.
    assert pcp.decode(bytes.fromhex("00 81 0001 00000064")) == pcp.OtherVersion(0)


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x02", REQUEST, ANSWER[:24], ANSWER[:58], ANSWER + b"x", ANSWER + bytes(1100),
     ANSWER[:36] + b"\x84" + ANSWER[37:]],
)  # fmt: skip
def test_what_is_no_answer_is_refused(packet: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        pcp.decode(packet)


@given(st.binary(max_size=120) | st.binary(max_size=96).map(lambda rest: b"\x02\x81" + rest))
def test_any_bytes_are_read_or_refused(packet: bytes) -> None:
    try:
        pcp.decode(packet)
    except ProtocolViolation:
        return


@given(
    st.binary(min_size=12, max_size=12),
    st.sampled_from(Protocol),
    *(st.integers(0, 65535) for _ in range(2)),
    st.integers(0, 2**32 - 1),
    st.ip_addresses(),
)
def test_what_a_server_copies_from_a_request_comes_back(
    nonce: bytes, protocol: Protocol, inner: int, outer: int, lifetime: int, ip: object
) -> None:
    packet = bytearray(pcp.MapRequest("10.0.0.2", nonce, protocol, inner, outer, str(ip), lifetime).encode())
    packet[1] |= 0x80
    packet[8:24] = bytes(16)
    answer = pcp.decode(bytes(packet))
    assert isinstance(answer, pcp.MapAnswer)
    assert (answer.nonce, answer.protocol, answer.internal_port, answer.external_port) == (
        nonce,
        protocol,
        inner,
        outer,
    )
    assert answer.lifetime_seconds == lifetime
    assert pcp.MapRequest("::", nonce, protocol, inner, outer, answer.external_ip, 0).encode()[-16:] == packet[-16:]


@pytest.mark.parametrize(
    ("before", "now", "elapsed", "lost"),
    [
        (100, 160, 60.0, False),
        (100, 100, 0.0, False),
        (100, 99, 0.0, False),  # a second back is rounding
        (100, 98, 0.0, True),
        (1000, 3, 60.0, True),
        (1000, 1000, 3600.0, True),  # its clock stood still
        (1000, 1000 + 3600 - 200, 3600.0, False),  # a sixteenth slow
        (1000, 1000 + 3600 + 200, 3600.0, False),  # a sixteenth fast
        (1000, 1000 + 3600 + 300, 3600.0, True),
    ],
)
def test_a_clock_that_does_not_fit_tells_of_a_new_beginning(before: int, now: int, elapsed: float, lost: bool) -> None:
    assert pcp.lost_state(before=before, now=now, elapsed_seconds=elapsed) is lost
