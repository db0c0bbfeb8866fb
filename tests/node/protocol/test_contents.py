"""Contents: what is encoded comes back; any bytes decode or are a protocol violation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_core.peers import peer_id_bytes, peer_id_of
from covey_node import limits
from covey_node.crypto.primitives import ed25519_public
from covey_node.protocol import contents
from covey_node.protocol.pb import content_pb2 as pb
from covey_node.protocol.pb import mailboxes_pb2 as mailboxes_pb

ids = st.binary(min_size=16, max_size=16)
keys = st.binary(min_size=32, max_size=32)
record_keys = st.binary(min_size=32, max_size=32).map(ed25519_public)
texts = st.text(max_size=300)
names = st.text(max_size=32)
reachabilities = st.builds(
    contents.Reachability,
    record_key=record_keys,
    record_secret=keys,
    addrs=st.lists(st.text(max_size=60), max_size=limits.ADDRS_MAX).map(tuple),
)
relays = st.binary(min_size=32, max_size=32).map(lambda key: peer_id_bytes(peer_id_of(key)))
mailboxes = st.builds(
    contents.Mailboxes,
    number=st.integers(1, limits.MAILBOX_SET_NUMBER_MAX),
    secret=keys,
    replicas=st.lists(
        st.builds(
            contents.Replica,
            relay=relays,
            addrs=st.lists(st.text(min_size=1, max_size=60), max_size=limits.MAILBOX_ADDRS_MAX).map(tuple),
            send_id=st.binary(min_size=24, max_size=24),
        ),
        min_size=1,
        max_size=limits.MAILBOX_REPLICAS_MAX,
        unique_by=lambda one: one.relay,
    ).map(tuple),
)
taken_back = st.builds(
    contents.Mailboxes,
    number=st.integers(1, limits.MAILBOX_SET_NUMBER_MAX),
    secret=st.just(b""),
    replicas=st.just(()),
)
bodies = st.one_of(
    st.builds(contents.Text, text=texts, reply_to=st.none() | ids),
    st.builds(contents.Reaction, target=ids, emoji=st.text(max_size=8)),
    st.builds(contents.Edit, target=ids, text=texts),
    st.builds(contents.Delete, target=ids),
    st.builds(
        contents.Receipt,
        kind=st.sampled_from(contents.ReceiptKind),
        message_ids=st.lists(ids, min_size=1, max_size=limits.RECEIPT_IDS_MAX).map(tuple),
    ),
    st.builds(
        contents.ContactRequest,
        token=st.just(b"") | ids,
        name=names,
        intro=texts.filter(lambda text: len(text.encode()) <= limits.INTRO_BYTES),
        addrs=st.lists(st.text(max_size=60), max_size=limits.ADDRS_MAX).map(tuple),
        mailboxes=st.none() | mailboxes,
    ),
    st.builds(
        contents.ContactAccept,
        name=names,
        reachability=st.none() | reachabilities,
        mailboxes=st.none() | mailboxes,
    ),
    st.just(contents.ContactRefuse()),
    reachabilities,
    mailboxes,
    taken_back,
)


@given(message_id=ids, millis=st.integers(0, 4_000_000_000_000), body=bodies, stay=st.integers(0, 1_000_000))
def test_a_content_comes_back_as_it_was(message_id: bytes, millis: int, body: contents.Body, stay: int) -> None:
    content = contents.Content(message_id, millis / 1000, body, stay)
    assert contents.decode_content(contents.encode_content(content)) == content


@given(st.binary(max_size=400))
def test_any_bytes_decode_or_are_a_violation(data: bytes) -> None:
    try:
        contents.decode_content(data)
    except ProtocolViolation:
        pass


@given(message_id=ids, body=bodies, at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_decodes_or_is_a_violation(message_id: bytes, body: contents.Body, at: int, bit: int) -> None:
    data = bytearray(contents.encode_content(contents.Content(message_id, 1.0, body)))
    data[at % len(data)] ^= 1 << bit
    try:
        contents.decode_content(bytes(data))
    except ProtocolViolation:
        pass


def _content(**fields: object) -> bytes:
    return pb.Content(message_id=b"i" * 16, sent_at_ms=1, **fields).SerializeToString()  # type: ignore[arg-type]


def _replica(number: int = 1, **fields: object) -> mailboxes_pb.Replica:
    values = {"relay": peer_id_bytes(peer_id_of(bytes([number]) * 32)), "send_id": b"q" * 24, **fields}
    return mailboxes_pb.Replica(**values)  # type: ignore[arg-type]


def _set(*replicas: mailboxes_pb.Replica, number: int = 1, secret: bytes = b"s" * 32) -> mailboxes_pb.Mailboxes:
    return mailboxes_pb.Mailboxes(number=number, secret=secret, replicas=replicas)


def test_the_sets_that_the_violations_below_are_made_of_are_good() -> None:
    assert contents.decode_content(_content(mailboxes=_set(_replica(), _replica(2))))


@pytest.mark.parametrize(
    "data",
    [
        _content(mailboxes=_set(_replica(), number=0)),
        _content(mailboxes=_set(_replica(), number=limits.MAILBOX_SET_NUMBER_MAX + 1)),
        _content(mailboxes=_set(_replica(), secret=b"s" * 31)),
        _content(mailboxes=_set(_replica(), secret=b"")),
        _content(mailboxes=_set()),
        _content(mailboxes=_set(_replica(), _replica())),
        _content(mailboxes=_set(*(_replica(number) for number in range(limits.MAILBOX_REPLICAS_MAX + 1)))),
        _content(mailboxes=_set(_replica(send_id=b"q" * 23))),
        _content(mailboxes=_set(_replica(relay=b"\x00\x24"))),
        _content(mailboxes=_set(_replica(addrs=["/dns4/a"] * (limits.MAILBOX_ADDRS_MAX + 1)))),
        _content(mailboxes=_set(_replica(addrs=["a" * (limits.MAILBOX_ADDR_BYTES + 1)]))),
        _content(mailboxes=_set(_replica(addrs=[""]))),
        _content(contact_request=pb.ContactRequest(mailboxes=_set())),
        _content(contact_accept=pb.ContactAccept(mailboxes=_set())),
    ],
)
def test_a_set_of_mailboxes_that_breaks_a_rule_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        contents.decode_content(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        _content(),
        _content(text=pb.Text(text="x" * (limits.TEXT_BYTES + 1))),
        _content(text=pb.Text(text="x", reply_to=b"short")),
        _content(reaction=pb.Reaction(target=b"i" * 16, emoji="x" * (limits.EMOJI_BYTES + 1))),
        _content(delete=pb.Delete(target=b"i" * 15)),
        _content(receipt=pb.Receipt(kind=pb.Receipt.READ)),
        _content(receipt=pb.Receipt(kind=pb.Receipt.READ, message_ids=[b"i" * 16] * (limits.RECEIPT_IDS_MAX + 1))),
        _content(receipt=pb.Receipt(message_ids=[b"i" * 16])),
        _content(contact_request=pb.ContactRequest(token=b"1")),
        _content(reachability=pb.Reachability(record_key=b"k" * 32, record_secret=b"s" * 31)),
        _content(
            reachability=pb.Reachability(
                record_key=b"k" * 32, record_secret=b"s" * 32, addrs=["a"] * (limits.ADDRS_MAX + 1)
            )
        ),
        _content(delete=pb.Delete(target=b"i" * 16), disappear_seconds=limits.DISAPPEAR_SECONDS_MAX + 1),
        pb.Content(message_id=b"i" * 17, delete=pb.Delete(target=b"i" * 16)).SerializeToString(),
        pb.Content(
            message_id=b"i" * 16, sent_at_ms=limits.TIMESTAMP_MS_MAX + 1, delete=pb.Delete(target=b"i" * 16)
        ).SerializeToString(),
        b"\x00" * (limits.CONTENT_BYTES + 1),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_a_content_that_breaks_a_limit_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        contents.decode_content(data)


@given(st.binary(max_size=200))
def test_the_id_of_a_content_of_an_unknown_kind_is_found_and_any_bytes_have_one_or_none(data: bytes) -> None:
    assert contents.content_id_of(_content()) == b"i" * 16
    assert contents.content_id_of(data) is None or len(contents.content_id_of(data) or b"") == 16


def test_secrets_do_not_show_in_a_repr() -> None:
    reach = contents.Reachability(b"\x11" * 32, b"\x22" * 32, ())
    request = contents.ContactRequest(b"\x33" * 16, "bob", "")
    assert "\\x11" not in repr(reach)
    assert "\\x22" not in repr(reach)
    assert "\\x33" not in repr(request)
    told = contents.Mailboxes(1, b"\x44" * 32, (contents.Replica(b"relay", (), b"\x55" * 24),))
    assert "\\x44" not in repr(told)
    assert "\\x55" not in repr(told)
