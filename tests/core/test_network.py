import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core import limits
from covey_core.errors import LinkInvalid, ProtocolViolation, SettingsInvalid
from covey_core.link import decode_link, encode_link
from covey_core.network import PRIVATE_RANGES, Network, RelayEntry, Scope, new_network, peer_in
from covey_core.wire.netlink import decode_network, encode_network

from .networks import ADDR, KEY, NETWORK, OTHER_PEER, PEER, networks

VECTORS = Path(__file__).parents[1] / "vectors"


def test_protocol_ids_carry_the_networks_id_so_that_two_networks_never_mix():
    assert NETWORK.protocol("chat") == "/covey/00010203/chat/1"
    assert NETWORK.kad_prefix == "/covey/00010203"


def test_keys_do_not_show_in_tracebacks():
    text = repr(dataclasses.replace(NETWORK, previous_key=KEY))
    assert "key" not in text
    assert repr(KEY) not in text


@given(networks)
def test_a_network_goes_through_its_link_unchanged(network):
    assert Network.from_link(network.to_link()) == network


def test_the_published_link_holds_the_published_network():
    # Changing the vector breaks links that people keep: a new format needs a new version.
    vector = json.loads((VECTORS / "network_link.json").read_text())
    network = Network(
        name=vector["name"],
        id=bytes.fromhex(vector["id"]),
        scope=Scope(tuple(vector["subnets"])),
        key=bytes.fromhex(vector["key"]),
        bootstraps=tuple(vector["bootstraps"]),
        relays=tuple(RelayEntry(relay["operator"], tuple(relay["addrs"])) for relay in vector["relays"]),
    )
    assert network.to_link() == vector["link"]
    assert Network.from_link(vector["link"]) == network


def test_a_network_of_the_largest_size_still_has_a_file_and_says_when_a_link_cannot_carry_it():
    relay = RelayEntry("x" * 64, tuple(f"/ip4/192.0.2.{n}/tcp/4001/p2p/{PEER}" for n in range(8)))
    network = dataclasses.replace(NETWORK, relays=(relay,) * limits.NETWORK_RELAYS)
    with pytest.raises(LinkInvalid, match="too many addresses for a link"):
        network.to_link()


@given(st.binary(max_size=200))
def test_any_payload_is_a_network_or_refused(payload):
    try:
        network = Network.from_link(encode_link("net", 1, payload))
    except LinkInvalid as exc:
        assert "ask for a new one" in str(exc)  # noqa: PT017 - hypothesis: both outcomes are right
        return
    assert Network.from_link(network.to_link()) == network


@given(st.binary(max_size=200))
def test_any_bytes_decode_to_fields_or_a_violation(data):
    try:
        fields = decode_network(data)
    except ProtocolViolation:
        return
    assert decode_network(encode_network(fields)) == fields


@given(networks, st.data())
def test_a_truncated_payload_is_never_taken_for_the_whole(network, data):
    _, _, payload = decode_link(network.to_link())
    cut = data.draw(st.integers(0, len(payload) - 1))
    try:
        found = Network.from_link(encode_link("net", 1, payload[:cut]))
    except LinkInvalid:
        return
    assert found != network  # a shorter one may be well-formed; the checksum of the real link is what notices


CHANGES = [
    {"name": ""}, {"name": "x" * 65}, {"name": "two\nlines"}, {"name": " home"}, {"name": "\x1b[31mhome"},
    {"name": "left\u202eright"}, {"id": bytes(15)}, {"id": b""}, {"key": bytes(31)}, {"previous_key": bytes(33)},
    {"key": None, "previous_key": KEY}, {"bootstraps": ("/ip4/198.51.100.7/tcp/4001",)}, {"bootstraps": ("",)},
    {"bootstraps": (f"/p2p/{PEER}",)}, {"bootstraps": (f"/ip4/1.2.3.4/tcp/1/p2p/{PEER[:-1]}0",)},
    {"bootstraps": (f"/dns4/{'x' * 500}/tcp/1/p2p/{PEER}",)}, {"bootstraps": (f"/dns4/a b/tcp/1/p2p/{PEER}",)},
    {"bootstraps": (ADDR,) * (limits.NETWORK_BOOTSTRAPS + 1)},
    {"relays": (RelayEntry("", (ADDR,)),)}, {"relays": (RelayEntry("Ann", ()),)},
    {"relays": (RelayEntry("Ann", (ADDR, ADDR.replace(PEER, OTHER_PEER))),)},
    {"relays": (RelayEntry("Ann", (ADDR,) * (limits.RELAY_ADDRESSES + 1)),)},
    {"relays": (RelayEntry("Ann", (ADDR,)),) * (limits.NETWORK_RELAYS + 1)},
    {"scope": Scope(("10.0.0.0/8",) * (limits.NETWORK_SUBNETS + 1))},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_no_network_can_be_is_refused(change):
    with pytest.raises(ProtocolViolation):
        dataclasses.replace(NETWORK, **change)


def test_a_new_private_network_has_a_key_and_lives_in_site_addresses():
    network = new_network("home", private=True)
    assert network.key is not None
    assert len(network.key) == 32
    assert len(network.id) == 16
    assert network.scope.subnets == PRIVATE_RANGES
    assert new_network("home", private=True).id != network.id


def test_a_new_public_network_has_no_key():
    network = new_network("open", private=False)
    assert network.key is None
    assert network.scope.is_public


def test_subnets_given_are_the_subnets_taken():
    assert new_network("lab", private=False, subnets=("127.0.0.0/8",)).scope.subnets == ("127.0.0.0/8",)


@pytest.mark.parametrize("change", [{"name": ""}, {"subnets": ("10.0.0.1/8",)}])
def test_a_network_that_cannot_be_made_is_an_error_for_the_user(change):
    with pytest.raises(SettingsInvalid, match="the network cannot be made"):
        new_network(**({"name": "home", "private": True} | change))


def test_a_relays_peer_is_the_one_in_its_addresses():
    assert NETWORK.relays[0].peer == PEER
    assert peer_in(ADDR) == PEER
    with pytest.raises(ProtocolViolation):
        peer_in("/ip4/198.51.100.7/tcp/4001")
