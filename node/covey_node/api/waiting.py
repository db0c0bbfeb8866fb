"""Waiting on the node for something to become true, driven by its events instead of by polling.

Owns: the loop. Spec: docs/spec/api.md, section 6. Never touches: HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio

from covey_node.service.port import EventView, NodePort, Status

View = TypeVar("View")

_RANK = {Status.QUEUED: 0, Status.SENT: 1, Status.STORED: 2, Status.DELIVERED: 3, Status.READ: 4}


async def wait_until(
    port: NodePort,
    read: Callable[[], Awaitable[View]],
    good: Callable[[View], bool],
    *,
    seconds: float,
    shutdown: trio.Event,
) -> View:
    """Return what `read` gives, as soon as it is `good`, `seconds` are over, or the node stops.

    The events are subscribed to before the first look, so that nothing falls between.
    """
    if seconds <= 0:
        return await read()
    async with port.events(after=None) as events:
        view = await read()
        with trio.move_on_after(seconds):
            while not good(view) and await _something_happened(events, shutdown):
                view = await read()
    return view


async def _something_happened(events: AsyncIterator[EventView], shutdown: trio.Event) -> bool:
    """Wait for the next event; False when there will be none. `read` stays outside: a nursery would wrap its errors."""
    happened = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_at, shutdown, nursery.cancel_scope)
        async for _ in events:
            happened = True
            break
        nursery.cancel_scope.cancel()
    return happened


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def reached(status: Status, wanted: Status) -> bool:
    """Return whether a message is as far as `wanted`, or will never be."""
    return status not in _RANK or _RANK[status] >= _RANK[wanted]
