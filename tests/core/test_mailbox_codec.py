"""The mailbox protocol's bytes: what is written is read, anything else is refused, signatures bind what they should."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.peers import peer_id_of
from covey_core.wire import mailbox as m
from covey_core.wire import mailbox_proof as proof
from covey_core.wire.mailbox_codec import (
    decode_command,
    decode_hello,
    decode_request,
    decode_response,
    encode_command,
    encode_hello,
    encode_request,
    encode_response,
)
from covey_core.wire.pb import mailbox_pb2 as pb

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mailbox.json").read_text())
RELAY = peer_id_of(bytes(SigningKey(bytes(32)).verify_key))
OTHER_RELAY = peer_id_of(bytes(SigningKey(bytes([1]) * 32).verify_key))
KEY = SigningKey(bytes([2]) * 32)
NONCE = bytes(range(32))
SMALL, MIDDLE, LARGE = limits.MAILBOX_BLOB_BYTES


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


ids, mids, keys, numbers = exactly(24), exactly(16), exactly(32), st.integers(0, 2**63 - 1)
several_mids = st.lists(mids, min_size=1, max_size=8, unique=True).map(tuple)
prekeys = st.binary(min_size=1, max_size=64)
blobs = st.sampled_from(limits.MAILBOX_BLOB_BYTES).flatmap(lambda size: st.binary(min_size=1, max_size=8).map(
    lambda seed: (seed * size)[:size]
))  # fmt: skip
admits = st.one_of(
    st.builds(m.AdmitKey, keys),
    st.just(m.AdmitOpen()),
    st.builds(m.AdmitPassword, keys),
    st.builds(m.AdmitTokens, st.lists(keys, min_size=1, max_size=4, unique=True).map(tuple)),
    st.builds(m.AdmitWork, st.integers(0, 24)),
)
proofs = st.none() | st.builds(m.SecretProof, keys) | st.builds(m.WorkProof, exactly(59), st.integers(0, 2**64 - 1))
commands = st.one_of(
    st.builds(m.New, keys, admits),
    st.builds(m.Put, ids, mids, st.integers(1, limits.MAILBOX_TTL_SECONDS), blobs, proofs),
    st.builds(m.Have, ids, several_mids),
    st.builds(m.Get, ids, numbers, st.integers(1, 1024)),
    st.builds(m.Sub, ids, numbers),
    st.builds(m.Ack, ids, several_mids),
    st.builds(m.Rot, ids, admits),
    st.builds(m.Del, ids),
    st.builds(m.Stock, ids, st.lists(prekeys, max_size=4).map(tuple), st.binary(max_size=64)),
    st.builds(m.Take, ids, mids, proofs),
    st.builds(m.Work, ids, st.sampled_from(m.Purpose)),
    st.builds(m.Fwd, st.binary(min_size=3, max_size=44), st.binary(max_size=200)),
)
hellos = st.builds(m.Hello, keys, numbers, keys, numbers, exactly(64))


@st.composite
def message_lists(draw: st.DrawFn) -> m.Messages:
    seqs = sorted(draw(st.sets(st.integers(1, 2**63 - 1), max_size=3)))
    listed = tuple(m.StoredMessage(seq, draw(mids), draw(blobs)) for seq in seqs)
    return m.Messages(listed, bool(listed) and draw(st.booleans()))


answers = st.one_of(
    st.just(m.Done()),
    st.builds(m.Ids, ids, ids, st.integers(1, 2**32 - 1), st.integers(1, 2**63 - 1), st.integers(1, 2_592_000)),
    st.builds(m.Stored, st.integers(1, 2**63 - 1)),
    message_lists(),
    st.builds(m.Held, st.lists(mids, max_size=8, unique=True).map(tuple)),
    st.builds(m.Key, prekeys, st.binary(max_size=64), st.integers(0, 255)),
    st.builds(m.Challenge, exactly(59)),
    st.builds(m.Forwarded, st.binary(min_size=1, max_size=200)) | st.builds(lambda one: m.Forwarded(hello=one), hellos),
    st.builds(m.Refused, st.sampled_from(m.Reason), st.integers(0, 86_400)),
)


@given(commands, st.integers(1, 2**63 - 1), st.sampled_from([0, 64]))
def test_every_command_that_was_written_is_read(command: m.Command, number: int, signature: int) -> None:
    body = encode_command(command)
    assert decode_command(body) == command
    request = decode_request(encode_request(number, body, bytes(signature)))
    assert request == m.Request(number, command, body, bytes(signature))


@given(answers, st.integers(1, 2**63 - 1))
def test_every_answer_that_was_written_is_read(answer: m.Answer, number: int) -> None:
    assert decode_response(encode_response(m.Response(number, answer))) == m.Response(number, answer)


@given(hellos)
def test_a_hello_that_was_written_is_read(hello: m.Hello) -> None:
    assert decode_hello(encode_hello(hello)) == hello


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for decode in (decode_command, decode_request, decode_response, decode_hello, proof.decode_task):
        try:
            decode(data)
        except ProtocolViolation:
            pass


@given(commands, st.data())
def test_a_command_with_a_byte_changed_is_read_or_refused(command: m.Command, data: st.DataObject) -> None:
    body = bytearray(encode_request(1, encode_command(command))[:400])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_request(bytes(body))
    except ProtocolViolation:
        pass


ID, MID = bytes(24), bytes(16)
WRONG: list[m.Command] = [
    m.New(bytes(31), m.AdmitOpen()),
    m.New(bytes(32), m.AdmitKey(bytes(33))),
    m.New(bytes(32), m.AdmitPassword(bytes(31))),
    m.New(bytes(32), m.AdmitTokens(())),
    m.New(bytes(32), m.AdmitTokens((bytes(32), bytes(32)))),
    m.New(bytes(32), m.AdmitTokens(tuple(bytes([n]) * 32 for n in range(65)))),
    m.New(bytes(32), m.AdmitWork(25)),
    m.Put(bytes(23), MID, 1, bytes(SMALL)),
    m.Put(ID, bytes(15), 1, bytes(SMALL)),
    m.Put(ID, MID, 0, bytes(SMALL)),
    m.Put(ID, MID, limits.MAILBOX_TTL_SECONDS + 1, bytes(SMALL)),
    m.Put(ID, MID, 1, bytes(SMALL - 1)),
    m.Put(ID, MID, 1, b""),
    m.Put(ID, MID, 1, bytes(SMALL), m.SecretProof(bytes(31))),
    m.Put(ID, MID, 1, bytes(SMALL), m.WorkProof(bytes(58), 0)),
    m.Have(ID, ()),
    m.Have(ID, (MID, MID)),
    m.Have(ID, tuple(n.to_bytes(16, "big") for n in range(257))),
    m.Get(bytes(25), 0, 1),
    m.Get(ID, 0, 0),
    m.Get(ID, 0, 1025),
    m.Get(ID, 2**63, 1),
    m.Sub(ID, 2**63),
    m.Ack(ID, ()),
    m.Ack(ID, (bytes(17),)),
    m.Ack(ID, tuple(n.to_bytes(16, "big") for n in range(1025))),
    m.Rot(ID, m.AdmitKey(b"")),
    m.Del(b""),
    m.Stock(ID, (b"",)),
    m.Stock(ID, (bytes(2049),)),
    m.Stock(ID, (b"k",) * 33),
    m.Stock(ID, (), bytes(8193)),
    m.Take(ID, bytes(17)),
    m.Work(bytes(1), m.Purpose.PUT),
    m.Fwd(b"12", b""),
    m.Fwd(bytes(45), b""),
    m.Fwd(bytes(38), bytes(limits.MAILBOX_SEALED_BYTES + 1)),
]


@pytest.mark.parametrize("command", WRONG, ids=lambda one: type(one).__name__)
def test_what_no_command_may_say_is_not_written(command: m.Command) -> None:
    with pytest.raises(ProtocolViolation):
        encode_command(command)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        pb.Command(new=pb.New(recv_key=bytes(32))).SerializeToString(),
        pb.Command(new=pb.New(recv_key=bytes(32), admit=pb.Admit(kind=6))).SerializeToString(),
        pb.Command(new=pb.New(recv_key=bytes(32), admit=pb.Admit(kind=2, bits=1))).SerializeToString(),
        pb.Command(new=pb.New(recv_key=bytes(32), admit=pb.Admit(kind=1))).SerializeToString(),
        pb.Command(
            new=pb.New(recv_key=bytes(32), admit=pb.Admit(kind=3, hashes=[bytes(32), b"1" * 32]))
        ).SerializeToString(),
        pb.Command(work=pb.Work(send_id=ID, purpose=3)).SerializeToString(),
        pb.Command(work=pb.Work(send_id=ID, purpose=-1)).SerializeToString(),
        pb.Command(put=pb.Put(send_id=ID, mid=MID, ttl=9, blob=bytes(SMALL + 1))).SerializeToString(),
        pb.Command(
            take=pb.Take(send_id=ID, subject=MID, proof=pb.Proof(secret=bytes(32), answer=1))
        ).SerializeToString(),
        pb.Command(take=pb.Take(send_id=ID, subject=MID, proof=pb.Proof())).SerializeToString(),
    ],
)
def test_what_no_command_may_say_is_not_read(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode_command(body)


@pytest.mark.parametrize(
    "answer",
    [
        m.Stored(0),
        m.Messages((), more=True),
        m.Messages((m.StoredMessage(2, MID, bytes(SMALL)), m.StoredMessage(2, MID, bytes(SMALL)))),
        m.Messages((m.StoredMessage(1, MID, bytes(5)),)),
        m.Ids(ID, bytes(23), 1, 1, 1),
        m.Ids(ID, ID, 0, 1, 1),
        m.Held((MID, MID)),
        m.Key(b"", b"one", left=0),
        m.Key(bytes(8193), b"", left=0),
        m.Key(b"bundle", bytes(2049), left=0),
        m.Key(b"bundle", b"one", left=256),
        m.Challenge(bytes(58)),
        m.Forwarded(),
        m.Refused(m.Reason.BUSY, 86_401),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_no_answer_may_say_is_not_written(answer: m.Answer) -> None:
    with pytest.raises(ProtocolViolation):
        encode_response(m.Response(1, answer))


def test_ids_begin_at_one_and_a_signature_has_64_bytes() -> None:
    body = encode_command(m.Del(ID))
    for number, signature in ((0, b""), (2**63, b""), (1, bytes(63)), (1, bytes(65))):
        with pytest.raises(ProtocolViolation):
            encode_request(number, body, signature)
    for request in (pb.Request(id=0, command=body), pb.Request(id=1, command=body, signature=bytes(3))):
        with pytest.raises(ProtocolViolation):
            decode_request(request.SerializeToString())


def test_the_largest_of_everything_fits_its_frame() -> None:
    full = m.Put(ID, MID, 2_592_000, bytes(LARGE), m.WorkProof(bytes(59), 2**64 - 1))
    stock = m.Stock(ID, (bytes(2048),) * 32, bytes(8192))
    forwarded = m.Fwd(bytes(44), bytes(limits.MAILBOX_SEALED_BYTES))
    for command in (full, stock, forwarded):
        assert len(encode_request(2**63 - 1, encode_command(command), bytes(64))) <= limits.MAILBOX_REQUEST_BYTES
    assert len(encode_command(full)) + 64 + 128 <= limits.MAILBOX_SEALED_BYTES
    handed_out = m.Response(2**63 - 1, m.Key(bytes(8192), bytes(2048), 255))
    assert len(encode_response(handed_out)) + 64 <= max(limits.MAILBOX_FORWARDED_BYTES)
    last = 2**63 - 64
    for size, count in ((SMALL, 63), (MIDDLE, 15), (LARGE, 3)):
        listed = tuple(m.StoredMessage(last + n, MID, bytes(size)) for n in range(count))
        assert decode_response(encode_response(m.Response(2**63 - 1, m.Messages(listed, more=True))))
    with pytest.raises(FrameTooLarge):
        decode_request(bytes(limits.MAILBOX_REQUEST_BYTES + 1))
    with pytest.raises(FrameTooLarge):
        decode_response(bytes(limits.MAILBOX_RESPONSE_BYTES + 1))


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_signature_holds_for_one_relay_one_stream_one_place_and_one_command() -> None:
    body = encode_command(m.Get(ID, 0, 10))
    fine = {"relay": RELAY, "nonce": NONCE, "request_id": 7, "body": body}
    signature = KEY.sign(proof.signed_command(**fine)).signature  # type: ignore[arg-type]
    public = bytes(KEY.verify_key)

    def fits(**changed: object) -> bool:
        signed = proof.signed_command(**{**fine, **changed})  # type: ignore[arg-type]
        return proof.signature_fits(key=public, signed=signed, signature=signature)

    assert fits()
    assert not fits(relay=OTHER_RELAY)
    assert not fits(nonce=bytes(32))
    assert not fits(request_id=8)
    assert not fits(body=encode_command(m.Get(ID, 1, 10)))
    bare = proof.signed_command(**fine)[len(proof.COMMAND_CONTEXT) :]  # type: ignore[arg-type]
    assert not proof.signature_fits(key=public, signed=bare, signature=signature)
    assert not proof.signature_fits(key=bytes(32), signed=proof.signed_command(**fine), signature=signature)  # type: ignore[arg-type]
    assert not proof.signature_fits(key=public, signed=b"", signature=b"")
    with pytest.raises(ProtocolViolation):
        fits(nonce=bytes(31))


def test_a_forward_key_is_believed_from_its_relay_until_its_end() -> None:
    identity = SigningKey(bytes(32))
    signature = identity.sign(proof.signed_forward_key(bytes(32), 1000)).signature
    hello = m.Hello(NONCE, 5, bytes(32), 1000, signature)
    public = bytes(identity.verify_key)
    assert proof.forward_key_fits(hello, identity_key=public, now=999.5)
    assert not proof.forward_key_fits(hello, identity_key=public, now=1000)
    assert not proof.forward_key_fits(hello, identity_key=bytes(KEY.verify_key), now=0)
    for field, value in (("forward_key", bytes([1]) * 32), ("forward_until", 1001)):
        changed = dataclasses.replace(hello, **{field: value})
        assert not proof.forward_key_fits(changed, identity_key=public, now=0)


# --- work -------------------------------------------------------------------------------------------------------------

TASK = proof.Task(m.Purpose.PUT, 9, 1_700_000_000, bytes(16), bytes(32))


@given(st.sampled_from(m.Purpose), st.integers(0, 255), st.integers(0, 2**64 - 1), mids, keys)
def test_a_challenge_is_read_as_it_was_issued(
    purpose: m.Purpose, bits: int, until: int, random: bytes, mac: bytes
) -> None:
    task = proof.Task(purpose, bits, until, random, mac)
    assert proof.decode_task(proof.encode_task(task)) == task


def test_work_is_done_for_one_challenge_and_one_subject() -> None:
    challenge = proof.encode_task(TASK)
    answer = proof.find_answer(challenge, subject=MID, first=0, tries=100_000)
    assert answer is not None
    assert proof.work_fits(challenge, subject=MID, answer=answer, bits=9)
    digest = hashlib.sha256(b"covey mailbox 1 work\x00" + challenge + MID + answer.to_bytes(8, "big")).digest()
    assert digest[0] == 0
    assert digest[1] < 128
    others = [n.to_bytes(16, "big") for n in range(1, 40)]
    assert sum(proof.work_fits(challenge, subject=one, answer=answer, bits=9) for one in others) < 3
    assert proof.find_answer(challenge, subject=MID, first=0, tries=answer) is None
    with pytest.raises(ProtocolViolation):
        proof.work_fits(challenge, subject=b"", answer=0, bits=0)


# --- vectors ----------------------------------------------------------------------------------------------------------


def test_the_vectors_of_the_page() -> None:
    bodies = {name: bytes.fromhex(text) for name, text in VECTORS["commands"].items()}
    assert decode_command(bodies["get"]) == m.Get(bytes(range(24)), 300, 64)
    assert decode_command(bodies["ack"]) == m.Ack(bytes(range(24)), (bytes(16), bytes(range(16))))
    assert decode_command(bodies["new, key"]) == m.New(bytes(range(32)), m.AdmitKey(bytes(range(32, 64))))
    assert decode_command(bodies["new, work"]) == m.New(bytes(range(32)), m.AdmitWork(18))
    assert decode_command(bodies["del"]) == m.Del(bytes(range(24)))
    for body in bodies.values():
        assert encode_command(decode_command(body)) == body
    for text in VECTORS["responses"].values():
        assert encode_response(decode_response(bytes.fromhex(text))) == bytes.fromhex(text)
    signed = VECTORS["signature"]
    body = bodies[signed["command"]]
    message = proof.signed_command(relay=RELAY, nonce=NONCE, request_id=signed["id"], body=body)
    assert message.hex() == signed["signed"]
    assert KEY.sign(message).signature.hex() == signed["signature"]
    work = VECTORS["work"]
    challenge, subject = bytes.fromhex(work["challenge"]), bytes.fromhex(work["subject"])
    assert proof.decode_task(challenge) == dataclasses.replace(TASK, bits=12)
    assert proof.find_answer(challenge, subject=subject, first=0, tries=2**20) == work["answer"]
