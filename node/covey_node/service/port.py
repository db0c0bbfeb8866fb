"""What the local API may ask of the node, and the values it gets back.

Owns: the `NodePort` protocol and its value types. Everything the CLI, a bot or a web page can do goes through here.
Never touches: HTTP, libp2p, the database. Spec: docs/spec/api.md.

Times are Unix seconds (float, UTC). Message ids are 32 hex characters. A contact is named by its local alias, by the
64 hex characters of its account key, or by an unambiguous prefix (8 or more) of those.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from covey_node.protocol.paths import PathKind as PathKind
from covey_node.protocol.status import ContactState as ContactState
from covey_node.protocol.status import Status as Status
from covey_node.service.doctor_views import AddressView as AddressView
from covey_node.service.doctor_views import AdviceView as AdviceView
from covey_node.service.doctor_views import ContactDoctorView as ContactDoctorView
from covey_node.service.doctor_views import HopView as HopView
from covey_node.service.doctor_views import MappingView as MappingView
from covey_node.service.doctor_views import NatView as NatView
from covey_node.service.doctor_views import PortmapView as PortmapView
from covey_node.service.doctor_views import PunchAddressView as PunchAddressView
from covey_node.service.doctor_views import PunchView as PunchView
from covey_node.service.doctor_views import StandingPathView as StandingPathView
from covey_node.service.mailbox_views import MailboxesView as MailboxesView
from covey_node.service.mailbox_views import MailboxQueueView as MailboxQueueView
from covey_node.service.mailbox_views import MailboxRelayView as MailboxRelayView
from covey_node.service.mailbox_views import MailboxSetView as MailboxSetView
from covey_node.service.why_views import DeviceWhy as DeviceWhy
from covey_node.service.why_views import DirectWhy as DirectWhy
from covey_node.service.why_views import MailboxWhy as MailboxWhy
from covey_node.service.why_views import WhyView as WhyView


@dataclass(frozen=True, slots=True)
class ContactView:
    """One contact as a person sees it."""

    alias: str
    account: str
    state: ContactState
    profile_name: str
    verified: bool
    path: PathKind
    last_seen: float | None
    unread: int
    queued: int
    reason: str | None  # why a request is still open or was refused, in words
    intro: str | None  # what a stranger wrote with an incoming request


@dataclass(frozen=True, slots=True)
class ReactionView:
    """One person's reaction to a message: `author` is an alias or `me`."""

    author: str
    emoji: str


@dataclass(frozen=True, slots=True)
class CopiesView:
    """How many of the `of` mailboxes of a contact's device have a message; the device for which most have it counts."""

    stored: int
    of: int


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message as a person sees it: edits applied, deleted ones without text."""

    id: str
    contact: str  # alias
    outgoing: bool
    kind: str  # text | notice
    text: str | None
    sent_at: float
    received_at: float | None
    status: Status
    status_at: float
    reason: str | None  # why it is still queued, why copies are missing, or why it failed; in words
    path: PathKind | None  # the way it was delivered over, when known
    reply_to: str | None
    edited: bool
    deleted: bool
    expires_at: float | None
    reactions: tuple[ReactionView, ...]
    attempts: int
    next_attempt_at: float | None
    copies: CopiesView | None = None  # while it waits, where the contact has mailboxes


@dataclass(frozen=True, slots=True)
class InviteView:
    """An invite link of ours. The link itself is shown once, when it is made."""

    id: str
    label: str
    link: str | None
    one_use: bool
    created_at: float
    expires_at: float
    used_by: str | None


@dataclass(frozen=True, slots=True)
class ProfileView:
    """Our public profile: whether it is wanted, when it was last published, and how many mailboxes it then named."""

    account: str  # 64 hex digits: who knows them finds it
    name: str
    wanted: bool
    published_at: float | None
    holders: int
    mailboxes: int


@dataclass(frozen=True, slots=True)
class VerifyView:
    """The safety number with one contact: 60 digits (shown in 12 groups of 5), and the payload for a QR code."""

    alias: str
    safety_number: str
    qr: str
    verified: bool
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RelayView:
    """One relay of the network as this node sees it."""

    operator: str
    peer: str
    connected: bool
    reserved_until: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PeerPathView:
    """The path to one contact's device: `transport` is tcp, quic, ws or other, `relay` the operator of its relay."""

    alias: str
    path: PathKind
    address: str | None
    since: float | None
    transport: str | None = None
    relay: str | None = None


@dataclass(frozen=True, slots=True)
class StatusView:
    """The node at a glance."""

    account: str
    name: str
    peer: str
    network: str
    network_private: bool
    version: str
    state: str  # starting | ready | draining
    started_at: float
    listen: tuple[str, ...]
    relays: tuple[RelayView, ...]
    bootstraps_connected: int
    record_published_at: float | None
    record_holders: int
    contacts: tuple[PeerPathView, ...]
    queued: int
    unread: int
    requests: int


