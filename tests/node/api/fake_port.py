"""A node in memory: what the API and the command line talk to in their tests."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

import trio

from covey_node.service.port import (
    AddressView,
    AdviceView,
    ContactDoctorView,
    ContactState,
    ContactView,
    DeviceWhy,
    DirectWhy,
    DoctorView,
    EventView,
    HopView,
    InviteView,
    MailboxesView,
    MailboxQueueView,
    MailboxRelayView,
    MailboxSetView,
    MailboxWhy,
    MappingView,
    MessageView,
    NatView,
    NotFound,
    PathKind,
    PeerPathView,
    PingView,
    PortmapView,
    ProfileView,
    PunchAddressView,
    PunchView,
    ReactionView,
    Refused,
    RelayView,
    StandingPathView,
    Status,
    StatusView,
    VerifyView,
    WhyView,
)

NOW = 1_800_000_000.0
BOB = "b0b" + "0" * 61
CAROL = "ca401" + "1" * 59
EVE = "e5e" + "2" * 61
DAVE = "da5e" + "3" * 60
LINK = "covey:inv.Zm9vYmFy"


def a_contact(alias: str, account: str, state: ContactState = ContactState.ACCEPTED, **changes: Any) -> ContactView:
    view = ContactView(
        alias=alias,
        account=account,
        state=state,
        profile_name=alias.title(),
        verified=False,
        path=PathKind.NONE,
        last_seen=None,
        unread=0,
        queued=0,
        reason=None,
        intro=None,
    )
    return replace(view, **changes)


def a_message(number: int, contact: str = "bob", **changes: Any) -> MessageView:
    view = MessageView(
        id=f"{number:032x}"[::-1],
        contact=contact,
        outgoing=True,
        kind="text",
        text=f"text {number}",
        sent_at=NOW + number,
        received_at=None,
        status=Status.QUEUED,
        status_at=NOW + number,
        reason="bob is not online",
        path=None,
        reply_to=None,
        edited=False,
        deleted=False,
        expires_at=None,
        reactions=(),
        attempts=0,
        next_attempt_at=None,
    )
    return replace(view, **changes)


def a_why(view: MessageView) -> WhyView:
    """A message that lies at two of three mailboxes."""
    an_hour = view.status_at + 3600
    boxes = (
        MailboxWhy("home", stored=True, since=view.status_at, words="has it", next_attempt_at=None),
        MailboxWhy("club", stored=False, since=None, words="connection refused", next_attempt_at=an_hour + 120),
        MailboxWhy("…aB3dEf", stored=True, since=view.status_at, words="has it", next_attempt_at=None),
    )
    direct = DirectWhy(PathKind.NONE, "bob is not online", attempts=3, next_attempt_at=an_hour + 42)
    device = DeviceWhy("d5" * 32, Status.STORED, view.status_at + 30 * 86400, direct, boxes)
    words = "2/3 mailboxes have it; the contact fetches it when it comes online"
    return WhyView(view.id, view.contact, Status.STORED, view.status_at, words, (device,))


CIRCUIT = "/ip4/10.0.0.9/tcp/4101/p2p/12D3KooWRelay/p2p-circuit"
RELAYS = (
    RelayView("home", "12D3KooWRelay", connected=True, reserved_until=NOW + 1800, reason=None),
    RelayView("club", "12D3KooWClub", connected=False, reserved_until=None, reason="connection refused"),
)


def a_doctor_view(**changes: Any) -> DoctorView:
    """A machine behind an easy NAT; bob is reached through a relay after two hole punches that failed."""
    failed = PunchView(
        at=NOW + 3300,
        side="receiver",
        attempts=3,
        outcome="failed",
        reason="dial_timeout",
        words="no packet came through",
        seconds=4.2,
        transport=None,
        addresses=(
            PunchAddressView("/ip4/198.51.100.9/tcp/40123", "tcp", "ip4", "failed", "timeout"),
            PunchAddressView("/ip4/198.51.100.9/udp/40123/quic-v1", "quic", "ip4", "failed", "timeout"),
        ),
    )
    slow = replace(failed, at=NOW + 600, side="initiator", reason="sync_timeout", words="too slow", addresses=())
    bob = ContactDoctorView(
        alias="bob",
        state="accepted",
        path=PathKind.RELAYED,
        transport="tcp",
        relay="home",
        since=NOW - 5,
        paths=(StandingPathView(PathKind.RELAYED, "tcp", "home", CIRCUIT, NOW - 5, True, "used", 0.0421),),
        punches=(failed, slow),
        hops=(),
        advice=(
            AdviceView("dial_timeout", "A port mapped on your side or on bob's gives a direct connection.", False),
        ),
    )
    nobody = replace(bob, path=PathKind.NONE, transport=None, relay=None, since=None, paths=(), punches=(), advice=())
    words = "carol is not reached now; your side is in order. Messages wait here and go out when carol comes."
    carol = replace(nobody, alias="carol", advice=(AdviceView("unreached", words, wrong=True),))
    view = DoctorView(
        checked_at=NOW + 3600,
        healthy=True,
        nat=NatView("easy", "one port for all destinations: holes can be punched to it", "works"),
        addresses=(
            AddressView("/ip4/10.0.0.2/tcp/4201", "tcp", "ip4", "local", None, None, None),
            AddressView("/ip4/198.51.100.7/tcp/4201", "tcp", "ip4", "public", True, NOW + 3000, None),
            AddressView("/ip4/198.51.100.7/udp/4201/quic-v1", "quic", "ip4", "public", False, NOW + 3000, "no answer"),
            AddressView("/ip4/198.51.100.7/tcp/40001", "tcp", "ip4", "public", None, NOW + 3000, None),
        ),
        portmap=PortmapView("mapped", (MappingView("tcp", 4201, "/ip4/198.51.100.7/tcp/4201", "upnp", NOW + 5400),)),
        relays=RELAYS,
        bootstraps_connected=1,
        contacts=(bob, carol, replace(nobody, alias="dave", state="requested")),
        advice=(AdviceView("one_reservation", "One relay only keeps a slot for you.", False),),
    )
    return replace(view, **changes)


def some_mailboxes() -> MailboxesView:
    """Three relays, one of them silent; bob was told, carol's set is on its way."""

    def queue(operator: str, state: str = "standing", waiting: int | None = 0) -> MailboxQueueView:
        relay = f"12D3KooW{operator.title():x>38}"
        size = None if waiting is None else 4112 * waiting
        return MailboxQueueView(relay, operator, state, waiting is not None, waiting, size, 1024, 8 << 20, 1_814_400)

    def relay(operator: str, state: str, **changes: Any) -> MailboxRelayView:
        return replace(
            MailboxRelayView(f"12D3KooW{operator.title():x>38}", operator, state, 2, NOW, 0.0, None), **changes
        )

    silent = {"reached_at": NOW - 7200, "away_seconds": 7000.0, "reason": "no connection: timed out"}
    return MailboxesView(
        on=True,
        relays=(relay("club", "listening"), relay("home", "listening"), relay("school", "silent", **silent)),
        sets=(
            MailboxSetView(
                "contact", "bob", 2, 1, 1, (queue("club"), queue("home", waiting=3), queue("school", waiting=None))
            ),
            MailboxSetView("contact", "carol", 1, 2, 0, (queue("club"), queue("home", "making", None))),
            MailboxSetView("open", None, 1, 0, 0, (queue("club"), queue("home"))),
        ),
    )


