"""Multicast DNS packets: those of go-, rust- and js-libp2p are understood, ours has what each of them reads.

dnspython is the second reader and writer.
"""

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_core.identity import Identity
from covey_node import limits
from covey_node.protocol import mdns
from covey_node.protocol.mdns import Found

NAME = "a" * 40
OURS = mdns.service("b" * 40)
THEIRS = mdns.service(NAME)
PEER = Identity.generate().peer_id
TCP, QUIC = f"/ip4/192.168.1.2/tcp/4001/p2p/{PEER}", f"/ip4/192.168.1.2/udp/4001/quic-v1/p2p/{PEER}"


def response(answers: list[tuple[str, str, str]], additionals: list[tuple[str, str, str]], ttl: int = 120) -> bytes:
    message = dns.message.Message(id=0)
    message.flags = dns.flags.QR | dns.flags.AA
    for section, records in ((message.answer, answers), (message.additional, additionals)):
        section.extend(dns.rrset.from_text(name, ttl, "IN", kind, text) for name, kind, text in records)
    return message.to_wire()


PTR = ("_p2p._udp.local.", "PTR", f"{NAME}._p2p._udp.local.")


def text(*strings: str) -> tuple[str, str, str]:
    return f"{NAME}._p2p._udp.local.", "TXT", " ".join(f'"{one}"' for one in strings)


@pytest.mark.parametrize(
    ("answers", "additionals"),
    [
        ([PTR], [text(f"dnsaddr={TCP}", f"dnsaddr={QUIC}")]),  # go-libp2p: one record of several strings
        ([PTR], [text(f"dnsaddr={TCP}"), text(f"dnsaddr={QUIC}")]),  # rust-libp2p: a record an address
        ([PTR, text(f"dnsaddr={TCP}"), text(f"dnsaddr={QUIC}")], []),  # js-libp2p: everything is an answer
    ],
)
def test_answers_of_other_implementations_are_understood(
    answers: list[tuple[str, str, str]], additionals: list[tuple[str, str, str]]
) -> None:
    heard = mdns.decode(response(answers, additionals), OURS)
    assert heard == mdns.Heard(found=(Found(PEER, (TCP, QUIC), 120),))


def test_our_answer_has_what_each_of_them_reads() -> None:
    message = dns.message.from_wire(mdns.answer(OURS, [TCP, QUIC], ["192.168.1.2", "fd00::2"], ttl_seconds=120))
    assert message.flags & dns.flags.QR
    assert message.question == []  # RFC 6762 section 6
    assert [entry.to_text() for entry in message.answer] == [f"_p2p._udp.local. 120 IN PTR {'b' * 40}._p2p._udp.local."]
    kinds = {entry.rdtype: entry for entry in message.additional}
    (txt,) = kinds[dns.rdatatype.TXT]  # js and rust read all strings of it, go only the last record
    assert txt.strings == (f"dnsaddr={TCP}".encode(), f"dnsaddr={QUIC}".encode())
    (srv,) = kinds[dns.rdatatype.SRV]
    addresses = {entry.name for entry in message.additional if entry.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)}
    assert addresses == {srv.target}  # go leaves out a peer without a host
    assert len(message.to_wire()) < 1500


def test_what_we_say_is_what_another_of_us_hears() -> None:
    packet = mdns.answer(THEIRS, [TCP, QUIC], ["192.168.1.2"], ttl_seconds=120)
    assert mdns.decode(packet, OURS) == mdns.Heard(found=(Found(PEER, (TCP, QUIC), 120),))
    assert mdns.decode(packet, THEIRS) is None, "our own answer tells us nothing"
    assert mdns.decode(mdns.answer(THEIRS, [TCP], [], ttl_seconds=0), OURS) == mdns.Heard(
        found=(Found(PEER, (TCP,), 0),)
    )


def test_questions_for_peers_and_for_us_are_answered() -> None:
    assert mdns.decode(mdns.query(THEIRS), OURS) == mdns.Heard(asks=True)
    for name in (f"{'b' * 40}._p2p._udp.local.", f"{'b' * 40}.p2p.local."):
        question = dns.message.make_query(name, "ANY")
        assert mdns.decode(question.to_wire(), OURS) == mdns.Heard(asks=True), name
    meta = dns.message.make_query("_services._dns-sd._udp.local.", "PTR")
    assert mdns.decode(meta.to_wire(), OURS) == mdns.Heard(asks_for_services=True)
    assert mdns.decode(dns.message.make_query("_http._tcp.local.", "PTR").to_wire(), OURS) is None


