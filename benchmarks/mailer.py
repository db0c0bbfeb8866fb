"""A client of relays' mailboxes in a process of its own: the writer, the owner, or a crowd of owners who listen.

Owns: the load. The client is the node's (`MailboxClient`), queues are real, packets are a real session's. Times are
CLOCK_MONOTONIC, one clock for all processes of a machine. Spec: docs/spec/mailbox.md.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import trio

from benchmarks.answering import answer_questions
from benchmarks.crypto import Pair
from covey_core.identity import Identity
from covey_core.logs import setup_logging
from covey_core.network import load_network
from covey_core.peers import peer_id_bytes
from covey_core.wire import mailbox as m
from covey_node.crypto import Session
from covey_node.crypto.replica import ReplicaKeys, send_seed
from covey_node.net.mailbox import At, MailboxClient, Role, Subscribed

SECRET = b"\x05" * 32
TTL_SECONDS = 86_400
PAGE = 63
TEXT = os.urandom(256)
PATIENCE_SECONDS = 300


def owner(number: int) -> Identity:
    """The key of queue `number`."""
    return Identity(number.to_bytes(32, "big"))


def queue_id(kind: int, number: int) -> bytes:
    """One of the two ids of queue `number`, where the benchmark made it in the relay's store."""
    return hashlib.shake_128(bytes([kind]) + number.to_bytes(4, "big")).digest(24)


