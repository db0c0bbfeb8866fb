"""The rendezvous protocol's messages and signed peer records as values, and their bytes.

Owns: encoding and decoding. Spec: libp2p specs, rendezvous r3 and RFC 0003; docs/spec/rendezvous.md.
Never touches: streams, the clock, who may register.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from google.protobuf.message import DecodeError

from covey_core.errors import ProtocolViolation
from covey_core.host import kad_limits as limits
from covey_core.host.kad_addrs import binary_addr, text_addr
from covey_core.host.pb import rendezvous_pb2 as pb
from covey_core.identity import Identity
from covey_core.peers import PeerId, peer_id_bytes, peer_id_from_bytes
from covey_core.wire.envelope import open_envelope, seal_envelope

RENDEZVOUS: Final = "/rendezvous/1.0.0"
PEER_RECORD_DOMAIN: Final = "libp2p-peer-record"
PEER_RECORD_TYPE: Final = b"\x03\x01"  # multicodec libp2p-peer-record


class RendezvousStatus(IntEnum):
    """Answers of a rendezvous point."""

    OK = 0
    INVALID_NAMESPACE = 100
    INVALID_SIGNED_PEER_RECORD = 101
    INVALID_TTL = 102
    INVALID_COOKIE = 103
    NOT_AUTHORIZED = 200
    INTERNAL_ERROR = 300
    UNAVAILABLE = 400


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """Where a peer says it can be reached: `addrs` as text ending in /p2p/<peer>; a higher `sequence` is newer."""

    peer: PeerId
    sequence: int
    addrs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Register:
    """A wish to be found under a namespace, or in an answer somebody who is. `ttl_seconds` 0 means the default."""

    namespace: str
    signed_record: bytes
    ttl_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Unregister:
    """A wish not to be found any more. There is no answer."""

    namespace: str


@dataclass(frozen=True, slots=True)
class Discover:
    """A question for those registered under a namespace; `cookie` of an earlier answer leads on from there."""

    namespace: str
    limit: int = 0
    cookie: bytes = b""


@dataclass(frozen=True, slots=True)
class Registered:
    """The answer to `Register`."""

    status: RendezvousStatus
    text: str = ""
    ttl_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Discovered:
    """The answer to `Discover`."""

    status: RendezvousStatus
    registrations: tuple[Register, ...] = ()
    cookie: bytes = b""
    text: str = ""


RendezvousMessage = Register | Unregister | Discover | Registered | Discovered


def seal_peer_record(identity: Identity, addrs: tuple[str, ...], *, sequence: int) -> bytes:
    """Return `addrs` (8 at the most) as a peer record in an envelope signed by `identity`."""
    record = pb.PeerRecord(peer_id=peer_id_bytes(identity.peer_id), seq=sequence)
    for addr in addrs[: limits.PEER_ADDRESSES]:
        record.addresses.add(multiaddr=binary_addr(addr))
    return seal_envelope(
        identity,
        domain=PEER_RECORD_DOMAIN,
        payload_type=PEER_RECORD_TYPE,
        payload=record.SerializeToString(deterministic=True),
    )


def open_peer_record(data: bytes) -> PeerRecord:
    """Return the peer record in a signed envelope; `ProtocolViolation` unless its own peer signed it."""
    signer, payload = open_envelope(
        data, domain=PEER_RECORD_DOMAIN, payload_type=PEER_RECORD_TYPE, limit=limits.RENDEZVOUS_RECORD_BYTES
    )
    record = pb.PeerRecord()
    try:
        record.ParseFromString(payload)
    except DecodeError as exc:
        raise ProtocolViolation("an envelope that holds no peer record") from exc
    if peer_id_from_bytes(record.peer_id) != signer:
        raise ProtocolViolation("a peer record signed by somebody else")
    texts = (text_addr(entry.multiaddr, signer) for entry in record.addresses[: limits.PEER_ADDRESSES])
    return PeerRecord(signer, record.seq, tuple(text for text in texts if text is not None))


def encode_rendezvous(message: RendezvousMessage) -> bytes:
    """Return the protobuf bytes of a message, without length prefix."""
    out = pb.Message()
    match message:
        case Register():
            out.type = pb.Message.REGISTER
            out.register.CopyFrom(_raw_register(message))
        case Unregister():
            out.type = pb.Message.UNREGISTER
            out.unregister.ns = message.namespace
        case Discover():
            out.type = pb.Message.DISCOVER
            out.discover.ns = message.namespace
            out.discover.limit = message.limit
            if message.cookie:
                out.discover.cookie = message.cookie
        case Registered():
            out.type = pb.Message.REGISTER_RESPONSE
            out.register_response.CopyFrom(
                pb.Message.RegisterResponse(
                    status=_status_name(message.status), status_text=message.text, ttl=message.ttl_seconds
                )
            )
        case Discovered():
            out.type = pb.Message.DISCOVER_RESPONSE
            out.discover_response.CopyFrom(
                pb.Message.DiscoverResponse(
                    status=_status_name(message.status),
                    status_text=message.text,
                    cookie=message.cookie,
                    registrations=[_raw_register(one) for one in message.registrations],
                )
            )
    return out.SerializeToString()


def decode_rendezvous(payload: bytes) -> RendezvousMessage:
    """Return the message in `payload`; `ProtocolViolation` for bytes that are none."""
    raw = pb.Message()
    try:
        raw.ParseFromString(payload)
    except DecodeError as exc:
        raise ProtocolViolation(f"{len(payload)} bytes that are no rendezvous message") from exc
    match raw.type:
        case pb.Message.REGISTER:
            return _register(raw.register)
        case pb.Message.UNREGISTER:
            return Unregister(raw.unregister.ns)
        case pb.Message.DISCOVER:
            return Discover(raw.discover.ns, raw.discover.limit, raw.discover.cookie)
        case pb.Message.REGISTER_RESPONSE:
            answer = raw.register_response
            return Registered(_status(answer.status), answer.status_text, answer.ttl)
        case pb.Message.DISCOVER_RESPONSE:
            found = raw.discover_response
            registrations = tuple(_register(one) for one in found.registrations[: limits.RENDEZVOUS_PAGE])
            return Discovered(_status(found.status), registrations, found.cookie, found.status_text)
    raise ProtocolViolation(f"a rendezvous message of unknown type {raw.type}")


def _register(raw: pb.Message.Register) -> Register:
    return Register(raw.ns, raw.signed_peer_record, raw.ttl)


def _raw_register(message: Register) -> pb.Message.Register:
    raw = pb.Message.Register(ns=message.namespace, signed_peer_record=message.signed_record)
    if message.ttl_seconds:
        raw.ttl = message.ttl_seconds
    return raw


def _status_name(status: RendezvousStatus) -> str:
    return "OK" if status is RendezvousStatus.OK else f"E_{status.name}"


def _status(code: int) -> RendezvousStatus:
    try:
        return RendezvousStatus(code)
    except ValueError as exc:
        raise ProtocolViolation(f"a rendezvous status of {code}") from exc
