"""Where relays make themselves known and others find them: both ends of the rendezvous protocol.

Owns: serving a rendezvous point, registering at one, asking one. Spec: libp2p specs, rendezvous r3;
docs/spec/rendezvous.md. Never touches: what is done with the peers found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost, Unreachable
from covey_core.host import kad_limits as limits
from covey_core.host.kad_addrs import dialable
from covey_core.host.kad_identify import identify
from covey_core.host.kad_slots import RequestRates, StreamSlots
from covey_core.host.rendezvous_table import Registrations
from covey_core.host.rendezvous_wire import (
    RENDEZVOUS,
    Discover,
    Discovered,
    PeerRecord,
    Register,
    Registered,
    RendezvousMessage,
    RendezvousStatus,
    Unregister,
    decode_rendezvous,
    encode_rendezvous,
    open_peer_record,
    seal_peer_record,
)
from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.peers import PeerId, short
from covey_core.wire.circuit import HOP_PROTOCOL

if TYPE_CHECKING:
    from covey_core.host import Host, Stream

_log: Final = structlog.get_logger("covey.rendezvous")


def relay_namespace(network: Network) -> str:
    """Return the namespace under which a network's relays register."""
    return f"{network.kad_prefix}/relay"


def serve_rendezvous(host: Host, *, namespace: str) -> Registrations:
    """Serve a rendezvous point on `host` for as long as it runs; returns its registrations, for metrics.

    Only `namespace` is served, and only peers that offer the relay protocol may register under it.
    """
    point = _Point(host, namespace)
    host.handle(RENDEZVOUS, point.serve)
    return point.registrations


async def register(host: Host, identity: Identity, point: PeerId, *, namespace: str, sequence: int) -> int:
    """Register the addresses of `host` at a connected point; returns for how many seconds it holds.

    `sequence` must rise from call to call (Unix seconds do). Raises `Unreachable` when the point refuses or does not
    answer, `StreamLost`, `ProtocolViolation`.
    """
    sealed = seal_peer_record(identity, host.addrs, sequence=sequence)
    answer = await _ask(host, point, Register(namespace, sealed))
    if not isinstance(answer, Registered):
        raise ProtocolViolation("a rendezvous answer to another question")
    if answer.status is not RendezvousStatus.OK:
        raise Unreachable(f"the rendezvous point refused: {answer.status.name.lower()} ({answer.text[:100]})")
    return answer.ttl_seconds or limits.RENDEZVOUS_TTL_SECONDS


async def discover(host: Host, point: PeerId, *, namespace: str) -> tuple[PeerRecord, ...]:
    """Return the peers registered at a connected point, with the addresses that our network's scope lets us dial.

    Records that their own peer did not sign are left out. Errors as in `register`.
    """
    found: dict[PeerId, PeerRecord] = {}
    cookie = b""
    for _ in range(limits.RENDEZVOUS_REGISTRATIONS // limits.RENDEZVOUS_PAGE):
        answer = await _ask(host, point, Discover(namespace, limits.RENDEZVOUS_PAGE, cookie))
        if not isinstance(answer, Discovered):
            raise ProtocolViolation("a rendezvous answer to another question")
        if answer.status is not RendezvousStatus.OK:
            raise Unreachable(f"the rendezvous point refused: {answer.status.name.lower()} ({answer.text[:100]})")
        for registration in answer.registrations:
            try:
                record = open_peer_record(registration.signed_record)
            except ProtocolViolation as exc:
                _log.debug("rendezvous.record.refused", problem=str(exc))
                continue
            addrs = dialable(record.addrs, host.network.scope)
            if addrs and record.peer != host.peer_id:
                found[record.peer] = PeerRecord(record.peer, record.sequence, addrs)
        cookie = answer.cookie
        if len(answer.registrations) < limits.RENDEZVOUS_PAGE or not cookie:
            break
    return tuple(found.values())


async def _ask(host: Host, point: PeerId, message: RendezvousMessage) -> RendezvousMessage:
    try:
        with trio.fail_after(limits.RENDEZVOUS_SECONDS):
            stream = await host.open_stream(point, RENDEZVOUS)
            try:
                await stream.write_frame(encode_rendezvous(message), limit=limits.RENDEZVOUS_MESSAGE_BYTES)
                payload = await stream.read_frame(limit=limits.RENDEZVOUS_MESSAGE_BYTES)
            finally:
                await stream.reset()
    except trio.TooSlowError as exc:
        raise Unreachable(f"no rendezvous answer within {limits.RENDEZVOUS_SECONDS} s") from exc
    if payload is None:
        raise StreamLost("the rendezvous point ended the stream without an answer")
    return decode_rendezvous(payload)


class _Point:
    """The serving end."""

    def __init__(self, host: Host, namespace: str) -> None:
        self.registrations = Registrations()
        self._host = host
        self._namespace = namespace
        self._slots = StreamSlots()
        self._rates = RequestRates()

    async def serve(self, stream: Stream) -> None:
        """Answer the requests on one stream until it ends, is idle for 10 s, or breaks a rule (then it is reset)."""
        with trio.CancelScope() as pushed_out:
            slot = self._slots.open(stream.peer, pushed_out.cancel)
            if slot is None:
                await stream.reset()
                return
            try:
                while await self._serve_one(stream, slot):
                    self._slots.idle(slot, pushed_out.cancel)
            except StreamLost:
                return
            except (ProtocolViolation, trio.TooSlowError) as exc:
                _log.debug("rendezvous.request.refused", peer=short(stream.peer), problem=str(exc))
            else:
                await stream.close()
                return
            finally:
                self._slots.close(slot)
        await stream.reset()

    async def _serve_one(self, stream: Stream, slot: int) -> bool:
        with trio.fail_after(limits.STREAM_IDLE_SECONDS):
            payload = await stream.read_frame(limit=limits.RENDEZVOUS_MESSAGE_BYTES)
        if payload is None:
            return False
        self._slots.busy(slot)
        if not self._rates.allow(stream.peer, now=trio.current_time()):
            raise ProtocolViolation("too many requests")
        answer = await self._answer(stream.peer, decode_rendezvous(payload))
        if answer is not None:
            with trio.fail_after(limits.REQUEST_SECONDS):
                await stream.write_frame(encode_rendezvous(answer), limit=limits.RENDEZVOUS_MESSAGE_BYTES)
        return True

    async def _answer(self, peer: PeerId, message: RendezvousMessage) -> RendezvousMessage | None:
        now = trio.current_time()
        match message:
            case Discover():
                return self.registrations.discover(message, now=now)
            case Unregister():
                self.registrations.unregister(peer, message.namespace)
                return None
            case Register():
                if message.namespace != self._namespace:
                    return Registered(RendezvousStatus.INVALID_NAMESPACE, "this point knows only relays of its network")
                if not await self._is_relay(peer):
                    return Registered(RendezvousStatus.NOT_AUTHORIZED, "only relays register here")
                return self.registrations.register(peer, message, now=now)
        raise ProtocolViolation("an answer where a request was due")

    async def _is_relay(self, peer: PeerId) -> bool:
        try:
            return HOP_PROTOCOL in (await identify(self._host, peer)).protocols
        except CoveyError:
            return False
