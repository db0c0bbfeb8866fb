"""The DHT's messages as values, and their bytes.

Owns: encoding and decoding of one message. Spec: libp2p specs, kad-dht, "RPC messages"; docs/spec/dht.md.
Never touches: streams, the clock, the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from google.protobuf.message import DecodeError

from covey_core.errors import ProtocolViolation
from covey_core.host import kad_limits as limits
from covey_core.host.kad_addrs import binary_addr, text_addr
from covey_core.host.pb import kad_pb2
from covey_core.peers import PeerId, peer_id_bytes, peer_id_from_bytes


class Kind(IntEnum):
    """What a message asks for or answers."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


@dataclass(frozen=True, slots=True)
class KadPeer:
    """A DHT server: its PeerId and the multiaddrs (text, ending in /p2p/<PeerId>) where it may be dialled."""

    peer: PeerId
    addrs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KadMessage:
    """One request or answer. `key` up to 128 bytes; `value` is None when no record is in it."""

    kind: Kind
    key: bytes = b""
    value: bytes | None = None
    received: str = ""
    closer: tuple[KadPeer, ...] = ()


def rfc3339(at: float) -> str:
    """Return a Unix time as the specification's `timeReceived` wants it; js-libp2p reads no record without one."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode_message(message: KadMessage) -> bytes:
    """Return the protobuf bytes of a message, without length prefix."""
    out = kad_pb2.Message(type=message.kind.name, key=message.key)
    if message.value is not None:
        out.record.key = message.key
        out.record.value = message.value
        out.record.time_received = message.received
    for entry in message.closer[: limits.BUCKET_PEERS]:
        peer = out.closer_peers.add(id=peer_id_bytes(entry.peer))
        peer.addrs.extend(binary_addr(addr) for addr in entry.addrs[: limits.PEER_ADDRESSES])
    return out.SerializeToString()


def decode_message(payload: bytes) -> KadMessage:
    """Return the message in `payload`.

    Peers whose id and addresses that cannot be read are left out: other implementations may know more kinds than we
    do. Raises `ProtocolViolation` for bytes that are no message, an unknown type, a record whose
    key is not the message's, and keys or values over their bounds.
    """
    raw = kad_pb2.Message()
    try:
        raw.ParseFromString(payload)
    except DecodeError as exc:
        raise ProtocolViolation(f"{len(payload)} bytes that are no DHT message") from exc
    try:
        kind = Kind(raw.type)
    except ValueError as exc:
        raise ProtocolViolation(f"a DHT message of unknown type {raw.type}") from exc
    if len(raw.key) > limits.TARGET_BYTES:
        raise ProtocolViolation(f"a DHT key of {len(raw.key)} bytes, over the limit of {limits.TARGET_BYTES}")
    value: bytes | None = None
    if raw.HasField("record"):
        if raw.record.key != raw.key and not (kind is Kind.GET_VALUE and not raw.key):
            raise ProtocolViolation("a DHT record under another key than its message's")
        if len(raw.record.value) > limits.VALUE_BYTES:
            raise ProtocolViolation(f"a DHT value of {len(raw.record.value)} bytes, over {limits.VALUE_BYTES}")
        value = raw.record.value
    return KadMessage(
        kind=kind,
        key=raw.key or raw.record.key,
        value=value,
        received=raw.record.time_received,
        closer=_closer(raw),
    )


def _closer(raw: kad_pb2.Message) -> tuple[KadPeer, ...]:
    found: list[KadPeer] = []
    for entry in raw.closer_peers[: limits.BUCKET_PEERS + 1]:  # one more: a FIND_NODE answer may add its target
        try:
            peer = peer_id_from_bytes(entry.id)
        except ProtocolViolation:
            continue
        texts = (text_addr(addr, peer) for addr in entry.addrs[: limits.PEER_ADDRESSES])
        found.append(KadPeer(peer, tuple(text for text in texts if text is not None)))
    return tuple(found)
