"""`/covey/chat/1` on kept-open streams: packets one way, acknowledgements the other.

Owns: the two stream shells. Spec: docs/spec/chat.md.
Never touches: the database, sessions. What a packet means is the receiver's business; when one is sent, the lane's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import trio

from covey_core.errors import CoveyError, StreamLost
from covey_core.host import Host, Stream
from covey_core.peers import PeerId
from covey_core.wire.framing import encode_frame
from covey_node import limits
from covey_node.net.room import Held, Room
from covey_node.protocol.frames import Ack, Outcome, Packet, decode_chat_frame, encode_ack, encode_packet

Receiver = Callable[[PeerId, Sequence[bytes]], Awaitable[list[Outcome]]]
"""Takes packets of one device in order, returns what became of each once that is durable."""


class ChatServer:
    """Takes the packets of other devices."""

    def __init__(
        self, host: Host, receive: Receiver, *, on_stream: Callable[[PeerId, bool], None] = lambda _peer, _relayed: None
    ) -> None:
        """`on_stream` hears of every stream that a device opens: who, and whether it runs through a relay."""
        self._receive = receive
        self._on_stream = on_stream
        self._streams: Counter[PeerId] = Counter()
        self._room = Room(limits.INCOMING_QUEUE_BYTES)
        host.handle(host.network.protocol("chat"), self._serve)

    async def _serve(self, stream: Stream) -> None:
        if self._streams[stream.peer] >= limits.CHAT_STREAMS_PER_PEER_MAX:
            await stream.reset()
            return
        self._streams[stream.peer] += 1
        self._on_stream(stream.peer, stream.relayed)
        try:
            await self._take_packets(stream)
        finally:
            self._streams[stream.peer] -= 1
            if not self._streams[stream.peer]:
                del self._streams[stream.peer]

    async def _take_packets(self, stream: Stream) -> None:
        send, receive = trio.open_memory_channel[Packet](limits.UNACKED_PACKETS_MAX)
        problem: CoveyError | None = None
        held = Held(self._room)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._answer, stream, receive, held)
                async with send:
                    while (payload := await stream.read_frame(limit=limits.CHAT_FRAME_BYTES)) is not None:
                        frame = decode_chat_frame(payload)
                        if isinstance(frame, Packet):
                            await held.take(len(frame.blob))
                            await send.send(frame)
        except* CoveyError as group:
            problem = first_of(group)
        finally:
            held.give_all()
        if problem is not None:
            raise problem
        await stream.close()

    async def _answer(self, stream: Stream, packets: trio.MemoryReceiveChannel[Packet], held: Held) -> None:
        async for packet in packets:
            batch = [packet]
            while len(batch) < limits.UNACKED_PACKETS_MAX:
                try:
                    batch.append(packets.receive_nowait())
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            outcomes = await self._receive(stream.peer, [item.blob for item in batch])
            held.give(sum(len(item.blob) for item in batch))
            answer = b"".join(
                encode_frame(encode_ack(Ack(item.number, outcome)), limit=limits.CHAT_FRAME_BYTES)
                for item, outcome in zip(batch, outcomes, strict=True)
            )
            with trio.move_on_after(limits.ACK_SECONDS) as scope:
                await stream.write(answer)
            if scope.cancelled_caught:
                raise StreamLost("the peer does not read its acknowledgements")


class ChatStream:
    """Our packets to one device."""

    def __init__(self, stream: Stream, number: int | None = None) -> None:
        """`number` is the connection's, None when that was left to the host."""
        self._stream = stream
        self.number = number

    @property
    def peer(self) -> PeerId:
        """The device at the other end."""
        return self._stream.peer

    @classmethod
    async def open(cls, host: Host, peer: PeerId, *, on: int | None = None) -> ChatStream:
        """Open a stream, on the connection of that number if given; Unreachable or StreamLost when there is none."""
        return cls(await host.open_stream(peer, host.network.protocol("chat"), on=on), on)

    async def send(self, packets: Sequence[Packet]) -> None:
        """Write packets in one go; StreamLost when the peer takes nothing for `limits.ACK_SECONDS`."""
        data = b"".join(encode_frame(encode_packet(item), limit=limits.CHAT_FRAME_BYTES) for item in packets)
        with trio.move_on_after(limits.ACK_SECONDS) as scope:
            await self._stream.write(data)
        if scope.cancelled_caught:
            raise StreamLost("the peer reads nothing")

    async def next_ack(self) -> Ack | None:
        """Return the next acknowledgement, None at the end of the stream. Waits as long as the stream stands."""
        while (payload := await self._stream.read_frame(limit=limits.CHAT_FRAME_BYTES)) is not None:
            frame = decode_chat_frame(payload)
            if isinstance(frame, Ack):
                return frame
        return None

    async def end(self) -> None:
        """Close the stream in both directions, within a second, also while the task is being cancelled."""
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await self._stream.close()


def first_of(group: BaseExceptionGroup[CoveyError]) -> CoveyError:
    """Return one error of a group: a stream ends for the first reason, the others follow from it."""
    error = group.exceptions[0]
    return first_of(error) if isinstance(error, BaseExceptionGroup) else error
