"""`/covey/<8 hex>/ahead/1`, our side: one request to a relay, from somebody who did not exist before.

Owns: the host that is made for it and goes with it. Spec: docs/spec/ahead.md. Never touches: keys, the database.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from covey_core.errors import StreamLost
from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.limits import AHEAD_ANSWER_BYTES, AHEAD_REQUEST_BYTES
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_core.wire.ahead import AHEAD_NAME, AheadAnswer, AheadRequest, decode_answer, encode_request
from covey_node import limits


async def ask_relay(network: Network, relay: PeerId, addrs: Sequence[str], request: AheadRequest) -> AheadAnswer:
    """Ask a relay over a connection of its own, under a PeerId thrown away afterwards.

    Raises a `CoveyError` when it cannot be reached, does not serve this, or does not answer in time.
    """
    with trio.move_on_after(limits.AHEAD_REQUEST_SECONDS):
        async with open_host(HostConfig(identity=Identity.generate(), network=network)) as host:
            await host.connect(relay, addrs)
            return await _ask(host, relay, request)
    raise StreamLost(f"the relay said nothing for {limits.AHEAD_REQUEST_SECONDS} s")


async def _ask(host: Host, relay: PeerId, request: AheadRequest) -> AheadAnswer:
    stream = await host.open_stream(relay, host.network.protocol(AHEAD_NAME))
    await stream.write_frame(encode_request(request), limit=AHEAD_REQUEST_BYTES)
    await stream.close_write()
    frame = await stream.read_frame(limit=AHEAD_ANSWER_BYTES)
    if frame is None:
        raise StreamLost("the relay closed without an answer")
    return decode_answer(frame)