def bobs_hops() -> tuple[HopView, ...]:
    """The steps to bob."""
    return (
        HopView("here", True, "reached from outside at 1 address"),
        HopView("nat", True, "one port for all destinations: holes can be punched to it"),
        HopView("contact", True, "is your contact; 1 device known"),
        HopView("addresses", True, "known: 2 direct addresses and 1 relay of theirs"),
        HopView("direct", False, "hole punching failed: no packet came through"),
        HopView("relayed", True, "stands"),
    )


def carols_hops() -> tuple[HopView, ...]:
    """The end of the steps to carol."""
    why = "the relay has no slot for the contact: it is offline or uses another relay; no answer from its addresses"
    return (
        HopView("direct", ok=None, words="none, and no hole punch has come to its end yet"),
        HopView("relayed", ok=False, words=f"none: {why}"),
    )


class FakePort:
    """Keeps contacts, messages, invites and events in dicts; `deliver` is what the network would do."""

    def __init__(self) -> None:
        self.mail = some_mailboxes()
        self.public = False
        self.state = "ready"
        self.people = {
            "bob": a_contact("bob", BOB, path=PathKind.RELAYED, verified=True, last_seen=NOW, unread=2),
            "carol": a_contact("carol", CAROL, last_seen=None, queued=1),
            "eve": a_contact("eve", EVE, ContactState.INCOMING, intro="let me in"),
            "dave": a_contact("dave", DAVE, ContactState.REQUESTED, reason="dave has not answered yet"),
        }
        self.texts: dict[str, MessageView] = {}
        self.whys: dict[str, WhyView] = {}  # else `why` says the message's reason
        self.links: dict[str, InviteView] = {}
        self.kept: list[EventView] = []
        self.first_id = 1
        self.subscribers: set[trio.MemorySendChannel[EventView]] = set()
        self.changed = trio.Event()  # the subscribers did
        self.found = a_doctor_view()  # what `doctor` says
        self.delivers: Status | None = Status.DELIVERED  # how far a sent text gets at once
        self.crash: Exception | None = None
        self.hold: trio.Event | None = None  # when set, `send` answers only after it, long after its events
        self.calls: list[tuple[str, Any]] = []

    # --- what tests do to it
    def emit(self, kind: str, data: dict[str, object]) -> None:
        event = EventView(self.first_id + len(self.kept), kind, data)
        self.kept.append(event)
        for channel in tuple(self.subscribers):
            channel.send_nowait(event)

    def receive(self, contact: str, text: str | None, **changes: Any) -> MessageView:
        view = a_message(len(self.texts) + 1, contact, outgoing=False, text=text, status=Status.RECEIVED, reason=None)
        view = replace(view, received_at=view.sent_at + 1, **changes)
        self.texts[view.id] = view
        self.emit("message", asdict(view))
        return view

    def advance(self, message: str, status: Status, **changes: Any) -> None:
        self.texts[message] = replace(self.texts[message], status=status, **changes)
        self.emit("status", asdict(self.texts[message]))

    async def until_subscribers(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.subscribers) != count:
                await self.changed.wait()

    # --- NodePort
    async def status(self) -> StatusView:
        if self.crash is not None:
            raise self.crash
        return StatusView(
            account="a11ce" + "9" * 59,
            name="alice",
            peer="12D3KooWAlice",
            network="home",
            network_private=True,
            version="0.1.0",
            state=self.state,
            started_at=NOW - 3600,
            listen=("/ip4/10.0.0.2/tcp/4201",),
            relays=RELAYS,
            bootstraps_connected=1,
            record_published_at=NOW - 60,
            record_holders=2,
            contacts=(
                PeerPathView("bob", PathKind.RELAYED, CIRCUIT, NOW - 5, "tcp", "home"),
                PeerPathView("carol", PathKind.NONE, None, None),
                PeerPathView("frank", PathKind.PUNCHED, "/ip4/198.51.100.9/udp/40123/quic-v1", NOW + 3500, "quic"),
            ),
            queued=1,
            unread=2,
            requests=1,
        )

    async def doctor(self, contact: str | None) -> DoctorView:
        if contact is None:
            return self.found
        alias = (await self.contact(contact)).alias
        (one,) = (view for view in self.found.contacts if view.alias == alias)
        hops = bobs_hops() if alias == "bob" else carols_hops()
        healthy = not any(advice.wrong for advice in one.advice)
        return replace(self.found, healthy=healthy, contacts=(replace(one, hops=hops),))

    async def contacts(self) -> tuple[ContactView, ...]:
        return tuple(sorted(self.people.values(), key=lambda one: (one.state is not ContactState.ACCEPTED, one.alias)))

    async def contact(self, contact: str) -> ContactView:
        for one in self.people.values():
            if contact == one.alias or (len(contact) >= 8 and one.account.startswith(contact)):
                return one
        raise NotFound(f"no contact {contact!r}; there are bob and carol")

    async def rename(self, contact: str, alias: str) -> ContactView:
        one = await self.contact(contact)
        if alias in self.people:
            raise Refused(f"the alias {alias!r} is taken")
        del self.people[one.alias]
        self.people[alias] = replace(one, alias=alias)
        return self.people[alias]

    async def invite(self, *, label: str, valid_seconds: float, one_use: bool) -> InviteView:
        name = f"inv{len(self.links) + 1}"
        self.links[name] = InviteView(name, label, None, one_use, NOW, NOW + valid_seconds, None)
        return replace(self.links[name], link=LINK)

    async def invites(self) -> tuple[InviteView, ...]:
        return tuple(self.links.values())

    async def revoke_invite(self, invite: str) -> None:
        if self.links.pop(invite, None) is None:
            raise NotFound(f"no invite {invite!r}")

    async def add(self, link: str, *, alias: str | None, intro: str) -> ContactView:
        if self.crash is not None:
            raise self.crash
        self.calls.append(("add", (link, alias, intro)))
        name = alias or "frank"
        self.people[name] = a_contact(name, "f4a" + "4" * 61, ContactState.REQUESTING, reason="frank is not online")
        return self.people[name]

    async def requests(self) -> tuple[ContactView, ...]:
        return tuple(one for one in self.people.values() if one.state is ContactState.INCOMING)

    async def accept(self, contact: str, *, alias: str | None) -> ContactView:
        one = await self.contact(contact)
        if one.state is not ContactState.INCOMING:
            raise Refused(f"{one.alias} does not wait for an answer")
        del self.people[one.alias]
        accepted = replace(one, state=ContactState.ACCEPTED, alias=alias or one.alias, intro=None)
        self.people[accepted.alias] = accepted
        return accepted

    async def refuse(self, contact: str) -> None:
        one = await self.contact(contact)
        self.people[one.alias] = replace(one, state=ContactState.REFUSED)

    async def block(self, contact: str) -> None:
        one = await self.contact(contact)
        self.people[one.alias] = replace(one, state=ContactState.BLOCKED)

    async def send(
        self, contact: str, text: str, *, reply_to: str | None, disappear_seconds: float | None
    ) -> MessageView:
        one = await self.contact(contact)
        if one.state is not ContactState.ACCEPTED:
            raise Refused(f"{one.alias} has not accepted you yet")
        view = a_message(len(self.texts) + 1, one.alias, text=text, reply_to=reply_to)
        if disappear_seconds is not None:
            view = replace(view, expires_at=view.sent_at + disappear_seconds)
        self.texts[view.id] = view
        self.emit("message", asdict(view))
        if self.delivers is not None:
            path = PathKind.RELAYED if self.delivers is not Status.FAILED else None
            reason = "bob's device is gone" if self.delivers is Status.FAILED else None
            self.advance(view.id, self.delivers, path=path, reason=reason)
        if self.hold is not None:
            await self.hold.wait()
        return view

    async def react(self, message: str, emoji: str) -> None:
        view = await self.message(message)
        self.texts[view.id] = replace(view, reactions=(ReactionView("me", emoji),) if emoji else ())

    async def edit(self, message: str, text: str) -> MessageView:
        view = await self.message(message)
        if not view.outgoing:
            raise Refused("only messages of yours can be edited")
        self.texts[view.id] = replace(view, text=text, edited=True)
        return self.texts[view.id]

    async def delete(self, message: str) -> None:
        view = await self.message(message)
        self.texts[view.id] = replace(view, text=None, deleted=True)

    async def message(self, message: str) -> MessageView:
        for one in self.texts.values():
            if one.id == message or (len(message) >= 8 and one.id.startswith(message)):
                return one
        raise NotFound(f"no message {message!r}")

    async def why(self, message: str) -> WhyView:
        view = await self.message(message)
        return self.whys.get(view.id) or WhyView(
            view.id, view.contact, view.status, view.status_at, view.reason or "it is there", ()
        )

    async def history(self, contact: str, *, limit: int, before: str | None) -> tuple[MessageView, ...]:
        one = await self.contact(contact)
        found = [view for view in self.texts.values() if view.contact == one.alias]
        if before is not None:
            found = found[: [view.id for view in found].index((await self.message(before)).id)]
        return tuple(found[-limit:])

    async def mark_read(self, contact: str) -> int:
        one = await self.contact(contact)
        self.people[one.alias] = replace(one, unread=0)
        return one.unread

    async def verify(self, contact: str) -> VerifyView:
        one = await self.contact(contact)
        return VerifyView(one.alias, "0123456789" * 6, "covey:verify.abc", one.verified, ("12D3KooWBob",))

    async def set_verified(self, contact: str, *, verified: bool) -> VerifyView:
        one = await self.contact(contact)
        self.people[one.alias] = replace(one, verified=verified)
        return await self.verify(contact)

    async def profile(self) -> ProfileView:
        told = NOW + 3300 if self.public else None
        return ProfileView("ab" * 32, "me", self.public, told, 3 * self.public, 3 * self.public)

    async def publish_profile(self, *, published: bool) -> ProfileView:
        self.public = published
        return await self.profile()

    async def mailboxes(self) -> MailboxesView:
        return self.mail

    async def move_mailboxes(self, relay: str, *, back: bool) -> MailboxesView:
        if relay != "club":
            raise NotFound(f"no relay {relay!r} is known; there are: club (zClub1)")
        state = "idle" if back else "left"
        relays = tuple(replace(one, state=state) if one.operator == relay else one for one in self.mail.relays)
        self.mail = replace(self.mail, relays=relays)
        return self.mail

    async def ping(self, contact: str) -> PingView:
        one = await self.contact(contact)
        if one.path is PathKind.NONE:
            raise Refused(f"no path to {one.alias}: it is not online")
        return PingView(one.alias, one.path, 0.0123)

    @asynccontextmanager
    async def events(self, *, after: int | None) -> AsyncIterator[AsyncIterator[EventView]]:
        send, receive = trio.open_memory_channel[EventView](math.inf)
        if after is not None:
            for event in self.kept:
                if event.id > after:
                    send.send_nowait(event)
        self.subscribers.add(send)
        self._tell()
        try:
            with send, receive:
                yield receive
        finally:
            self.subscribers.discard(send)
            self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()
