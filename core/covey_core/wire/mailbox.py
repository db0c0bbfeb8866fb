"""What a client and a mailbox relay say to each other, as values.

Owns: commands and answers. Spec: docs/spec/mailbox.md. What their fields may be: mailbox_bounds.py; the bytes:
mailbox_codec.py; signatures and work: mailbox_proof.py. Never touches: streams, queues, what is allowed to whom (the
relay's policy).
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

MAILBOX_NAME: Final = "mailbox"
"""The protocol's name: `network.protocol(MAILBOX_NAME)` is its id."""


class Purpose(IntEnum):
    """What work is done for."""

    PUT = 1
    TAKE = 2


class Reason(IntEnum):
    """Why a command was refused."""

    AUTH = 1
    QUOTA = 2
    BUSY = 3
    WORK = 4
    EMPTY = 5
    UNREACHABLE = 6


# --- what a queue asks of those who write to it -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AdmitKey:
    """Only who signs with this Ed25519 key (32 bytes): an established contact."""

    send_key: bytes


@dataclass(frozen=True, slots=True)
class AdmitOpen:
    """Everybody."""


@dataclass(frozen=True, slots=True)
class AdmitPassword:
    """Who knows the secret of 32 bytes whose SHA-256 this is."""

    secret_hash: bytes


@dataclass(frozen=True, slots=True)
class AdmitTokens:
    """Who knows one of these secrets (1 to 64 different SHA-256); each is good for one message and one key."""

    secret_hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AdmitWork:
    """Who has worked: at least `bits` (0 to 24), more as the queue fills."""

    bits: int


Admit = AdmitKey | AdmitOpen | AdmitPassword | AdmitTokens | AdmitWork


@dataclass(frozen=True, slots=True)
class SecretProof:
    """The password or token, 32 bytes."""

    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WorkProof:
    """An answer (64 bits) to a challenge (59 bytes) of the relay."""

    challenge: bytes
    answer: int


Proof = SecretProof | WorkProof


# --- commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class New:
    """Make a queue that `recv_key` (Ed25519, 32 bytes) owns. Signed by that key."""

    recv_key: bytes
    admit: Admit


@dataclass(frozen=True, slots=True)
class Put:
    """Deposit a blob of one of the three sizes for `ttl_seconds` under an id that its sender derived (16 bytes)."""

    send_id: bytes
    mid: bytes
    ttl_seconds: int
    blob: bytes = field(repr=False)
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class Have:
    """Ask which of these messages (1 to 256) need not be deposited again."""

    send_id: bytes
    mids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Get:
    """The messages after number `after`, at most `max_messages` (1 to 1,024) of them."""

    recv_id: bytes
    after: int
    max_messages: int


@dataclass(frozen=True, slots=True)
class Sub:
    """The messages after number `after`, and every further one when it comes."""

    recv_id: bytes
    after: int


@dataclass(frozen=True, slots=True)
class Ack:
    """These messages (1 to 1,024) lie safely with their recipient: delete them."""

    recv_id: bytes
    mids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rot:
    """From now on the queue asks this of those who write."""

    recv_id: bytes
    admit: Admit


@dataclass(frozen=True, slots=True)
class Del:
    """Delete the queue and all that lies in it."""

    recv_id: bytes


@dataclass(frozen=True, slots=True)
class Stock:
    """Add one-time keys (0 to 32 of 1 to 2,048 bytes), and replace the bundle (at most 8,192) unless it is empty."""

    recv_id: bytes
    keys: tuple[bytes, ...]
    bundle: bytes = b""


@dataclass(frozen=True, slots=True)
class Take:
    """Hand out the bundle and a one-time key. `subject`: 16 random bytes that the work, if any, was done for."""

    send_id: bytes
    subject: bytes
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A challenge, please. Not signed."""

    send_id: bytes
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Fwd:
    """Bring these sealed bytes to another relay (PeerId as multihash); empty: ask it for its Hello. Not signed."""

    relay: bytes
    sealed: bytes = field(repr=False)


Command = New | Put | Have | Get | Sub | Ack | Rot | Del | Stock | Take | Work | Fwd


@dataclass(frozen=True, slots=True)
class Request:
    """A command as it was signed. `body` are the bytes that `signature` (64 bytes, or none) is over."""

    id: int
    command: Command
    body: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The relay's first words on a stream: nonce and X25519 key of 32 bytes, a signature of 64, Unix seconds."""

    nonce: bytes
    time: int
    forward_key: bytes
    forward_until: int
    forward_signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Done:
    """It is so (DEL, ACK, ROT, SUB, STOCK)."""


@dataclass(frozen=True, slots=True)
class Ids:
    """A queue's two ids (24 bytes each) and its bounds."""

    recv_id: bytes
    send_id: bytes
    quota_messages: int
    quota_bytes: int
    max_ttl_seconds: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The message is on the disk, or was already; `seq` is its number in the queue, from 1."""

    seq: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of a queue."""

    seq: int
    mid: bytes
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages in the order of their numbers; `more`: others lie behind the last one."""

    messages: tuple[StoredMessage, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """Of the messages asked for those that need not be deposited again."""

    mids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """The bundle (1 to 8,192 bytes) and a one-time key (to 2,048, empty when none is left); `left` more, up to 255."""

    bundle: bytes
    one_time: bytes
    left: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """What to work on, 59 bytes."""

    challenge: bytes


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the other relay answered: sealed bytes, or its Hello."""

    sealed: bytes = field(default=b"", repr=False)
    hello: Hello | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """No; for BUSY with the seconds after which to ask again, 0 to 86,400."""

    reason: Reason
    retry_after_seconds: int = 0


Answer = Done | Ids | Stored | Messages | Held | Key | Challenge | Forwarded | Refused


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to the request of this id; for a push the id of the SUB."""

    id: int
    answer: Answer
