"""What the fields of the mailbox protocol may be: sizes, counts, ranges.

Owns: every bound of a field, for what is written and for what is read. Spec: docs/spec/mailbox.md, "Frames". Never
touches: the bytes (mailbox_codec.py), what is allowed to whom.
"""

from collections.abc import Sequence
from typing import Final

from covey_core import limits
from covey_core.errors import ProtocolViolation
from covey_core.wire import mailbox as m

KEY_BYTES: Final = 32
HASH_BYTES: Final = 32
NONCE_BYTES: Final = 32
SECRET_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
QUEUE_ID_BYTES: Final = 24
MID_BYTES: Final = 16
CHALLENGE_BYTES: Final = 59
RELAY_ID_MIN_BYTES: Final = 3
RELAY_ID_MAX_BYTES: Final = 44
_UINT32_MAX: Final = 2**32 - 1
_UINT63_MAX: Final = 2**63 - 1
_UINT64_MAX: Final = 2**64 - 1
_KEYS_LEFT_MAX: Final = 255
_RETRY_MAX_SECONDS: Final = 86_400


def check_command(command: m.Command) -> None:
    """Raise `ProtocolViolation` when a field of the command is not what it may be."""
    match command:
        case m.Put() | m.Have() | m.Take() | m.Work():
            _exactly(command.send_id, QUEUE_ID_BYTES, "sending id")
            _check_sent(command)
        case m.Get() | m.Sub() | m.Ack() | m.Rot() | m.Del() | m.Stock():
            _exactly(command.recv_id, QUEUE_ID_BYTES, "receiving id")
            _check_owned(command)
        case m.New(recv_key, admit):
            _exactly(recv_key, KEY_BYTES, "receiving key")
            _check_admit(admit)
        case m.Fwd(relay, sealed):
            _between(len(relay), RELAY_ID_MIN_BYTES, RELAY_ID_MAX_BYTES, "size of a PeerId")
            _between(len(sealed), 0, limits.MAILBOX_SEALED_BYTES, "size of what is forwarded")


def _check_sent(command: m.Put | m.Have | m.Take | m.Work) -> None:
    match command:
        case m.Put(_, mid, ttl, blob, proof):
            _exactly(mid, MID_BYTES, "message id")
            _between(ttl, 1, limits.MAILBOX_TTL_SECONDS, "time to live")
            _check_blob(blob)
            _check_proof(proof)
        case m.Have(_, mids):
            _check_mids(mids, 1, limits.MAILBOX_HAVE_MIDS)
        case m.Take(_, subject, proof):
            _exactly(subject, MID_BYTES, "subject of work")
            _check_proof(proof)
        case m.Work():
            pass


def _check_owned(command: m.Get | m.Sub | m.Ack | m.Rot | m.Del | m.Stock) -> None:
    match command:
        case m.Get(_, after, most):
            _between(after, 0, _UINT63_MAX, "number of a message")
            _between(most, 1, limits.MAILBOX_ACK_MIDS, "number of messages")
        case m.Sub(_, after):
            _between(after, 0, _UINT63_MAX, "number of a message")
        case m.Ack(_, mids):
            _check_mids(mids, 1, limits.MAILBOX_ACK_MIDS)
        case m.Rot(_, admit):
            _check_admit(admit)
        case m.Stock(_, keys, bundle):
            _between(len(keys), 0, limits.MAILBOX_STOCK_KEYS, "number of keys")
            _between(len(bundle), 0, limits.MAILBOX_BUNDLE_BYTES, "size of a bundle")
            for key in keys:
                _between(len(key), 1, limits.MAILBOX_PREKEY_BYTES, "size of a key")
        case m.Del():
            pass


def _check_admit(admit: m.Admit) -> None:
    match admit:
        case m.AdmitKey(send_key):
            _exactly(send_key, KEY_BYTES, "sending key")
        case m.AdmitPassword(secret_hash):
            _exactly(secret_hash, HASH_BYTES, "hash of a password")
        case m.AdmitTokens(secret_hashes):
            _between(len(secret_hashes), 1, limits.MAILBOX_TOKENS, "number of tokens")
            for one in secret_hashes:
                _exactly(one, HASH_BYTES, "hash of a token")
            _different(secret_hashes, "token")
        case m.AdmitWork(bits):
            _between(bits, 0, limits.MAILBOX_WORK_BITS, "number of bits")
        case m.AdmitOpen():
            pass


