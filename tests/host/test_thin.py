"""Two hosts on loopback talk."""

import pytest
import trio

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Connected, Disconnected, Stream
from covey_core.network import Network
from tests.host.conftest import TCP, WS, host_on


async def _echo(stream: Stream) -> None:
    while data := await stream.read_some():
        await stream.write(data)


@pytest.mark.parametrize("kind", ["public", "private"])
@pytest.mark.parametrize("listen", [TCP, WS])
async def test_two_hosts_talk_over_a_stream(kind: str, listen: str, request: pytest.FixtureRequest) -> None:
    network: Network = request.getfixturevalue(kind)
    with trio.fail_after(20):
        async with host_on(network, listen) as bob, host_on(network) as alice:
            bob.handle("/test/echo/1", _echo)
            with alice.subscribe() as events:
                await alice.connect(bob.peer_id, bob.addrs)
                told = await events.receive()
                assert isinstance(told, Connected)
                assert told.peer == bob.peer_id
                stream = await alice.open_stream(bob.peer_id, "/test/echo/1")
                await stream.write(b"hello")
                assert await stream.read_some() == b"hello"
                await stream.write_frame(b"x" * 300_000, limit=400_000)
                assert await stream.read_frame(limit=400_000) == b"x" * 300_000
                await stream.close_write()
                assert await stream.read_frame(limit=10) is None
                assert await alice.ping(bob.peer_id) > 0
                assert await bob.ping(alice.peer_id) > 0
                await alice.disconnect(bob.peer_id)
                assert isinstance(await events.receive(), Disconnected)
            assert alice.connections() == ()


async def test_nobody_to_dial_is_unreachable_with_reasons(public: Network) -> None:
    async with host_on(public) as alice, host_on(public) as bob:
        with pytest.raises(Unreachable, match="no address"):
            await alice.connect(bob.peer_id, [])
        with pytest.raises(Unreachable, match="another peer"):
            await alice.connect(bob.peer_id, [alice.addrs[0]])
        with pytest.raises(Unreachable):
            await alice.open_stream(bob.peer_id, "/x")


async def test_an_unknown_protocol_is_refused(public: Network) -> None:
    async with host_on(public) as alice, host_on(public) as bob:
        await alice.connect(bob.peer_id, bob.addrs)
        with pytest.raises(StreamLost, match="does not speak"):
            await alice.open_stream(bob.peer_id, "/test/none/1")
        assert await alice.ping(bob.peer_id) > 0
