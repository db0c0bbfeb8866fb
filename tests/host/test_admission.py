"""A private network's door, at the host."""

import dataclasses
import secrets
from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Connected, Host, Stream, admitting, limits, multistream
from covey_core.host.swarm import CoveySwarm
from covey_core.network import Network
from tests.host.conftest import WS, host_on

ECHO = "/test/echo/1"


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        await stream.write(data)


async def talks(alice: Host, bob: Host) -> bool:
    await alice.connect(bob.peer_id, bob.addrs)
    stream = await alice.open_stream(bob.peer_id, ECHO)
    await stream.write(b"x")
    return await stream.read_some() == b"x"


def rotated(network: Network) -> Network:
    return dataclasses.replace(network, key=secrets.token_bytes(32), previous_key=network.key)


async def test_members_admit_each_other_also_while_the_key_rotates(private: Network) -> None:
    newer = rotated(private)
    with trio.fail_after(30):
        for ours, theirs in ((private, private), (private, newer), (newer, private), (newer, newer)):
            async with host_on(ours) as alice, host_on(theirs) as bob:
                bob.handle(ECHO, echo)
                assert await talks(alice, bob)


@pytest.mark.parametrize("listen", ["/ip4/127.0.0.1/tcp/0", WS])
async def test_another_key_gets_no_connection(private: Network, listen: str) -> None:
    stranger = dataclasses.replace(private, key=secrets.token_bytes(32))
    with trio.fail_after(30):
        async with host_on(private, listen) as bob, host_on(stranger) as mallory:
            served: list[str] = []

            async def record(stream: Stream) -> None:
                served.append(stream.protocol)

            bob.handle(ECHO, record)
            with bob.subscribe() as events:
                with pytest.raises(Unreachable):
                    await mallory.connect(bob.peer_id, bob.addrs)
                with pytest.raises(trio.WouldBlock):
                    events.receive_nowait()
            assert served == []
            assert mallory.connections() == ()


async def test_a_keyless_peer_is_closed_after_the_deadline(private: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admitting, "ADMISSION_DEADLINE_SECONDS", 0.3)
    keyless = dataclasses.replace(private, key=None)
    with trio.fail_after(30):
        async with host_on(private) as bob, host_on(keyless) as mallory:
            with mallory.subscribe() as events:
                await mallory.connect(bob.peer_id, bob.addrs)
                assert isinstance(await events.receive(), Connected)
                gone = await events.receive()
                assert gone.peer == bob.peer_id
            assert bob.connections() == ()


async def test_only_identify_and_ping_are_served_before_the_proof(
    private: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OPEN_STREAM_SECONDS", 1.0)
    keyless = dataclasses.replace(private, key=None)
    with trio.fail_after(30):
        async with host_on(private) as bob, host_on(keyless) as mallory:
            served: list[str] = []

            async def record(stream: Stream) -> None:
                served.append(stream.protocol)

            async def raw(net: Any) -> None:
                served.append("upstream's own")

            bob.handle(ECHO, record)
            bob.libp2p.set_stream_handler(TProtocol("/test/kad/1"), raw)
            await mallory.connect(bob.peer_id, bob.addrs)
            assert await mallory.ping(bob.peer_id) > 0
            (unproven,) = bob.connections()
            assert not unproven.admitted
            for protocol in (ECHO, "/test/kad/1"):
                stream = await mallory.open_stream(bob.peer_id, protocol)
                with pytest.raises(StreamLost):
                    await stream.read_some()
            with pytest.raises(StreamLost):
                await bob.open_stream(mallory.peer_id, ECHO)
            assert served == []


async def test_streams_wait_for_the_proof_and_then_run(private: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dialer opens its stream before admission is over: it is served once it is."""
    prove = admitting.Admission.prove
    go = trio.Event()

    async def late(self: admitting.Admission, machine: Any, connection: Any, stream: Stream) -> None:
        await go.wait()
        await prove(self, machine, connection, stream)

    monkeypatch.setattr(admitting.Admission, "prove", late)
    with trio.fail_after(30):
        async with host_on(private) as bob, host_on(private) as alice, trio.open_nursery() as nursery:
            bob.handle(ECHO, echo)
            nursery.start_soon(alice.connect, bob.peer_id, bob.addrs)
            swarm: CoveySwarm = alice._swarm
            while not swarm.all_connections():
                await trio.lowlevel.checkpoint()
            net = await swarm.all_connections()[0].open()
            await multistream.propose(net, ECHO)
            await net.write(b"early")
            go.set()
            assert await net.read(5) == b"early"


async def test_the_listener_side_never_asks_for_admission(private: Network) -> None:
    with trio.fail_after(30):
        async with host_on(private) as bob, host_on(private) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await bob.open_stream(alice.peer_id, private.protocol("admit"))
            with pytest.raises(StreamLost):
                await stream.read_some()
            assert await alice.ping(bob.peer_id) > 0


async def test_garbage_in_admission_closes_the_strangers_connection_at_once(private: Network) -> None:
    keyless = dataclasses.replace(private, key=None)
    with trio.fail_after(30):
        async with host_on(private) as bob, host_on(private) as alice, host_on(keyless) as mallory:
            bob.handle(ECHO, echo)
            assert await talks(alice, bob)
            for garbage in (b"", b"\x00", b"\xff" * 64, b"\x21\x01" + b"x" * 32 + b"\x41\x03" + b"y" * 64):
                with mallory.subscribe() as events:
                    await mallory.connect(bob.peer_id, bob.addrs)
                    await events.receive()
                    stream = await mallory.open_stream(bob.peer_id, private.protocol("admit"))
                    await stream.write(garbage)
                    await stream.close_write()
                    with trio.fail_after(2):
                        gone = await events.receive()
                    assert gone.peer == bob.peer_id
            assert await talks(alice, bob)
