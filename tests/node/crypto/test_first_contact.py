"""Set-up and first-contact envelopes: who may open them, in which order, and how often."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node import crypto
from covey_node.crypto.pqxdh import Offer, Party, Target, agree_as_initiator, agree_as_responder
from covey_node.crypto.primitives import KemPair, KemPublic, x25519_public
from covey_node.crypto.seal import seal_to
from covey_node.crypto.session import first_contact_info
from tests.node.crypto.people import NOW, Person, SeededRng, accept, begin, flipped, talk
from tests.node.crypto.test_primitives import LOW_ORDER_X25519


@pytest.mark.parametrize("one_time", [False, True])
def test_a_first_contact_says_who_wrote_it_and_can_be_answered(one_time: bool) -> None:
    alice, bob = Person("alice"), Person("bob")
    hers, envelope = begin(alice, bob, one_time=one_time)
    assert crypto.packet_kind(envelope) is crypto.PacketKind.FIRST_CONTACT
    first = crypto.unseal(bob.local, bob.prekeys, envelope)
    assert (first.account, first.device.ed25519) == (alice.account.public_key, alice.local.keys.ed25519)
    assert first.devices == alice.local.devices
    accepted = accept(bob, envelope)
    his = accepted.session
    assert accepted.plaintext == b"hello"
    assert first.base_key_hash == his.id == hers.id
    assert (his.peer_account, his.peer_device) == (alice.account.public_key, alice.local.keys.ed25519)
    assert (hers.peer_account, hers.peer_device) == (bob.account.public_key, bob.local.keys.ed25519)
    assert (hers.initiated, his.initiated) == (True, False)
    his, packet = his.encrypt(b"hi", bob.rng)
    assert hers.awaits_reply
    hers, answer = hers.decrypt(packet, now=NOW)
    assert answer == b"hi"
    assert not hers.awaits_reply
    hers, packet = hers.encrypt(b"so", alice.rng)
    assert crypto.packet_kind(packet) is crypto.PacketKind.ESTABLISHED
    assert his.decrypt(packet, now=NOW)[1] == b"so"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_until_it_is_answered_every_packet_is_a_first_contact_and_any_may_come_first(order: tuple[int, ...]) -> None:
    alice, bob = Person("alice"), Person("bob")
    hers, envelope = begin(alice, bob, b"text 0", one_time=True)
    envelopes = [envelope]
    for number in (1, 2):
        hers, envelope = hers.encrypt(b"text %d" % number, alice.rng)
        assert crypto.packet_kind(envelope) is crypto.PacketKind.FIRST_CONTACT
        envelopes.append(envelope)
    accepted = accept(bob, envelopes[order[0]])
    his, texts = accepted.session, [accepted.plaintext]
    for number in order[1:]:
        first = crypto.unseal(bob.local, bob.prekeys, envelopes[number])  # the one-time pair is gone by now
        assert first.base_key_hash == his.id
        his, text = his.decrypt(first.packet, now=NOW)
        texts.append(text)
    assert texts == [b"text %d" % number for number in order]


def test_a_replayed_first_contact_is_known_by_its_base_key() -> None:
    alice, bob = Person("alice"), Person("bob")
    _, envelope = begin(alice, bob)
    session = accept(bob, envelope).session
    again = crypto.unseal(bob.local, bob.prekeys, envelope)
    assert again.base_key_hash == session.id  # with it the caller finds the session, or its memory of one
    with pytest.raises(crypto.MessageKeyGone):
        session.decrypt(again.packet, now=NOW)


def test_a_replayed_first_contact_with_a_one_time_pair_finds_no_key() -> None:
    alice, bob = Person("alice"), Person("bob")
    _, envelope = begin(alice, bob, one_time=True)
    accept(bob, envelope)
    assert bob.prekeys.one_time == ()
    with pytest.raises(crypto.Undecryptable):
        accept(bob, envelope)


def test_a_failed_acceptance_uses_no_one_time_pair() -> None:
    alice, bob = Person("alice"), Person("bob")
    _, envelope = begin(alice, bob, one_time=True)
    first = crypto.unseal(bob.local, bob.prekeys, envelope)
    broken = replace(first, packet=flipped(first.packet, 100))
    with pytest.raises(crypto.Undecryptable):
        broken.accept(bob.local, bob.prekeys, now=NOW)
    assert first.accept(bob.local, bob.prekeys, now=NOW).plaintext == b"hello"


ALICE, BOB = Person("alice"), Person("bob")
ENVELOPE = begin(ALICE, BOB)[1]


@given(st.integers(min_value=0, max_value=len(ENVELOPE) - 1), st.integers(min_value=0, max_value=7))
def test_an_envelope_with_any_bit_changed_does_not_open(at: int, bit: int) -> None:
    with pytest.raises(crypto.Undecryptable):
        crypto.unseal(BOB.local, BOB.prekeys, flipped(ENVELOPE, at, bit))


@given(st.binary(max_size=200))
def test_no_bytes_bring_unseal_to_another_error(data: bytes) -> None:
    for envelope in (data, data + ENVELOPE[len(data) :], ENVELOPE[: 7 + len(data)]):
        if envelope != ENVELOPE:
            with pytest.raises(crypto.Undecryptable):
                crypto.unseal(BOB.local, BOB.prekeys, envelope)


@settings(max_examples=40)
@given(st.binary(max_size=2_000))
def test_no_sealed_content_brings_unseal_to_another_error(content: bytes) -> None:
    outer = ENVELOPE[:7]
    padded = content + bytes(16_384 - 7 - 1_136 - len(content))
    with pytest.raises(crypto.Undecryptable):
        crypto.unseal(BOB.local, BOB.prekeys, outer + seal_to(BOB.bundle().seal_key, padded, first_contact_info(outer)))


def test_an_envelope_opens_only_at_its_recipient() -> None:
    eve = Person("eve")
    with pytest.raises(crypto.Undecryptable):
        crypto.unseal(eve.local, eve.prekeys, ENVELOPE)


def test_somebody_elses_certificate_does_not_make_a_session() -> None:
    """Eve has Alice's public list, and claims to be her."""
    eve = Person("eve")
    posing = crypto.LocalDevice(
        replace(eve.local.keys, ed25519=ALICE.local.keys.ed25519, x25519=ALICE.local.keys.x25519), ALICE.local.devices
    )
    _, envelope = crypto.initiate(posing, BOB.bundle(), b"I am Alice", eve.rng, now=NOW)
    first = crypto.unseal(BOB.local, BOB.prekeys, envelope)
    assert first.account == ALICE.account.public_key
    with pytest.raises(crypto.Undecryptable):
        first.accept(BOB.local, BOB.prekeys, now=NOW)


