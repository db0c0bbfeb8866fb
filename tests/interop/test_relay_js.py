"""Two js-libp2p nodes reach each other through our relay, on a public network: nothing of Covey's own is needed."""

import pytest
import trio

from covey_core.network import new_network
from tests.interop.conftest import ForeignPeer, RunJs
from tests.relay.conftest import Relay, relay_on
from tests.support.circuit_client import reserve, until

pytestmark = pytest.mark.interop

ECHOED_BYTES = 100_000
SCRIPT = "relay/peer.js"


async def listens(peer: ForeignPeer, relay: Relay) -> str:
    """Have a js node listen at the relay; returns its circuit address."""
    await peer.tell(do="listen", relay=relay.host.addrs[0])
    told = await peer.hear("listening")
    address: str = next(addr for addr in told["addrs"] if addr.startswith(relay.host.addrs[0]))
    assert address == f"{relay.host.addrs[0]}/p2p-circuit/p2p/{told['peer']}"
    return address


async def test_two_js_nodes_reach_each_other_through_our_relay(run_js: RunJs) -> None:
    network = new_network("public", private=False)
    with trio.fail_after(120):
        async with relay_on(network, circuit_bytes=10_000_000) as relay, run_js(SCRIPT) as bob, run_js(SCRIPT) as alice:
            address = await listens(bob, relay)
            assert relay.service.reservations == 1
            await alice.tell(do="dial", addr=address, bytes=ECHOED_BYTES)
            echoed = await alice.hear("echoed")
            assert (echoed["bytes"], echoed["same"], echoed["pinged"]) == (ECHOED_BYTES, True, True)
            called = await bob.hear("called")
            for end in (echoed, called):
                assert not end["direct"]
                assert 7100 < end["limits"]["seconds"] <= 7200
                assert 0 < end["limits"]["bytes"] < 10_000_000
            assert "/p2p-circuit" in called["addr"]
            assert relay.service.circuits == 1
            assert relay.sample("libp2p_relaysvc_data_transferred_bytes_total") > 2 * ECHOED_BYTES
            await alice.tell(do="stop")
            await alice.hear("stopped")
            await until(lambda: relay.service.circuits == 0)
            assert relay.service.reservations == 1
            await bob.tell(do="stop")
            await bob.hear("stopped")
            await until(lambda: relay.service.reservations == 0)


async def test_a_js_node_that_dies_frees_its_slot(run_js: RunJs) -> None:
    with trio.fail_after(120):
        async with relay_on(new_network("public", private=False), reservations=1) as relay:
            async with run_js(SCRIPT) as bob:
                await listens(bob, relay)
                assert relay.service.reservations == 1
            await until(lambda: relay.service.reservations == 0)
            await reserve(await relay.client(), relay.host)


async def test_a_js_node_is_told_when_the_relay_is_full(run_js: RunJs) -> None:
    with trio.fail_after(120):
        async with relay_on(new_network("public", private=False), reservations=1) as relay, run_js(SCRIPT) as bob:
            await reserve(await relay.client(), relay.host)
            await bob.tell(do="listen", relay=relay.host.addrs[0])
            with pytest.raises(AssertionError, match=r"RESERVATION_REFUSED|listen"):
                await bob.hear("listening")
