"""Public profiles: what they say, and under which keys."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from covey_core.errors import ProtocolViolation
from covey_node import crypto, limits
from covey_node.protocol.pb import invite_pb2 as pb
from covey_node.protocol.profile import PublicProfile
from tests.node.crypto.people import Person
from tests.node.protocol.test_invite import with_mailboxes

INVITE = with_mailboxes()
PROFILE = PublicProfile(1_800_000_000, "alice", INVITE.mailboxes)
ALICE = Person("alice")
DAY = 20_000


def test_a_profile_is_what_was_encoded_whatever_relays_the_reader_knows() -> None:
    data = PROFILE.encode(INVITE.network)
    assert len(data) % limits.RECORD_STEP_BYTES == 0
    assert PublicProfile.decode(data, with_mailboxes().network) == PROFILE
    hidden = PublicProfile(7, "", None)
    assert PublicProfile.decode(hidden.encode(INVITE.network), INVITE.network) == hidden
    assert len(hidden.encode(INVITE.network)) == len(data) == 4_096


@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_profile_or_a_violation(data: bytes) -> None:
    try:
        found = PublicProfile.decode(data, INVITE.network)
    except ProtocolViolation:
        return
    assert found.mailboxes is None or found.mailboxes.replicas


@pytest.mark.parametrize(
    "message",
    [
        pb.PublicProfile(made=2**63, name="a"),
        pb.PublicProfile(made=1, name="n" * 129),
        pb.PublicProfile(made=1, mailboxes=pb.ContactMailboxes(device=b"d" * 32)),
        pb.PublicProfile(
            made=1,
            mailboxes=pb.ContactMailboxes(
                device=b"d" * 32, secret=b"s" * 32, replicas=[pb.ContactReplica(index=1, send_id=bytes(24))]
            ),
        ),
    ],
    ids=["made", "name", "no queues", "a relay by its place"],
)
def test_a_profile_with_a_field_that_cannot_be_is_refused(message: pb.PublicProfile) -> None:
    plain = message.SerializeToString()
    with pytest.raises(ProtocolViolation):
        PublicProfile.decode(len(plain).to_bytes(2, "big") + plain + bytes(9), INVITE.network)


def test_what_stands_behind_a_profile_are_zeros() -> None:
    data = PROFILE.encode(INVITE.network)
    for wrong in (data[:-1] + b"x", b"\xff\xff" + data[2:]):
        with pytest.raises(ProtocolViolation):
            PublicProfile.decode(wrong, INVITE.network)


def test_who_knows_the_account_finds_and_opens_its_profile_and_only_its_owner_signs() -> None:
    keys = crypto.profile_keys(ALICE.account)
    share = crypto.profile_share(ALICE.account.public_key)
    assert share == keys.share
    assert share.secret == hashlib.sha256(b"covey public profile 1\x00" + ALICE.account.public_key).digest()
    sealed = keys.share.seal(DAY, b"profile", ALICE.rng)
    assert share.open(DAY, sealed) == b"profile"
    VerifyKey(share.blinded_key(DAY)).verify(b"record", keys.sign(DAY, b"record"))
    with pytest.raises(crypto.Undecryptable):
        crypto.profile_share(Person("bob").account.public_key).open(DAY, sealed)


def test_a_profiles_keys_of_two_days_and_the_accounts_own_differ() -> None:
    share = crypto.profile_share(ALICE.account.public_key)
    assert len({share.blinded_key(DAY), share.blinded_key(DAY + 1), ALICE.account.public_key}) == 3


def test_what_is_no_account_key_has_no_profile() -> None:
    for key in (bytes(32), b"\xff" * 32, b"short"):
        with pytest.raises(ProtocolViolation):
            crypto.profile_share(key)
