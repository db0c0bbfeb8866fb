"""The routes: one a method of the node's port, and nothing else.

Owns: paths, methods, status codes. Spec: docs/spec/api.md, section 5; docs/spec/openapi.json is made from here.
Never touches: libp2p, the database, threads: every handler is async, for the framework would run others in threads.
"""

from __future__ import annotations

from typing import Annotated, Literal

import trio
from fastapi import APIRouter, Header, Path, Query, Response

from covey_node.api.errors import ErrorCode, responses
from covey_node.api.events import EventStream
from covey_node.api.limits import HISTORY_MAX, WAIT_SECONDS_MAX
from covey_node.api.models import (
    Accept,
    AddContact,
    Contacts,
    EditText,
    Invites,
    MakeInvite,
    Marked,
    Messages,
    MoveMailboxes,
    PublishProfile,
    React,
    Rename,
    Requests,
    SendText,
    SetVerified,
)
from covey_node.api.waiting import reached, wait_until
from covey_node.service.port import (
    ContactState,
    ContactView,
    DoctorView,
    InviteView,
    MailboxesView,
    MessageView,
    NodePort,
    PingView,
    ProfileView,
    Status,
    StatusView,
    VerifyView,
    WhyView,
)

Contact = Annotated[str, Path(description="alias, account key (64 hex), or 8 or more of its first characters")]
MessageId = Annotated[str, Path(description="message id (32 hex), or 8 or more of its first characters")]
WaitSeconds = Annotated[float, Query(ge=0, le=WAIT_SECONDS_MAX, description="how long to wait for it at most")]

_LOOKUP = responses(ErrorCode.NOT_FOUND)
_CHANGE = responses(ErrorCode.NOT_FOUND, ErrorCode.REFUSED, ErrorCode.TOO_LARGE)


def make_router(port: NodePort, *, shutdown: trio.Event) -> APIRouter:
    """Return all /v1 routes over this port."""
    router = APIRouter(prefix="/v1")
    _node_routes(router, port, shutdown)
    _mailbox_routes(router, port)
    _profile_routes(router, port)
    _contact_routes(router, port, shutdown)
    _invite_routes(router, port)
    _conversation_routes(router, port)
    _message_routes(router, port, shutdown)
    return router


