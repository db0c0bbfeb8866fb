"""js-libp2p in the lab: its relay for our nodes, DCUtR and AutoNAT v2 in both roles.

js-libp2p's TCP does not dial from its listening port, so no hole leads to it: where it stands behind a NAT only the
conversation can be had, and the connection stays relayed. Where it is public, or only we are behind a NAT, it becomes
direct. Its QUIC dials from one socket, though not from the one that it listens on: holes lead there, once it is told to
name the address that others see (ADR 58).
"""

from pathlib import Path

import pytest
import trio

from tests.interop.conftest import JS
from tests.interop.internet import IP, LISTEN, OURS, PORT, QUIC, at
from tests.nat.lab.topology import Lab

pytestmark = pytest.mark.interop

ECHOED_BYTES = 20_000
PATIENCE_SECONDS = 90


@pytest.fixture
def js(node: Path) -> tuple[str, ...]:
    """What runs js-libp2p's peer."""
    return (str(node), str(JS / "nat" / "peer.js"))


async def test_our_nodes_punch_through_the_relay_of_js(internet: Lab, js: tuple[str, ...]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", js, "relay", LISTEN, f"/ip4/{IP['relay-one']}/tcp/{PORT}") as middle,
            at(internet, "a", OURS, "node", LISTEN) as alice,
            at(internet, "b", OURS, "node", LISTEN) as bob,
        ):
            for peer in (alice, bob):
                await peer.tell(do="reserve", relay=middle.told["addr"])
            slot = await bob.hear("reserved")
            await alice.hear("reserved")
            await alice.tell(do="dial", addr=slot["addr"], bytes=ECHOED_BYTES)
            assert (await alice.hear("echoed"))["same"]
            await alice.tell(do="wait_direct", peer=bob.told["peer"])
            assert IP["b"] in (await alice.hear("direct"))["addr"]


async def test_js_starts_and_our_hidden_host_comes_to_it(internet: Lab, js: tuple[str, ...]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", OURS, "relay", LISTEN) as middle,
            at(internet, "a", OURS, "node", LISTEN) as alice,
            at(internet, "relay-two", js, "node", LISTEN) as bob,
        ):
            for peer in (alice, bob):
                await peer.tell(do="reserve", relay=middle.told["addr"])
            slot = await bob.hear("reserved")
            await alice.hear("reserved")
            await alice.tell(do="dial", addr=slot["addr"], bytes=ECHOED_BYTES)
            assert (await alice.hear("echoed"))["same"]
            told = await alice.hear("punched")
            assert (told["outcome"], told["side"], told["attempts"]) == ("success", "receiver", 1)
            await alice.tell(do="echo", peer=bob.told["peer"], bytes=ECHOED_BYTES)
            echoed = await alice.hear("echoed")
            assert (echoed["same"], echoed["direct"]) == (True, True)
            assert IP["relay-two"] in echoed["addr"]


async def test_we_start_and_js_behind_a_nat_answers_as_specified(internet: Lab, js: tuple[str, ...]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", OURS, "relay", LISTEN) as middle,
            at(internet, "a", js, "node", LISTEN, f"/ip4/{IP['a']}/tcp/{PORT}") as alice,
            at(internet, "b", OURS, "node", LISTEN) as bob,
        ):
            await bob.tell(do="reserve", relay=middle.told["addr"])
            slot = await bob.hear("reserved")
            await alice.tell(do="dial", addr=slot["addr"], bytes=ECHOED_BYTES)
            assert (await alice.hear("echoed"))["same"]
            told = await bob.hear("punched")
            assert (told["outcome"], told["side"]) == ("failed", "initiator")
            assert told["attempts"] >= 1, "js did not answer as far as to the punch"
            await alice.tell(do="echo", peer=bob.told["peer"], bytes=ECHOED_BYTES)
            assert (await alice.hear("echoed"))["direct"] is False


