"""The bytes of the mailbox protocol.

Owns: protobuf to values and back; what is written is checked like what is read (mailbox_bounds.py). Spec:
docs/spec/mailbox.md, "Frames". Never touches: streams, signatures and work (mailbox_proof.py).
"""

from enum import IntEnum
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_bounds import check_command, check_hello, check_request, check_response
from covey_core.wire.pb import mailbox_pb2 as pb

_Code = TypeVar("_Code", bound=IntEnum)


# --- commands ---------------------------------------------------------------------------------------------------------


def encode_command(command: m.Command) -> bytes:
    """Return the protobuf form of a command, what is signed; `ProtocolViolation` when a field is not what it may be."""
    check_command(command)
    match command:
        case m.New(recv_key, admit):
            out = pb.Command(new=pb.New(recv_key=recv_key, admit=_admit_out(admit)))
        case m.Put(send_id, mid, ttl, blob, proof):
            out = pb.Command(put=pb.Put(send_id=send_id, mid=mid, ttl=ttl, blob=blob, proof=_proof_out(proof)))
        case m.Have(send_id, mids):
            out = pb.Command(have=pb.Have(send_id=send_id, mids=mids))
        case m.Get(recv_id, after, most):
            out = pb.Command(get=pb.Get(recv_id=recv_id, after=after, max=most))
        case m.Sub(recv_id, after):
            out = pb.Command(sub=pb.Sub(recv_id=recv_id, after=after))
        case m.Ack(recv_id, mids):
            out = pb.Command(ack=pb.Ack(recv_id=recv_id, mids=mids))
        case m.Rot(recv_id, admit):
            out = pb.Command(rot=pb.Rot(recv_id=recv_id, admit=_admit_out(admit)))
        case m.Del(recv_id):
            out = pb.Command()
            getattr(out, "del").CopyFrom(pb.Del(recv_id=recv_id))  # a keyword of Python
        case m.Stock(recv_id, keys, bundle):
            out = pb.Command(stock=pb.Stock(recv_id=recv_id, keys=keys, bundle=bundle))
        case m.Take(send_id, subject, proof):
            out = pb.Command(take=pb.Take(send_id=send_id, subject=subject, proof=_proof_out(proof)))
        case m.Work(send_id, purpose):
            out = pb.Command(work=pb.Work(send_id=send_id, purpose=purpose))
        case m.Fwd(relay, sealed):
            out = pb.Command(fwd=pb.Fwd(relay=relay, sealed=sealed))
    return _bounded(out.SerializeToString(deterministic=True), limits.MAILBOX_REQUEST_BYTES)


def decode_command(data: bytes) -> m.Command:
    """Return the command in `data`; `ProtocolViolation` when it is none or a field is not what it may be."""
    found = pb.Command()
    _parse(found, data, limits.MAILBOX_REQUEST_BYTES)
    command = _command_in(found)
    check_command(command)
    return command


def _command_in(found: pb.Command) -> m.Command:
    match found.WhichOneof("kind"):
        case "new":
            return m.New(found.new.recv_key, _admit_in(found.new.admit))
        case "get":
            return m.Get(found.get.recv_id, found.get.after, found.get.max)
        case "sub":
            return m.Sub(found.sub.recv_id, found.sub.after)
        case "ack":
            return m.Ack(found.ack.recv_id, tuple(found.ack.mids))
        case "rot":
            return m.Rot(found.rot.recv_id, _admit_in(found.rot.admit))
        case "del":
            return m.Del(getattr(found, "del").recv_id)
        case "stock":
            return m.Stock(found.stock.recv_id, tuple(found.stock.keys), found.stock.bundle)
        case _:
            return _sent_in(found)


