"""What stands in for "any address"."""

from covey_node.net.interfaces import expand

PEER = "12D3KooWJcgAShtF3zfotuaLEXY3XVbraVv7nV98fwwfs3dUGWRT"


def test_any_address_becomes_those_of_the_interfaces() -> None:
    found = expand([f"/ip4/0.0.0.0/tcp/4201/p2p/{PEER}"])
    assert found
    assert all("/0.0.0.0/" not in addr for addr in found)
    assert all(addr.endswith(f"/tcp/4201/p2p/{PEER}") for addr in found)


def test_a_certain_address_stays_as_it_is() -> None:
    addrs = (f"/ip4/127.0.0.1/tcp/4201/p2p/{PEER}", f"/ip4/10.1.2.3/tcp/4202/ws/p2p/{PEER}")
    assert expand(addrs) == addrs
