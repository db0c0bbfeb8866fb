"""The node's way to relays' mailboxes: typed calls and subscriptions, under identities that are nobody's.

Owns: the throw-away identities and which is used for what, the deadline of a call, its second try. Spec:
docs/spec/mailbox.md, "A client". Never touches: the device's own host and identity, queues' meaning, the database; what
a call asks and when it is asked again is the service's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import trio

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost
from covey_core.host.contained import Contained
from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_core.wire.mailbox import Answer, Command, Fwd, Have, Put, Refused, StoredMessage, Sub, Take, Work
from covey_node import limits
from covey_node.crypto.primitives import ed25519_public
from covey_node.net.alarm import Alarm
from covey_node.net.lasting import failed, lasting
from covey_node.net.mailbox_forward import Forwarding
from covey_node.net.mailbox_link import Link
from covey_node.net.mailbox_listen import Deliver, Refuse
from covey_node.net.mailbox_relays import MailboxRelays
from covey_node.protocol.mailbox_call import Asking, At, MailboxUnreachable, Role, Subscribed

__all__ = ["At", "Deliver", "Isolation", "MailboxClient", "MailboxUnreachable", "Role", "Subscribed"]

Isolation = Literal["relay", "queue"]
"""`relay`: one throw-away identity a relay and role; `queue`: one a queue and role."""

_Key = tuple[PeerId, Role, bytes, tuple[str, ...]]
"""Relay, role, the queue where queues are kept apart, the addresses told of a relay that the network does not know."""

_ANSWERED, _UNREACHABLE = "answered", "unreachable"  # besides the reasons of refusals


class MailboxClient:
    """Calls at relays' mailboxes. `run` owns everything that is open; without it calls wait and then fail."""

    def __init__(
        self,
        network: Network,
        *,
        known: Callable[[PeerId], tuple[str, ...]] = lambda _relay: (),
        isolation: Isolation = "relay",
        forward: bool = True,
        now: Callable[[], float] = time.time,
        on_call: Callable[[str, str], None] = lambda _command, _outcome: None,
    ) -> None:
        """`known`: addresses of a relay that is neither in the network file nor found at rendezvous points.

        `forward`: send by way of another relay where one answers. `now`: Unix seconds, for the end of forward keys.
        `on_call` hears of each call that came to an end: its command and outcome in METRICS' words.
        """
        self._network = network
        self._isolation = isolation
        self._on_call = on_call
        self._relays = MailboxRelays(network, known)
        self._forwarding = Forwarding(self._relays, self._ask_to_forward, now=now) if forward else None
        self._links: dict[_Key, Link] = {}
        self._fresh: deque[tuple[_Key, Link]] = deque()
        self._more = Alarm()
        self._identities: dict[_Key, Identity] = {}

    async def run(self) -> None:
        """Keep hosts and connections until cancelled; then all of them are closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lasting, "mailbox relays", self._relays.run)
                while True:
                    while self._fresh:
                        nursery.start_soon(self._keep, *self._fresh.popleft())
                    await self._more.wait()
        finally:
            for link in self._links.values():
                link.end("this node ends its connections to mailboxes")
            self._links.clear()
            self._fresh.clear()

    async def call(self, at: At, command: Command, *, role: Role, seed: bytes | None, queue: bytes) -> Answer:
        """Have one command answered; a refusal is an answer (`Refused`).

        `seed` (Ed25519, 32 bytes) signs, None for commands that nobody signs. `queue` names what is kept apart with
        `isolation=queue`: the same bytes for all calls about one queue, its public receive key for `Role.RECEIVE` (as
        subscriptions do), its `send_id` for `Role.SEND`. PUT, HAVE, TAKE and WORK of `Role.SEND` go by way of another
        relay where one answers. Raises `MailboxUnreachable`, at the latest after `limits.MAILBOX_CALL_SECONDS`;
        `ProtocolViolation` for a command whose fields are not what they may be. Cancelled, it may have been done.
        """
        if isinstance(command, Sub | Fwd):
            raise ProtocolViolation("subscriptions and forwarding are not calls")
        asking = Asking.of(command, seed)
        name = type(command).__name__.lower()
        try:
            with trio.fail_after(limits.MAILBOX_CALL_SECONDS):
                answer = await self._call(at, asking, role=role, queue=queue)
        except (CoveyError, trio.TooSlowError) as exc:
            self._on_call(name, _UNREACHABLE)
            slow = f"the relay did not answer within {limits.MAILBOX_CALL_SECONDS} s"
            raise MailboxUnreachable(slow if isinstance(exc, trio.TooSlowError) else str(exc)) from exc
        self._on_call(name, answer.reason.name.lower() if isinstance(answer, Refused) else _ANSWERED)
        return answer

    async def subscribe(
        self,
        at: At,
        queues: Sequence[Subscribed],
        deliver: Deliver,
        *,
        refused: Refuse | None = None,
        standing: Callable[[], None] = lambda: None,
    ) -> None:
        """Listen to queues at one relay until cancelled; messages that wait and those that come go to `deliver`.

        All that listen at a relay share a stream. One `deliver` runs at a time, and the relay is read no further until
        it returns; it may `call`, and should return within the 30 s that a relay waits. `refused` hears of each queue
        that the relay does not let us listen to (BUSY is waited out), `standing` is told once all others are listened
        to. Raises `MailboxUnreachable` when the connection ends or nothing is left to listen to; when to come back is
        the caller's. Errors of the callbacks leave as they are.
        """
        if not queues:
            raise MailboxUnreachable("there is no queue to listen to")
        groups = [queues] if self._isolation == "relay" else [[queue] for queue in queues]
        one_at_a_time, missing = trio.Lock(), len(groups)
        ends: list[Exception] = []

        async def hand_on(recv_id: bytes, messages: Sequence[StoredMessage]) -> None:
            async with one_at_a_time:
                await deliver(recv_id, messages)

        async def refuse(recv_id: bytes, answer: Refused) -> None:
            if refused is not None:
                await refused(recv_id, answer)

        def stands() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                standing()

        async def listen(group: Sequence[Subscribed], everything: trio.CancelScope) -> None:
            with Contained() as outcome:  # as it is, not in the nursery's group
                link = self._link(at, Role.RECEIVE, ed25519_public(group[0].seed))
                await link.listen(group, hand_on, refuse, stands)
            ends.append(outcome.error or MailboxUnreachable("the relay ended the stream"))
            everything.cancel()

        async with trio.open_nursery() as nursery:
            for group in groups:
                nursery.start_soon(listen, group, nursery.cancel_scope)
        raise ends[0]

    def network_changed(self) -> None:
        """Our addresses changed: end what is open and take new identities, so that nobody sees one come from both."""
        self._identities.clear()
        for link in self._links.values():
            link.end("this machine's network changed")
        self._links.clear()

    def relays(self) -> tuple[At, ...]:
        """Return the relays that are known and serve mailboxes, as far as was seen, with addresses and operator.

        Those of the network file come first; the others were found at rendezvous points, where anybody may register.
        """
        return self._relays.all()

    async def _call(self, at: At, asking: Asking, *, role: Role, queue: bytes) -> Answer:
        if self._forwarding is not None and role is Role.SEND and isinstance(asking.command, Put | Have | Take | Work):
            answer = await self._forwarding.call(at, asking, queue=self._apart(queue))
            if answer is not None:
                return answer
        return await self._ask(at, asking, role=role, queue=queue, again=not isinstance(asking.command, Take))

    async def _ask_to_forward(self, at: At, asking: Asking, *, queue: bytes, again: bool) -> Answer:
        return await self._ask(at, asking, role=Role.SEND, queue=queue, again=again)

    async def _ask(self, at: At, asking: Asking, *, role: Role, queue: bytes, again: bool) -> Answer:
        """Ask the relay itself; a second time when the stream was lost, unless a repetition would cost a key."""
        try:
            return await self._link(at, role, queue).call(asking)
        except StreamLost:
            if not again:
                raise
        return await self._link(at, role, queue).call(asking)

    def _apart(self, queue: bytes) -> bytes:
        return queue if self._isolation == "queue" else b""

    # --- links --------------------------------------------------------------------------------------------------------

    def _link(self, at: At, role: Role, queue: bytes) -> Link:
        """Return the link for this relay and role, and this queue where queues are kept apart; made where need be.

        Who tells where a relay is that the network does not know gets a link, and so an identity, for that: nothing
        else goes by an address that may be a proxy of its own, also once the network says where the relay is.
        """
        key = (at.relay, role, self._apart(queue), () if self._relays.knows(at.relay) else at.addrs)
        link = self._links.get(key)
        if link is None or link.ended:
            self._make_room()
            link = self._links[key] = Link(self._network, self._identity(key), at.relay, self._relays)
            self._fresh.append((key, link))
            self._more.ring()
        link.addrs = self._relays.addrs_of(at)
        return link

    def _make_room(self) -> None:
        if len(self._links) < limits.MAILBOX_LINKS:
            return
        idle = [link for link in self._links.values() if link.is_idle]
        if not idle:
            raise MailboxUnreachable(f"{limits.MAILBOX_LINKS} connections to mailboxes are in use")
        longest = min(idle, key=lambda link: link.used_at)
        longest.end("another connection took its place")
        self._links = {key: link for key, link in self._links.items() if link is not longest}

    def _identity(self, key: _Key) -> Identity:
        """Return the identity of this run for a key: the same after a pause, so that nobody sees more than one."""
        if key not in self._identities:
            while len(self._identities) >= limits.MAILBOX_IDENTITIES:
                del self._identities[next(iter(self._identities))]
            self._identities[key] = Identity.generate()
        return self._identities[key]

    async def _keep(self, key: _Key, link: Link) -> None:
        """Run one link; an error that nobody foresaw ends it, and the next call makes another."""
        await failed("mailbox", link.run)
        link.end("the connection to the relay was ended")
        if self._links.get(key) is link:
            del self._links[key]
