"""Sessions: sizes, state, bounds, and what a forged packet costs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node import crypto
from covey_node.crypto import ratchet as ratchet_room
from covey_node.crypto.chains import OwnKeys
from covey_node.crypto.limits import (
    BUCKETS_BYTES,
    MAX_OLD_HEADER_KEYS,
    MAX_SKIP_MESSAGES,
    MAX_STORED_KEYS,
    SKIPPED_KEY_SECONDS,
)
from covey_node.crypto.pqxdh import Agreed
from covey_node.crypto.primitives import KemPair, seal
from covey_node.crypto.ratchet import Ratchet
from covey_node.crypto.session import PACKET_OVERHEAD_BYTES
from tests.node.crypto.people import NOW, Person, SeededRng, accept, begin, flipped, talk
from tests.node.crypto.test_primitives import LOW_ORDER_X25519

ALICE, BOB = Person("alice"), Person("bob")
RNG = SeededRng("session")


def send(session: crypto.Session, count: int, text: bytes = b"x") -> tuple[crypto.Session, list[bytes]]:
    packets = []
    for _ in range(count):
        session, packet = session.encrypt(text, RNG)
        packets.append(packet)
    return session, packets


def turn(one: crypto.Session, other: crypto.Session) -> tuple[crypto.Session, crypto.Session]:
    """One packet there and one back: both sides step."""
    one, packet = one.encrypt(b"there", RNG)
    other, _ = other.decrypt(packet, now=NOW)
    other, packet = other.encrypt(b"back", RNG)
    one, _ = one.decrypt(packet, now=NOW)
    return one, other


@pytest.mark.parametrize(
    ("size", "bucket"),
    [(0, 4_096), (1_717, 4_096), (1_718, 16_384), (14_005, 16_384), (14_006, 65_536), (63_157, 65_536)],
)
def test_a_packet_has_the_size_of_its_bucket(size: int, bucket: int) -> None:
    hers, his = talk(ALICE, BOB)
    hers, packet = hers.encrypt(b"x" * size, RNG)
    assert len(packet) == bucket
    assert his.decrypt(packet, now=NOW)[1] == b"x" * size


def test_a_text_over_the_largest_bucket_is_refused_with_its_size() -> None:
    hers, _ = talk(ALICE, BOB)
    assert crypto.MAX_PLAINTEXT_BYTES == hers.max_plaintext_bytes == 65_536 - PACKET_OVERHEAD_BYTES
    with pytest.raises(crypto.PlaintextTooLarge) as caught:
        hers.encrypt(bytes(crypto.MAX_PLAINTEXT_BYTES + 1), RNG)
    assert (caught.value.size, caught.value.limit) == (crypto.MAX_PLAINTEXT_BYTES + 1, crypto.MAX_PLAINTEXT_BYTES)


@settings(max_examples=20)
@given(st.integers(min_value=0, max_value=crypto.MAX_PLAINTEXT_BYTES))
def test_a_first_contact_has_the_size_of_a_bucket_whatever_it_carries(size: int) -> None:
    hers, _ = begin(ALICE, BOB)
    if size > hers.max_plaintext_bytes:
        with pytest.raises(crypto.PlaintextTooLarge):
            hers.encrypt(bytes(size), RNG)
        return
    _, envelope = hers.encrypt(bytes(size), RNG)
    assert len(envelope) in BUCKETS_BYTES
    first = crypto.unseal(BOB.local, BOB.prekeys, envelope)
    assert first.accept(BOB.local, BOB.prekeys, now=NOW).plaintext == bytes(size)


def test_equal_texts_give_packets_that_share_no_part() -> None:
    hers, _ = talk(ALICE, BOB)
    _, (one, two) = send(hers, 2)
    parts = [(3, 15), (15, 39), (39, 100), (2_359, 2_400)]
    assert all(one[start:end] != two[start:end] for start, end in parts)


def test_a_state_used_twice_does_not_use_a_key_and_nonce_twice() -> None:
    """A restored snapshot encrypts under the same message key; its nonce is fresh."""
    hers, _ = talk(ALICE, BOB)
    (_, one), (_, two) = hers.encrypt(b"one", RNG), hers.encrypt(b"two", RNG)
    assert one[3:15] != two[3:15]


@given(st.integers(min_value=0, max_value=4_095), st.integers(min_value=0, max_value=7))
def test_a_packet_with_any_bit_changed_does_not_open_and_changes_nothing(at: int, bit: int) -> None:
    hers, his = SESSIONS
    _, packet = hers.encrypt(b"text", RNG)
    before = his.encode()
    with pytest.raises(crypto.Undecryptable):
        his.decrypt(flipped(packet, at, bit), now=NOW)
    assert his.encode() == before
    assert his.decrypt(packet, now=NOW)[1] == b"text"


SESSIONS = talk(ALICE, BOB)


@given(st.binary(max_size=5_000))
def test_no_bytes_bring_a_session_to_another_error(data: bytes) -> None:
    _, his = SESSIONS
    for packet in (data, b"\x01\x01\x02" + data):
        with pytest.raises(crypto.Undecryptable):
            his.decrypt(packet, now=NOW)


@pytest.mark.parametrize(
    "packet", [b"", bytes(4_096), b"\x01\x01\x02", b"\x02\x01\x02" + bytes(4_093), b"\x01\x02\x02" + bytes(4_093)]
)
def test_a_packet_of_another_size_suite_or_version_is_no_packet(packet: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        crypto.packet_kind(packet)


@pytest.mark.parametrize("prefix", [b"\x02\x01\x02", b"\x01\x02\x02", b"\x01\x01\x01", b"\x01\x01\x03"])
def test_a_peers_packet_of_another_suite_version_or_kind_is_refused(prefix: bytes) -> None:
    hers, his = talk(ALICE, BOB)
    _, packet = hers.ratchet.encrypt(prefix, bytes(1_721), hers.associated_data, RNG)
    with pytest.raises(crypto.Undecryptable, match="not a session's packet"):
        his.decrypt(packet, now=NOW)


def test_a_packet_opens_once() -> None:
    hers, his = talk(ALICE, BOB)
    _, (one, two) = send(hers, 2)
    his, _ = his.decrypt(two, now=NOW)
    his, _ = his.decrypt(one, now=NOW)
    for packet in (one, two):
        with pytest.raises(crypto.MessageKeyGone):
            his.decrypt(packet, now=NOW)


def test_a_session_survives_its_encoding_at_every_stage() -> None:
    hers, envelope = begin(ALICE, BOB)
    his = accept(BOB, envelope).session
    stages = [hers, his]
    hers, his = talk(ALICE, BOB)
    stages += [hers, his]
    hers, packets = send(hers, 5)
    his, _ = his.decrypt(packets[4], now=NOW)
    stages += [hers, his, turn(hers, his)[1]]
    for session in stages:
        again = crypto.Session.decode(session.encode())
        assert again.encode() == session.encode()
        assert again == session
    for data in (b"", his.encode()[:-1], his.encode() + b"x", b"\x07" + his.encode()[1:], flipped(his.encode(), 1, 3)):
        with pytest.raises(crypto.StateDamaged):
            crypto.Session.decode(data)


@given(st.integers(min_value=0, max_value=10_000), st.integers(min_value=0, max_value=7))
def test_a_damaged_state_gives_a_session_or_says_so(at: int, bit: int) -> None:
    data = SESSIONS[0].encode()
    try:
        crypto.Session.decode(flipped(data, at % len(data), bit))
    except crypto.StateDamaged:
        pass


def test_ratchet_keys_are_replaced_with_every_change_of_direction() -> None:
    hers, his = talk(ALICE, BOB)
    announced = set()
    for _ in range(3):
        hers, his = turn(hers, his)
        hers, packet = hers.encrypt(b"again", RNG)
        for session in (hers, his):
            assert session.ratchet.sending is not None
            announced.add(session.ratchet.sending.announced)
        his, _ = his.decrypt(packet, now=NOW)
        assert his.ratchet.sending is None  # the step was read: nothing of the old chain is kept
    assert len(announced) == 6
    assert len({part[:32] for part in announced}) == len({part[32:1_216] for part in announced}) == 6


def test_a_stolen_state_is_healed_by_one_turn_and_only_with_both_key_kinds() -> None:
    """Who copied Bob's state, but does not know what he draws afterwards, reads nothing after a turn."""
    hers, his = talk(ALICE, BOB)
    stolen = his
    hers, packet = hers.encrypt(b"before the turn", RNG)
    assert stolen.decrypt(packet, now=NOW)[1] == b"before the turn"
    his, _ = his.decrypt(packet, now=NOW)
    his, packet = his.encrypt(b"fresh keys", RNG)
    hers, _ = hers.decrypt(packet, now=NOW)
    hers, packet = hers.encrypt(b"after the turn", RNG)
    assert his.decrypt(packet, now=NOW)[1] == b"after the turn"
    with pytest.raises(crypto.Undecryptable):
        stolen.decrypt(packet, now=NOW)
    # Each half counts: with another ML-KEM or X25519 secret the chain differs, and the body stays shut.
    keys = his.ratchet.keys
    assert isinstance(keys, OwnKeys)
    for change in ({"kem": KemPair(bytes(64), keys.kem.public)}, {"x25519_secret": bytes(32)}):
        half = replace(his, ratchet=replace(his.ratchet, keys=replace(keys, **change)))  # type: ignore[arg-type]
        with pytest.raises(crypto.Undecryptable, match="does not authenticate"):
            half.decrypt(packet, now=NOW)