def _node_routes(router: APIRouter, port: NodePort, shutdown: trio.Event) -> None:
    @router.get("/status", tags=["node"], responses=responses())
    async def status() -> StatusView:
        """Return the node at a glance."""
        return await port.status()

    @router.get("/doctor", tags=["node"], responses=_LOOKUP)
    async def doctor(
        contact: Annotated[str | None, Query(description="only this contact, tried and explained step by step")] = None,
    ) -> DoctorView:
        """Say how this machine and each contact is reached; for one contact after a try of 20 s at most."""
        return await port.doctor(contact)

    @router.get(
        "/events",
        tags=["node"],
        response_class=Response,
        responses={**responses(), 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(
        after: Annotated[int | None, Query(ge=0, description="the last event id that was seen")] = None,
        last_event_id: Annotated[str | None, Header(description="the same, as browsers send it")] = None,
        kinds: Annotated[str, Query(description="only these kinds, comma-separated; default: all")] = "",
    ) -> Response:
        """Stream what happens, as server-sent events: `message`, `contact`, `path`, `node`.

        `id` can be given back in `Last-Event-ID` (or `after`) to go on from there. An event `gap` says that the node
        no longer knows some events in between: read anew what you show. The last event is `end`, with the reason:
        `slow` (this client did not read fast enough), `shutdown` or `closed`.
        """
        if last_event_id is not None and last_event_id.isascii() and last_event_id.isdecimal():
            after = int(last_event_id[:18])
        chosen = frozenset(kind for kind in kinds.split(",") if kind)
        return EventStream(port.events(after=after), after=after, kinds=chosen, shutdown=shutdown)


def _mailbox_routes(router: APIRouter, port: NodePort) -> None:
    @router.get("/mailboxes", tags=["mailboxes"], responses=responses())
    async def mailboxes() -> MailboxesView:
        """Return where mail for this device waits: relays, and the queues for each contact."""
        return await port.mailboxes()

    @router.post("/mailboxes/move", tags=["mailboxes"], responses=_CHANGE)
    async def move_mailboxes(body: MoveMailboxes) -> MailboxesView:
        """Have all mailboxes leave a relay, or use it again. It is done bit by bit, and no mail is lost."""
        return await port.move_mailboxes(body.relay, back=body.back)


def _profile_routes(router: APIRouter, port: NodePort) -> None:
    @router.get("/profile", tags=["profile"], responses=responses())
    async def profile() -> ProfileView:
        """Return how our public profile stands."""
        return await port.profile()

    @router.put("/profile", tags=["profile"], responses=_CHANGE)
    async def publish_profile(body: PublishProfile) -> ProfileView:
        """Publish our public profile, so that whoever knows our account can ask us; or take it back."""
        return await port.publish_profile(published=body.published)


def _contact_routes(router: APIRouter, port: NodePort, shutdown: trio.Event) -> None:
    @router.get("/contacts", tags=["contacts"], responses=responses())
    async def contacts() -> Contacts:
        """Return all contacts, accepted ones first, by alias."""
        return Contacts(contacts=await port.contacts())

    @router.post("/contacts", tags=["contacts"], status_code=201, responses=_CHANGE)
    async def add(body: AddContact) -> ContactView:
        """Use somebody's link, or the key of an account that has a public profile: ask them to become a contact."""
        return await port.add(body.link, alias=body.alias, intro=body.intro)

    @router.get("/contacts/{contact}", tags=["contacts"], responses=_LOOKUP)
    async def contact(contact: Contact, wait_seconds: WaitSeconds = 0) -> ContactView:
        """Return one contact; with `wait_seconds`, as soon as a request of ours is answered."""
        return await wait_until(
            port, lambda: port.contact(contact), _is_answered, seconds=wait_seconds, shutdown=shutdown
        )

    @router.patch("/contacts/{contact}", tags=["contacts"], responses=_CHANGE)
    async def rename(contact: Contact, body: Rename) -> ContactView:
        """Give a contact another local alias; refused when it is taken."""
        return await port.rename(contact, body.alias)

    @router.post("/contacts/{contact}/block", tags=["contacts"], status_code=204, responses=_CHANGE)
    async def block(contact: Contact) -> None:
        """Take nothing more from a contact, and stop telling it where we are."""
        await port.block(contact)

    @router.get("/contacts/{contact}/verification", tags=["contacts"], responses=_LOOKUP)
    async def verify(contact: Contact) -> VerifyView:
        """Return the safety number with a contact."""
        return await port.verify(contact)

    @router.put("/contacts/{contact}/verification", tags=["contacts"], responses=_CHANGE)
    async def set_verified(contact: Contact, body: SetVerified) -> VerifyView:
        """Record that the user compared the safety number, or take it back."""
        return await port.set_verified(contact, verified=body.verified)

    @router.post("/contacts/{contact}/ping", tags=["contacts"], responses=_CHANGE)
    async def ping(contact: Contact) -> PingView:
        """Measure one round trip to the contact's device over the path in use."""
        return await port.ping(contact)

    @router.get("/requests", tags=["contacts"], responses=responses())
    async def requests() -> Requests:
        """Return the contacts that wait for our decision."""
        return Requests(requests=await port.requests())

    @router.post("/requests/{contact}/accept", tags=["contacts"], responses=_CHANGE)
    async def accept(contact: Contact, body: Accept) -> ContactView:
        """Accept an incoming request."""
        return await port.accept(contact, alias=body.alias)

    @router.post("/requests/{contact}/refuse", tags=["contacts"], status_code=204, responses=_CHANGE)
    async def refuse(contact: Contact) -> None:
        """Refuse an incoming request; the other side is told."""
        await port.refuse(contact)


def _is_answered(contact: ContactView) -> bool:
    return contact.state not in {ContactState.REQUESTING, ContactState.REQUESTED}


def _invite_routes(router: APIRouter, port: NodePort) -> None:
    @router.get("/invites", tags=["invites"], responses=responses())
    async def invites() -> Invites:
        """Return our invites that have not expired."""
        return Invites(invites=await port.invites())

    @router.post("/invites", tags=["invites"], status_code=201, responses=_CHANGE)
    async def invite(body: MakeInvite) -> InviteView:
        """Make an invite link; this is the only answer that shows it."""
        return await port.invite(label=body.label, valid_seconds=body.valid_seconds, one_use=body.one_use)

    @router.delete("/invites/{invite}", tags=["invites"], status_code=204, responses=_CHANGE)
    async def revoke_invite(invite: Annotated[str, Path(description="invite id")]) -> None:
        """Make an invite unusable."""
        await port.revoke_invite(invite)


def _conversation_routes(router: APIRouter, port: NodePort) -> None:
    @router.post("/contacts/{contact}/messages", tags=["messages"], status_code=201, responses=_CHANGE)
    async def send(contact: Contact, body: SendText) -> MessageView:
        """Queue a text; the answer comes once it is durable here, before anything is sent."""
        return await port.send(contact, body.text, reply_to=body.reply_to, disappear_seconds=body.disappear_seconds)

    @router.get("/contacts/{contact}/messages", tags=["messages"], responses=_LOOKUP)
    async def history(
        contact: Contact,
        limit: Annotated[int, Query(ge=1, le=HISTORY_MAX)] = 50,
        before: Annotated[str | None, Query(description="id of the message to page back from")] = None,
    ) -> Messages:
        """Return a page of the conversation, oldest first: the newest, or those that came before message `before`."""
        return Messages(messages=await port.history(contact, limit=limit, before=before))

    @router.post("/contacts/{contact}/read", tags=["messages"], responses=_LOOKUP)
    async def mark_read(contact: Contact) -> Marked:
        """Mark all messages of a contact as read and tell the sender."""
        return Marked(marked=await port.mark_read(contact))


def _message_routes(router: APIRouter, port: NodePort, shutdown: trio.Event) -> None:
    @router.get("/messages/{message}", tags=["messages"], responses=_LOOKUP)
    async def message(
        message: MessageId,
        wait_for: Annotated[Literal["sent", "stored", "delivered", "read"], Query()] = "delivered",
        wait_seconds: WaitSeconds = 0,
    ) -> MessageView:
        """Return one message; with `wait_seconds`, as soon as it is as far as `wait_for` or has failed or expired."""
        wanted = Status(wait_for)
        return await wait_until(
            port,
            lambda: port.message(message),
            lambda view: reached(view.status, wanted),
            seconds=wait_seconds,
            shutdown=shutdown,
        )

    @router.get("/messages/{message}/why", tags=["messages"], responses=_LOOKUP)
    async def why(message: MessageId) -> WhyView:
        """Say why a message is where it is: each device that waits for it, each way that is tried."""
        return await port.why(message)

    @router.patch("/messages/{message}", tags=["messages"], responses=_CHANGE)
    async def edit(message: MessageId, body: EditText) -> MessageView:
        """Replace the text of a message of ours."""
        return await port.edit(message, body.text)

    @router.delete("/messages/{message}", tags=["messages"], status_code=204, responses=_CHANGE)
    async def delete(message: MessageId) -> None:
        """Delete a message of ours on both sides."""
        await port.delete(message)

    @router.put("/messages/{message}/reaction", tags=["messages"], status_code=204, responses=_CHANGE)
    async def react(message: MessageId, body: React) -> None:
        """React to a message; the empty emoji takes the reaction back."""
        await port.react(message, body.emoji)
