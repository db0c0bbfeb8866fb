"""Restarts, moves and losses: nothing is lost, nothing comes twice, and a contact who moved is found again."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from covey_core.errors import StreamLost
from covey_core.host import HostConfig, Stream, open_host
from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_core.wire.framing import encode_frame
from covey_node import crypto
from covey_node.net.chat import ChatStream
from covey_node.net.contact import fetch_bundle
from covey_node.protocol.contents import Content, Text, encode_content
from covey_node.protocol.frames import Outcome, Packet
from covey_node.protocol.status import Status
from covey_node.service import reach, sealing
from covey_node.service.incoming import Incoming
from covey_node.service.node import Node
from covey_node.service.sealing import sending_session
from covey_node.store import devices, sessions
from covey_node.store.sessions import SessionRow
from covey_node.store.tx import Tx
from tests.support.people import (
    acquaint,
    empty_network,
    people,
    reaches,
    running_node,
    running_relay,
    say,
    texts,
    until,
)


async def test_messages_survive_restarts_of_both_and_go_out_when_the_other_is_back(tmp_path: Path) -> None:
    async with running_relay() as (network, _, _):
        async with running_node(tmp_path / "alice", network, listens=False) as alice:
            async with running_node(tmp_path / "bob", network, listens=False) as bob:
                await acquaint(alice, bob)
            early = await say(alice, "bob", "while you were out")
            await until(alice, lambda: _has_reason(alice, early))
        async with (
            running_node(tmp_path / "alice", network, listens=False) as alice,
            running_node(tmp_path / "bob", network, listens=False) as bob,
        ):
            await reaches(alice, early, Status.DELIVERED)
            await reaches(bob, await say(bob, "alice", "back again"), Status.DELIVERED)
            assert await texts(bob, "alice") == ["while you were out", "back again"]
            assert await texts(alice, "bob") == ["while you were out", "back again"]


async def test_who_comes_back_is_noticed_at_once_also_through_a_relay(tmp_path: Path) -> None:
    async with (
        running_relay() as (network, _, _),
        running_node(tmp_path / "alice", network, listens=False) as alice,
    ):
        async with running_node(tmp_path / "bob", network, listens=False) as bob:
            await acquaint(alice, bob)
        waiting = await say(alice, "bob", "for later")
        await until(alice, lambda: _has_reason(alice, waiting))
        (lane,) = alice._parts.delivery._running.values()
        lane._book.lane._not_before = trio.current_time() + 1000  # as after hours without an answer
        async with running_node(tmp_path / "bob", network, listens=False) as bob:
            await reaches(alice, waiting, Status.DELIVERED)
            assert await texts(bob, "alice") == ["for later"]


async def test_a_contact_who_moved_is_found_by_its_record(tmp_path: Path) -> None:
    async with running_relay() as (network, _, _):
        async with (
            running_node(tmp_path / "alice", network) as alice,
            running_node(tmp_path / "bob", network) as bob,
        ):
            await acquaint(alice, bob)
        # Bob is behind no relay that alice knows: only his record tells his new port.
        alone = replace(network, relays=())
        seed = network.relays[0].addrs
        async with running_node(tmp_path / "bob", replace(alone, bootstraps=seed)) as bob:
            await until(bob, lambda: _published(bob))
            async with running_node(tmp_path / "alice", replace(alone, bootstraps=seed)) as alice:
                await reaches(alice, await say(alice, "bob", "found you"), Status.DELIVERED)
                assert await texts(bob, "alice") == ["found you"]


async def test_a_lost_session_is_replaced_and_the_message_still_arrives_once(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        await reaches(alice, await say(alice, "bob", "one"), Status.DELIVERED)
        await bob._ledger.change(lambda tx, _: sessions.remove_of_contact(tx, 1))
        await reaches(alice, await say(alice, "bob", "two"), Status.DELIVERED)
        await reaches(bob, await say(bob, "alice", "three"), Status.DELIVERED)
        assert await texts(bob, "alice") == ["one", "two", "three"]
        assert await texts(alice, "bob") == ["one", "two", "three"]


async def test_two_who_begin_a_session_at_once_meet_on_one(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        for node in (alice, bob):
            await node._ledger.change(lambda tx, _: sessions.remove_of_contact(tx, 1))
        first = await say(alice, "bob", "a"), await say(bob, "alice", "b")
        await reaches(alice, first[0], Status.DELIVERED)
        await reaches(bob, first[1], Status.DELIVERED)
        for number in range(4):
            await reaches(alice, await say(alice, "bob", f"a{number}"), Status.DELIVERED)
            await reaches(bob, await say(bob, "alice", f"b{number}"), Status.DELIVERED)
        assert await _sends_on(alice) == await _sends_on(bob)
        assert sorted(map(str, await texts(alice, "bob"))) == sorted(map(str, await texts(bob, "alice")))


async def _sends_on(node: Node) -> bytes:
    def read(tx: Tx) -> bytes:
        return sending_session(_all_sessions(tx)).base_key_hash

    return await node._ledger.read(read)


def _all_sessions(tx: Tx) -> tuple[SessionRow, ...]:
    (device,) = devices.of_contact(tx, 1)
    return sessions.of_device(tx, 1, device.device_key)


async def test_a_stranger_with_garbage_ends_only_his_own_stream(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        target = await alice.status()
        peer, chat = PeerId(target.peer), network.protocol("chat")
        async with open_host(HostConfig(Identity.generate(), network)) as stranger:
            await stranger.connect(peer, target.listen)
            for bad in (
                b"\xff" * 40,
                encode_frame(b"\xff\xff", limit=100),
                b"\xff\xff\xff\x7f",
                encode_frame(b"", limit=9),
            ):
                stream = await stranger.open_stream(peer, chat)
                await stream.write(bad)
                await _ends(stream)
            packets = await ChatStream.open(stranger, peer)
            await packets.send([Packet(1, b"\x01" * 4096), Packet(2, b"x"), Packet(3, b"\x01\x02" + bytes(4094))])
            for _ in range(3):
                ack = await packets.next_ack()
                assert ack is not None
                assert ack.outcome in {Outcome.UNDECRYPTABLE, Outcome.NOT_A_CONTACT}
        await reaches(bob, await say(bob, "alice", "still there?"), Status.DELIVERED)
        assert set(await people(alice)) == {"bob"}


async def test_a_packet_that_comes_again_is_a_duplicate_and_from_another_device_opens_nothing(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        parts = bob._parts
        incoming = Incoming(parts.ledger, parts.own, lambda _peer: "lan")
        session = await alice._ledger.read(lambda tx: sessions.of_device(tx, 1, parts.own.device_key)[0])
        content = Content(b"i" * 16, 1.0, Text("once"))
        _, packet = crypto.Session.decode(session.state).encrypt(encode_content(content), os.urandom)
        peer = PeerId((await alice.status()).peer)
        assert await incoming.receive(Identity.generate().peer_id, [packet]) == [Outcome.NOT_A_CONTACT]
        assert await incoming.receive(peer, [packet, packet]) == [Outcome.ACCEPTED, Outcome.DUPLICATE]
        assert await incoming.receive(peer, [packet]) == [Outcome.DUPLICATE]
        flipped = packet[:-1] + bytes([packet[-1] ^ 1])
        assert await incoming.receive(peer, [flipped]) == [Outcome.UNDECRYPTABLE]
        assert await texts(bob, "alice") == ["once"]


async def _has_reason(node: Node, message: str) -> bool:
    return (await node.message(message)).reason is not None


async def _published(node: Node) -> bool:
    return (await node.status()).record_holders > 0


async def _ends(stream: Stream) -> None:
    with trio.fail_after(10), contextlib.suppress(StreamLost):
        while await stream.read_some():
            pass


async def test_hundreds_of_messages_that_waited_for_a_session_ask_for_one_bundle_and_arrive_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, asked, go = empty_network(), list[object](), trio.Event()

    async def fetch(*args: Any) -> Any:
        asked.append(args)
        await go.wait()
        return await fetch_bundle(*args)

    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        monkeypatch.setattr(reach, "fetch_bundle", fetch)
        monkeypatch.setattr(sealing, "PAGE", 16)
        await alice._ledger.change(lambda tx, _: sessions.remove_of_contact(tx, 1))
        words = [f"word {number}" for number in range(100)]
        said = [await say(alice, "bob", word) for word in words]
        go.set()
        await reaches(alice, said[-1], Status.DELIVERED)
        assert await texts(bob, "alice") == words
        assert len(asked) == 1