def counted(monkeypatch: pytest.MonkeyPatch, counts: Counter[str]) -> None:
    """Count the primitive operations of a ratchet."""

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    for name in ("x25519_shared", "chain_step", "root_step", "open_sealed", "KemPublic", "ChaCha20Poly1305"):
        monkeypatch.setattr(ratchet_room, name, counting(name, getattr(ratchet_room, name)))
    monkeypatch.setattr(KemPair, "decapsulate", counting("decapsulate", KemPair.decapsulate))


def crowded() -> tuple[crypto.Session, crypto.Session]:
    """Return a session whose receiver holds as many old header keys as it may."""
    hers, his = talk(ALICE, BOB)
    for _ in range(MAX_OLD_HEADER_KEYS + 2):
        hers, packets = send(hers, 2)
        his, _ = his.decrypt(packets[1], now=NOW)
        his, (packet,) = send(his, 1)
        hers, _ = hers.decrypt(packet, now=NOW)
    assert len(his.ratchet.skipped.chains) == MAX_OLD_HEADER_KEYS + 1
    return hers, his


def test_a_forged_packet_costs_seven_openings_and_no_key_step(monkeypatch: pytest.MonkeyPatch) -> None:
    hers, his = crowded()
    _, authentic = hers.encrypt(b"x", RNG)
    counts: Counter[str] = Counter()
    counted(monkeypatch, counts)
    for forged in (authentic[:3] + RNG(4_093), authentic[:3] + RNG(65_533), flipped(authentic, 4_000)):
        counts.clear()
        with pytest.raises(crypto.Undecryptable):
            his.decrypt(forged, now=NOW)
        assert counts == {"ChaCha20Poly1305": 2 + MAX_OLD_HEADER_KEYS}


