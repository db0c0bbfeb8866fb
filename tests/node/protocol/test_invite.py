"""Invite links."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import LinkInvalid
from covey_core.link import encode_link
from covey_core.network import new_network
from covey_node.protocol.invite import Invite, token_hash

NETWORK = new_network("home", private=True, subnets=("10.0.0.0/8",))


def invite(token: bytes = b"t" * 16) -> Invite:
    return Invite(NETWORK, b"a" * 32, ("/ip4/10.0.0.1/tcp/1",), token, 1_900_000_000.0, "alice")


def test_a_link_carries_the_invite_and_the_network() -> None:
    back = Invite.from_link(invite().to_link())
    assert back == invite()
    assert back.network.key == NETWORK.key


def test_an_open_link_has_no_token() -> None:
    assert Invite.from_link(invite(b"").to_link()).token == b""


@given(at=st.integers(0, 10_000), new=st.sampled_from("abcXYZ019-_"))
def test_a_mistyped_link_is_refused(at: int, new: str) -> None:
    link = invite().to_link()
    at = len("covey:invite.") + at % (len(link) - len("covey:invite."))
    wrong = link[:at] + new + link[at + 1 :]
    if wrong == link:
        return
    with pytest.raises(LinkInvalid):
        Invite.from_link(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        NETWORK.to_link(),
        encode_link("invite", 2, b""),
        encode_link("invite", 1, b"\xff"),
        "covey:invite." * 2000,
    ],
    ids=["empty", "words", "a network's link", "newer", "no protobuf", "too long"],
)
def test_what_is_no_invite_is_refused_with_words(text: str) -> None:
    with pytest.raises(LinkInvalid) as caught:
        Invite.from_link(text)
    assert len(str(caught.value)) > 20


def test_the_token_is_not_what_is_remembered() -> None:
    assert token_hash(b"t" * 16) != token_hash(b"u" * 16)
    assert b"t" * 16 not in token_hash(b"t" * 16)
    assert "tttt" not in repr(invite())
