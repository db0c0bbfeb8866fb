"""/ipfs/id/1.0.0: what a peer speaks, where it listens, and from where it is seen.

Owns: one question a connection, bounded, and the answer to theirs. Upstream asks in system tasks that outlive the host,
on any connection of the peer, reads without a bound, and answers 0.5 s late when it has no listener.
Spec: libp2p specs, identify. Never touches: what is done with the answer (libp2p's own protocols read its peer store).
"""

import functools
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import IHost, IPeerStore
from libp2p.identity.identify.identify import _mk_identify_protobuf
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.update import update_peerstore_from_identify
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host import addresses, limits
from covey_core.host.connection import Identity
from covey_core.host.contained import Contained
from covey_core.host.streams import Stream

IDENTIFY: Final = "/ipfs/id/1.0.0"
PUSH: Final = "/ipfs/id/push/1.0.0"
_PORTS: Final = frozenset({"tcp", "udp"})
_TAILS: Final = {"quic": "/udp/{}/quic-v1", "ws": "/tcp/{}/ws"}


async def hear(stream: Stream, peer: ID, store: IPeerStore) -> Identify:
    """Hear who a peer is, asked or pushed, and remember it; returns the message. `StreamLost`, `ProtocolViolation`."""
    with trio.move_on_after(limits.NEGOTIATE_SECONDS) as scope:
        answer = await stream.read_frame(limit=limits.IDENTIFY_BYTES)
        if answer is None:
            raise StreamLost("the peer ended the identify stream")
        message = Identify()
        try:
            message.ParseFromString(answer)
        except DecodeError as exc:
            raise ProtocolViolation("an identify message that cannot be read") from exc
        del message.listen_addrs[limits.IDENTIFY_ADDRESSES :]
        del message.protocols[limits.IDENTIFY_PROTOCOLS :]
        if len(message.signedPeerRecord) > limits.IDENTIFY_RECORD_BYTES:
            message.ClearField("signedPeerRecord")
        await update_peerstore_from_identify(store, peer, message)
    await stream.close()
    if scope.cancelled_caught:
        raise StreamLost("no answer to identify")
    return message


@functools.cache
def agent() -> str:
    """Return what we call ourselves: covey/<version>."""
    try:
        return f"covey/{version('covey')}"
    except PackageNotFoundError:
        return "covey/0"


def identity(message: Identify, remote: Multiaddr, before: Identity | None = None) -> Identity:
    """Return what a peer said on the connection from `remote`; what it left out is as `before` (identify push)."""
    listen_addrs = tuple(str(one) for one in map(_address, message.listen_addrs) if one is not None)
    observed = _observed(message.observed_addr, remote)
    return Identity(
        agent=message.agent_version[: limits.AGENT_CHARS] or (before.agent if before is not None else ""),
        protocols=frozenset(message.protocols) or (before.protocols if before is not None else frozenset()),
        listen_addrs=listen_addrs or (before.listen_addrs if before is not None else ()),
        observed=observed or (before.observed if before is not None else None),
    )


def _observed(value: bytes, remote: Multiaddr) -> str | None:
    """Return our address as the peer sees it, with the transport that the connection really has."""
    seen = _address(value)
    ip = None if seen is None else addresses.ip_of(seen)
    if seen is None or ip is None or addresses.is_circuit(remote):
        return None
    port = next(
        (value for name, value in zip(addresses.names(seen), seen.values(), strict=True) if name in _PORTS), None
    )
    if port is None:
        return None
    kind = "ip6" if ":" in ip else "ip4"
    return f"/{kind}/{ip}{_TAILS.get(addresses.transport_label(remote), '/tcp/{}').format(port)}"


def _address(value: bytes) -> Multiaddr | None:
    with Contained():
        found = Multiaddr(value)
        return addresses.parse(str(found)) if value else None
    return None


async def answer(stream: Stream, host: IHost, seen_at: Multiaddr) -> None:
    """Tell a peer who we are and at which address we see it; on a circuit that is the circuit's address."""
    message = _mk_identify_protobuf(host, seen_at)
    message.agent_version = agent()
    await stream.write_frame(message.SerializeToString(), limit=limits.IDENTIFY_BYTES)
    await stream.close()


def forget_strangers(store: IPeerStore, *, connected: frozenset[ID], own: ID) -> None:
    """Forget the longest known peers that are not connected, once there are too many.

    Upstream's peer store has a bound too, but enforces it in a task that nobody starts, and would drop our own key.
    """
    known = store.peer_ids()
    surplus = len(known) - limits.REMEMBERED_PEERS
    for peer in known:
        if surplus <= 0:
            return
        if peer != own and peer not in connected:
            store.clear_peerdata(peer)
            surplus -= 1
