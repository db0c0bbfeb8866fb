"""What requests carry and what lists come back in, as the OpenAPI document shows it.

Owns: request bodies and the bounds of their fields. The answers' own types are the port's views.
Spec: docs/spec/api.md, section 5. Never touches: the node.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from covey_node.limits import (
    DISAPPEAR_SECONDS_MAX,
    EMOJI_BYTES,
    INTRO_BYTES,
    INVITE_LINK_BYTES,
    INVITE_SECONDS_DEFAULT,
    INVITE_SECONDS_MAX,
    NAME_BYTES,
    TEXT_BYTES,
)
from covey_node.service.port import ContactView, InviteView, MessageView


def _bounded(limit: int) -> AfterValidator:
    def check(text: str) -> str:
        if (size := len(text.encode("utf-8", "surrogatepass"))) > limit:
            raise ValueError(f"{size} bytes of UTF-8 are over the limit of {limit}")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError("a lone surrogate is not text")
        return text

    return AfterValidator(check)


def _alias(text: str) -> str:
    if text != text.strip() or "/" in text or not text.isprintable():
        raise ValueError("an alias has no slash, no control characters, and no space at its ends")
    return text


Text = Annotated[str, Field(min_length=1, description=f"at most {TEXT_BYTES} bytes of UTF-8"), _bounded(TEXT_BYTES)]
Alias = Annotated[str, Field(min_length=1, max_length=64), _bounded(NAME_BYTES), AfterValidator(_alias)]


class Body(BaseModel):
    """The base of all request bodies: an unknown field is a mistake, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AddContact(Body):
    """Use somebody's invite link, or the key of an account that has a public profile."""

    link: Annotated[
        str, Field(max_length=INVITE_LINK_BYTES, description="covey:... as it was shared, or an account key (64 hex)")
    ]
    alias: Alias | None = None
    intro: Annotated[str, _bounded(INTRO_BYTES)] = ""


class Rename(Body):
    """Give a contact another local alias."""

    alias: Alias


class Accept(Body):
    """Accept a request, under another alias than the name it came with if given."""

    alias: Alias | None = None


class SetVerified(Body):
    """Whether the user compared the safety number."""

    verified: bool


class MakeInvite(Body):
    """Make an invite link."""

    label: Annotated[str, _bounded(NAME_BYTES)] = ""
    valid_seconds: Annotated[float, Field(gt=0, le=INVITE_SECONDS_MAX)] = INVITE_SECONDS_DEFAULT
    one_use: bool = True


class SendText(Body):
    """A text for one contact."""

    text: Text
    reply_to: Annotated[str | None, Field(description="id of the message that this one answers")] = None
    disappear_seconds: Annotated[float | None, Field(gt=0, le=DISAPPEAR_SECONDS_MAX)] = None


class EditText(Body):
    """The new text of a message."""

    text: Text


class React(Body):
    """One emoji; the empty text takes the reaction back."""

    emoji: Annotated[str, _bounded(EMOJI_BYTES)]


class MoveMailboxes(Body):
    """Leave a relay, named by its operator or PeerId, or six or more of its last characters; or go `back` to it."""

    relay: Annotated[str, Field(min_length=1), _bounded(NAME_BYTES)]
    back: bool = False


class PublishProfile(Body):
    """Whether our public profile is to be found."""

    published: bool


class Contacts(BaseModel):
    """Contacts, accepted ones first, then by alias."""

    contacts: tuple[ContactView, ...]


class Requests(BaseModel):
    """Contacts that wait for our decision."""

    requests: tuple[ContactView, ...]


class Invites(BaseModel):
    """Our invites that have not expired; without their links."""

    invites: tuple[InviteView, ...]


class Messages(BaseModel):
    """Messages, oldest first."""

    messages: tuple[MessageView, ...]


class Marked(BaseModel):
    """How many messages were new."""

    marked: int


class Health(BaseModel):
    """The node's state; `ready` comes with status 200, the others with 503 from /readyz."""

    state: Literal["starting", "ready", "draining"]
