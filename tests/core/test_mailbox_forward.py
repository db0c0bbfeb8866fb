"""Forwarding: the seal of a command and its answer, against vectors and a second reader written from the spec."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_chacha20poly1305_ietf_decrypt as decrypt
from nacl.bindings import crypto_scalarmult as x25519
from nacl.bindings import crypto_scalarmult_base as x25519_public
from nacl.signing import SigningKey

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.peers import PeerId, peer_id_bytes, peer_id_of
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_codec import encode_command, encode_response
from covey_core.wire.mailbox_forward import (
    FORWARDED_ID,
    begin_forward,
    open_answer,
    open_command,
    seal_answer,
    seal_command,
)
from covey_core.wire.mailbox_proof import signature_fits, signed_command
from covey_core.wire.pb import mailbox_pb2 as pb

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mailbox_forward.json").read_text())
RELAY = peer_id_of(bytes(SigningKey(bytes(32)).verify_key))
OTHER_RELAY = peer_id_of(bytes(SigningKey(bytes([1]) * 32).verify_key))
WRITER = SigningKey(bytes([2]) * 32)
PRIVATE = bytes(range(32))
FORWARD_KEY = x25519_public(PRIVATE)
EPHEMERAL = bytes(range(32, 64))
NONCE = bytes(range(64, 76))
SEND_ID, MID = bytes(range(24)), bytes(range(16))
SMALL, MIDDLE, LARGE = limits.MAILBOX_BLOB_BYTES
PROOF = m.WorkProof(bytes(59), 2**64 - 1)

COMMANDS: dict[str, m.Command] = {
    "work": m.Work(SEND_ID, m.Purpose.TAKE),
    "take": m.Take(SEND_ID, MID, PROOF),
    "have": m.Have(SEND_ID, (MID,)),
    "put": m.Put(SEND_ID, MID, limits.MAILBOX_TTL_SECONDS, bytes(SMALL), PROOF),
}
ANSWERS: dict[str, m.Answer] = {
    "stored": m.Stored(2**63 - 1),
    "refused": m.Refused(m.Reason.AUTH),
    "key": m.Key(bytes(range(256)) * 16, bytes(2_048), 7),
}


def sealed_for(command: m.Command, relay: PeerId = RELAY, ephemeral: bytes = EPHEMERAL) -> bytes:
    seal = begin_forward(relay, FORWARD_KEY, ephemeral=ephemeral)
    body = encode_command(command)
    signed = signed_command(relay=relay, nonce=seal.nonce, request_id=FORWARDED_ID, body=body)
    return seal_command(seal, body, WRITER.sign(signed).signature)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_sealed_command_is_what_the_vectors_say(name: str) -> None:
    sealed = sealed_for(COMMANDS[name])
    assert len(sealed) == VECTORS["commands"][name]["bytes"]
    assert hashlib.sha256(sealed).hexdigest() == VECTORS["commands"][name]["sha256"]
    assert sealed[:64].hex() == VECTORS["commands"][name]["first_64"]
    opened = open_command(sealed, relay=RELAY, private=PRIVATE)
    assert opened.request.command == COMMANDS[name]
    assert opened.request.id == 0
    signed = signed_command(relay=RELAY, nonce=opened.seal.nonce, request_id=0, body=opened.request.body)
    assert signature_fits(key=bytes(WRITER.verify_key), signed=signed, signature=opened.request.signature)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_sealed_answer_is_what_the_vectors_say(name: str) -> None:
    seal = open_command(sealed_for(COMMANDS["put"]), relay=RELAY, private=PRIVATE).seal
    sealed = seal_answer(seal, ANSWERS[name], nonce=NONCE)
    assert len(sealed) == VECTORS["answers"][name]["bytes"]
    assert hashlib.sha256(sealed).hexdigest() == VECTORS["answers"][name]["sha256"]
    assert open_answer(begin_forward(RELAY, FORWARD_KEY, ephemeral=EPHEMERAL), sealed) == ANSWERS[name]


def test_a_second_reader_written_from_the_page_opens_both() -> None:
    sealed = sealed_for(COMMANDS["put"])
    public, name = sealed[:32], peer_id_bytes(RELAY)
    extracted = hmac.digest(public + FORWARD_KEY, x25519(PRIVATE, public), "sha256")
    info = b"covey mailbox 1 forward\x00" + bytes([len(name)]) + name
    request_key = hmac.digest(extracted, info + b"\x01", "sha256")
    answer_key = hmac.digest(extracted, request_key + info + b"\x02", "sha256")
    padded = decrypt(sealed[32:], None, bytes(12), request_key)
    assert len(padded) == SMALL + 512
    found = pb.Sealed()
    found.ParseFromString(padded.rstrip(b"\x00").removesuffix(b"\x80"))
    assert found.command == encode_command(COMMANDS["put"])
    seal = open_command(sealed, relay=RELAY, private=PRIVATE).seal
    back = seal_answer(seal, m.Stored(5), nonce=NONCE)
    assert back[:12] == NONCE
    answer = decrypt(back[12:], None, back[:12], answer_key)
    assert len(answer) == 3_072
    assert answer.rstrip(b"\x00") == encode_response(m.Response(1, m.Stored(5))) + b"\x80"


def test_what_is_carried_has_one_of_four_sizes_and_answers_one_of_two() -> None:
    mids = tuple(number.to_bytes(16, "big") for number in range(256))
    puts = [m.Put(SEND_ID, MID, limits.MAILBOX_TTL_SECONDS, bytes(size), PROOF) for size in (SMALL, MIDDLE, LARGE)]
    sizes = [len(sealed_for(one)) for one in (*COMMANDS.values(), *puts, m.Have(SEND_ID, mids))]
    assert set(sizes) == {1_024 + 48, SMALL + 560, MIDDLE + 560, LARGE + 560}
    assert max(sizes) <= limits.MAILBOX_SEALED_BYTES
    seal = begin_forward(RELAY, FORWARD_KEY, ephemeral=EPHEMERAL)
    largest = (m.Key(bytes(limits.MAILBOX_BUNDLE_BYTES), bytes(limits.MAILBOX_PREKEY_BYTES), 255), m.Held(mids))
    assert {len(seal_answer(seal, one, nonce=NONCE)) for one in largest} == {12_288 + 28}
    assert {len(seal_answer(seal, one, nonce=NONCE)) for one in (m.Stored(1), m.Challenge(bytes(59)))} == {3_072 + 28}
    with pytest.raises(FrameTooLarge):
        seal_answer(seal, m.Messages((m.StoredMessage(1, MID, bytes(MIDDLE)),)), nonce=NONCE)


@pytest.mark.parametrize("place", [0, 31, 32, 500, 1_071])
def test_a_changed_byte_is_noticed(place: int) -> None:
    sealed = bytearray(sealed_for(COMMANDS["work"]))
    sealed[place] ^= 1
    with pytest.raises(ProtocolViolation):
        open_command(bytes(sealed), relay=RELAY, private=PRIVATE)


def test_only_the_relay_and_key_that_were_meant_open_it() -> None:
    sealed = sealed_for(COMMANDS["put"])
    with pytest.raises(ProtocolViolation):
        open_command(sealed, relay=OTHER_RELAY, private=PRIVATE)
    with pytest.raises(ProtocolViolation):
        open_command(sealed, relay=RELAY, private=bytes(32))
    seal = open_command(sealed, relay=RELAY, private=PRIVATE).seal
    for other in (
        begin_forward(RELAY, FORWARD_KEY, ephemeral=bytes(32)),
        begin_forward(OTHER_RELAY, FORWARD_KEY, ephemeral=EPHEMERAL),
    ):
        with pytest.raises(ProtocolViolation):
            open_answer(other, seal_answer(seal, m.Stored(1), nonce=NONCE))
    with pytest.raises(ProtocolViolation):  # its own command, sent back as an answer
        open_answer(seal, sealed[32:])


@pytest.mark.parametrize(
    "command",
    [m.Get(SEND_ID, 0, 1), m.Sub(SEND_ID, 0), m.Del(SEND_ID), m.New(bytes(32), m.AdmitOpen()), m.Fwd(bytes(38), b"")],
)
def test_only_what_writers_say_is_forwarded(command: m.Command) -> None:
    seal = begin_forward(RELAY, FORWARD_KEY, ephemeral=EPHEMERAL)
    with pytest.raises(ProtocolViolation, match="not forwarded"):
        open_command(seal_command(seal, encode_command(command)), relay=RELAY, private=PRIVATE)


def test_keys_of_small_order_are_refused() -> None:
    for bad in (bytes(32), bytes([1]) + bytes(31)):
        with pytest.raises(ProtocolViolation, match="small order"):
            begin_forward(RELAY, bad, ephemeral=EPHEMERAL)
        with pytest.raises(ProtocolViolation, match="small order"):
            open_command(bad + sealed_for(COMMANDS["work"])[32:], relay=RELAY, private=PRIVATE)
    with pytest.raises(ProtocolViolation):
        begin_forward(RELAY, bytes(31), ephemeral=EPHEMERAL)


@given(
    st.binary(max_size=2_000)
    | st.sampled_from([1_072, 3_100]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
)
def test_any_bytes_are_opened_or_refused(data: bytes) -> None:
    seal = begin_forward(RELAY, FORWARD_KEY, ephemeral=EPHEMERAL)
    with pytest.raises(ProtocolViolation):
        open_command(data, relay=RELAY, private=PRIVATE)
    with pytest.raises(ProtocolViolation):
        open_answer(seal, data)


@pytest.mark.parametrize("place", [0, 11, 12, 3_083, 3_099])
def test_a_changed_byte_of_an_answer_is_noticed(place: int) -> None:
    seal = begin_forward(RELAY, FORWARD_KEY, ephemeral=EPHEMERAL)
    sealed = bytearray(seal_answer(seal, m.Stored(1), nonce=NONCE))
    sealed[place] ^= 1
    with pytest.raises(ProtocolViolation):
        open_answer(seal, bytes(sealed))


def test_keys_do_not_stand_in_the_repr() -> None:
    seal = begin_forward(RELAY, FORWARD_KEY, ephemeral=EPHEMERAL)
    assert seal.request_key.hex() not in repr(seal)
    assert "request_key" not in repr(seal)
    assert "answer_key" not in repr(seal)
