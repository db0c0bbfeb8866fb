"""One stream to a relay's mailboxes as its client sees it: ids, signatures, which answer belongs to what was asked.

Owns: the order of ids, what is unanswered, what may answer which command. Spec: docs/spec/mailbox.md, "A stream",
"Frames", "Signatures". Never touches: streams, the clock, what answers mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from nacl.signing import SigningKey

from covey_core.errors import CoveyError, ProtocolViolation
from covey_core.peers import PeerId
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_bounds import KEY_BYTES
from covey_core.wire.mailbox_codec import decode_hello, decode_response, encode_command, encode_request
from covey_core.wire.mailbox_proof import decode_task, signed_command
from covey_node import limits


class Role(Enum):
    """What a connection is for: a relay sees one peer receive and another one send, and never both in one."""

    RECEIVE = "receive"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class At:
    """A relay and where it is; without `addrs` those of the network file and the rendezvous points are taken.

    `operator` is a name for people, empty when nobody told one.
    """

    relay: PeerId
    addrs: tuple[str, ...] = ()
    operator: str = ""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A queue to be listened to: its `recv_id` (24 bytes), the Ed25519 seed (32) of its owner, and the cursor."""

    recv_id: bytes
    seed: bytes = field(repr=False)
    after: int = 0


class MailboxUnreachable(CoveyError):
    """A relay's mailboxes did not answer; the text says why, in words for people. What was asked may have been done."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A command ready to be asked: its bytes, and the Ed25519 seed (32 bytes) that signs them, None for nobody's."""

    command: m.Command
    body: bytes = field(repr=False)
    seed: bytes | None = field(repr=False)

    @classmethod
    def of(cls, command: m.Command, seed: bytes | None) -> Asking:
        """Encode a command; `ProtocolViolation` when a field, or the seed, is not what it may be."""
        if seed is not None and len(seed) != KEY_BYTES:
            raise ProtocolViolation(f"a seed of {len(seed)} bytes")
        return cls(command, encode_command(command), seed)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to the request of this id."""

    id: int
    answer: m.Answer


@dataclass(frozen=True, slots=True)
class Pushed:
    """Messages of a queue that was subscribed to."""

    recv_id: bytes
    messages: tuple[m.StoredMessage, ...]


class Exchange:
    """What was said on one stream. After a `ProtocolViolation` it is of no more use, and neither is the stream."""

    def __init__(self, relay: PeerId) -> None:
        self._relay: Final = relay
        self._hello: m.Hello | None = None
        self._last_id = 0
        self._unanswered: dict[int, m.Command] = {}
        self._listening: dict[int, bytes] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more request may be asked before an answer comes."""
        return len(self._unanswered) < limits.MAILBOX_UNANSWERED

    @property
    def awaits(self) -> bool:
        """Whether an answer is due."""
        return bool(self._unanswered)

    def begin(self, payload: bytes) -> m.Hello:
        """Take the relay's first frame; `ProtocolViolation` when it is no hello."""
        self._hello = decode_hello(payload)
        return self._hello

    def ask(self, asking: Asking) -> tuple[int, bytes]:
        """Return the request's id and its frame's payload, signed for this stream and this place on it."""
        if self._hello is None or not self.has_room:
            raise ProtocolViolation("a mailbox request out of turn")  # ours: nobody asks before the hello
        self._last_id += 1
        signature = b""
        if asking.seed is not None:
            signature = sign(asking, relay=self._relay, nonce=self._hello.nonce, request_id=self._last_id)
        payload = encode_request(self._last_id, asking.body, signature)
        self._unanswered[self._last_id] = asking.command
        return self._last_id, payload

    def take(self, payload: bytes) -> Answered | Pushed:
        """Take a frame; `ProtocolViolation` for an answer that nobody asked for, or that cannot be one."""
        response = decode_response(payload)
        recv_id = self._listening.get(response.id)
        if recv_id is not None:
            if not isinstance(response.answer, m.Messages):
                raise ProtocolViolation("the relay pushed something that is no message")
            return Pushed(recv_id, response.answer.messages)
        command = self._unanswered.pop(response.id, None)
        if command is None:
            raise ProtocolViolation("the relay answered what nobody asked")
        check_answer(command, response.answer)
        if isinstance(command, m.Sub) and isinstance(response.answer, m.Done):
            self._listening[response.id] = command.recv_id
        return Answered(response.id, response.answer)


def sign(asking: Asking, *, relay: PeerId, nonce: bytes, request_id: int) -> bytes:
    """Return the signature (64 bytes) for one place on one stream, or of a forwarded command (id 0)."""
    if asking.seed is None:
        return b""
    signed = signed_command(relay=relay, nonce=nonce, request_id=request_id, body=asking.body)
    return SigningKey(asking.seed).sign(signed).signature


def check_answer(command: m.Command, answer: m.Answer) -> None:
    """Raise `ProtocolViolation` when this cannot be the answer to that command."""
    match command, answer:
        case _, m.Refused():
            return
        case (m.New(), m.Ids()) | (m.Put(), m.Stored()) | (m.Take(), m.Key()):
            return
        case ((m.Sub() | m.Ack() | m.Rot() | m.Del() | m.Stock()), m.Done()):
            return
        case m.Have(_, asked), m.Held(held) if set(held) <= set(asked):
            return
        case m.Get(_, after, most), m.Messages(messages):
            if len(messages) <= most and (not messages or messages[0].seq > after):
                return
        case m.Work(_, purpose), m.Challenge(challenge) if decode_task(challenge).purpose is purpose:
            return
        case m.Fwd(_, sealed), m.Forwarded(_, hello) if bool(sealed) == (hello is None):
            return
    raise ProtocolViolation(f"the relay answered {type(command).__name__} with {type(answer).__name__}")
