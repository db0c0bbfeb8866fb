"""Connection events never block, and a slow subscriber loses the oldest."""

import pytest
import trio

from covey_core.host import Connected, ConnectionInfo, Disconnected, limits
from covey_core.host.events import Events
from covey_core.peers import PeerId


def info(number: int) -> ConnectionInfo:
    return ConnectionInfo(
        number=number,
        peer=PeerId("p"),
        remote_addr="/ip4/192.0.2.1/tcp/1",
        inbound=True,
        relayed=False,
        admitted=True,
        transport="tcp",
    )


async def test_a_slow_subscriber_loses_the_oldest_and_nobody_waits() -> None:
    events = Events()
    with events.subscribe() as slow, events.subscribe() as fast:
        for number in range(limits.EVENTS_QUEUED + 10):
            events.publish(Connected(info(number)))
            assert fast.receive_nowait() == Connected(info(number))
        assert slow.receive_nowait() == Connected(info(10))


async def test_a_subscriber_that_left_is_forgotten() -> None:
    events = Events()
    with events.subscribe() as channel:
        events.publish(Disconnected(info(1), left=0))
        assert channel.receive_nowait().peer == "p"
    events.publish(Connected(info(2)))
    with pytest.raises(trio.ClosedResourceError):
        channel.receive_nowait()


async def test_a_closed_host_ends_its_subscribers_after_what_was_queued() -> None:
    events = Events()
    with events.subscribe() as channel:
        events.publish(Connected(info(1)))
        events.close()
        events.publish(Connected(info(2)))
        assert [event async for event in channel] == [Connected(info(1))]
