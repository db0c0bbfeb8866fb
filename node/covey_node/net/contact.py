"""`/covey/contact/1`: one question for a key bundle, one answer.

Owns: the two stream shells and the limit on questions per peer. Spec: docs/spec/chat.md.
Never touches: the database, keys. Whether there is a bundle is the service's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host import Host, Stream
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.protocol.allowance import Allowance
from covey_node.protocol.frames import (
    BundleOutcome,
    BundleReply,
    BundleRequest,
    decode_bundle_reply,
    decode_bundle_request,
    encode_bundle_reply,
    encode_bundle_request,
)

BundleSource = Callable[[PeerId, BundleRequest], Awaitable[BundleReply]]


class BundleServer:
    """Hands out the key bundle of the account that lives here."""

    def __init__(self, host: Host, source: BundleSource) -> None:
        self._source = source
        self._allowance = Allowance(
            per_key=limits.BUNDLE_REQUESTS_PER_PEER_PER_MINUTE,
            in_all=limits.BUNDLE_REQUESTS_PER_MINUTE,
            window_seconds=60,
            keys_max=limits.STRANGERS_KEPT,
        )
        host.handle(host.network.protocol("contact"), self._serve)

    async def _serve(self, stream: Stream) -> None:
        with trio.fail_after(limits.OPEN_CHAT_SECONDS):
            payload = await stream.read_frame(limit=limits.CONTACT_FRAME_BYTES)
            if payload is None:
                raise ProtocolViolation("no question for a bundle")
            request = decode_bundle_request(payload)
            if self._allowance.take(stream.peer, now=trio.current_time()):
                reply = await self._source(stream.peer, request)
            else:
                reply = BundleReply(BundleOutcome.RETRY_LATER)
            await stream.write_frame(encode_bundle_reply(reply), limit=limits.CONTACT_FRAME_BYTES)
            await stream.close()


async def fetch_bundle(host: Host, peer: PeerId, account_key: bytes) -> BundleReply:
    """Ask a connected device for the bundle of `account_key` (32 bytes); StreamLost when it does not answer."""
    with trio.move_on_after(limits.OPEN_CHAT_SECONDS):
        stream = await host.open_stream(peer, host.network.protocol("contact"))
        try:
            await stream.write_frame(
                encode_bundle_request(BundleRequest(account_key)), limit=limits.CONTACT_FRAME_BYTES
            )
            await stream.close_write()
            reply = _reply(await stream.read_frame(limit=limits.CONTACT_FRAME_BYTES))
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.reset()
            raise
        await stream.close()
        return reply
    raise StreamLost("the peer did not answer the question for its keys")


def _reply(payload: bytes | None) -> BundleReply:
    if payload is None:
        raise StreamLost("the peer closed without a bundle")
    return decode_bundle_reply(payload)
