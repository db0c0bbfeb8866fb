"""Our public profile, published while the user wants it; those of others, found by their account's key.

Owns: whether and when ours is published. Spec: docs/spec/profile.md. Never touches: contact records (records.py), what
becomes of a request to somebody who was found (acquaintance.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import trio

from covey_core.errors import CoveyError, ProtocolViolation
from covey_core.host.dht import Dht
from covey_core.logs import get_logger
from covey_core.network import Network
from covey_core.records import ContactRecord, decode_record, encode_record, record_key, signed_part
from covey_node import crypto, limits
from covey_node.net.alarm import Alarm
from covey_node.net.records import open_record_exchange, servers_of
from covey_node.protocol.contact_set import ContactSet
from covey_node.protocol.invite import Invite
from covey_node.protocol.profile import PublicProfile
from covey_node.service.composing import own_name
from covey_node.service.contact_queues import ContactQueues
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.service.port import NotFound, ProfileView, Refused
from covey_node.service.profile_ahead import ProfileAhead
from covey_node.store import account
from covey_node.store.tx import Tx

log = get_logger("node.profile")

_WANTED = "profile_wanted"
_HIDDEN_AT = "profile_hidden_at"
_MADE = "profile_made"
"""Keys of `meta`: whether the profile is to be published (01) or was taken back (00), and when; its last `made`."""

Exchange = Callable[[], AbstractAsyncContextManager[Dht]]


@dataclass(frozen=True, slots=True)
class _Told:
    """What was published last, when (Unix seconds), and how many holders took it."""

    name: str
    mailboxes: ContactSet | None
    made: int
    at: float
    holders: int


class Profiles:
    """Publishes ours and finds others', each time under a throw-away identity of its own."""

    def __init__(self, ledger: Ledger, own: Own, network: Network, contact_queues: ContactQueues | None) -> None:
        self._ledger = ledger
        self._own = own
        self._network = network
        self._contact_queues = contact_queues
        self._told: _Told | None = None
        self._changed = Alarm()
        self._ahead_due = Alarm()
        self.ahead = ProfileAhead(ledger, own, network)
        ledger.follow(self._followed)

    async def run(self) -> None:
        """Keep our profile as the user wants it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_ahead)
            await self._keep_now()

    async def _keep_ahead(self) -> None:
        while True:
            await self._ahead_due.wait(trio.current_time() + limits.AHEAD_LOOK_SECONDS)
            wanted = await self._ledger.read(lambda tx: account.get_meta(tx, _WANTED))
            told = self._told
            if wanted == b"\x00":
                await self.ahead.keep(None)
            elif wanted == b"\x01" and told is not None and told.mailboxes is not None:
                await self.ahead.keep(PublicProfile(told.made, told.name, told.mailboxes))

    async def _keep_now(self) -> None:
        while True:
            pause = float(limits.RECORD_PUBLISH_SECONDS)
            try:
                await self._keep()
            except CoveyError as exc:
                log.info("node.profile.failed", problem=type(exc).__name__)
                pause = limits.RECORD_RETRY_SECONDS
            await self._changed.wait(trio.current_time() + pause)
            await trio.sleep(limits.RECORD_SETTLE_SECONDS)  # several changes come together

    async def want(self, *, published: bool) -> ProfileView:
        """Publish our profile from now on, or take it back; `Refused` where there is nothing to name in it."""
        if published and self._contact_queues is None:
            raise Refused("mailboxes are off (COVEY_NODE_MAILBOXES): nobody could leave a request")
        await self._ledger.change(lambda tx, _: self._note_wanted(tx, published=published))
        self._told = None
        try:
            with trio.move_on_after(limits.PROFILE_FIND_SECONDS):
                await self._keep()
        except CoveyError as exc:
            log.info("node.profile.failed", problem=type(exc).__name__)
        self._changed.ring()
        return await self.view()

    async def view(self) -> ProfileView:
        """Return how our profile stands."""
        wanted, name = await self._ledger.read(lambda tx: (account.get_meta(tx, _WANTED), own_name(tx)))
        told = self._told
        return ProfileView(
            account=self._own.account_key.hex(),
            name=name,
            wanted=wanted == b"\x01",
            published_at=None if told is None else told.at,
            holders=0 if told is None else told.holders,
            mailboxes=0 if told is None or told.mailboxes is None else len(told.mailboxes.replicas),
        )

    async def find(self, account_key: bytes) -> Invite:
        """Return the profile of an account as an open invite; `NotFound`, `Refused` for what is no account's key."""
        try:
            share, found = crypto.profile_share(account_key), None
        except ProtocolViolation as exc:
            raise Refused("these 64 digits are no account's key: copy all of it") from exc
        with trio.move_on_after(limits.PROFILE_FIND_SECONDS):
            found = await self._find(share)
        if found is None or found.mailboxes is None:
            raise NotFound(
                "no public profile of this account was found: it may be hidden, or its owner away for over a month; "
                "ask for an invite link"
            )
        until = self._own.now() + limits.RECORD_LIFETIME_SECONDS
        return Invite(self._network, account_key, (), b"", until, found.name, found.mailboxes)

    # --- ours ---------------------------------------------------------------------------------------------------------

    def _followed(self, effects: Effects) -> None:
        if effects.invites or effects.queues:
            self._changed.ring()

    async def _keep(self) -> None:
        wanted, name = await self._ledger.read(lambda tx: (account.get_meta(tx, _WANTED), own_name(tx)))
        if wanted is None or (wanted == b"\x00" and await self._ledger.read(self._is_long_hidden)):
            return
        mailboxes = None
        if wanted == b"\x01" and self._contact_queues is not None:
            mailboxes = await self._contact_queues.invite_set(one_use=False)
            if mailboxes is None:
                raise NotFound("no mailbox stands yet")
        told, now = self._told, self._own.now()
        fresh = told is not None and 0 <= now - told.at < limits.RECORD_PUBLISH_SECONDS
        if told is not None and fresh and (told.name, told.mailboxes) == (name, mailboxes):
            return
        made = await self._ledger.change(lambda tx, _: self._next_made(tx))
        key, value = self._record(PublicProfile(made, name if mailboxes else "", mailboxes))
        async with open_record_exchange(self._network) as dht:
            await dht.bootstrap(servers_of(self._network))
            holders = await dht.put(key, value)
        if not holders:
            raise NotFound("no holder took it")
        self._told = _Told(name, mailboxes, made, now, holders)
        self._ahead_due.ring()
        log.info("node.profile.published", hidden=mailboxes is None, holders=holders)

    def _note_wanted(self, tx: Tx, *, published: bool) -> None:
        account.set_meta(tx, _WANTED, bytes((published,)))
        account.set_meta(tx, _HIDDEN_AT, int(self._own.now()).to_bytes(8, "big"))

    def _is_long_hidden(self, tx: Tx) -> bool:
        """Whether it was taken back so long ago that no holder keeps what was published before."""
        since = self._own.now() - int.from_bytes(account.get_meta(tx, _HIDDEN_AT) or b"", "big")
        return not 0 <= since < limits.PROFILE_HIDING_SECONDS

    def _next_made(self, tx: Tx) -> int:
        last = int.from_bytes(account.get_meta(tx, _MADE) or b"", "big")
        made = max(last + 1, int(self._own.now()))
        account.set_meta(tx, _MADE, made.to_bytes(8, "big"))
        return made

    def _record(self, profile: PublicProfile) -> tuple[str, bytes]:
        """Return today's key and value."""
        keys, now = crypto.profile_keys(self._own.account), self._own.now()
        day, expires_at = crypto.day_of(now), int(now) + limits.RECORD_LIFETIME_SECONDS
        day_key = keys.share.blinded_key(day)
        ciphertext = keys.share.seal(day, profile.encode(self._network), self._own.rng)
        message = signed_part(day_key=day_key, sequence=profile.made, expires_at=expires_at, ciphertext=ciphertext)
        record = ContactRecord(day_key, profile.made, expires_at, ciphertext, keys.sign(day, message))
        return record_key(day_key), encode_record(record)

    # --- others' ------------------------------------------------------------------------------------------------------

    async def _find(self, share: crypto.RecordShare) -> PublicProfile | None:
        today = crypto.day_of(self._own.now())
        found: list[PublicProfile] = []

        async def of_day(dht: Dht, day: int) -> None:
            for value in await dht.get(record_key(share.blinded_key(day))):
                try:
                    plain = share.open(day, decode_record(value).ciphertext)
                    found.append(PublicProfile.decode(plain, self._network))
                except CoveyError as exc:
                    log.debug("node.profile.refused", problem=type(exc).__name__)

        async with open_record_exchange(self._network) as dht:
            await dht.bootstrap(servers_of(self._network))
            async with trio.open_nursery() as nursery:
                for day in (today, today - 1, today + 1):
                    nursery.start_soon(of_day, dht, day)
        return max(found, key=lambda profile: profile.made, default=None)