def test_an_authentic_packet_altered_by_a_relay_does_not_buy_skipped_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header binds the body: who holds back a packet far ahead cannot make its receiver derive 2,000 keys."""
    hers, his = talk(ALICE, BOB)
    _, packets = send(hers, 300)
    counts: Counter[str] = Counter()
    counted(monkeypatch, counts)
    with pytest.raises(crypto.Undecryptable):
        his.decrypt(flipped(packets[299], 3_000), now=NOW)
    assert counts["chain_step"] == counts["x25519_shared"] == counts["decapsulate"] == 0


def test_more_than_2000_skipped_messages_are_refused_and_no_key_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    hers, his = talk(ALICE, BOB)
    hers, first = send(hers, 1)
    his, _ = his.decrypt(first[0], now=NOW)
    hers, packets = send(hers, MAX_SKIP_MESSAGES + 2)
    counts: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        counted(patch, counts)
        with pytest.raises(crypto.SkippedTooFar) as caught:
            his.decrypt(packets[-1], now=NOW)
    assert (caught.value.ahead, caught.value.limit) == (MAX_SKIP_MESSAGES + 1, MAX_SKIP_MESSAGES)
    assert counts["chain_step"] == 0
    his, _ = his.decrypt(packets[-2], now=NOW)
    assert len(his.ratchet.skipped) == MAX_SKIP_MESSAGES
    assert his.decrypt(packets[0], now=NOW)[1] == b"x"


def test_a_session_outlives_a_chain_of_which_more_than_2000_messages_were_lost() -> None:
    hers, his = talk(ALICE, BOB)
    hers, (first, *lost) = send(hers, 1 + MAX_SKIP_MESSAGES + 50)
    his, _ = his.decrypt(first, now=NOW)
    his, (packet,) = send(his, 1)
    hers, _ = hers.decrypt(packet, now=NOW)
    hers, (after,) = send(hers, 1)
    his, text = his.decrypt(after, now=NOW)
    assert text == b"x"
    assert len(his.ratchet.skipped) == MAX_SKIP_MESSAGES
    assert his.decrypt(lost[0], now=NOW)[1] == b"x"
    with pytest.raises(crypto.MessageKeyGone):
        his.decrypt(lost[-1], now=NOW)


def test_a_chain_of_which_the_first_2000_messages_were_lost_tells_both_sides_to_start_anew() -> None:
    hers, his = talk(ALICE, BOB)
    hers, packets = send(hers, MAX_SKIP_MESSAGES + 2)
    assert hers.sent_in_chain == MAX_SKIP_MESSAGES + 2
    with pytest.raises(crypto.SkippedTooFar):
        his.decrypt(packets[-1], now=NOW)
    fresh, envelope = begin(BOB, ALICE)
    accepted = accept(ALICE, envelope)
    assert crypto.preferred(hers, accepted.session) is accepted.session
    _, answer = accepted.session.encrypt(b"again", RNG)
    assert fresh.decrypt(answer, now=NOW)[1] == b"again"


def test_at_most_4000_keys_are_stored_and_the_oldest_go() -> None:
    hers, his = talk(ALICE, BOB)
    oldest: list[bytes] = []
    for _ in range(3):
        hers, packets = send(hers, MAX_SKIP_MESSAGES)
        oldest.append(packets[0])
        his, _ = his.decrypt(packets[-1], now=NOW)
        his, (packet,) = send(his, 1)
        hers, _ = hers.decrypt(packet, now=NOW)
    assert MAX_STORED_KEYS - MAX_SKIP_MESSAGES < len(his.ratchet.skipped) <= MAX_STORED_KEYS
    with pytest.raises(crypto.Undecryptable):
        his.decrypt(oldest[0], now=NOW)
    assert his.decrypt(oldest[2], now=NOW)[1] == b"x"
    assert crypto.Session.decode(his.encode()).encode() == his.encode()


def test_old_header_keys_are_five_at_most_and_the_oldest_go() -> None:
    hers, his = talk(ALICE, BOB)
    missed = []
    for _ in range(MAX_OLD_HEADER_KEYS + 2):
        hers, packets = send(hers, 2)
        missed.append(packets[0])
        his, _ = his.decrypt(packets[1], now=NOW)
        his, (packet,) = send(his, 1)
        hers, _ = hers.decrypt(packet, now=NOW)
    with pytest.raises(crypto.Undecryptable):
        his.decrypt(missed[0], now=NOW)
    for packet in missed[1:]:
        his, _ = his.decrypt(packet, now=NOW)
    assert his.ratchet.skipped.chains == ()


def test_several_gaps_in_one_chain_are_all_remembered() -> None:
    hers, his = talk(ALICE, BOB)
    _, packets = send(hers, 7)
    for at in (2, 5, 6, 0, 3, 1, 4):
        his, text = his.decrypt(packets[at], now=NOW)
        assert text == b"x"
    assert his.ratchet.skipped.chains == ()


def test_skipped_keys_age_out() -> None:
    hers, his = talk(ALICE, BOB)
    hers, packets = send(hers, 4)
    his, _ = his.decrypt(packets[2], now=NOW)
    late = NOW + SKIPPED_KEY_SECONDS
    assert his.decrypt(packets[0], now=late - 1)[1] == b"x"
    with pytest.raises(crypto.MessageKeyGone):
        his.decrypt(packets[0], now=late)
    his, _ = his.decrypt(packets[3], now=late)
    assert len(his.ratchet.skipped) == 0
    with pytest.raises(crypto.MessageKeyGone):
        his.decrypt(packets[0], now=late)


def test_skipped_keys_age_out_of_a_session_that_receives_nothing() -> None:
    hers, his = talk(ALICE, BOB)
    hers, packets = send(hers, 2)
    his, _ = his.decrypt(packets[1], now=NOW)
    assert his.aged(now=NOW + SKIPPED_KEY_SECONDS - 1) is his
    assert len(his.aged(now=NOW + SKIPPED_KEY_SECONDS).ratchet.skipped) == 0


@pytest.mark.parametrize("point", LOW_ORDER_X25519)
def test_a_peer_that_announces_a_key_of_low_order_is_not_followed(point: str) -> None:
    refused_after_step(lambda announced: bytes.fromhex(point) + announced[32:])


def test_a_peer_that_announces_a_kem_key_that_is_none_is_not_followed() -> None:
    refused_after_step(lambda announced: announced[:32] + b"\xff" * 30 + announced[62:])


def refused_after_step(change: Callable[[bytes], bytes]) -> None:
    """Let Alice, who knows all her keys, announce something else than she drew."""
    hers, his = talk(ALICE, BOB)
    hers, _ = hers.encrypt(b"step", RNG)
    chain = hers.ratchet.sending
    assert chain is not None
    bad = replace(hers, ratchet=replace(hers.ratchet, sending=replace(chain, announced=change(chain.announced))))
    _, packet = bad.encrypt(b"x", RNG)
    with pytest.raises(crypto.Undecryptable, match="not one"):
        his.decrypt(packet, now=NOW)


def test_a_length_beyond_the_padding_is_refused() -> None:
    hers, his = talk(ALICE, BOB)
    _, packet = hers.ratchet.encrypt(b"\x01\x01\x02", (9_999).to_bytes(4, "big") + b"short", hers.associated_data, RNG)
    with pytest.raises(crypto.Undecryptable, match="padding"):
        his.decrypt(packet, now=NOW)


def test_a_peer_cannot_step_twice_without_an_answer() -> None:
    hers, his = talk(ALICE, BOB)
    hers, packet = hers.encrypt(b"first step", RNG)
    his, _ = his.decrypt(packet, now=NOW)
    ahead = his.ratchet.next_receiving_headers
    start = b"\x01\x01\x02" + RNG(12)
    sealed = RNG(2_320 + 1_700)
    header = seal(ahead[:32], start[3:], bytes(8), hashlib.sha256(start + sealed).digest())
    with pytest.raises(crypto.Undecryptable, match="twice"):
        his.decrypt(start + header + sealed, now=NOW)


def test_a_responder_that_has_read_nothing_cannot_write() -> None:
    fresh = Ratchet.of_responder(
        Agreed(bytes(32), bytes(64), bytes(64), bytes(32)), signed_prekey=RNG(32), kem=KemPair(RNG(64))
    )
    with pytest.raises(crypto.Undecryptable):
        fresh.encrypt(b"\x01\x01\x02", b"", b"", RNG)
