"""DCUtR as two machines: who says what when, when both dial, when to try again, and when to give up.

Owns: the exchanges of one punch, with their deadlines. Spec: docs/spec/dcutr.md; libp2p specs, relay/DCUtR.md.
Never touches: streams, sockets, trio, the clock (callers pass `now`, in seconds of any steady clock).

Both take what happened and return what to do, in order. After `Finish` they want nothing more and ignore what comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from covey_core.wire.dcutr import HolePunch, HolePunchType
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits
from covey_node.protocol.punch_log import Ending, Reason

Own = Callable[[], tuple[str, ...]]
"""Returns what we tell the peer (punch_addrs.candidates)."""
Choose = Callable[[Sequence[bytes], Sequence[str]], tuple[str, ...]]
"""Takes what the peer told and what we told; returns the addresses to punch to (punch_addrs.punchable)."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a new stream on the relayed connection, `message` being the first on it; the old one ends."""

    message: HolePunch


@dataclass(frozen=True, slots=True)
class Send:
    """Write this message to the stream."""

    message: HolePunch


@dataclass(frozen=True, slots=True)
class Punch:
    """Wait, then dial `addrs`, as Noise and Yamux client or server, and tell what came of it."""

    addrs: tuple[str, ...]
    client: bool
    after_seconds: float
    window_seconds: float


@dataclass(frozen=True, slots=True)
class StopPunch:
    """End the punch that is under way: the peer begins anew."""


@dataclass(frozen=True, slots=True)
class Finish:
    """It is over; end the stream, by a reset when the peer is to notice a refusal."""

    ending: Ending
    reason: Reason | None = None
    reset: bool = False


Command = OpenStream | Send | Punch | StopPunch | Finish


class State(Enum):
    """Where one side stands."""

    CONNECT_SENT = "CONNECT sent"
    CONNECT_AWAITED = "CONNECT awaited"
    SYNC_AWAITED = "SYNC awaited"
    PUNCHING = "punching"
    OVER = "over"


class Initiator:
    """The side that received the relayed connection: DCUtR's B. It starts, measures, and is the server.

    `shares_stream` returns whether the peer takes the next CONNECT on the same stream, as Coveys do.
    """

    def __init__(self, own: Own, choose: Choose, shares_stream: Callable[[], bool]) -> None:
        self._ask_own = own
        self._choose = choose
        self._shares_stream = shares_stream
        self._own: tuple[str, ...] = ()
        self._sent_at = 0.0
        self._exchanges_on_stream = 0
        self._stream_is_open = False
        self.state = State.CONNECT_SENT
        self.attempts = 0
        self.rtt_seconds: float | None = None
        self.deadline: float | None = None

    def begin(self, *, now: float) -> list[Command]:
        """Start."""
        return self._connect(now)

    def not_opened(self, reason: Reason = Reason.NO_STREAM) -> list[Command]:
        """There is no stream to be had."""
        return self._finish(Ending.FAILED, reason)

    def received(self, message: HolePunch, *, now: float) -> list[Command]:
        """A message came."""
        if self.state is State.OVER:
            return []
        if self.state is not State.CONNECT_SENT or message.type is not HolePunchType.CONNECT:
            return self._finish(Ending.FAILED, Reason.PROTOCOL, reset=True)
        addrs = self._choose(message.addrs, self._own)
        if not addrs:
            return self._finish(Ending.FAILED, _why_none(message), reset=True)
        self.rtt_seconds = rtt = now - self._sent_at
        self._exchanges_on_stream += 1
        self.attempts += 1
        self.state = State.PUNCHING
        self.deadline = None
        return [
            Send(HolePunch(HolePunchType.SYNC)),
            Punch(addrs, _are_swapped(self._exchanges_on_stream), after_seconds=rtt / 2, window_seconds=window(rtt)),
        ]

    def punched(self, *, stands: bool, refused: bool, now: float) -> list[Command]:
        """The attempt is over: a direct connection stands, or not; `refused`: nobody is at any address."""
        if stands:
            return self._finish(Ending.SUCCESS)
        if self.state is not State.PUNCHING:
            return []
        if self.attempts >= limits.PUNCH_ATTEMPTS:
            return self._finish(Ending.FAILED, Reason.REFUSED if refused else Reason.DIAL_TIMEOUT)
        if not self._shares_stream():
            self._stream_is_open = False
        return self._connect(now)

    def ended(self) -> list[Command]:
        """The peer ended the stream, or it was lost. After SYNC nobody needs it; others close it then."""
        self._stream_is_open = False
        return self._finish(Ending.FAILED, Reason.REFUSED) if self.state is State.CONNECT_SENT else []

    def violated(self) -> list[Command]:
        """The peer sent what is no message."""
        return self._finish(Ending.FAILED, Reason.PROTOCOL, reset=True)

    def timed_out(self, *, now: float) -> list[Command]:
        """`deadline` has come."""
        if self.deadline is None or now < self.deadline:
            return []
        return self._finish(Ending.FAILED, Reason.SYNC_TIMEOUT, reset=True)

    def _connect(self, now: float) -> list[Command]:
        self._own = self._ask_own()
        if not self._own:
            return self._finish(Ending.FAILED, Reason.NO_PUBLIC_ADDR, reset=True)
        self.state = State.CONNECT_SENT
        self._sent_at = now
        self.deadline = now + limits.PUNCH_ANSWER_SECONDS
        if self._stream_is_open:
            return [Send(connect_message(self._own))]
        self._stream_is_open = True
        self._exchanges_on_stream = 0
        return [OpenStream(connect_message(self._own))]

    def _finish(self, ending: Ending, reason: Reason | None = None, *, reset: bool = False) -> list[Command]:
        if self.state is State.OVER:
            return []
        self.state = State.OVER
        self.deadline = None
        return [Finish(ending, reason, reset=reset)]


