"""One punch with one peer: carries out what its machine says, on one relayed connection.

Owns: the stream of one punch and its tasks. Spec: docs/spec/dcutr.md. Never touches: who may punch, and how many at a
time (puncher.py); when what is said (protocol/dcutr.py).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import trio

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost
from covey_core.host import ConnectionInfo, Host, PunchResult, Stream
from covey_core.limits import DCUTR_MESSAGE_BYTES
from covey_core.peers import PeerId
from covey_core.wire.dcutr import DCUTR_PROTOCOL, HolePunch, HolePunchType, decode_hole_punch, encode_hole_punch
from covey_core.wire.direct_addr import DirectAddr
from covey_core.wire.framing import encode_frame
from covey_node import limits
from covey_node.protocol.dcutr import (
    Command,
    Finish,
    Initiator,
    OpenStream,
    Punch,
    Receiver,
    Send,
    State,
    StopPunch,
)
from covey_node.protocol.punch_log import Ending, PunchOutcome, Reason, Side

Beside = Callable[[trio.Nursery], Awaitable[None]]
"""What is done while the first CONNECT is under way and is over before SYNC; what it starts ends with the punch."""

_BACKLOG = 8  # inputs that wait for the machine: a peer that writes more waits
_NOBODY_THERE = "refused"


class PunchRun:
    """One punch from its first word to its end. `connection` is the number of the relayed connection.

    `nat` returns what our NAT does: the peer is told along with our addresses.
    """

    def __init__(
        self,
        host: Host,
        peer: PeerId,
        machine: Initiator | Receiver,
        *,
        connection: int | None,
        nat: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.peer = peer
        self.machine = machine
        self.attempts = 0
        self.identified = trio.Event()
        self.over = trio.Event()
        self._host = host
        self._connection = connection
        self._send, self._receive = trio.open_memory_channel[Callable[[], list[Command]]](_BACKLOG)
        self._stream: Stream | None = None
        self._reading = trio.CancelScope()
        self._punching = trio.CancelScope()
        self._is_punching = False
        self._early = trio.Event()
        self._prepared = trio.Event()
        self._scope = trio.CancelScope()
        self._result = PunchResult(None, ())
        self._direct: ConnectionInfo | None = None
        self._stopped: Finish | None = None
        self._nat = nat
        self._their_nat: str | None = None

    @property
    def side(self) -> Side:
        """Who we are in it."""
        return Side.INITIATOR if isinstance(self.machine, Initiator) else Side.RECEIVER

    @property
    def may_yield(self) -> bool:
        """Whether nothing has been agreed yet: a peer that starts as well may then have it."""
        return self.attempts == 0 and self.machine.state is State.CONNECT_SENT

    def stop(self, ending: Ending = Ending.CANCELLED, reason: Reason | None = None) -> None:
        """End it now."""
        self._stopped = Finish(ending, reason, reset=True)
        self._scope.cancel()

    def stands(self, connection: ConnectionInfo) -> None:
        """A direct connection to the peer came to stand, whoever dialed it."""
        if self._is_punching:
            self._early.set()  # the host counts it to the punch
            return
        self._direct = connection
        self._stopped = Finish(Ending.SUCCESS if self.attempts else Ending.DIRECT)
        self._scope.cancel()

    async def run(self, stream: Stream | None = None, *, beside: Beside | None = None) -> PunchOutcome:
        """Punch; `stream` is the peer's when it started."""
        began = trio.current_time()
        end = Finish(Ending.CANCELLED)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    if stream is not None:
                        self._take(stream, nursery)
                    end = await self._follow(nursery, beside)
                    nursery.cancel_scope.cancel()
            if self._stopped is not None:
                end = self._stopped
        finally:
            await self._end_stream(reset=end.reset)
        return self._outcome(end, trio.current_time() - began)

    async def _follow(self, nursery: trio.Nursery, beside: Beside | None) -> Finish:
        if beside is None:
            self._prepared.set()
        else:
            nursery.start_soon(self._prepare, nursery, beside)
        commands = self.machine.begin(now=trio.current_time())
        while True:
            for command in commands:
                match command:
                    case Finish():
                        return command
                    case OpenStream(message) if isinstance(self.machine, Initiator):
                        nursery.start_soon(self._open, self.machine, self._encode(message), nursery)
                    case Send(message):
                        await self._prepared.wait()
                        if not await self._write(self._encode(message)):
                            return Finish(Ending.FAILED, Reason.NO_STREAM, reset=True)
                    case Punch():
                        self.attempts += 1
                        self._is_punching = True
                        nursery.start_soon(self._punch, command)
                    case StopPunch():
                        self._punching.cancel()
            commands = await self._next()

    async def _prepare(self, nursery: trio.Nursery, beside: Beside) -> None:
        await beside(nursery)
        self._prepared.set()

    async def _next(self) -> list[Command]:
        deadline = self.machine.deadline
        with trio.move_on_at(float("inf") if deadline is None else deadline):
            return (await self._receive.receive())()
        return self.machine.timed_out(now=trio.current_time())

    async def _open(self, machine: Initiator, first: bytes, nursery: trio.Nursery) -> None:
        await self._end_stream(reset=False)
        frame = encode_frame(first, limit=DCUTR_MESSAGE_BYTES)
        try:
            stream = await self._host.open_stream(self.peer, DCUTR_PROTOCOL, on=self._connection, early=frame)
        except CoveyError:
            problem = Reason.NO_STREAM if self._relayed_stands() else Reason.RELAY_LIMIT
            await self._send.send(partial(machine.not_opened, problem))
        else:
            self._take(stream, nursery)

    def _take(self, stream: Stream, nursery: trio.Nursery) -> None:
        self._stream = stream
        self._reading = trio.CancelScope()
        nursery.start_soon(self._read, stream, self._reading)

    async def _read(self, stream: Stream, scope: trio.CancelScope) -> None:
        with scope:
            try:
                while (frame := await stream.read_frame(limit=DCUTR_MESSAGE_BYTES)) is not None:
                    message, now = decode_hole_punch(frame), trio.current_time()
                    self._their_nat = message.nat or self._their_nat
                    await self._send.send(partial(self.machine.received, message, now=now))
            except ProtocolViolation:
                await self._send.send(self.machine.violated)
                return
            except StreamLost:
                pass
            await self._send.send(self.machine.ended)

    def _encode(self, message: HolePunch) -> bytes:
        nat = self._nat() if message.type is HolePunchType.CONNECT else None
        return encode_hole_punch(replace(message, nat=nat))

    async def _write(self, payload: bytes) -> bool:
        try:
            with trio.fail_after(limits.PUNCH_ANSWER_SECONDS):
                if self._stream is not None:
                    await self._stream.write_frame(payload, limit=DCUTR_MESSAGE_BYTES)
        except (StreamLost, trio.TooSlowError):
            return False
        return True

    async def _punch(self, punch: Punch) -> None:
        self._punching = trio.CancelScope()
        with self._punching:
            with trio.move_on_after(punch.after_seconds):
                await self._early.wait()
            self._result = await self._host.punch(
                self.peer, punch.addrs, client=punch.client, window_seconds=punch.window_seconds
            )
        if self._punching.cancelled_caught:
            return
        self._is_punching = False
        found = self._result.addresses
        refused = bool(found) and all(one.reason == _NOBODY_THERE for one in found)
        stands = self._result.connection is not None
        await self._send.send(lambda: self.machine.punched(stands=stands, refused=refused, now=trio.current_time()))

    async def _end_stream(self, *, reset: bool) -> None:
        self._reading.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            await (stream.reset() if reset else stream.close())

    def _relayed_stands(self) -> bool:
        return any(one.number == self._connection for one in self._host.connections(self.peer))

    def _outcome(self, end: Finish, seconds: float) -> PunchOutcome:
        ending, reason = end.ending, end.reason
        if ending is Ending.FAILED and self._connection is not None and not self._relayed_stands():
            reason = Reason.RELAY_LIMIT
        won = self._direct or self._result.connection
        remote = None if won is None or ending not in {Ending.SUCCESS, Ending.DIRECT} else won
        addr = None if remote is None else DirectAddr.parse(remote.remote_addr)
        return PunchOutcome(
            peer=self.peer,
            at=time.time(),
            side=self.side,
            attempts=self.attempts,
            outcome=ending,
            reason=reason,
            seconds=seconds,
            transport=None if remote is None else remote.transport,
            ip_version=None if addr is None else addr.ip_version,
            addresses=self._result.addresses,
            their_nat=self._their_nat,
        )