def _sent_in(found: pb.Command) -> m.Command:
    match found.WhichOneof("kind"):
        case "put":
            put, proof = found.put, _proof_in(found.put)
            return m.Put(put.send_id, put.mid, put.ttl, put.blob, proof)
        case "have":
            return m.Have(found.have.send_id, tuple(found.have.mids))
        case "take":
            return m.Take(found.take.send_id, found.take.subject, _proof_in(found.take))
        case "work":
            return m.Work(found.work.send_id, _one_of(m.Purpose, found.work.purpose))
        case "fwd":
            return m.Fwd(found.fwd.relay, found.fwd.sealed)
        case _:
            raise ProtocolViolation("a mailbox command of no known kind")


# --- admission --------------------------------------------------------------------------------------------------------


def _admit_out(admit: m.Admit) -> pb.Admit:
    match admit:
        case m.AdmitKey(send_key):
            return pb.Admit(kind=1, send_key=send_key)
        case m.AdmitOpen():
            return pb.Admit(kind=2)
        case m.AdmitPassword(secret_hash):
            return pb.Admit(kind=3, hashes=[secret_hash])
        case m.AdmitTokens(secret_hashes):
            return pb.Admit(kind=4, hashes=secret_hashes)
        case m.AdmitWork(bits):
            return pb.Admit(kind=5, bits=bits)


def _admit_in(found: pb.Admit) -> m.Admit:
    extra = (bool(found.send_key), bool(found.hashes), bool(found.bits))
    match found.kind, extra:
        case 1, (True, False, False):
            return m.AdmitKey(found.send_key)
        case 2, (False, False, False):
            return m.AdmitOpen()
        case 3, (False, True, False) if len(found.hashes) == 1:
            return m.AdmitPassword(found.hashes[0])
        case 4, (False, True, False):
            return m.AdmitTokens(tuple(found.hashes))
        case 5, (False, False, _):
            return m.AdmitWork(found.bits)
        case _:
            raise ProtocolViolation(f"an admission of kind {found.kind} with fields that do not belong to it")


def _proof_out(proof: m.Proof | None) -> pb.Proof | None:
    match proof:
        case m.SecretProof(secret):
            return pb.Proof(secret=secret)
        case m.WorkProof(challenge, answer):
            return pb.Proof(challenge=challenge, answer=answer)
        case None:
            return None


def _proof_in(command: pb.Put | pb.Take) -> m.Proof | None:
    if not command.HasField("proof"):
        return None
    found = command.proof
    if found.secret and (found.challenge or found.answer):
        raise ProtocolViolation("a proof that is a secret and work at once")
    return m.SecretProof(found.secret) if found.secret else m.WorkProof(found.challenge, found.answer)


# --- requests ---------------------------------------------------------------------------------------------------------


def encode_request(request_id: int, body: bytes, signature: bytes = b"") -> bytes:
    """Return the frame's payload of an encoded command `body`; `FrameTooLarge` over 69,632 bytes."""
    check_request(request_id, signature)
    out = pb.Request(id=request_id, command=body, signature=signature)
    return _bounded(out.SerializeToString(deterministic=True), limits.MAILBOX_REQUEST_BYTES)


def decode_request(data: bytes) -> m.Request:
    """Return the request in a frame's payload; `ProtocolViolation` when it is none."""
    found = pb.Request()
    _parse(found, data, limits.MAILBOX_REQUEST_BYTES)
    check_request(found.id, found.signature)
    return m.Request(found.id, decode_command(found.command), found.command, found.signature)


# --- answers ----------------------------------------------------------------------------------------------------------


def encode_hello(hello: m.Hello) -> bytes:
    """Return the payload of the relay's first frame."""
    return _hello_out(hello).SerializeToString(deterministic=True)


def decode_hello(data: bytes) -> m.Hello:
    """Return the relay's first frame; `ProtocolViolation` when it is none. The signature is not checked here."""
    found = pb.Hello()
    _parse(found, data, limits.MAILBOX_HELLO_BYTES)
    return _hello_in(found)


