"""A bare client of `/covey/mailbox/1`: frames over a real stream, signatures by real keys, no cleverness."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

import trio
from nacl.signing import SigningKey

from covey_core.host import Host, Stream
from covey_core.limits import MAILBOX_HELLO_BYTES, MAILBOX_REQUEST_BYTES, MAILBOX_RESPONSE_BYTES
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire import mailbox as m
from covey_core.wire.framing import encode_frame
from covey_core.wire.mailbox_codec import decode_hello, decode_response, encode_command, encode_request
from covey_core.wire.mailbox_forward import FORWARDED_ID, ForwardSeal, begin_forward, open_answer, seal_command
from covey_core.wire.mailbox_proof import find_answer, signed_command

BLOB = bytes(range(256)) * 16 + bytes(16)
"""A small blob, 4,112 bytes."""


def key(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


def verify_key(name: str) -> bytes:
    return bytes(key(name).verify_key)


def mid(number: int) -> bytes:
    return number.to_bytes(16, "big")


@dataclass
class MailboxClient:
    """One stream. `ask` waits for the answer of its own request; pushes meanwhile are kept in `pushed`."""

    stream: Stream
    relay: PeerId
    hello: m.Hello
    me: PeerId
    last_id: int = 0
    pushed: list[m.Response] = field(default_factory=list)
    answers: dict[int, m.Answer] = field(default_factory=dict)
    subscribed: set[int] = field(default_factory=set)

    @classmethod
    async def open(cls, host: Host, relay: PeerId) -> MailboxClient:
        stream = await host.open_stream(relay, host.network.protocol("mailbox"))
        with trio.fail_after(10):
            frame = await stream.read_frame(limit=MAILBOX_HELLO_BYTES)
        assert frame is not None
        return cls(stream, relay, decode_hello(frame), host.peer_id)

    def signed(self, command: m.Command, by: SigningKey | None, request_id: int | None = None) -> bytes:
        """The frame of a request with the next id (or this one), signed by a key or by nobody."""
        self.last_id = self.last_id + 1 if request_id is None else request_id
        body = encode_command(command)
        signature = b""
        if by is not None:
            signed = signed_command(relay=self.relay, nonce=self.hello.nonce, request_id=self.last_id, body=body)
            signature = by.sign(signed).signature
        if isinstance(command, m.Sub):
            self.subscribed.add(self.last_id)
        return encode_frame(encode_request(self.last_id, body, signature), limit=MAILBOX_REQUEST_BYTES)

    async def send(self, command: m.Command, by: SigningKey | None = None) -> int:
        """Send a request and return its id, without waiting for the answer."""
        frame = self.signed(command, by)
        sent = self.last_id
        await self.stream.write(frame)
        return sent

    async def read(self) -> m.Response | None:
        """The next thing that the relay says; None at its end of the stream."""
        frame = await self.stream.read_frame(limit=MAILBOX_RESPONSE_BYTES)
        return None if frame is None else decode_response(frame)

    async def answer(self, request_id: int) -> m.Answer:
        """The answer to a request that was sent."""
        with trio.fail_after(20):
            while request_id not in self.answers:
                said = await self.read()
                assert said is not None, "the relay ended the stream"
                if said.id in self.subscribed and said.id in self.answers:
                    self.pushed.append(said)
                else:
                    assert said.id not in self.answers
                    self.answers[said.id] = said.answer
        return self.answers[request_id]

    async def ask(self, command: m.Command, by: SigningKey | None = None) -> m.Answer:
        return await self.answer(await self.send(command, by))

    async def hello_of(self, relay: PeerId) -> m.Hello:
        """The hello of another relay, as this one brings it."""
        answer = await self.ask(m.Fwd(peer_id_bytes(relay), b""))
        assert isinstance(answer, m.Forwarded), answer
        assert answer.hello is not None
        return answer.hello

    async def forwarded(
        self, relay: PeerId, hello: m.Hello, command: m.Command, by: SigningKey | None = None
    ) -> m.Answer:
        """The answer of another relay to a sealed command, brought by this one; refusals in the open are returned."""
        seal, sealed = sealed_command(relay, hello, command, by)
        answer = await self.ask(m.Fwd(peer_id_bytes(relay), sealed))
        return open_answer(seal, answer.sealed) if isinstance(answer, m.Forwarded) else answer

    async def next_push(self) -> m.Response:
        with trio.fail_after(20):
            while not self.pushed:
                said = await self.read()
                assert said is not None, "the relay ended the stream"
                if said.id in self.subscribed and said.id in self.answers:
                    self.pushed.append(said)
                else:
                    self.answers[said.id] = said.answer
        return self.pushed.pop(0)

    async def ask_with(self, body: bytes, signature: bytes) -> m.Answer:
        """The answer to an encoded command with a signature made elsewhere."""
        self.last_id += 1
        sent = self.last_id
        await self.stream.write(encode_frame(encode_request(sent, body, signature), limit=MAILBOX_REQUEST_BYTES))
        return await self.answer(sent)

    async def new(self, owner: str, admit: m.Admit) -> m.Ids:
        answer = await self.ask(m.New(verify_key(owner), admit), key(owner))
        assert isinstance(answer, m.Ids), answer
        return answer

    async def work(self, send_id: bytes, purpose: m.Purpose, subject: bytes) -> m.WorkProof:
        answer = await self.ask(m.Work(send_id, purpose))
        assert isinstance(answer, m.Challenge), answer
        return self.solve(answer, subject)

    def solve(self, challenge: m.Challenge, subject: bytes) -> m.WorkProof:
        found = find_answer(challenge.challenge, subject=subject, first=0, tries=1 << 24)
        assert found is not None
        return m.WorkProof(challenge.challenge, found)


def sealed_command(
    relay: PeerId, hello: m.Hello, command: m.Command, by: SigningKey | None = None
) -> tuple[ForwardSeal, bytes]:
    seal = begin_forward(relay, hello.forward_key, ephemeral=secrets.token_bytes(32))
    body = encode_command(command)
    signed = signed_command(relay=relay, nonce=seal.nonce, request_id=FORWARDED_ID, body=body)
    return seal, seal_command(seal, body, b"" if by is None else by.sign(signed).signature)