def test_a_question_in_capitals_that_wants_a_unicast_answer_is_one_too() -> None:
    packet = dns.message.make_query("_P2P._UDP.LOCAL.", "PTR").to_wire()
    assert mdns.decode(packet[:-2] + b"\x80\x01", OURS) == mdns.Heard(asks=True)  # RFC 6762 section 5.4


def test_who_knows_us_already_gets_no_answer() -> None:
    question = dns.message.from_wire(mdns.query(OURS))
    known = dns.rrset.from_text("_p2p._udp.local.", 119, "IN", "PTR", f"{'b' * 40}._p2p._udp.local.")
    question.answer.append(known)
    assert mdns.decode(question.to_wire(), OURS) is None
    known.ttl = 59  # RFC 6762 section 7.1: less than half of its time is left
    assert mdns.decode(question.to_wire(), OURS) == mdns.Heard(asks=True)


def test_networks_that_keep_to_themselves_hear_nothing_of_others() -> None:
    closed = mdns.service(NAME, network="0123abcd")
    assert mdns.decode(mdns.answer(closed, [TCP], [], ttl_seconds=120), OURS) is None
    assert mdns.decode(mdns.query(closed), OURS) is None
    ours = mdns.service("c" * 40, network="0123abcd")
    assert mdns.decode(mdns.answer(closed, [TCP], [], ttl_seconds=120), ours) == mdns.Heard(
        found=(Found(PEER, (TCP,), 120),)
    )


def test_addresses_of_another_peer_circuits_and_noise_are_left_out() -> None:
    other = Identity.generate().peer_id
    strings = (
        "color=red", "dnsaddr=", "dnsaddr=/ip4/192.168.1.2/tcp/4001", f"dnsaddr={TCP}",
        f"dnsaddr=/ip4/192.168.1.2/tcp/4001/p2p/{other}", f"dnsaddr={TCP}/p2p-circuit/p2p/{PEER}",
        "dnsaddr=/ip4/192.168.1.2/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
    )  # fmt: skip
    heard = mdns.decode(response([PTR], [text(*strings)]), OURS)
    assert heard == mdns.Heard(found=(Found(PEER, (TCP,), 120),))


def test_what_one_packet_may_name_is_bounded() -> None:
    many = [f"/ip4/192.168.1.2/tcp/{port}/p2p/{PEER}" for port in range(4001, 4041)]
    found = mdns.decode(response([PTR], [text(*(f"dnsaddr={one}" for one in many))]), OURS)
    assert found is not None
    assert len(found.found[0].addrs) == limits.MDNS_ADDRS_PER_PEER
    crowd, texts = [], []
    for number in range(10):
        instance = f"{number}{NAME}._p2p._udp.local."
        crowd.append(("_p2p._udp.local.", "PTR", instance))
        texts.append((instance, "TXT", f'"dnsaddr={TCP}"'))
    heard = mdns.decode(response(crowd, texts), OURS)
    assert heard is not None
    assert len(heard.found) == limits.MDNS_PEERS_PER_PACKET
    assert len(mdns.answer(OURS, many, ["192.168.1.2"], ttl_seconds=120)) < 1500
    crowded = [PTR, *(text(f"n={number}") for number in range(limits.MDNS_RECORDS_PER_PACKET)), text(f"dnsaddr={TCP}")]
    assert mdns.decode(response(crowded, []), OURS) is None, "too many records to be read"
    assert mdns.decode(response([*crowded[:3], crowded[-1]], []), OURS) is not None


@given(st.binary(max_size=200).map(lambda rest: rest + b"\x04_p2p"), st.binary(max_size=12))
def test_any_bytes_are_read_or_refused(packet: bytes, head: bytes) -> None:
    for one in (packet, head + packet):
        try:
            mdns.decode(one, OURS)
        except ProtocolViolation:
            continue


@given(st.integers(0, 300), st.integers(0, 255))
def test_a_packet_with_a_changed_byte_is_read_or_refused(place: int, value: int) -> None:
    packet = bytearray(mdns.answer(THEIRS, [TCP, QUIC], ["192.168.1.2"], ttl_seconds=120))
    packet[place % len(packet)] = value
    try:
        mdns.decode(bytes(packet), OURS)
    except ProtocolViolation:
        return
