"""The AutoNAT v2 server: tells others whether an address of theirs can be dialed, by dialing it.

Owns: the dial-request streams, their deadlines, the data that is asked for. Spec: libp2p specs, autonat/autonat-v2.md;
docs/spec/autonat.md. Never touches: which address is dialed (policy.py), the dial-back's host (dialing.py).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from random import SystemRandom
from typing import Final

import structlog
import trio

from covey_core.autonat import limits
from covey_core.autonat.dialing import dial_back
from covey_core.autonat.limits import AutonatLimits
from covey_core.autonat.origins import ip_in, plain
from covey_core.autonat.policy import Chosen, DataMeter, DialPolicy, Refusal, Refused
from covey_core.autonat.routes import has_route, is_ours
from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host import Host, Stream
from covey_core.limits import AUTONAT_MESSAGE_BYTES
from covey_core.peers import PeerId
from covey_core.wire.autonat import (
    DIAL_REQUEST_PROTOCOL,
    DialData,
    DialDataRequest,
    DialRequest,
    DialResponse,
    DialStatus,
    Message,
    ResponseStatus,
    decode_message,
    encode_message,
)
from covey_core.wire.direct_addr import DirectAddr

_log: Final = structlog.get_logger("covey.autonat")

_chance: Final = SystemRandom().random


class Served(StrEnum):
    """What became of a request; METRICS' `outcome` of covey_autonat_served_total."""

    REACHED = "reached"
    UNREACHED = "unreached"
    NO_NONCE = "no_nonce"
    REJECTED = "rejected"
    REFUSED = "refused"
    BROKEN = "broken"


_DIALED: Final = {
    DialStatus.OK: Served.REACHED,
    DialStatus.E_DIAL_ERROR: Served.UNREACHED,
    DialStatus.E_DIAL_BACK_ERROR: Served.NO_NONCE,
}


class AutonatServer:
    """Serves dial requests at one host."""

    def __init__(
        self,
        host: Host,
        *,
        bounds: AutonatLimits | None = None,
        on_served: Callable[[Served], None] = lambda _served: None,
        random: Callable[[], float] = _chance,
        transports: frozenset[str] = frozenset({"tcp", "quic"}),
    ) -> None:
        self._host = host
        self._on_served = on_served
        self.policy: Final = DialPolicy(
            host.network.scope,
            bounds or AutonatLimits(),
            random=random,
            transports=transports,
            can_reach=has_route,
            is_own=self._is_own,
        )

    async def serve(self, stream: Stream) -> None:
        """Serve one dial-request stream."""
        outcome = Served.BROKEN
        try:
            with trio.move_on_after(limits.SERVE_SECONDS):
                outcome = await self._serve(stream)
            if outcome is Served.BROKEN:
                await stream.reset()
        finally:
            self._on_served(outcome)

    async def _serve(self, stream: Stream) -> Served:
        source = ip_in(stream.remote_addr)
        ip = None if source is None else str(source)
        refused = self.policy.begin(stream.peer, ip=ip, relayed=stream.relayed, now=trio.current_time())
        if refused is not None or ip is None:
            return await self._refuse(stream, refused or Refused(Refusal.RELAYED))
        try:
            with trio.fail_after(limits.REQUEST_SECONDS):
                request = await _read(stream)
            if not isinstance(request, DialRequest):
                return Served.BROKEN
            chosen = self.policy.choose(request.addrs, ip=ip, now=trio.current_time())
            if isinstance(chosen, Refused):
                return await self._refuse(stream, chosen)
            if chosen.data_bytes:
                await self._take_data(stream, chosen)
            return await self._dial(stream, chosen, request.nonce)
        except (ProtocolViolation, StreamLost, trio.TooSlowError) as exc:
            _log.debug("autonat.request.broken", problem=str(exc) or "too slow")
            return Served.BROKEN
        finally:
            self.policy.end(stream.peer, ip=ip)

    async def _refuse(self, stream: Stream, refused: Refused) -> Served:
        _log.debug("autonat.request.refused", reason=refused.reason.value)
        nothing_to_dial = refused.reason is Refusal.NO_ADDRESS
        status = ResponseStatus.E_DIAL_REFUSED if nothing_to_dial else ResponseStatus.E_REQUEST_REJECTED
        await self._answer(stream, DialResponse(status))
        return Served.REFUSED if nothing_to_dial else Served.REJECTED

    async def _take_data(self, stream: Stream, chosen: Chosen) -> None:
        """Have the asker pay for an address that is not its own: no amplification. Then wait, to spread the dials."""
        meter = DataMeter(chosen.data_bytes)
        with trio.fail_after(limits.DATA_SECONDS):
            await _write(stream, DialDataRequest(chosen.index, chosen.data_bytes))
            while meter.left > 0:
                part = await _read(stream)
                if not isinstance(part, DialData) or not meter.take(len(part.data)):
                    raise ProtocolViolation("no dial data, or too little in a message")
        await trio.sleep(chosen.wait_seconds)

    async def _dial(self, stream: Stream, chosen: Chosen, nonce: int) -> Served:
        status = await self.dial_back(stream.peer, chosen.target, nonce)
        await self._answer(stream, DialResponse(ResponseStatus.OK, chosen.index, status))
        return _DIALED[status]

    async def dial_back(self, peer: PeerId, target: DirectAddr, nonce: int) -> DialStatus:
        """Dial one address of `peer` and bring it the nonce."""
        left = trio.current_effective_deadline() - trio.current_time() - limits.ANSWER_SECONDS
        with trio.move_on_after(left):
            seconds = min(limits.DIAL_SECONDS, left)
            return await dial_back(self._host.network, peer, target, nonce, seconds=seconds)
        return DialStatus.E_DIAL_ERROR

    async def _answer(self, stream: Stream, response: DialResponse) -> None:
        with trio.move_on_after(limits.ANSWER_SECONDS) as scope:
            await _write(stream, response)
        if scope.cancelled_caught:
            raise StreamLost("the asker does not take the answer")

    def _is_own(self, ip: str) -> bool:
        """Whether others would have us dial ourselves: from inside, our firewall does not stand between.

        On loopback everything is ours, and a network must name it to live there.
        """
        found = plain(ip)
        if found is None or found.is_loopback:
            return False
        return is_ours(ip) or found in {ip_in(addr) for addr in self._host.addrs}


@asynccontextmanager
async def serve_autonat(
    host: Host,
    *,
    bounds: AutonatLimits | None = None,
    on_served: Callable[[Served], None] = lambda _served: None,
    random: Callable[[], float] = _chance,
) -> AsyncIterator[AutonatServer]:
    """Serve /libp2p/autonat/2/dial-request on `host` for the length of the block."""
    server = AutonatServer(host, bounds=bounds, on_served=on_served, random=random)
    host.handle(DIAL_REQUEST_PROTOCOL, server.serve)
    try:
        yield server
    finally:
        host.unhandle(DIAL_REQUEST_PROTOCOL)


async def _read(stream: Stream) -> Message:
    frame = await stream.read_frame(limit=AUTONAT_MESSAGE_BYTES)
    if frame is None:
        raise StreamLost("the asker closed the stream")
    return decode_message(frame)


async def _write(stream: Stream, message: Message) -> None:
    await stream.write_frame(encode_message(message), limit=AUTONAT_MESSAGE_BYTES)
