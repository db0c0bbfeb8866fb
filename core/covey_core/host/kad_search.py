"""Runs a lookup: asks the peers it chooses, several at once, and tells it what they said.

Owns: the tasks of one lookup and its patience. Spec: docs/spec/dht.md, "Distance, routing table, lookup".
Never touches: what is asked, the routing table.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

import trio

from covey_core.host import kad_limits as limits
from covey_core.host.kad_lookup import Lookup
from covey_core.host.kad_wire import KadPeer

Ask = Callable[[KadPeer], Awaitable[Sequence[KadPeer] | None]]
"""Ask one peer; returns the peers it named that are worth asking, or None when it did not answer."""


async def search(
    lookup: Lookup, ask: Ask, *, enough: Callable[[], bool], impatient: Callable[[], bool]
) -> tuple[KadPeer, ...]:
    """Ask ever nearer peers until the nearest have answered, or `enough`.

    When the caller is `impatient` and only slow peers are left, wait for them 1 s more and return those that are still
    slow then; otherwise return nobody.
    """
    send, receive = trio.open_memory_channel[tuple[KadPeer, Sequence[KadPeer] | None]](limits.CONCURRENT_REQUESTS)

    async def ask_one(peer: KadPeer) -> None:
        await send.send((peer, await ask(peer)))

    async with trio.open_nursery() as nursery:
        while not lookup.over and not enough():
            for peer in lookup.to_ask():
                nursery.start_soon(ask_one, peer)
            hurry = lookup.waiting_only and impatient()
            with trio.move_on_after(limits.PATIENCE_SECONDS if hurry else math.inf) as waited:
                answered, closer = await receive.receive()
            if waited.cancelled_caught:
                nursery.cancel_scope.cancel()
                return lookup.slow()
            if closer is None:
                lookup.failed(answered.peer)
            else:
                lookup.answered(answered.peer, closer)
        nursery.cancel_scope.cancel()
    return ()