def encode_response(response: m.Response) -> bytes:
    """Return the payload of an answer's frame; `FrameTooLarge` over 262,144 bytes."""
    check_response(response)
    out = pb.Response(id=response.id)
    match response.answer:
        case m.Done():
            out.done.SetInParent()
        case m.Ids(recv_id, send_id, messages, size, ttl):
            out.ids.CopyFrom(
                pb.Ids(recv_id=recv_id, send_id=send_id, quota_messages=messages, quota_bytes=size, max_ttl=ttl)
            )
        case m.Stored(seq):
            out.stored.seq = seq
        case m.Messages(messages, more):
            listed = [pb.Message(seq=one.seq, mid=one.mid, blob=one.blob) for one in messages]
            out.messages.CopyFrom(pb.Messages(messages=listed, more=more))
        case m.Held(mids):
            out.held.CopyFrom(pb.Held(mids=mids))
        case m.Key(bundle, one_time, left):
            out.key.CopyFrom(pb.Key(bundle=bundle, one_time=one_time, left=left))
        case m.Challenge(challenge):
            out.challenge.challenge = challenge
        case m.Forwarded(sealed, hello):
            out.forwarded.CopyFrom(pb.Forwarded(sealed=sealed, hello=None if hello is None else _hello_out(hello)))
        case m.Refused(reason, retry_after):
            out.refused.CopyFrom(pb.Refused(reason=reason, retry_after=retry_after))
    return _bounded(out.SerializeToString(deterministic=True), limits.MAILBOX_RESPONSE_BYTES)


def decode_response(data: bytes) -> m.Response:
    """Return the answer in a frame's payload; `ProtocolViolation` when it is none."""
    found = pb.Response()
    _parse(found, data, limits.MAILBOX_RESPONSE_BYTES)
    response = m.Response(found.id, _answer_in(found))
    check_response(response)
    return response


def _answer_in(found: pb.Response) -> m.Answer:
    match found.WhichOneof("kind"):
        case "done":
            return m.Done()
        case "ids":
            ids = found.ids
            return m.Ids(ids.recv_id, ids.send_id, ids.quota_messages, ids.quota_bytes, ids.max_ttl)
        case "stored":
            return m.Stored(found.stored.seq)
        case "messages":
            listed = tuple(m.StoredMessage(one.seq, one.mid, one.blob) for one in found.messages.messages)
            return m.Messages(listed, found.messages.more)
        case "held":
            return m.Held(tuple(found.held.mids))
        case "key":
            return m.Key(found.key.bundle, found.key.one_time, found.key.left)
        case "challenge":
            return m.Challenge(found.challenge.challenge)
        case "forwarded":
            forwarded = found.forwarded
            return m.Forwarded(forwarded.sealed, _hello_in(forwarded.hello) if forwarded.HasField("hello") else None)
        case "refused":
            return m.Refused(_one_of(m.Reason, found.refused.reason), found.refused.retry_after)
        case _:
            raise ProtocolViolation("a mailbox answer of no known kind")


def _hello_out(hello: m.Hello) -> pb.Hello:
    check_hello(hello)
    return pb.Hello(
        nonce=hello.nonce,
        time=hello.time,
        forward_key=hello.forward_key,
        forward_until=hello.forward_until,
        forward_signature=hello.forward_signature,
    )


def _hello_in(found: pb.Hello) -> m.Hello:
    hello = m.Hello(found.nonce, found.time, found.forward_key, found.forward_until, found.forward_signature)
    check_hello(hello)
    return hello


# --- bounds -----------------------------------------------------------------------------------------------------------


def _parse(message: Protobuf, data: bytes, limit: int) -> None:
    _bounded(data, limit)
    try:
        message.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("these bytes are no mailbox message") from exc


def _bounded(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise FrameTooLarge(size=len(data), limit=limit)
    return data


def _one_of(kinds: type[_Code], value: int) -> _Code:
    try:
        return kinds(value)
    except ValueError:
        raise ProtocolViolation(f"a mailbox message with the unknown {kinds.__name__} {value}") from None
