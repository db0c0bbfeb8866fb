"""A seed's place in its network: making it, widening it, its own entry."""

import pytest

from covey_bootstrap.membership import made_or_widened, own_addresses, with_seed
from covey_core.errors import SettingsInvalid
from covey_core.network import PRIVATE_RANGES, RelayEntry, new_network
from covey_core.peers import peer_id_of

ME, OTHER = (peer_id_of(bytes([n]) * 32) for n in (1, 2))


def at(ip: str, peer: str = ME) -> str:
    return f"/ip4/{ip}/tcp/4001/p2p/{peer}"


def test_without_a_network_file_a_private_network_with_a_key_is_made() -> None:
    made = made_or_widened(None, name="home", private=True, subnets=("10.77.0.0/24",))
    assert (made.name, made.scope.subnets) == ("home", ("10.77.0.0/24",))
    assert made.key is not None
    assert made_or_widened(None, name="home", private=True, subnets=()).scope.subnets == PRIVATE_RANGES


def test_a_public_network_has_no_key_and_no_subnets() -> None:
    made = made_or_widened(None, name="town", private=False, subnets=("10.77.0.0/24",))
    assert made.key is None
    assert made.scope.is_public


def test_a_network_that_exists_stays_and_gets_the_subnets_that_were_added_since() -> None:
    present = new_network("home", private=True, subnets=("10.77.0.0/24",))
    widened = made_or_widened(present, name="other", private=False, subnets=("10.77.0.0/24", "198.51.100.7/32"))
    assert widened.scope.subnets == ("10.77.0.0/24", "198.51.100.7/32")
    assert (widened.name, widened.id, widened.key) == (present.name, present.id, present.key)
    public = new_network("town", private=False)
    assert made_or_widened(public, name="town", private=True, subnets=("10.0.0.0/8",)) == public


def test_a_subnet_that_is_none_is_the_operators_mistake() -> None:
    for present in (None, new_network("home", private=True)):
        with pytest.raises(SettingsInvalid):
            made_or_widened(present, name="home", private=True, subnets=("10.0.0.0/99",))


def test_a_seed_replaces_its_own_entry_and_no_other() -> None:
    network = with_seed(new_network("home", private=True), OTHER, [at("10.0.0.2", OTHER)])
    network = with_seed(network, ME, [at("10.0.0.1")])
    network = with_seed(network, OTHER, [at("10.0.0.3", OTHER), at("10.0.0.4", OTHER)])
    assert network.bootstraps == (at("10.0.0.3", OTHER), at("10.0.0.4", OTHER), at("10.0.0.1"))
    assert with_seed(network, ME, [at("10.0.0.1")]) == network


def test_relays_in_the_network_stay() -> None:
    network = new_network("home", private=True)
    relay = RelayEntry("home", (at("10.0.0.9", OTHER),))
    with_relay = type(network)(network.name, network.id, network.scope, network.key, relays=(relay,))
    assert with_seed(with_relay, ME, [at("10.0.0.1")]).relays == (relay,)


def test_a_network_without_room_for_the_entry_is_said_so() -> None:
    with pytest.raises(SettingsInvalid, match="bootstrap addresses"):
        with_seed(new_network("home", private=True), ME, [at(f"10.0.0.{n}") for n in range(40)])


def test_of_the_bound_addresses_those_in_the_scope_are_the_seeds_own() -> None:
    network = new_network("home", private=True, subnets=("10.77.0.0/24",))
    bound = (at("127.0.0.1"), at("10.77.0.10"), at("192.168.1.2"), "/dns4/x/tcp/1")
    assert own_addresses(network, bound, announced=False) == (at("10.77.0.10"),)
    assert own_addresses(network, bound, announced=True) == bound


def test_a_seed_that_nobody_could_reach_says_what_to_set() -> None:
    network = new_network("home", private=True)
    with pytest.raises(SettingsInvalid, match="COVEY_BOOTSTRAP_ANNOUNCE"):
        own_addresses(network, (at("127.0.0.1"),), announced=False)
