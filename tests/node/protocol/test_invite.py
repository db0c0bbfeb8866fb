"""Invite links."""

import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import LinkInvalid, ProtocolViolation
from covey_core.identity import Identity
from covey_core.link import decode_link, encode_link
from covey_core.network import RelayEntry, new_network
from covey_core.peers import peer_id_bytes
from covey_node import crypto, limits
from covey_node.protocol.contact_set import ContactSet
from covey_node.protocol.invite import Invite, token_hash
from covey_node.protocol.mailboxes import Replica
from covey_node.protocol.pb import invite_pb2 as pb

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
        encode_link("invite", 3, b""),
        encode_link("invite", 2, b""),
        encode_link("invite", 1, b"\xff"),
        encode_link("invite", 2, zlib.compress(bytes(10_000_000), wbits=-15)),
        "covey:invite." * 2000,
    ],
    ids=["empty", "words", "a network's link", "newer", "nothing deflated", "no protobuf", "a bomb", "too long"],
)
def test_what_is_no_invite_is_refused_with_words(text: str) -> None:
    with pytest.raises(LinkInvalid) as caught:
        Invite.from_link(text)
    assert len(str(caught.value)) > 20


def test_the_token_is_not_what_is_remembered() -> None:
    assert token_hash(b"t" * 16) != token_hash(b"u" * 16)
    assert b"t" * 16 not in token_hash(b"t" * 16)
    assert "tttt" not in repr(invite())


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "invite.json").read_text())


def relay(number: int) -> RelayEntry:
    peer = Identity(bytes([number]) * 32).peer_id
    ways = ("tcp/4001", "udp/4001/quic-v1", "tcp/443/wss")
    return RelayEntry(f"operator {number}", tuple(f"/dns4/relay{number}.example.org/{way}/p2p/{peer}" for way in ways))


def with_mailboxes() -> Invite:
    network = replace(NETWORK, relays=tuple(relay(number) for number in (1, 2, 3)))
    replicas = tuple(Replica(peer_id_bytes(one.peer), one.addrs, _random(one.operator, 24)) for one in network.relays)
    me = Identity(b"m" * 32).peer_id
    circuits = tuple(f"{addr}/p2p-circuit/p2p/{me}" for one in network.relays[:2] for addr in one.addrs)
    contact_set = ContactSet(_random("device", 32), _random("secret", 32), replicas)
    return Invite(network, _random("account", 32), circuits, b"t" * 16, 1_900_000_000.0, "alice", contact_set)


def test_a_link_carries_contact_queues_at_relays_of_its_network_and_at_others() -> None:
    found = with_mailboxes()
    assert Invite.from_link(found.to_link()) == found
    fewer = replace(found, network=replace(found.network, relays=found.network.relays[1:]))
    assert Invite.from_link(fewer.to_link()) == fewer


def test_an_invite_into_a_network_of_three_relays_fits_a_qr_code_that_can_be_read() -> None:
    link = with_mailboxes().to_link()
    assert len(link) < 1_200
    assert segno.make(link, error="l", micro=False).version <= 25


def test_links_of_format_1_are_read_still() -> None:
    found = invite()
    message = pb.Invite(
        network=NETWORK.to_link(),
        account_key=found.account_key,
        addrs=found.addrs,
        token=found.token,
        expires_at=int(found.expires_at),
        name=found.name,
    )
    assert Invite.from_link(encode_link("invite", 1, message.SerializeToString())) == found


