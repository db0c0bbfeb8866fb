"""Two parties and a network that reorders, loses, doubles and alters; both reload their state whenever it likes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from covey_node import crypto
from covey_node.crypto.chains import PeerKeys
from covey_node.crypto.limits import (
    MAX_OLD_HEADER_KEYS,
    MAX_STORED_KEYS,
    RETENTION_SECONDS,
    ROTATION_SECONDS,
    SKIPPED_KEY_SECONDS,
)
from tests.node.crypto.people import NOW, Person, begin, flipped

DAY = 86_400


@dataclass
class Sent:
    """A packet under way: what the model knows of it."""

    packet: bytes = field(repr=False)
    text: bytes = field(repr=False)
    chain: int
    sent_at: int
    delivered: bool = False


@dataclass
class Side:
    """One party: its session, and the chains it has begun to send and to receive."""

    person: Person
    session: crypto.Session | None = None
    sending: int = 0
    receiving: int = 0


class TwoParties(RuleBasedStateMachine):
    """Everything sent and not lost is read exactly once, unless it is older than the limits; nothing else is."""

    @initialize(one_time=st.booleans())
    def start(self, one_time: bool) -> None:
        self.now = NOW
        self.sides = (Side(Person("alice")), Side(Person("bob")))
        self.sent: tuple[list[Sent], list[Sent]] = ([], [])
        alice, bob = self.sides
        alice.session, envelope = begin(alice.person, bob.person, b"first", one_time=one_time)
        alice.sending = 1
        self.sent[0].append(Sent(envelope, b"first", 1, self.now))

    @rule(side=st.integers(0, 1), size=st.sampled_from([0, 1, 300, 3_000]))
    def send(self, side: int, size: int) -> None:
        sender = self.sides[side]
        if sender.session is None:
            return
        if isinstance(sender.session.ratchet.keys, PeerKeys):
            sender.sending += 1
        text = sender.person.rng(size)
        sender.session, packet = sender.session.encrypt(text, sender.person.rng)
        self.sent[side].append(Sent(packet, text, sender.sending, self.now))

    def take(self, side: int, packet: bytes) -> tuple[crypto.Session, crypto.Prekeys, bytes]:
        """Do what the node does with a packet; commit nothing."""
        receiver = self.sides[side]
        prekeys = receiver.person.prekeys
        if packet[2:3] == b"\x02":
            if receiver.session is None:
                raise crypto.Undecryptable
            return (*self.opened(receiver.session, prekeys, packet),)
        first = crypto.unseal(receiver.person.local, prekeys, packet)
        if receiver.session is not None:
            assert first.base_key_hash == receiver.session.id
            return (*self.opened(receiver.session, prekeys, first.packet),)
        accepted = first.accept(receiver.person.local, prekeys, now=self.now)
        return accepted.session, accepted.prekeys, accepted.plaintext

    def opened(
        self, session: crypto.Session, prekeys: crypto.Prekeys, packet: bytes
    ) -> tuple[crypto.Session, crypto.Prekeys, bytes]:
        session, text = session.decrypt(packet, now=self.now)
        return session, prekeys, text

    @rule(side=st.integers(0, 1), data=st.data())
    def deliver(self, side: int, data: st.DataObject) -> None:
        """Bring any packet ever sent to its receiver: in order, late, or again."""
        if not self.sent[side]:
            return
        sent = data.draw(st.sampled_from(self.sent[side][-12:]))
        receiver = self.sides[1 - side]
        state = receiver.session.encode() if receiver.session else None
        try:
            receiver.session, receiver.person.prekeys, text = self.take(1 - side, sent.packet)
        except crypto.Undecryptable:
            too_old = receiver.receiving - sent.chain > MAX_OLD_HEADER_KEYS
            too_late = self.now - sent.sent_at >= SKIPPED_KEY_SECONDS
            unanswerable = receiver.session is None and sent.packet[2] == 2
            prekeys_gone = receiver.session is None and self.now >= NOW + ROTATION_SECONDS + RETENTION_SECONDS
            assert sent.delivered or too_old or too_late or unanswerable or prekeys_gone
            assert (receiver.session.encode() if receiver.session else None) == state
        else:
            assert not sent.delivered
            assert text == sent.text
            sent.delivered = True
            receiver.receiving = max(receiver.receiving, sent.chain)

    @rule(side=st.integers(0, 1), data=st.data(), at=st.integers(0, 65_535), bit=st.integers(0, 7))
    def tamper(self, side: int, data: st.DataObject, at: int, bit: int) -> None:
        if not self.sent[side]:
            return
        sent = data.draw(st.sampled_from(self.sent[side][-12:]))
        receiver = self.sides[1 - side]
        state = receiver.session.encode() if receiver.session else None
        with pytest.raises(crypto.Undecryptable):
            self.take(1 - side, flipped(sent.packet, at % len(sent.packet), bit))
        assert (receiver.session.encode() if receiver.session else None) == state

    @rule(side=st.integers(0, 1), data=st.data())
    def return_to_sender(self, side: int, data: st.DataObject) -> None:
        if not self.sent[side] or self.sides[side].session is None:
            return
        sent = data.draw(st.sampled_from(self.sent[side][-12:]))
        with pytest.raises(crypto.Undecryptable):
            self.take(side, sent.packet)

    @precondition(lambda self: any(self.sent))
    @rule(side=st.integers(0, 1), data=st.data())
    def lose(self, side: int, data: st.DataObject) -> None:
        if self.sent[side]:
            self.sent[side].remove(data.draw(st.sampled_from(self.sent[side])))

    @rule(side=st.integers(0, 1))
    def reload(self, side: int) -> None:
        receiver = self.sides[side]
        receiver.person.prekeys = crypto.Prekeys.decode(receiver.person.prekeys.encode())
        if receiver.session is not None:
            receiver.session = crypto.Session.decode(receiver.session.encode())

    @rule(days=st.sampled_from([1, 10, 31]))
    def wait(self, days: int) -> None:
        self.now += days * DAY

    @invariant()
    def bounds_hold(self) -> None:
        for side in getattr(self, "sides", ()):
            if side.session is not None:
                skipped = side.session.ratchet.skipped
                assert len(skipped) <= MAX_STORED_KEYS
                assert len(skipped.chains) <= MAX_OLD_HEADER_KEYS + 1


TestTwoParties = TwoParties.TestCase
TestTwoParties.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
