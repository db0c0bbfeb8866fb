"""Sending by way of another relay, so that the mailbox's relay does not see from where.

Owns: which relay forwards, the forward keys of those it is forwarded to, and when to do without. Spec:
docs/spec/mailbox.md, "Forwarding". Never touches: connections (the client asks), what is deposited.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Final, Protocol

import trio

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost
from covey_core.peers import PeerId, ed25519_key_in, peer_id_bytes
from covey_core.wire.mailbox import Answer, Forwarded, Fwd, Hello, Reason, Refused, Take
from covey_core.wire.mailbox_forward import FORWARDED_ID, begin_forward, open_answer, seal_command
from covey_core.wire.mailbox_proof import forward_key_fits
from covey_node import limits
from covey_node.net.mailbox_relays import MailboxRelays
from covey_node.protocol.mailbox_call import Asking, At, check_answer, sign

_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32


class Ask(Protocol):
    """How a relay is asked: `again` says whether a lost stream may be made good by asking twice."""

    async def __call__(self, at: At, asking: Asking, *, queue: bytes, again: bool) -> Answer:
        """Return the relay's own answer."""
        ...


class _NotForwarded(CoveyError):
    """This relay does not bring it there; `busy` when it said that it only has no time."""

    def __init__(self, text: str, *, busy: Refused | None = None) -> None:
        super().__init__(text)
        self.busy = busy


