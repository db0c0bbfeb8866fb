"""Commands that go to a mailbox relay through another one, sealed so that this other one sees neither queue nor answer.

Owns: the seal of a command and of its answer, for both ends. Spec: docs/spec/mailbox.md, "Forwarding". Never touches:
randomness (callers pass it), streams, whom a forward key belongs to (mailbox_proof.py).

    writer   seal = begin_forward(relay, forward_key, ephemeral=32 random bytes)      one for each command
             signed_command(relay=relay, nonce=seal.nonce, request_id=FORWARDED_ID, body=body) -> signature
             seal_command(seal, body, signature) -> Fwd.sealed
    relay    open_command(sealed, relay=own PeerId, private=...) -> Opened(request, seal)
             seal_answer(seal, answer, nonce=12 random bytes) -> Forwarded.sealed     drawn anew for each answer
    writer   open_answer(seal, Forwarded.sealed) -> answer
"""

from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError

from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.limits import MAILBOX_BLOB_BYTES, MAILBOX_FORWARDED_BYTES
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire import mailbox as m
from covey_core.wire import uvarint
from covey_core.wire.mailbox_bounds import KEY_BYTES, SIGNATURE_BYTES
from covey_core.wire.mailbox_codec import decode_command, decode_response, encode_response
from covey_core.wire.pb import mailbox_pb2 as pb

FORWARD_CONTEXT: Final = b"covey mailbox 1 forward\x00"
FORWARDED_ID: Final = 0
"""What stands for the request's id under the signature of a sealed command."""

ANSWER_NONCE_BYTES: Final = 12
"""Random bytes that stand in front of a sealed answer."""

_ANSWER_ID: Final = 1  # an answer is a Response, whose ids begin at 1
_COMMAND_NONCE: Final = bytes(ANSWER_NONCE_BYTES)  # one ephemeral key seals one command
_TAG_BYTES: Final = 16
_COMMAND_ROOM_BYTES: Final = 512
_PADDED_COMMANDS: Final = (1_024, *(size + _COMMAND_ROOM_BYTES for size in MAILBOX_BLOB_BYTES))
_MARK: Final = b"\x80"


@dataclass(frozen=True, slots=True)
class ForwardSeal:
    """The keys of one command and of its answers: good for one command, whose nonce is 0.

    Answers may be many: whoever carries the command can repeat it, and it is answered again, perhaps with other words.
    So each answer has a random nonce of its own: two under one would give away the key of their tags (RFC 8439, 4).
    `nonce`: the ephemeral public key, which stands for the stream's nonce under the command's signature.
    """

    nonce: bytes
    request_key: bytes = field(repr=False)
    answer_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """A command as it lay in the seal, with id 0, and what its answer is sealed with."""

    request: m.Request
    seal: ForwardSeal


def begin_forward(relay: PeerId, forward_key: bytes, *, ephemeral: bytes) -> ForwardSeal:
    """Return the seal of one command for `relay`; `ephemeral`: 32 fresh random bytes, used for nothing else.

    Raises `ProtocolViolation` for a forward key that is none.
    """
    private = X25519PrivateKey.from_private_bytes(ephemeral)
    public = private.public_key().public_bytes_raw()
    return _seal(private, forward_key, public=public, forward_key=forward_key, relay=relay)


def seal_command(seal: ForwardSeal, body: bytes, signature: bytes = b"") -> bytes:
    """Return what `Fwd.sealed` carries of the encoded command `body`. The same seal gives the same bytes again."""
    plain = pb.Sealed(command=body, signature=signature).SerializeToString(deterministic=True)
    return seal.nonce + _encrypted(seal.request_key, _COMMAND_NONCE, _padded(plain, _PADDED_COMMANDS))


def open_command(sealed: bytes, *, relay: PeerId, private: bytes) -> Opened:
    """Return the command that was sealed for the forward key with this private half (32 bytes), at `relay`.

    Raises `ProtocolViolation` when it was sealed for another key, was changed, or is none that may be forwarded.
    """
    key = X25519PrivateKey.from_private_bytes(private)
    ephemeral, rest = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    if len(rest) not in {size + _TAG_BYTES for size in _PADDED_COMMANDS}:
        raise ProtocolViolation(f"a sealed command of {len(sealed)} bytes")
    forward_key = key.public_key().public_bytes_raw()
    seal = _seal(key, ephemeral, public=ephemeral, forward_key=forward_key, relay=relay)
    found = pb.Sealed()
    try:
        found.ParseFromString(_unpadded(_decrypted(seal.request_key, _COMMAND_NONCE, rest)))
    except DecodeError as exc:
        raise ProtocolViolation("what was sealed is no command") from exc
    command = decode_command(found.command)
    if not isinstance(command, m.Put | m.Have | m.Take | m.Work) or len(found.signature) not in {0, SIGNATURE_BYTES}:
        raise ProtocolViolation(f"{type(command).__name__} is not forwarded")
    return Opened(m.Request(FORWARDED_ID, command, found.command, found.signature), seal)


def seal_answer(seal: ForwardSeal, answer: m.Answer, *, nonce: bytes) -> bytes:
    """Return what `Forwarded.sealed` carries; `nonce`: 12 fresh random bytes, for this answer alone.

    Raises `FrameTooLarge` for an answer that no forwarded command has.
    """
    plain = encode_response(m.Response(_ANSWER_ID, answer))
    return nonce + _encrypted(seal.answer_key, nonce, _padded(plain, MAILBOX_FORWARDED_BYTES))


def open_answer(seal: ForwardSeal, sealed: bytes) -> m.Answer:
    """Return the relay's answer; `ProtocolViolation` when it is not this relay's to this command."""
    nonce, rest = sealed[:ANSWER_NONCE_BYTES], sealed[ANSWER_NONCE_BYTES:]
    if len(rest) not in {size + _TAG_BYTES for size in MAILBOX_FORWARDED_BYTES}:
        raise ProtocolViolation(f"a sealed answer of {len(sealed)} bytes")
    response = decode_response(_unpadded(_decrypted(seal.answer_key, nonce, rest)))
    if response.id != _ANSWER_ID:
        raise ProtocolViolation(f"a forwarded answer with id {response.id}")
    return response.answer


def _seal(own: X25519PrivateKey, other: bytes, *, public: bytes, forward_key: bytes, relay: PeerId) -> ForwardSeal:
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError as exc:
        raise ProtocolViolation("an X25519 key that is none, or of small order") from exc
    name = peer_id_bytes(relay)
    info = FORWARD_CONTEXT + uvarint.encode(len(name)) + name
    keys = HKDF(algorithm=SHA256(), length=2 * KEY_BYTES, salt=public + forward_key, info=info).derive(shared)
    return ForwardSeal(public, keys[:KEY_BYTES], keys[KEY_BYTES:])


def _encrypted(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce, plain, None)


def _decrypted(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, None)
    except InvalidTag as exc:
        raise ProtocolViolation("what was sealed for forwarding was changed, or sealed for another key") from exc


def _padded(plain: bytes, sizes: tuple[int, ...]) -> bytes:
    """Return `plain`, 80, and zeros, up to the smallest of `sizes` that holds it (ISO/IEC 7816-4)."""
    size = next((size for size in sizes if len(plain) < size), None)
    if size is None:
        raise FrameTooLarge(size=len(plain), limit=sizes[-1] - 1)
    return (plain + _MARK).ljust(size, b"\x00")


def _unpadded(padded: bytes) -> bytes:
    plain = padded.rstrip(b"\x00")
    if not plain.endswith(_MARK):
        raise ProtocolViolation("what was sealed for forwarding has no padding")
    return plain[:-1]
