"""The node: what a user can ask of it, answered by the parts that know.

Owns: the port (port.py) and the node's running state: paths, status, ping. Spec: docs/spec/api.md.
Never touches: HTTP, rows and packets (acquaintance.py, conversation.py, delivery.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial

import trio

from covey_core.errors import CoveyError
from covey_core.host import Host
from covey_core.peers import peer_id_of
from covey_node import limits
from covey_node.net.dialer import Dialer
from covey_node.net.interfaces import expand
from covey_node.net.relays import RelayClient
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState
from covey_node.service import views
from covey_node.service.acquaintance import Acquaintance
from covey_node.service.composing import own_name
from covey_node.service.conversation import Conversation
from covey_node.service.delivery import Delivery
from covey_node.service.doctor import Doctor
from covey_node.service.explaining import explain
from covey_node.service.ledger import Ledger
from covey_node.service.mailbox_desk import MailboxDesk
from covey_node.service.mailboxes import Mailboxes
from covey_node.service.naming import account_key_in, find_contact, find_message, relay_name
from covey_node.service.own import Own
from covey_node.service.path_watch import NO_PATH, PathWatch, PeerPath
from covey_node.service.port import (
    ContactView,
    DoctorView,
    EventView,
    InviteView,
    MailboxesView,
    MessageView,
    PeerPathView,
    PingView,
    ProfileView,
    Refused,
    RelayView,
    StatusView,
    VerifyView,
    WhyView,
)
from covey_node.service.presence import Presence
from covey_node.service.reach import ContactReach
from covey_node.service.records import Records
from covey_node.service.sealing import device_keys
from covey_node.store import contacts, lanes, messages
from covey_node.store.tx import Tx

_SHOWN_FIRST = (ContactState.ACCEPTED, ContactState.INCOMING, ContactState.REQUESTED, ContactState.REQUESTING)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running node is made of."""

    own: Own
    ledger: Ledger
    host: Host
    relays: RelayClient
    dialer: Dialer
    reach: ContactReach
    records: Records
    presence: Presence
    delivery: Delivery
    version: str
    started_at: float
    state: Callable[[], str]
    paths: PathWatch
    doctor: Doctor
    desk: MailboxDesk
    mailboxes: Mailboxes