class Forwarding:
    """Commands by way of other relays. `now` gives Unix seconds."""

    def __init__(self, relays: MailboxRelays, ask: Ask, *, now: Callable[[], float]) -> None:
        self._relays = relays
        self._ask = ask
        self._now = now
        self._salt = secrets.token_bytes(_SALT_BYTES)
        self._hellos: dict[PeerId, Hello] = {}
        self._fetching: dict[PeerId, trio.Lock] = {}
        self._doubted_until: dict[tuple[PeerId, PeerId], float] = {}
        self._brought_at: dict[PeerId, float] = {}

    async def call(self, target: At, asking: Asking, *, queue: bytes) -> Answer | None:
        """Return the answer of the target; None when no other relay brings the command there: then it is asked itself.

        BUSY of those that would forward is an answer, so that nobody can be made to go directly by keeping them busy.
        `StreamLost` when a key may have been taken, or when another relay brought something there a moment ago and will
        again; `ProtocolViolation` when the target's answer cannot be one.
        """
        key = ed25519_key_in(target.relay)
        if key is None:
            return None
        busy: Refused | None = None
        for forwarder in self._choose(target, queue):
            sent = [False]
            try:
                with trio.fail_after(limits.MAILBOX_FORWARD_SECONDS):
                    answer = await self._by(forwarder, target, key, asking, queue=queue, sent=sent)
            except _NotForwarded as exc:
                busy = busy or exc.busy
                if exc.busy is None:
                    self._doubt(forwarder, target, limits.MAILBOX_DOUBT_SECONDS_MIN)
            except (CoveyError, trio.TooSlowError) as exc:
                self._doubt(forwarder, target, limits.MAILBOX_DOUBT_SECONDS)
                if sent[0] and isinstance(asking.command, Take):
                    raise StreamLost("the way through another relay broke off; a key may have been taken") from exc
            else:
                self._brought(target.relay)
                check_answer(asking.command, answer)
                return answer
        last = self._brought_at.get(target.relay, -inf)
        if busy is None and trio.current_time() < last + limits.MAILBOX_DIRECT_SECONDS:
            raise StreamLost("the relays that forward there do not at the moment")
        return busy

    async def _by(
        self, forwarder: At, target: At, key: bytes, asking: Asking, *, queue: bytes, sent: list[bool]
    ) -> Answer:
        """Have it done through one relay, with a new forward key of the target where the one we know does not do."""
        known = target.relay in self._hellos
        hello = await self._hello(forwarder, target, key, queue=queue)
        try:
            return await self._sealed(forwarder, target, hello, asking, queue=queue, sent=sent)
        except _NotForwarded as exc:
            if not known or exc.busy is not None:
                raise
        except ProtocolViolation:  # the target may have other keys since it was started anew
            if not known:
                raise
        self._hellos.pop(target.relay, None)
        hello = await self._hello(forwarder, target, key, queue=queue)
        return await self._sealed(forwarder, target, hello, asking, queue=queue, sent=sent)

    async def _sealed(
        self, forwarder: At, target: At, hello: Hello, asking: Asking, *, queue: bytes, sent: list[bool]
    ) -> Answer:
        seal = begin_forward(target.relay, hello.forward_key, ephemeral=secrets.token_bytes(_KEY_BYTES))
        signature = sign(asking, relay=target.relay, nonce=seal.nonce, request_id=FORWARDED_ID)
        sealed = seal_command(seal, asking.body, signature)
        sent[0] = True
        answer = await self._forward(forwarder, target, sealed, queue=queue, again=not isinstance(asking.command, Take))
        return open_answer(seal, answer.sealed)

    async def _hello(self, forwarder: At, target: At, key: bytes, *, queue: bytes) -> Hello:
        """Return the target's hello, from memory or through the forwarder; its own signature says that it is so."""
        async with self._one_at_a_time(target.relay):
            known = self._hellos.get(target.relay)
            if known is not None and self._now() < known.forward_until - limits.MAILBOX_HELLO_LEFT_SECONDS:
                return known
            hello = (await self._forward(forwarder, target, b"", queue=queue, again=True)).hello
            if hello is None or not forward_key_fits(hello, identity_key=key, now=self._now()):
                raise _NotForwarded("the forward key is not signed by its relay, or is over")
            while len(self._hellos) >= limits.MAILBOX_HELLOS:
                del self._hellos[next(iter(self._hellos))]
            self._hellos[target.relay] = hello
            return hello

    async def _forward(self, forwarder: At, target: At, sealed: bytes, *, queue: bytes, again: bool) -> Forwarded:
        asking = Asking.of(Fwd(peer_id_bytes(target.relay), sealed), None)
        match await self._ask(forwarder, asking, queue=queue, again=again):
            case Forwarded() as forwarded:
                return forwarded
            case Refused(Reason.BUSY) as refused:
                raise _NotForwarded("the relay has no time to forward", busy=refused)
            case _:
                raise _NotForwarded("the relay does not forward there")

    @asynccontextmanager
    async def _one_at_a_time(self, relay: PeerId) -> AsyncIterator[None]:
        lock = self._fetching.setdefault(relay, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.statistics().tasks_waiting:
                self._fetching.pop(relay, None)

    def _choose(self, target: At, queue: bytes) -> list[At]:
        """Return the relays to try: of other people than the target's, listed ones first, the same ones each time."""
        now = trio.current_time()
        known = self._relays.all()
        operator = next((at.operator for at in known if at.relay == target.relay), target.operator)
        others = [
            at
            for at in known
            if at.relay != target.relay and self._doubted_until.get((at.relay, target.relay), 0.0) <= now
        ]

        def place(at: At) -> tuple[bool, bool, bytes]:
            order = hashlib.sha256(self._salt + f"{target.relay} {at.relay} ".encode() + queue).digest()
            return (bool(at.operator) and at.operator == operator, not at.operator, order)

        return sorted(others, key=place)[: limits.MAILBOX_FORWARDERS]

    def _brought(self, relay: PeerId) -> None:
        self._brought_at.pop(relay, None)
        while len(self._brought_at) >= limits.MAILBOX_HELLOS:
            del self._brought_at[next(iter(self._brought_at))]
        self._brought_at[relay] = trio.current_time()

    def _doubt(self, forwarder: At, target: At, seconds: float) -> None:
        now = trio.current_time()
        over = [pair for pair, until in self._doubted_until.items() if until <= now]
        for pair in over:
            del self._doubted_until[pair]
        self._doubted_until[forwarder.relay, target.relay] = now + seconds