async def test_over_quic_we_start_and_a_hole_leads_to_js_behind_a_nat(internet: Lab, js: tuple[str, ...]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", OURS, "relay", QUIC) as middle,
            at(internet, "a", js, "node", QUIC) as alice,
            at(internet, "b", OURS, "node", QUIC) as bob,
        ):
            await bob.tell(do="reserve", relay=middle.told["addr"])
            slot = await bob.hear("reserved")
            await alice.tell(do="dial", addr=middle.told["addr"], bytes=1)
            assert (await alice.hear("echoed"))["direct"]
            await alice.tell(do="confirm")
            seen = (await alice.hear("confirmed"))["addr"]
            assert seen.startswith(f"/ip4/{IP['a']}/udp/")
            assert not seen.startswith(f"/ip4/{IP['a']}/udp/{PORT}/"), "js dials from the socket it listens on by now"
            await alice.tell(do="dial", addr=slot["addr"], bytes=ECHOED_BYTES)
            told = await bob.hear("punched")
            assert (told["outcome"], told["side"]) == ("success", "initiator")
            await alice.tell(do="wait_direct", peer=bob.told["peer"])
            assert IP["b"] in (await alice.hear("direct"))["addr"]


async def test_over_quic_js_behind_a_nat_starts_and_comes_through_our_hole(internet: Lab, js: tuple[str, ...]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", OURS, "relay", QUIC) as middle,
            at(internet, "a", OURS, "node", QUIC) as alice,
            at(internet, "b", js, "node", QUIC) as bob,
        ):
            for peer in (alice, bob):
                await peer.tell(do="reserve", relay=middle.told["addr"])
            slot = await bob.hear("reserved")
            await alice.hear("reserved")
            await bob.tell(do="confirm")
            seen = (await bob.hear("confirmed"))["addr"]
            await alice.tell(do="dial", addr=slot["addr"], bytes=ECHOED_BYTES)
            told = await alice.hear("punched")
            assert (told["outcome"], told["side"]) == ("success", "receiver")
            await alice.tell(do="echo", peer=bob.told["peer"], bytes=ECHOED_BYTES)
            echoed = await alice.hear("echoed")
            assert (echoed["same"], echoed["direct"], echoed["addr"]) == (True, True, seen)


async def test_js_names_no_address_that_nobody_proved_and_stays_relayed(internet: Lab, js: tuple[str, ...]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", OURS, "relay", QUIC) as middle,
            at(internet, "a", js, "node", QUIC) as alice,
            at(internet, "b", OURS, "node", QUIC) as bob,
        ):
            await bob.tell(do="reserve", relay=middle.told["addr"])
            slot = await bob.hear("reserved")
            await alice.tell(do="dial", addr=slot["addr"], bytes=ECHOED_BYTES)
            told = await bob.hear("punched")
            assert (told["outcome"], told["reason"]) == ("failed", "no_common_transport")
            await alice.tell(do="echo", peer=bob.told["peer"], bytes=ECHOED_BYTES)
            assert (await alice.hear("echoed"))["direct"] is False


async def test_our_server_tells_js_that_it_can_be_dialed(internet: Lab, js: tuple[str, ...]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", OURS, "relay", LISTEN) as judge,
            at(internet, "relay-two", js, "node", LISTEN) as peer,
        ):
            await peer.tell(do="dial", addr=judge.told["addr"], bytes=1)
            assert (await judge.hear("served"))["outcome"] == "reached"


@pytest.mark.parametrize(("place", "verdict"), [("relay-two", "reachable"), ("a", "unreachable")])
async def test_the_server_of_js_tells_us_where_we_can_be_dialed(
    internet: Lab, js: tuple[str, ...], place: str, verdict: str
) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", js, "relay", LISTEN) as judge,
            at(internet, place, OURS, "node", LISTEN) as peer,
        ):
            await peer.tell(do="reach", server=judge.told["addr"], addr=f"/ip4/{IP[place]}/tcp/{PORT}")
            assert (await peer.hear("reached"))["reachability"] == verdict