@dataclass(frozen=True, slots=True)
class DoctorView:
    """What was found: this machine's way to the outside, its contacts, and what could be changed.

    `healthy`: nothing is wrong with what was asked for, the machine or the contact.
    """

    checked_at: float
    healthy: bool
    nat: NatView
    addresses: tuple[AddressView, ...]
    portmap: PortmapView
    relays: tuple[RelayView, ...]
    bootstraps_connected: int
    contacts: tuple[ContactDoctorView, ...]
    advice: tuple[AdviceView, ...]


@dataclass(frozen=True, slots=True)
class PingView:
    """One round trip to a contact's device over the path in use."""

    alias: str
    path: PathKind
    seconds: float


@dataclass(frozen=True, slots=True)
class EventView:
    """Something that happened: `kind` is message, status, contact, request, path or node; `data` the view as a dict."""

    id: int
    kind: str
    data: dict[str, object]


class NotFound(Exception):
    """No contact, message or invite of that name; the text lists what could have been meant."""


class Refused(Exception):
    """The node will not do that now; the text says why and what to do."""


class NodePort(Protocol):
    """What the local API calls. Every method may raise `NotFound` or `Refused` and nothing else on a user's mistake."""

    async def status(self) -> StatusView:
        """Return the node at a glance."""

    async def contacts(self) -> tuple[ContactView, ...]:
        """Return all contacts, accepted ones first, by alias."""

    async def contact(self, contact: str) -> ContactView:
        """Return one contact."""

    async def rename(self, contact: str, alias: str) -> ContactView:
        """Give a contact another local alias; refused when it is taken."""

    async def invite(self, *, label: str, valid_seconds: float, one_use: bool) -> InviteView:
        """Make an invite link; its text is in the view this once."""

    async def invites(self) -> tuple[InviteView, ...]:
        """Return our invites that have not expired."""

    async def revoke_invite(self, invite: str) -> None:
        """Make an invite unusable."""

    async def add(self, link: str, *, alias: str | None, intro: str) -> ContactView:
        """Use somebody's link: ask them to become a contact."""

    async def profile(self) -> ProfileView:
        """Return how our public profile stands."""

    async def publish_profile(self, *, published: bool) -> ProfileView:
        """Publish our profile from now on, so that whoever knows our account can ask us; or take it back."""

    async def requests(self) -> tuple[ContactView, ...]:
        """Return the contacts that wait for our decision."""

    async def accept(self, contact: str, *, alias: str | None) -> ContactView:
        """Accept an incoming request."""

    async def refuse(self, contact: str) -> None:
        """Refuse an incoming request; the other side is told."""

    async def block(self, contact: str) -> None:
        """Take nothing more from a contact, and stop telling it where we are."""

    async def send(
        self, contact: str, text: str, *, reply_to: str | None, disappear_seconds: float | None
    ) -> MessageView:
        """Queue a text; returns once it is durable here, before anything is sent."""

    async def react(self, message: str, emoji: str) -> None:
        """React to a message; an empty `emoji` takes the reaction back."""

    async def edit(self, message: str, text: str) -> MessageView:
        """Replace the text of a message of ours."""

    async def delete(self, message: str) -> None:
        """Delete a message of ours on both sides."""

    async def message(self, message: str) -> MessageView:
        """Return one message."""

    async def why(self, message: str) -> WhyView:
        """Say why a message is where it is: each device that waits for it, each way that is tried."""

    async def history(self, contact: str, *, limit: int, before: str | None) -> tuple[MessageView, ...]:
        """Return up to `limit` messages, oldest first, that came before message `before` (default: the newest)."""

    async def mark_read(self, contact: str) -> int:
        """Mark all messages of a contact as read and tell the sender; return how many were new."""

    async def verify(self, contact: str) -> VerifyView:
        """Return the safety number."""

    async def set_verified(self, contact: str, *, verified: bool) -> VerifyView:
        """Record that the user compared the safety number (or takes it back)."""

    async def mailboxes(self) -> MailboxesView:
        """Return where mail for this device waits."""

    async def move_mailboxes(self, relay: str, *, back: bool) -> MailboxesView:
        """Have mailboxes leave a relay (operator, PeerId or its end), and no mail is lost; or `back`: use it again."""

    async def doctor(self, contact: str | None) -> DoctorView:
        """Say how this machine is reached, and each contact; of one contact hop by hop, after a try to reach it."""

    async def ping(self, contact: str) -> PingView:
        """Measure one round trip; `Refused` when no path stands within its deadline."""

    def events(self, *, after: int | None) -> AbstractAsyncContextManager[AsyncIterator[EventView]]:
        """Yield what happens from now on, or after event `after` as far back as the node remembers."""