def _check_proof(proof: m.Proof | None) -> None:
    match proof:
        case m.SecretProof(secret):
            _exactly(secret, SECRET_BYTES, "secret")
        case m.WorkProof(challenge, answer):
            _exactly(challenge, CHALLENGE_BYTES, "challenge")
            _between(answer, 0, _UINT64_MAX, "answer")
        case None:
            pass


def check_request(request_id: int, signature: bytes) -> None:
    """Raise `ProtocolViolation` for an id or a signature that no request has."""
    _between(request_id, 1, _UINT63_MAX, "id of a request")
    if len(signature) not in {0, SIGNATURE_BYTES}:
        raise ProtocolViolation(f"a signature of {len(signature)} bytes")


def check_response(response: m.Response) -> None:
    """Raise `ProtocolViolation` when a field of the answer is not what it may be."""
    _between(response.id, 1, _UINT63_MAX, "id of a request")
    match response.answer:
        case m.Ids(recv_id, send_id, messages, size, ttl):
            _exactly(recv_id, QUEUE_ID_BYTES, "receiving id")
            _exactly(send_id, QUEUE_ID_BYTES, "sending id")
            _between(messages, 1, _UINT32_MAX, "quota")
            _between(size, 1, _UINT63_MAX, "quota")
            _between(ttl, 1, limits.MAILBOX_TTL_SECONDS, "time to live")
        case m.Stored(seq):
            _between(seq, 1, _UINT63_MAX, "number of a message")
        case m.Messages(messages, more):
            _check_messages(messages, more=more)
        case m.Held(mids):
            _check_mids(mids, 0, limits.MAILBOX_HAVE_MIDS)
        case m.Key(bundle, one_time, left):
            _between(len(bundle), 1, limits.MAILBOX_BUNDLE_BYTES, "size of a bundle")
            _between(len(one_time), 0, limits.MAILBOX_PREKEY_BYTES, "size of a key")
            _between(left, 0, _KEYS_LEFT_MAX, "number of keys")
        case m.Challenge(challenge):
            _exactly(challenge, CHALLENGE_BYTES, "challenge")
        case m.Forwarded(sealed, hello):
            if hello is not None:
                check_hello(hello)
            if bool(sealed) == (hello is not None):
                raise ProtocolViolation("what was forwarded answers with sealed bytes or a hello, and one of them")
            _between(len(sealed), 0, limits.MAILBOX_SEALED_BYTES, "size of what is forwarded")
        case m.Refused(_, retry_after):
            _between(retry_after, 0, _RETRY_MAX_SECONDS, "time to wait")
        case m.Done():
            pass


def _check_messages(messages: Sequence[m.StoredMessage], *, more: bool) -> None:
    if more and not messages:
        raise ProtocolViolation("no messages, and more behind them")
    last = 0
    for one in messages:
        _between(one.seq, last + 1, _UINT63_MAX, "number of a message")
        _exactly(one.mid, MID_BYTES, "message id")
        _check_blob(one.blob)
        last = one.seq


def check_hello(hello: m.Hello) -> None:
    """Raise `ProtocolViolation` when a field of the hello is not what it may be."""
    _exactly(hello.nonce, NONCE_BYTES, "nonce")
    _exactly(hello.forward_key, KEY_BYTES, "forward key")
    _exactly(hello.forward_signature, SIGNATURE_BYTES, "signature")
    _between(hello.time, 0, _UINT63_MAX, "time")
    _between(hello.forward_until, 0, _UINT63_MAX, "time")


def _check_blob(blob: bytes) -> None:
    if len(blob) not in limits.MAILBOX_BLOB_BYTES:
        raise ProtocolViolation(f"a blob of {len(blob)} bytes, where one of {limits.MAILBOX_BLOB_BYTES} belongs")


def _exactly(value: bytes, size: int, what: str) -> None:
    if len(value) != size:
        raise ProtocolViolation(f"a {what} of {len(value)} bytes, where {size} belong")


def _between(value: int, least: int, most: int, what: str) -> None:
    if not least <= value <= most:
        raise ProtocolViolation(f"a {what} of {value}, where {least} to {most} may be")


def _check_mids(mids: Sequence[bytes], least: int, most: int) -> None:
    _between(len(mids), least, most, "number of message ids")
    for mid in mids:
        _exactly(mid, MID_BYTES, "message id")
    _different(mids, "message id")


def _different(values: Sequence[bytes], what: str) -> None:
    if len(set(values)) != len(values):
        raise ProtocolViolation(f"a {what} that is named twice")
