"""Waiting on the node for something to become true, driven by its events instead of by polling.

Owns: the loop. Spec: docs/spec/api.md, section 6. Never touches: HTTP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from covey_node.service.port import NodePort, Status

View = TypeVar("View")

_RANK = {Status.QUEUED: 0, Status.SENT: 1, Status.DELIVERED: 2, Status.READ: 3}


async def wait_until(
    port: NodePort, read: Callable[[], Awaitable[View]], good: Callable[[View], bool], *, seconds: float
) -> View:
    """Return what `read` gives, as soon as it is `good` or `seconds` are over.

    The events are subscribed to before the first look, so that nothing falls between.
    """
    if seconds <= 0:
        return await read()
    async with port.events(after=None) as events:
        view = await read()
        if not good(view):
            with trio.move_on_after(seconds):
                async for _ in events:
                    view = await read()
                    if good(view):
                        break
    return view


def reached(status: Status, wanted: Status) -> bool:
    """Return whether a message is as far as `wanted`, or will never be."""
    return status not in _RANK or _RANK[status] >= _RANK[wanted]