class Mailer:
    """Answers the benchmark's questions. The first relay of the network has the mailboxes."""

    def __init__(self, network_file: Path, nursery: trio.Nursery) -> None:
        self._network = load_network(network_file)
        relay = self._network.relays[0]
        self._at = At(relay.peer, relay.addrs, relay.operator)
        self._raw = peer_id_bytes(relay.peer)
        self._nursery = nursery
        self._clients = {
            False: MailboxClient(self._network, forward=False),
            True: MailboxClient(self._network, forward=True),
        }
        for client in self._clients.values():
            nursery.start_soon(client.run)
        self._queues: list[m.Ids] = []
        self._came: dict[int, float] = {}
        self._more = trio.Event()
        self._session: Session | None = None

    # --- pipelined ----------------------------------------------------------------------------------------------------

    async def make(self, first: int, count: int) -> list[list[str]]:
        """Make queues that whoever knows the secret may write to; return their ids."""
        admit = m.AdmitKey(Identity(send_seed(SECRET, self._raw)).public_key)
        for number in range(first, first + count):
            ids = await self._own(number, m.New(owner(number).public_key, admit))
            assert isinstance(ids, m.Ids), ids
            self._queues.append(ids)
        return [[ids.recv_id.hex(), ids.send_id.hex()] for ids in self._queues]

    async def know(self, queues: Sequence[Sequence[str]]) -> None:
        """Hear of queues that another one made."""
        self._queues = [m.Ids(bytes.fromhex(recv), bytes.fromhex(send), 1, 1, 1) for recv, send in queues]

    async def put(self, count: int, tasks: int) -> dict[str, float]:
        """Deposit `count` messages, spread over the queues, `tasks` at a time; return when it began and ended."""
        blob = os.urandom(4112)

        async def one(number: int) -> None:
            send_id = self._queues[number % len(self._queues)].send_id
            answer = await self._write(m.Put(send_id, os.urandom(16), TTL_SECONDS, blob))
            assert isinstance(answer, m.Stored), answer

        return await _all(iter(range(count)), one, tasks)

    async def get(self, first: int) -> dict[str, float]:
        """Read all queues, page by page; return how many messages, when it began and ended."""
        found = 0

        async def one(number: int) -> None:
            nonlocal found
            after, more = 0, True
            while more:
                page = await self._own(first + number, m.Get(self._queues[number].recv_id, after, PAGE))
                assert isinstance(page, m.Messages), page
                found += len(page.messages)
                after, more = (page.messages[-1].seq if page.messages else 0), page.more

        times = await _all(iter(range(len(self._queues))), one, 8)
        return {**times, "count": found}

    # --- one message --------------------------------------------------------------------------------------------------

    async def meet(self) -> str:
        """Keep one half of a session; return the other."""
        pair = Pair()
        self._session = pair.there
        return pair.here.encode().hex()

    async def join(self, session: str) -> None:
        """Take that half."""
        self._session = Session.decode(bytes.fromhex(session))

    async def listen(self, number: int) -> bool:
        """Listen to the first queue, of owner `number`; decrypt and acknowledge what comes. Returns when it stands."""
        ids = self._queues[0]
        keys = ReplicaKeys.derive(SECRET, self._raw, ids.send_id)

        async def deliver(recv_id: bytes, messages: Sequence[m.StoredMessage]) -> None:
            assert self._session is not None
            for message in messages:
                packet = keys.open(message.mid, message.blob)
                self._session, text = self._session.decrypt(packet, now=time.time())
                self._came[int.from_bytes(text[:8], "big")] = time.monotonic()
            self._more.set()
            await self._own(number, m.Ack(recv_id, tuple(message.mid for message in messages)))

        stands = trio.Event()
        subscribed = Subscribed(ids.recv_id, owner(number).seed)
        self._nursery.start_soon(
            partial(self._clients[False].subscribe, self._at, [subscribed], deliver, standing=stands.set)
        )
        with trio.fail_after(PATIENCE_SECONDS):
            await stands.wait()
        return True

    async def lay(self, number: int, forward: bool) -> list[float]:
        """Seal and deposit one message; return when that began and when it was answered."""
        assert self._session is not None
        send_id = self._queues[0].send_id
        keys = ReplicaKeys.derive(SECRET, self._raw, send_id)
        begun = time.monotonic()
        self._session, packet = self._session.encrypt(number.to_bytes(8, "big") + TEXT, os.urandom)
        put = m.Put(send_id, keys.mid(packet), TTL_SECONDS, keys.seal(packet))
        answer = await self._write(put, forward=forward)
        assert isinstance(answer, m.Stored), answer
        return [begun, time.monotonic()]

    async def came(self, number: int) -> float:
        """Wait until message `number` was decrypted; return when."""
        with trio.fail_after(PATIENCE_SECONDS):
            while number not in self._came:
                self._more = trio.Event()
                await self._more.wait()
        return self._came[number]

    # --- who listens --------------------------------------------------------------------------------------------------

    async def crowd(self, first: int, count: int, together: int) -> int:
        """Listen to queues, `together` on each connection; return how many once all stand."""
        numbers = range(first, first + count)
        groups = [numbers[at : at + together] for at in range(0, count, together)]
        left, done = len(groups), trio.Event()

        def stands() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        async def nothing(_recv_id: bytes, _messages: Sequence[m.StoredMessage]) -> None:
            raise AssertionError("nobody wrote")

        for group in groups:
            client = MailboxClient(self._network, forward=False)
            self._nursery.start_soon(client.run)
            all_of_them = [Subscribed(queue_id(1, number), owner(number).seed) for number in group]
            self._nursery.start_soon(partial(client.subscribe, self._at, all_of_them, nothing, standing=stands))
        with trio.fail_after(PATIENCE_SECONDS):
            await done.wait()
        return count

    async def _own(self, number: int, command: m.Command) -> m.Answer:
        key = owner(number)
        return await self._clients[False].call(
            self._at, command, role=Role.RECEIVE, seed=key.seed, queue=key.public_key
        )

    async def _write(self, command: m.Put, *, forward: bool = False) -> m.Answer:
        seed = send_seed(SECRET, self._raw)
        return await self._clients[forward].call(self._at, command, role=Role.SEND, seed=seed, queue=command.send_id)


async def _all(numbers: Iterator[int], work: Callable[[int], Awaitable[None]], tasks: int) -> dict[str, float]:
    async def task() -> None:
        for number in numbers:
            await work(number)

    begun = time.monotonic()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(task)
    return {"begun": begun, "ended": time.monotonic()}


async def main(network_file: Path) -> None:
    async with trio.open_nursery() as nursery:
        mailer = Mailer(network_file, nursery)
        await answer_questions({
            "make": mailer.make, "know": mailer.know, "put": mailer.put, "get": mailer.get, "meet": mailer.meet,
            "join": mailer.join, "listen": mailer.listen, "lay": mailer.lay, "came": mailer.came, "crowd": mailer.crowd,
        })  # fmt: skip
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    setup_logging(level="warning", json=True)  # standard output is for answers
    trio.run(main, Path(sys.argv[1]))
