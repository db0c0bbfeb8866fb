"""What a mailbox command is signed over, and what work is.

Owns: the signature contexts of the protocol, the form of a challenge, the count of zero bits. Spec:
docs/spec/mailbox.md, "Signatures" and "Work". Never touches: randomness, the clock, which key or how many bits a queue
asks for.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire import uvarint
from covey_core.wire.mailbox import Hello, Purpose
from covey_core.wire.mailbox_bounds import CHALLENGE_BYTES, KEY_BYTES, MID_BYTES, NONCE_BYTES, SIGNATURE_BYTES

COMMAND_CONTEXT: Final = b"covey mailbox 1 command\x00"
FORWARD_KEY_CONTEXT: Final = b"covey mailbox 1 forward key\x00"
WORK_CONTEXT: Final = b"covey mailbox 1 work\x00"

_CHALLENGE_VERSION: Final = 1
_CHALLENGE: Final = struct.Struct(">BBBQ16s32s")  # version | purpose | bits | until | random | mac
_CHALLENGE_MAC_BYTES: Final = 32
_DIGEST_BITS: Final = 256


def signed_command(*, relay: PeerId, nonce: bytes, request_id: int, body: bytes) -> bytes:
    """Return the bytes that a queue's key signs: for this relay, this stream, this place on it, and this command only.

    `nonce`: the 32 bytes of the relay's hello; `body`: the encoded command.
    """
    if len(nonce) != NONCE_BYTES:
        raise ProtocolViolation(f"a nonce of {len(nonce)} bytes")
    return COMMAND_CONTEXT + _named(relay) + nonce + request_id.to_bytes(8, "big") + body


@lru_cache(maxsize=256)
def _named(relay: PeerId) -> bytes:
    """Return the relay's multihash behind its size; base58 takes longer than the rest of a command."""
    name = peer_id_bytes(relay)
    return uvarint.encode(len(name)) + name


def signature_fits(*, key: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) over `signed` is by the Ed25519 key of 32 bytes."""
    if len(signature) != SIGNATURE_BYTES or len(key) != KEY_BYTES:
        return False
    try:
        VerifyKey(key).verify(signed, signature)
    except BadSignatureError:
        return False
    return True


def signed_forward_key(forward_key: bytes, until: int) -> bytes:
    """Return the bytes that a relay's identity signs so that its forward key may be told by others."""
    return FORWARD_KEY_CONTEXT + forward_key + until.to_bytes(8, "big")


def forward_key_fits(hello: Hello, *, identity_key: bytes, now: float) -> bool:
    """Whether the hello's forward key is by the relay with this Ed25519 key, and not over at `now` (Unix seconds)."""
    signed = signed_forward_key(hello.forward_key, hello.forward_until)
    return now < hello.forward_until and signature_fits(
        key=identity_key, signed=signed, signature=hello.forward_signature
    )


# --- work -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """A challenge, read: `bits` of work for `purpose` until `until` (the relay's Unix seconds)."""

    purpose: Purpose
    bits: int
    until: int
    random: bytes
    mac: bytes


def encode_task(task: Task) -> bytes:
    """Return the challenge, 59 bytes."""
    return _CHALLENGE.pack(_CHALLENGE_VERSION, task.purpose, task.bits, task.until, task.random, task.mac)


def decode_task(challenge: bytes) -> Task:
    """Return what a challenge asks for; `ProtocolViolation` when it is none. Only its relay can check the mac."""
    if len(challenge) != CHALLENGE_BYTES:
        raise ProtocolViolation(f"a challenge of {len(challenge)} bytes")
    version, purpose, bits, until, random, mac = _CHALLENGE.unpack(challenge)
    if version != _CHALLENGE_VERSION or bits > _DIGEST_BITS - 1:
        raise ProtocolViolation(f"a challenge of version {version} for {bits} bits")
    try:
        return Task(Purpose(purpose), bits, until, random, mac)
    except ValueError:
        raise ProtocolViolation(f"a challenge for the unknown purpose {purpose}") from None


def unmarked(challenge: bytes) -> bytes:
    """Return the part of a challenge that its mac is over, together with the queue's sending id."""
    return challenge[:-_CHALLENGE_MAC_BYTES]


def work_fits(challenge: bytes, *, subject: bytes, answer: int, bits: int) -> bool:
    """Whether the answer (64 bits) for this subject (16 bytes: a `mid`, a TAKE's subject) has enough zero bits."""
    return _zero_bits(_started(challenge, subject), answer) >= bits


def find_answer(challenge: bytes, *, subject: bytes, first: int, tries: int) -> int | None:
    """Try `tries` answers from `first` on; return one that fits the challenge's bits, or None.

    About 0.5 us a try: the caller works in pieces, in a thread of its own.
    """
    bits = decode_task(challenge).bits
    started = _started(challenge, subject)
    return next((answer for answer in range(first, first + tries) if _zero_bits(started, answer) >= bits), None)


def _started(challenge: bytes, subject: bytes) -> "hashlib._Hash":
    if len(subject) != MID_BYTES:
        raise ProtocolViolation(f"a subject of {len(subject)} bytes")
    return hashlib.sha256(WORK_CONTEXT + challenge + subject)


def _zero_bits(started: "hashlib._Hash", answer: int) -> int:
    whole = started.copy()
    whole.update(answer.to_bytes(8, "big"))
    return _DIGEST_BITS - int.from_bytes(whole.digest(), "big").bit_length()
