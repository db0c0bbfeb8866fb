"""DNS messages: what a general library writes is read, what we write it reads, and hostile names end early."""

import struct

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node.protocol import dns_wire
from covey_node.protocol.dns_wire import Kind, Message, Record, name_of

labels = st.binary(min_size=1, max_size=20).map(bytes.lower)
names = st.lists(labels, min_size=1, max_size=5).map(tuple)
ttls = st.integers(0, 2**31 - 1)
records = st.one_of(
    st.builds(Record, names, st.just(Kind.PTR), ttls, target=names),
    st.builds(Record, names, st.just(Kind.SRV), ttls, target=names),
    st.builds(Record, names, st.just(Kind.A), ttls, ip=st.ip_addresses(v=4).map(str)),
    st.builds(Record, names, st.just(Kind.AAAA), ttls, ip=st.ip_addresses(v=6).map(str)),
    st.builds(Record, names, st.just(Kind.TXT), ttls, texts=st.lists(st.binary(max_size=255), min_size=1).map(tuple)),
)
few = st.lists(records, max_size=8).map(tuple)


@given(st.builds(Message, st.booleans(), st.lists(names, max_size=4).map(tuple), few, few))
def test_what_is_written_is_read_again_here_and_by_dnspython(message: Message) -> None:
    packet = dns_wire.encode(message)
    assert dns_wire.decode(packet) == message
    theirs = dns.message.from_wire(packet, one_rr_per_rrset=True)
    assert [entry.rdtype for entry in theirs.answer] == [record.kind for record in message.answers]
    assert [tuple(label.lower() for label in entry.name.labels[:-1]) for entry in theirs.additional] == [
        record.name for record in message.additionals
    ]


@given(few)
def test_what_dnspython_compresses_is_read(answers: tuple[Record, ...]) -> None:
    message = Message(is_response=True, questions=(name_of("_p2p._udp.local"),), additionals=answers)
    compressed = dns.message.from_wire(dns_wire.encode(message), one_rr_per_rrset=True).to_wire()
    assert dns_wire.decode(compressed) == message


def test_records_of_other_types_classes_and_sections_are_passed_over() -> None:
    message = dns.message.make_response(dns.message.make_query("_p2p._udp.local.", "PTR"))
    for section, name, kind, text in (
        (message.answer, "a.local.", "CNAME", "b.local."),
        (message.authority, "c.local.", "TXT", "x"),
        (message.additional, "d.local.", "NSEC", "d.local. A"),
    ):
        section.append(dns.rrset.from_text(name, 120, "IN", kind, text))
    message.answer.append(dns.rrset.from_text("e.local.", 120, "CH", "TXT", "x"))
    read = dns_wire.decode(message.to_wire())
    assert [record.name for record in (*read.answers, *read.additionals)] == [name_of("a.local"), name_of("d.local")]


HEAD = struct.pack("!HHHHHH", 0, 0x8400, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (b"\xc0\x0c\0\1\0\1", "forwards"),  # to itself
        (b"\x01a\xc0\x0c\0\1\0\1", "parts|forwards"),  # in a circle
        (b"\xc0\xff\0\1\0\1", "forwards"),
        (b"\x40" + b"a" * 64 + b"\0\0\1\0\1", "label"),
        (b"".join(b"\x3f" + b"a" * 63 for _ in range(4)) + b"\0\0\1\0\1", "too long"),
        (b"\x01a" * 200 + b"\0\0\1\0\1", "parts"),
        (b"\x05ab", "ends early"),
        (b"", "ends early"),
    ],
)
def test_names_that_would_cost_much_or_never_end_are_refused(rest: bytes, why: str) -> None:
    with pytest.raises(ProtocolViolation, match=why):
        dns_wire.decode(HEAD + rest)


@pytest.mark.parametrize(("pointers", "fine"), [(100, True), (200, False)])
def test_a_long_chain_of_pointers_is_refused(pointers: int, fine: bool) -> None:
    first = 12 + 11  # behind the header, and the head of a record whose data are the chain
    chain = b"\x01a\0" + struct.pack("!H", 0xC000 | first)
    chain += b"".join(struct.pack("!H", 0xC000 | (first + 3 + 2 * number)) for number in range(pointers - 1))
    unknown = b"\0" + struct.pack("!HHIH", 99, 1, 120, len(chain)) + chain
    question = struct.pack("!H", 0xC000 | (first + len(chain) - 2)) + struct.pack("!HHIH", Kind.A, 1, 120, 4) + bytes(4)
    packet = struct.pack("!HHHHHH", 0, 0x8400, 0, 2, 0, 0) + unknown + question
    if fine:
        assert dns_wire.decode(packet).answers[1].name == (b"a",)
    else:
        with pytest.raises(ProtocolViolation, match="parts"):
            dns_wire.decode(packet)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(rest: bytes) -> None:
    for packet in (rest, HEAD + rest, struct.pack("!HHHHHH", 0, 0x8400, 0, 4, 4, 4) + rest):
        try:
            dns_wire.decode(packet)
        except ProtocolViolation:
            continue
