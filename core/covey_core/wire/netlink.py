"""The payload of a `covey:net.` link.

Owns: the protobuf form of a network. Spec: docs/spec/network.md, pb/network.proto. Never touches: the link's text form
(covey_core.link), what the values mean (covey_core.network checks them).
"""

from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from covey_core import limits
from covey_core.errors import ProtocolViolation
from covey_core.wire.pb import network_pb2 as pb


@dataclass(frozen=True, slots=True)
class RelayFields:
    """One relay as it stands on the wire."""

    operator: str
    addrs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkFields:
    """A network as it stands on the wire: `key` and `previous_key` are empty when there is none."""

    name: str
    id: bytes
    subnets: tuple[str, ...]
    key: bytes = field(repr=False)
    previous_key: bytes = field(repr=False)
    bootstraps: tuple[str, ...]
    relays: tuple[RelayFields, ...]


def encode_network(network: NetworkFields) -> bytes:
    """Return the protobuf form; equal networks have equal bytes."""
    message = pb.Network(
        name=network.name,
        id=network.id,
        subnets=network.subnets,
        key=network.key,
        previous_key=network.previous_key,
        bootstraps=network.bootstraps,
        relays=[pb.Relay(operator=relay.operator, addrs=relay.addrs) for relay in network.relays],
    )
    return message.SerializeToString(deterministic=True)


def decode_network(data: bytes) -> NetworkFields:
    """Return the network in `data`; `ProtocolViolation` when it is none or a list in it is over its bound."""
    message = pb.Network()
    try:
        message.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("these bytes are no network") from exc
    for name, count, bound in (
        ("subnets", len(message.subnets), limits.NETWORK_SUBNETS),
        ("bootstrap addresses", len(message.bootstraps), limits.NETWORK_BOOTSTRAPS),
        ("relays", len(message.relays), limits.NETWORK_RELAYS),
    ):
        if count > bound:
            raise ProtocolViolation(f"a network of {count} {name}, over the limit of {bound}")
    return NetworkFields(
        name=message.name,
        id=message.id,
        subnets=tuple(message.subnets),
        key=message.key,
        previous_key=message.previous_key,
        bootstraps=tuple(message.bootstraps),
        relays=tuple(RelayFields(operator=relay.operator, addrs=tuple(relay.addrs)) for relay in message.relays),
    )