@pytest.mark.parametrize(
    "change",
    ["account", "ed25519", "responder_account", "responder_ed25519", "generation", "one_time_id"],
)
def test_every_public_value_of_a_set_up_is_bound(change: str) -> None:
    """None of these enters a Diffie-Hellman, and yet the keys differ when one side sees another."""
    offer, target, base, kem_secret, kem = set_up()
    initiator, responder = offer.initiator, offer.responder
    changed = {
        "account": lambda: replace(offer, initiator=replace(initiator, account=bytes(32))),
        "ed25519": lambda: replace(
            offer, initiator=replace(initiator, device=replace(initiator.device, ed25519=bytes(32)))
        ),
        "responder_account": lambda: replace(offer, responder=replace(responder, account=bytes(32))),
        "responder_ed25519": lambda: replace(
            offer, responder=replace(responder, device=replace(responder.device, ed25519=bytes(32)))
        ),
        "generation": lambda: replace(offer, generation=offer.generation ^ 1),
        "one_time_id": lambda: replace(offer, one_time_id=1),
    }[change]()
    secrets = {"identity": ALICE.local.keys.x25519_secret, "base_secret": base, "kem_secret": kem_secret}
    honest = agree_as_initiator(offer, target, **secrets)
    other = agree_as_initiator(changed, target, **secrets)
    assert changed.base_key_hash != offer.base_key_hash
    assert honest.root_key != other.root_key
    theirs = agree_as_responder(
        offer,
        identity=BOB.local.keys.x25519_secret,
        signed_prekey=BOB.prekeys.generations[0].signed_prekey,
        one_time_prekey=None,
        kem=kem,
    )
    assert theirs.root_key == honest.root_key
    assert theirs.associated_data == honest.associated_data
    assert theirs.initiator_header_keys == honest.initiator_header_keys != honest.responder_header_keys


