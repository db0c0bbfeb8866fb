"""One stream to a mailbox relay: ascending ids, signatures for one place, and nothing accepted that nobody asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from covey_core.errors import ProtocolViolation
from covey_core.identity import Identity
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_codec import decode_request, encode_command, encode_hello, encode_response
from covey_core.wire.mailbox_proof import Task, encode_task, signature_fits, signed_command
from covey_node import limits
from covey_node.protocol.mailbox_call import Answered, Asking, Exchange, Pushed, check_answer

RELAY = Identity(b"\x01" * 32).peer_id
OWNER = Identity(b"\x02" * 32)
HELLO = m.Hello(b"n" * 32, 1_700_000_000, b"f" * 32, 1_700_086_400, b"s" * 64)
QUEUE = b"q" * 24
MIDS = (b"a" * 16, b"b" * 16)


def started() -> Exchange:
    exchange = Exchange(RELAY)
    exchange.begin(encode_hello(HELLO))
    return exchange


def message(seq: int) -> m.StoredMessage:
    return m.StoredMessage(seq, b"a" * 16, bytes(4112))


def challenge(purpose: m.Purpose) -> m.Challenge:
    return m.Challenge(encode_task(Task(purpose, 18, 1_700_000_600, bytes(16), bytes(32))))


IDS = m.Ids(b"r" * 24, b"s" * 24, 1024, 1 << 23, 86_400)
KEY = m.Key(b"bundle", b"", 0)
GOOD: list[tuple[m.Command, m.Answer]] = [
    (m.New(OWNER.public_key, m.AdmitOpen()), IDS),
    (m.Put(QUEUE, MIDS[0], 60, bytes(4112)), m.Stored(1)),
    (m.Have(QUEUE, MIDS), m.Held(MIDS[1:])),
    (m.Have(QUEUE, MIDS), m.Held(())),
    (m.Get(QUEUE, 4, 2), m.Messages((message(5), message(9)), more=True)),
    (m.Get(QUEUE, 4, 2), m.Messages(())),
    (m.Sub(QUEUE, 0), m.Done()),
    (m.Ack(QUEUE, MIDS), m.Done()),
    (m.Rot(QUEUE, m.AdmitOpen()), m.Done()),
    (m.Del(QUEUE), m.Done()),
    (m.Stock(QUEUE, (b"key",)), m.Done()),
    (m.Take(QUEUE, bytes(16)), KEY),
    (m.Work(QUEUE, m.Purpose.PUT), challenge(m.Purpose.PUT)),
    (m.Fwd(b"\0\1a", b""), m.Forwarded(hello=HELLO)),
    (m.Fwd(b"\0\1a", b"sealed"), m.Forwarded(b"answer")),
]
LIES: list[tuple[m.Command, m.Answer]] = [
    (m.Have(QUEUE, MIDS), m.Held((b"c" * 16,))),
    (m.Get(QUEUE, 4, 2), m.Messages((message(4),))),
    (m.Get(QUEUE, 0, 2), m.Messages((message(1), message(2), message(3)))),
    (m.Work(QUEUE, m.Purpose.PUT), challenge(m.Purpose.TAKE)),
    (m.Work(QUEUE, m.Purpose.PUT), m.Challenge(bytes(59))),
    (m.Fwd(b"\0\1a", b""), m.Forwarded(b"answer")),
    (m.Fwd(b"\0\1a", b"sealed"), m.Forwarded(hello=HELLO)),
]


@pytest.mark.parametrize(("command", "answer"), GOOD, ids=lambda one: type(one).__name__)
def test_every_command_takes_its_answer_and_any_refusal(command: m.Command, answer: m.Answer) -> None:
    check_answer(command, answer)
    for reason in m.Reason:
        check_answer(command, m.Refused(reason))


@pytest.mark.parametrize("command", [command for command, _ in GOOD], ids=lambda one: type(one).__name__)
def test_no_command_takes_the_answer_of_another(command: m.Command) -> None:
    own = {type(answer) for other, answer in GOOD if type(other) is type(command)}
    for answer in (*(answer for _, answer in GOOD), m.Forwarded(b"x")):
        if type(answer) not in own:
            with pytest.raises(ProtocolViolation):
                check_answer(command, answer)


@pytest.mark.parametrize(("command", "answer"), LIES, ids=lambda one: type(one).__name__)
def test_an_answer_of_the_right_kind_that_cannot_be_true_is_a_lie(command: m.Command, answer: m.Answer) -> None:
    with pytest.raises(ProtocolViolation):
        check_answer(command, answer)


def test_a_request_is_signed_for_this_relay_this_stream_and_this_place() -> None:
    exchange = started()
    asking = Asking.of(m.Del(QUEUE), OWNER.seed)
    for expected in (1, 2, 3):
        request_id, payload = exchange.ask(asking)
        request = decode_request(payload)
        assert request_id == request.id == expected
        signed = signed_command(relay=RELAY, nonce=HELLO.nonce, request_id=expected, body=encode_command(m.Del(QUEUE)))
        assert signature_fits(key=OWNER.public_key, signed=signed, signature=request.signature)
        other = signed_command(relay=RELAY, nonce=HELLO.nonce, request_id=9, body=request.body)
        assert not signature_fits(key=OWNER.public_key, signed=other, signature=request.signature)
    _, unsigned = exchange.ask(Asking.of(m.Work(QUEUE, m.Purpose.PUT), None))
    assert decode_request(unsigned).signature == b""


def test_nothing_is_asked_before_the_relays_hello_or_beyond_the_bound() -> None:
    asking = Asking.of(m.Del(QUEUE), None)
    with pytest.raises(ProtocolViolation):
        Exchange(RELAY).ask(asking)
    exchange = started()
    for _ in range(limits.MAILBOX_UNANSWERED):
        assert exchange.has_room
        exchange.ask(asking)
    assert not exchange.has_room
    with pytest.raises(ProtocolViolation):
        exchange.ask(asking)
    exchange.take(encode_response(m.Response(200, m.Done())))
    assert exchange.ask(asking)[0] == limits.MAILBOX_UNANSWERED + 1


def test_messages_of_a_subscription_come_under_its_id_and_only_after_it_was_granted() -> None:
    exchange = started()
    request_id, _ = exchange.ask(Asking.of(m.Sub(QUEUE, 0), OWNER.seed))
    pushed = encode_response(m.Response(request_id, m.Messages((message(1),))))
    assert exchange.take(encode_response(m.Response(request_id, m.Done()))) == Answered(request_id, m.Done())
    assert not exchange.awaits
    for _ in range(2):
        assert exchange.take(pushed) == Pushed(QUEUE, (message(1),))
    with pytest.raises(ProtocolViolation):
        exchange.take(encode_response(m.Response(request_id, m.Done())))


@pytest.mark.parametrize("before", [None, m.Refused(m.Reason.AUTH)])
def test_messages_of_a_subscription_that_was_not_granted_are_a_lie(before: m.Answer | None) -> None:
    exchange = started()
    request_id, _ = exchange.ask(Asking.of(m.Sub(QUEUE, 0), OWNER.seed))
    if before is not None:
        exchange.take(encode_response(m.Response(request_id, before)))
    with pytest.raises(ProtocolViolation):
        exchange.take(encode_response(m.Response(request_id, m.Messages((message(1),)))))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_hello_or_an_answer_or_a_broken_protocol(data: bytes) -> None:
    for take in (Exchange(RELAY).begin, started().take):
        try:
            take(data)
        except ProtocolViolation:
            continue


def test_a_seed_of_another_size_is_refused_before_anything_is_written() -> None:
    with pytest.raises(ProtocolViolation):
        Asking.of(m.Del(QUEUE), bytes(31))


def test_no_seed_and_no_blob_is_shown() -> None:
    asking = Asking.of(m.Put(QUEUE, MIDS[0], 60, b"\xaa" * 4112), OWNER.seed)
    assert repr(OWNER.seed) not in repr(asking)
    assert "\\xaa" not in repr(asking)


class ExchangeMachine(RuleBasedStateMachine):
    """An honest relay answers in any order; what it was not asked, or was asked before, is never accepted."""

    asked = Bundle("asked")

    @initialize()
    def begin(self) -> None:
        self.exchange = started()
        self.open: dict[int, m.Command] = {}
        self.done: set[int] = set()
        self.listening: set[int] = set()
        self.last = 0

    @precondition(lambda self: len(self.open) < limits.MAILBOX_UNANSWERED)
    @rule(target=asked, pair=st.sampled_from(GOOD))
    def ask(self, pair: tuple[m.Command, m.Answer]) -> tuple[int, m.Command, m.Answer]:
        request_id, payload = self.exchange.ask(Asking.of(pair[0], OWNER.seed))
        assert request_id == decode_request(payload).id > self.last
        self.last = request_id
        self.open[request_id] = pair[0]
        return (request_id, *pair)

    @rule(one=consumes(asked), refused=st.booleans())
    def answer(self, one: tuple[int, m.Command, m.Answer], refused: Any) -> None:
        request_id, command, answer = one
        said = m.Refused(m.Reason.BUSY, 5) if refused else answer
        assert self.exchange.take(encode_response(m.Response(request_id, said))) == Answered(request_id, said)
        del self.open[request_id]
        if isinstance(command, m.Sub) and not refused:
            self.listening.add(request_id)
        else:
            self.done.add(request_id)

    @precondition(lambda self: self.listening)
    @rule(seq=st.integers(1, 100))
    def push(self, seq: int) -> None:
        request_id = max(self.listening)
        found = self.exchange.take(encode_response(m.Response(request_id, m.Messages((message(seq),)))))
        assert found == Pushed(QUEUE, (message(seq),))

    @rule(more=st.integers(1, 3))
    def answer_the_unasked(self, more: int) -> None:
        for request_id in (self.last + more, *list(self.done)[:1]):
            with pytest.raises(ProtocolViolation):
                self.exchange.take(encode_response(m.Response(request_id, m.Done())))

    @invariant()
    def knows_what_is_due(self) -> None:
        assert self.exchange.awaits == bool(self.open)
        assert self.exchange.has_room == (len(self.open) < limits.MAILBOX_UNANSWERED)


TestExchange = ExchangeMachine.TestCase
