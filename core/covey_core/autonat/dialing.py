"""The dial-back itself: a host made for it, with a fresh PeerId and a fresh port, gone when it is over.

Owns: one connection and one nonce. Spec: libp2p specs, autonat/autonat-v2.md; docs/spec/autonat.md.
Never touches: whether an address may be dialed (policy.py).
"""

import trio

from covey_core.autonat import limits
from covey_core.errors import CoveyError, SettingsInvalid, Unreachable
from covey_core.host import HostConfig, Stream, open_host
from covey_core.identity import Identity
from covey_core.limits import AUTONAT_DIAL_BACK_BYTES
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_core.wire.autonat import DIAL_BACK_PROTOCOL, DialStatus, decode_dial_back_response, encode_dial_back
from covey_core.wire.direct_addr import DirectAddr

_CONNECTIONS = 2
"""Of the host that dials back: the one it makes, and one to spare while that one is being replaced."""


async def dial_back(network: Network, peer: PeerId, target: DirectAddr, nonce: int, *, seconds: float) -> DialStatus:
    """Dial `peer` at exactly this address and bring it the nonce, within `seconds` for the connection and 5 s more.

    The host is a new one: that the asker is connected to this process cannot shorten the way, and its port is none
    that a NAT has seen. It proves the network's key like everybody.
    """
    config = HostConfig(Identity.generate(), network, listen=_listen(target), max_connections=_CONNECTIONS)
    try:
        async with open_host(config) as host:
            try:
                await host.connect(peer, [str(target)], timeout_seconds=seconds)
            except Unreachable:
                return DialStatus.E_DIAL_ERROR
            with trio.move_on_after(limits.NONCE_SECONDS):
                try:
                    await _bring(await host.open_stream(peer, DIAL_BACK_PROTOCOL), nonce)
                except CoveyError:
                    return DialStatus.E_DIAL_BACK_ERROR
                return DialStatus.OK
            return DialStatus.E_DIAL_BACK_ERROR
    except SettingsInvalid:  # no socket of this address family on this machine
        return DialStatus.E_DIAL_ERROR


async def _bring(stream: Stream, nonce: int) -> None:
    """Send the nonce and wait for the answer; a stream that is closed without one has taken it too, as go-libp2p's."""
    await stream.write_frame(encode_dial_back(nonce), limit=AUTONAT_DIAL_BACK_BYTES)
    await stream.close_write()
    answer = await stream.read_frame(limit=AUTONAT_DIAL_BACK_BYTES)
    if answer is not None:
        decode_dial_back_response(answer)


def _listen(target: DirectAddr) -> tuple[str, ...]:
    """QUIC is dialed from a listening socket, TCP from none."""
    if target.transport != "quic":
        return ()
    return ("/ip4/0.0.0.0/udp/0/quic-v1",) if target.ip_version == "ip4" else ("/ip6/::/udp/0/quic-v1",)