def test_the_kem_key_and_every_secret_count() -> None:
    offer, target, base, kem_secret, _ = set_up()
    secrets = {"identity": ALICE.local.keys.x25519_secret, "base_secret": base, "kem_secret": kem_secret}
    honest = agree_as_initiator(offer, target, **secrets)
    others = [
        agree_as_initiator(offer, replace(target, kem=bytes(1_184)), **secrets),
        agree_as_initiator(offer, replace(target, one_time_prekey=target.signed_prekey), **secrets),
        *(agree_as_initiator(offer, target, **{**secrets, name: b"\x07" * 32}) for name in secrets),
    ]
    keys = {honest.root_key, *(other.root_key for other in others)}
    assert len(keys) == len(others) + 1


def set_up() -> tuple[Offer, Target, bytes, bytes, KemPair]:
    bundle = BOB.bundle()
    base = SeededRng("base")(32)
    kem = BOB.prekeys.generations[0].last_resort
    kem_secret, ciphertext = KemPublic(kem.public).encapsulate()
    offer = Offer(
        initiator=Party(ALICE.account.public_key, ALICE.local.devices.devices[0]),
        responder=Party(BOB.account.public_key, BOB.local.devices.devices[0]),
        generation=bundle.generation,
        one_time_id=0,
        base_key=x25519_public(base),
        kem_ciphertext=ciphertext,
    )
    return offer, Target(bundle.signed_prekey, None, bundle.last_resort), base, kem_secret, kem


@pytest.mark.parametrize("point", LOW_ORDER_X25519)
def test_a_base_key_of_low_order_is_refused(point: str) -> None:
    first = crypto.unseal(BOB.local, BOB.prekeys, ENVELOPE)
    forged = replace(first, offer=replace(first.offer, base_key=bytes.fromhex(point)))
    with pytest.raises(crypto.Undecryptable, match="low order"):
        forged.accept(BOB.local, BOB.prekeys, now=NOW)


def test_a_device_does_not_write_to_itself() -> None:
    with pytest.raises(ProtocolViolation):
        crypto.initiate(BOB.local, BOB.bundle(), b"", BOB.rng, now=NOW)
    hers, envelope = begin(ALICE, BOB)
    reflected = crypto.unseal(BOB.local, BOB.prekeys, envelope)
    with pytest.raises(crypto.Undecryptable):
        hers.decrypt(reflected.packet, now=NOW)


def test_an_expired_bundle_starts_nothing() -> None:
    bundle = BOB.bundle()
    with pytest.raises(crypto.PrekeysExpired):
        crypto.initiate(ALICE.local, bundle, b"", ALICE.rng, now=bundle.expires_at)
    hers, _ = crypto.initiate(ALICE.local, bundle, b"", ALICE.rng, now=NOW)
    assert hers.setup_expires_at == bundle.expires_at


def test_when_both_write_first_both_choose_the_same_session() -> None:
    for seed in ("1", "2", "3", "4"):
        alice, bob = Person("alice" + seed), Person("bob" + seed)
        hers, to_bob = begin(alice, bob)
        his, to_alice = begin(bob, alice)
        at_alice = crypto.preferred(hers, accept(alice, to_alice).session)
        at_bob = crypto.preferred(his, accept(bob, to_bob).session)
        assert at_alice.id == at_bob.id == min(hers.id, his.id)


def test_the_peers_newer_session_is_followed_unless_ours_awaits_its_answer() -> None:
    alice, bob = Person("alice"), Person("bob")
    old, _ = talk(alice, bob)
    begun, envelope = begin(bob, alice)
    new = accept(alice, envelope).session
    assert crypto.preferred(old, new) is new
    waiting, _ = begin(alice, bob)
    assert crypto.preferred(waiting, old) is waiting
    answered, packet = new.encrypt(b"we wrote in it, and read the answer", alice.rng)
    theirs, _ = begun.decrypt(packet, now=NOW)
    answered, _ = answered.decrypt(theirs.encrypt(b"answer", bob.rng)[1], now=NOW)
    for session in (replace(answered, id=bytes(32)), replace(answered, id=b"\xff" * 32)):
        assert crypto.preferred(waiting, session) is waiting
