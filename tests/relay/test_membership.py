"""A relay's entry in the network, as values."""

import pytest

from covey_core import limits
from covey_core.errors import SettingsInvalid
from covey_core.identity import Identity
from covey_core.network import RelayEntry, new_network
from covey_core.peers import PeerId
from covey_relay.membership import joined, own_addresses, with_relay

HOME = new_network("home", private=True, subnets=("10.77.0.0/24",))


def relay(number: int) -> PeerId:
    return Identity(bytes([number]) * 32).peer_id


def addrs(number: int, *ports: int) -> tuple[str, ...]:
    return tuple(f"/ip4/10.77.0.{number}/tcp/{port}/p2p/{relay(number)}" for port in ports)


def test_a_relay_replaces_only_its_own_entry_in_its_place() -> None:
    network = HOME
    for number in (1, 2, 3):
        network = with_relay(network, relay(number), operator="them", addrs=addrs(number, 4101))
    changed = with_relay(network, relay(2), operator="us", addrs=addrs(2, 4101, 4102, 4101))
    assert changed.relays == (network.relays[0], RelayEntry("us", addrs(2, 4101, 4102)), network.relays[2])
    assert with_relay(changed, relay(2), operator="us", addrs=addrs(2, 4101, 4102)) == changed


def test_a_network_without_room_says_so() -> None:
    network = HOME
    for number in range(limits.NETWORK_RELAYS):
        network = with_relay(network, relay(number), operator="them", addrs=addrs(number, 4101))
    with pytest.raises(SettingsInvalid, match="relays, over the limit"):
        with_relay(network, relay(200), operator="us", addrs=addrs(200, 4101))


def test_joining_again_keeps_the_relays_that_the_file_knows() -> None:
    present = with_relay(HOME, relay(1), operator="us", addrs=addrs(1, 4101))
    link = with_relay(HOME, relay(2), operator="them", addrs=addrs(2, 4101))
    assert {entry.peer for entry in joined(present, link).relays} == {relay(1), relay(2)}
    assert joined(None, link) == link
    with pytest.raises(SettingsInvalid, match="move it away"):
        joined(present, new_network("other", private=True))


def test_bound_addresses_count_when_they_lie_in_the_scope_and_announced_ones_always() -> None:
    bound = ("/ip4/127.0.0.1/tcp/1/p2p/x", "/ip4/10.77.0.9/tcp/1/p2p/x", "/ip6/::1/tcp/1/p2p/x")
    assert own_addresses(HOME, bound, announced=False) == bound[1:2]
    assert own_addresses(HOME, ("/dns4/relay.example/tcp/1/p2p/x",), announced=True)
    with pytest.raises(SettingsInvalid, match="COVEY_RELAY_ANNOUNCE"):
        own_addresses(HOME, ("/ip4/127.0.0.1/tcp/1/p2p/x", "/dns4/a.example/tcp/1/p2p/x"), announced=False)