class Node:
    """Implements `NodePort`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ledger = parts.ledger
        self._acquaintance = Acquaintance(
            parts.ledger, parts.own, parts.host.network, contact_queues=parts.mailboxes.contact_queues
        )
        self._profiles = parts.mailboxes.profiles
        self._conversation = Conversation(parts.ledger, parts.own)

    # --- at a glance ----------------------------------------------------------------------------------------------

    async def status(self) -> StatusView:
        """Return the node at a glance."""
        name, people, queued, unread = await self._ledger.read(_glance)
        parts, network = self._parts, self._parts.host.network
        return StatusView(
            account=parts.own.account_key.hex(),
            name=name,
            peer=parts.host.peer_id,
            network=network.name,
            network_private=not network.scope.is_public,
            version=parts.version,
            state=parts.state(),
            started_at=parts.started_at,
            listen=expand(parts.host.addrs),
            relays=relay_views(parts.host, parts.relays, now=parts.own.now()),
            bootstraps_connected=parts.records.servers,
            record_published_at=parts.records.published.at,
            record_holders=parts.records.published.holders,
            contacts=tuple(self._path_view(view, keys) for view, keys in people),
            queued=queued,
            unread=unread,
            requests=sum(view.state is ContactState.INCOMING for view, _ in people),
        )

    async def doctor(self, contact: str | None) -> DoctorView:
        """Say how this machine is reached, and each contact; of one contact hop by hop, after a try to reach it."""
        return await self._parts.doctor.examine(contact)

    async def mailboxes(self) -> MailboxesView:
        """Return where mail for this device waits."""
        return await self._parts.desk.view()

    async def move_mailboxes(self, relay: str, *, back: bool) -> MailboxesView:
        """Have all mailboxes leave a relay without losing mail; or `back`: use it again."""
        return await self._parts.desk.move(relay, back=back)

    async def ping(self, contact: str) -> PingView:
        """Measure one round trip; `Refused` when no path stands within its deadline."""

        def find(tx: Tx) -> tuple[int, str, tuple[bytes, ...]]:
            row = find_contact(tx, contact)
            return row.id, row.alias, device_keys(tx, row)

        contact_id, alias, keys = await self._ledger.read(find)
        if not keys:
            raise Refused(f"no device of {alias} is known yet")
        reasons = []
        for key in keys:
            peer = peer_id_of(key)
            try:
                with trio.fail_after(limits.OPEN_CHAT_SECONDS):
                    await self._parts.reach.connect(contact_id, peer)
                    seconds = await self._parts.host.ping(peer, on=self._parts.reach.use(peer))
            except trio.TooSlowError:
                reasons.append("no answer in time")
                continue
            except CoveyError as exc:
                reasons.append(str(exc))
                continue
            return PingView(alias, self._parts.dialer.path(peer)[0], seconds)
        raise Refused(f"{alias} cannot be reached: {'; '.join(reasons)}")

    def events(self, *, after: int | None) -> AbstractAsyncContextManager[AsyncIterator[EventView]]:
        """Yield what happens from now on, or after event `after` as far back as the node remembers."""
        return self._ledger.events.watch(after=after)

    # --- people ---------------------------------------------------------------------------------------------------

    async def contacts(self) -> tuple[ContactView, ...]:
        """Return all contacts, accepted ones first, by alias."""
        _, people, _, _ = await self._ledger.read(_glance)
        return tuple(replace(view, path=self._path(keys)) for view, keys in people)

    async def contact(self, contact: str) -> ContactView:
        """Return one contact."""

        def one(tx: Tx) -> tuple[ContactView, tuple[bytes, ...]]:
            row = find_contact(tx, contact)
            return views.contact_view(tx, row), device_keys(tx, row)

        view, keys = await self._ledger.read(one)
        return replace(view, path=self._path(keys))

    async def requests(self) -> tuple[ContactView, ...]:
        """Return the contacts that wait for our decision."""
        return tuple(view for view in await self.contacts() if view.state is ContactState.INCOMING)

    async def rename(self, contact: str, alias: str) -> ContactView:
        """Give a contact another local alias; refused when it is taken."""
        return await self._acquaintance.rename(contact, alias)

    async def invite(self, *, label: str, valid_seconds: float, one_use: bool) -> InviteView:
        """Make an invite link; its text is in the view this once."""
        return await self._acquaintance.invite(label=label, valid_seconds=valid_seconds, one_use=one_use)

    async def invites(self) -> tuple[InviteView, ...]:
        """Return our invites that have not expired."""
        return await self._acquaintance.invites()

    async def revoke_invite(self, invite: str) -> None:
        """Make an invite unusable."""
        await self._acquaintance.revoke_invite(invite)

    async def add(self, link: str, *, alias: str | None, intro: str) -> ContactView:
        """Use somebody's link, or the key of an account with a public profile: ask them to become a contact."""
        account_key = account_key_in(link)
        if account_key is None:
            return await self._acquaintance.add(link, alias=alias, intro=intro)
        return await self._acquaintance.use(await self._profiles.find(account_key), alias=alias, intro=intro)

    async def profile(self) -> ProfileView:
        """Return how our public profile stands."""
        return await self._profiles.view()

    async def publish_profile(self, *, published: bool) -> ProfileView:
        """Publish our profile from now on, or take it back."""
        return await self._profiles.want(published=published)

    async def accept(self, contact: str, *, alias: str | None) -> ContactView:
        """Accept an incoming request."""
        return await self._acquaintance.answer(contact, accept=True, alias=alias)

    async def refuse(self, contact: str) -> None:
        """Refuse an incoming request; the other side is told."""
        await self._acquaintance.answer(contact, accept=False)

    async def block(self, contact: str) -> None:
        """Take nothing more from a contact, and stop telling it where we are."""
        await self._acquaintance.block(contact)

    async def verify(self, contact: str) -> VerifyView:
        """Return the safety number."""
        return await self._acquaintance.verify(contact)

    async def set_verified(self, contact: str, *, verified: bool) -> VerifyView:
        """Record that the user compared the safety number (or takes it back)."""
        return await self._acquaintance.set_verified(contact, verified=verified)

    # --- messages -------------------------------------------------------------------------------------------------

    async def send(
        self, contact: str, text: str, *, reply_to: str | None, disappear_seconds: float | None
    ) -> MessageView:
        """Queue a text; returns once it is durable here, before anything is sent."""
        return await self._conversation.send(contact, text, reply_to=reply_to, disappear_seconds=disappear_seconds)

    async def react(self, message: str, emoji: str) -> None:
        """React to a message; an empty `emoji` takes the reaction back."""
        await self._conversation.react(message, emoji)

    async def edit(self, message: str, text: str) -> MessageView:
        """Replace the text of a message of ours."""
        return await self._conversation.edit(message, text)

    async def delete(self, message: str) -> None:
        """Delete a message of ours on both sides."""
        await self._conversation.delete(message)

    async def message(self, message: str) -> MessageView:
        """Return one message."""
        return await self._conversation.message(message)

    async def why(self, message: str) -> WhyView:
        """Say why a message is where it is: each device that waits for it, each way that is tried."""
        parts = self._parts
        paths = {peer: parts.dialer.path(peer)[0] for peer in {info.peer for info in parts.host.connections()}}

        def explained(tx: Tx) -> WhyView:
            return explain(
                tx,
                find_message(tx, message),
                now=parts.own.now(),
                path_of=lambda peer: paths.get(peer, PathKind.NONE),
                name_of=partial(relay_name, parts.host.network),
            )

        return await self._ledger.read(explained)

    async def history(self, contact: str, *, limit: int, before: str | None) -> tuple[MessageView, ...]:
        """Return up to `limit` messages, oldest first, that came before message `before` (default: the newest)."""
        return await self._conversation.history(contact, limit=limit, before=before)

    async def mark_read(self, contact: str) -> int:
        """Mark all messages of a contact as read and tell the sender; return how many were new."""
        return await self._conversation.mark_read(contact)

    # --- paths ----------------------------------------------------------------------------------------------------

    def _path(self, keys: tuple[bytes, ...]) -> PathKind:
        return self._peer_path(keys).kind

    def _path_view(self, view: ContactView, keys: tuple[bytes, ...]) -> PeerPathView:
        path = self._peer_path(keys)
        return PeerPathView(view.alias, path.kind, path.address, path.since, path.transport, path.relay)

    def _peer_path(self, keys: tuple[bytes, ...]) -> PeerPath:
        """Return the best path to any of a contact's devices."""
        found = [self._parts.paths.path(peer_id_of(key)) for key in keys]
        return min(found, key=lambda path: list(PathKind).index(path.kind), default=NO_PATH)


def relay_views(host: Host, client: RelayClient, *, now: float) -> tuple[RelayView, ...]:
    """Return the network's relays as this node sees them."""
    return tuple(
        RelayView(
            operator=relay.operator,
            peer=relay.peer,
            connected=bool(host.connections(relay.peer)),
            reserved_until=relay.timetable.expires_at if relay.timetable.held(now=now) else None,
            reason=relay.timetable.reason,
        )
        for relay in client.relays.values()
    )


def _glance(tx: Tx) -> tuple[str, list[tuple[ContactView, tuple[bytes, ...]]], int, int]:
    rows = sorted(
        contacts.all_in(tx),
        key=lambda row: _SHOWN_FIRST.index(row.state) if row.state in _SHOWN_FIRST else len(_SHOWN_FIRST),
    )
    people = [(views.contact_view(tx, row), device_keys(tx, row)) for row in rows]
    return own_name(tx), people, lanes.queued(tx), messages.unread(tx)
