"""/ipfs/ping/1.0.0, the asking side.

Owns: one round trip. Spec: libp2p specs, ping: 32 random bytes come back as they went. Never touches: the answering
side, which is libp2p's own.
"""

import secrets
from typing import Final

import trio

from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host import limits
from covey_core.host.streams import Stream

PING: Final = "/ipfs/ping/1.0.0"
_PAYLOAD_BYTES: Final = 32


async def measure(stream: Stream) -> float:
    """Return the seconds one ping took on this stream, and close it; `StreamLost` after 5 s."""
    payload = secrets.token_bytes(_PAYLOAD_BYTES)
    echo = b""
    began = trio.current_time()
    try:
        with trio.fail_after(limits.PING_SECONDS):
            await stream.write(payload)
            while len(echo) < _PAYLOAD_BYTES:
                more = await stream.read_some(_PAYLOAD_BYTES - len(echo))
                if not more:
                    raise StreamLost("the peer ended the ping stream")
                echo += more
    except trio.TooSlowError as exc:
        await stream.reset()
        raise StreamLost(f"no answer to a ping within {limits.PING_SECONDS:g} s") from exc
    took = trio.current_time() - began
    await stream.close()
    if echo != payload:
        raise ProtocolViolation("another echo than what was sent")
    return took