@pytest.mark.parametrize(
    "change",
    [
        {"device": b"short"},
        {"secret": b""},
        {"replicas": []},
        {"replicas": [pb.ContactReplica(index=4, send_id=bytes(24))]},
        {"replicas": [pb.ContactReplica(index=1, send_id=bytes(23))]},
        {"replicas": [pb.ContactReplica(index=1, send_id=bytes(24)), pb.ContactReplica(index=1, send_id=bytes(24))]},
        {"replicas": [pb.ContactReplica(relay=b"no peer id", send_id=bytes(24))]},
        {"replicas": [pb.ContactReplica(relay=Identity(bytes([number]) * 32).public_key) for number in range(9)]},
    ],
    ids=["device", "secret", "no queue", "no such relay", "id", "one relay twice", "no relay", "too many"],
)
def test_contact_queues_that_cannot_be_make_the_link_damaged(change: dict[str, object]) -> None:
    found = with_mailboxes()
    _, version, payload = decode_link(found.to_link())
    message = pb.Invite.FromString(zlib.decompress(payload, wbits=-15))
    sound = {
        "device": message.mailboxes.device,
        "secret": message.mailboxes.secret,
        "replicas": list(message.mailboxes.replicas),
    }
    message.mailboxes.CopyFrom(pb.ContactMailboxes(**{**sound, **change}))
    with pytest.raises(LinkInvalid):
        Invite.from_link(encode_link("invite", version, zlib.compress(message.SerializeToString(), wbits=-15)))


@given(payload=st.binary(max_size=300))
def test_any_payload_is_an_invite_or_refused(payload: bytes) -> None:
    for version in (1, 2):
        with pytest.raises(LinkInvalid):
            Invite.from_link(encode_link("invite", version, payload))
    with pytest.raises(LinkInvalid):
        Invite.from_link(encode_link("invite", 2, zlib.compress(payload, wbits=-15)))


def test_bytes_behind_the_end_of_a_link_are_refused() -> None:
    _, version, payload = decode_link(invite().to_link())
    for wrong in (payload + b"x", payload[:-1]):
        with pytest.raises(LinkInvalid):
            Invite.from_link(encode_link("invite", version, wrong))


def test_the_largest_invite_that_can_be_is_within_the_bound() -> None:
    network = replace(NETWORK, relays=tuple(_large_relay(number) for number in range(1, 17)))
    replicas = tuple(Replica(_id(number), ("/" + "a" * 255,) * 4, _random(str(number), 24)) for number in range(40, 48))
    addrs = tuple("/" + str(number) + "b" * (limits.ADDR_BYTES - 3) for number in range(10, 26))
    found = replace(
        with_mailboxes(), network=network, addrs=addrs, mailboxes=ContactSet(b"d" * 32, b"s" * 32, replicas)
    )
    assert Invite.from_link(found.to_link()) == found


def test_the_vectors_hold() -> None:
    found = Invite.from_link(VECTORS["link"])
    assert found.mailboxes is not None
    assert found.account_key.hex() == VECTORS["account_key"]
    assert (found.mailboxes.device.hex(), found.mailboxes.secret.hex()) == (VECTORS["device"], VECTORS["secret"])
    pair = crypto.OneTimePrekey.decode(bytes.fromhex(VECTORS["pair"]))
    for replica, given_ in zip(found.mailboxes.replicas, VECTORS["replicas"], strict=True):
        assert replica == Replica(
            bytes.fromhex(given_["relay"]), tuple(given_["addrs"]), bytes.fromhex(given_["send_id"])
        )
        secret = crypto.admission_secret(found.token, replica.relay)
        assert secret.hex() == given_["admission_secret"]
        assert hashlib.sha256(secret).hexdigest() == given_["admitted"]
        keys = crypto.StockKeys.derive(found.mailboxes.secret, replica.relay, replica.send_id)
        assert keys.open_pair(bytes.fromhex(given_["stocked_pair"])) == pair
        with pytest.raises(ProtocolViolation):
            keys.open_pair(bytes.fromhex(given_["stocked_pair"])[:-1])


def test_the_secret_of_a_set_is_not_shown() -> None:
    found = with_mailboxes()
    assert found.mailboxes is not None
    assert repr(found.mailboxes.secret)[2:10] not in repr(found)
    assert repr(found.mailboxes.replicas[0].send_id)[2:10] not in repr(found)


def _random(name: str, size: int) -> bytes:
    return hashlib.shake_256(name.encode()).digest(size)


def _id(number: int) -> bytes:
    return peer_id_bytes(Identity(bytes([number]) * 32).peer_id)


def _large_relay(number: int) -> RelayEntry:
    peer = Identity(bytes([number]) * 32).peer_id
    return RelayEntry("o" * 64, tuple(f"/dns4/{'n' * 20}{way}.example.org/tcp/1/p2p/{peer}" for way in range(6)))