class Receiver:
    """The side that dialed the relayed connection: DCUtR's A. It answers, and is the client."""

    def __init__(self, own: Own, choose: Choose) -> None:
        self._ask_own = own
        self._choose = choose
        self._addrs: tuple[str, ...] = ()
        self._refused = False
        self._stream_is_open = True
        self.state = State.CONNECT_AWAITED
        self.attempts = 0
        self.deadline: float | None = None

    def begin(self, *, now: float) -> list[Command]:
        """A stream came."""
        self.deadline = now + limits.PUNCH_ANSWER_SECONDS
        return []

    def received(self, message: HolePunch, *, now: float) -> list[Command]:
        """A message came."""
        if self.state is State.OVER:
            return []
        if self.state is State.SYNC_AWAITED:
            return self._synced(message)
        if message.type is not HolePunchType.CONNECT or self.attempts >= limits.PUNCH_ATTEMPTS:
            return self._finish(Ending.FAILED, Reason.PROTOCOL, reset=True)
        stop: list[Command] = [StopPunch()] if self.state is State.PUNCHING else []
        own = self._ask_own()
        self._addrs = self._choose(message.addrs, own)
        if not own:
            return [*stop, *self._finish(Ending.FAILED, Reason.NO_PUBLIC_ADDR, reset=True)]
        if not self._addrs:
            return [*stop, *self._finish(Ending.FAILED, _why_none(message), reset=True)]
        self.state = State.SYNC_AWAITED
        self.deadline = now + limits.PUNCH_ANSWER_SECONDS
        return [*stop, Send(connect_message(own))]

    def punched(self, *, stands: bool, refused: bool, now: float) -> list[Command]:
        """The attempt is over: a direct connection stands, or not. The initiator may send the next CONNECT."""
        if stands:
            return self._finish(Ending.SUCCESS)
        if self.state is not State.PUNCHING:
            return []
        self._refused = refused
        if not self._stream_is_open or self.attempts >= limits.PUNCH_ATTEMPTS:
            return self._give_up()
        self.state = State.CONNECT_AWAITED
        self.deadline = now + limits.PUNCH_NEXT_SECONDS
        return []

    def ended(self) -> list[Command]:
        """The initiator ended the stream, or it was lost. While punching that is no news: others close it then."""
        self._stream_is_open = False
        if self.state is State.PUNCHING:
            return []
        return self._give_up() if self.attempts else self._finish(Ending.CANCELLED)

    def violated(self) -> list[Command]:
        """The peer sent what is no message."""
        return self._finish(Ending.FAILED, Reason.PROTOCOL, reset=True)

    def timed_out(self, *, now: float) -> list[Command]:
        """`deadline` has come."""
        if self.deadline is None or now < self.deadline:
            return []
        if self.state is State.CONNECT_AWAITED and self.attempts:
            return self._give_up()
        return self._finish(Ending.FAILED, Reason.SYNC_TIMEOUT, reset=True)

    def _synced(self, message: HolePunch) -> list[Command]:
        if message.type is not HolePunchType.SYNC:
            return self._finish(Ending.FAILED, Reason.PROTOCOL, reset=True)
        self.attempts += 1
        self.state = State.PUNCHING
        self.deadline = None
        seconds = limits.PUNCH_WINDOW_SECONDS_MAX
        return [Punch(self._addrs, not _are_swapped(self.attempts), after_seconds=0.0, window_seconds=seconds)]

    def _give_up(self) -> list[Command]:
        return self._finish(Ending.FAILED, Reason.REFUSED if self._refused else Reason.DIAL_TIMEOUT)

    def _finish(self, ending: Ending, reason: Reason | None = None, *, reset: bool = False) -> list[Command]:
        if self.state is State.OVER:
            return []
        self.state = State.OVER
        self.deadline = None
        return [Finish(ending, reason, reset=reset)]


def window(rtt_seconds: float) -> float:
    """Return how long one attempt goes on, by the round trip time over the relay."""
    return min(limits.PUNCH_WINDOW_SECONDS_MAX, limits.PUNCH_WINDOW_SECONDS + limits.PUNCH_WINDOW_RTTS * rtt_seconds)


def connect_message(own: Sequence[str]) -> HolePunch:
    """Return the CONNECT that tells these addresses."""
    found = (addr for addr in map(DirectAddr.parse, own) if addr is not None)
    return HolePunch(HolePunchType.CONNECT, tuple(addr.encode() for addr in found))


def _are_swapped(exchange: int) -> bool:
    """Whether roles are swapped: in the last exchange on one stream, which only Coveys come to."""
    return exchange == limits.PUNCH_ATTEMPTS


def _why_none(message: HolePunch) -> Reason:
    return Reason.NO_COMMON_TRANSPORT if message.addrs else Reason.NO_PUBLIC_ADDR
