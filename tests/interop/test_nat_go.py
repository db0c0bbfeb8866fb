"""go-libp2p and our host behind a NAT each, in a lab with real delay: DCUtR in both roles, AutoNAT v2 in both roles."""

from pathlib import Path

import pytest
import trio

from tests.interop.internet import IP, LISTEN, OURS, PORT, at
from tests.nat.lab.topology import Lab

pytestmark = pytest.mark.interop

ECHOED_BYTES = 20_000
PATIENCE_SECONDS = 90


@pytest.fixture
def programs(go_peer: Path) -> dict[str, tuple[str, ...]]:
    """What runs each implementation's peer."""
    return {"go": (str(go_peer),), "ours": OURS}


@pytest.mark.parametrize("relay", ["go", "ours"])
@pytest.mark.parametrize(("dialer", "receiver"), [("go", "ours"), ("ours", "go")])
async def test_a_relayed_connection_between_two_implementations_becomes_direct(
    internet: Lab, programs: dict[str, tuple[str, ...]], relay: str, dialer: str, receiver: str
) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", programs[relay], "relay", LISTEN) as middle,
            at(internet, "a", programs[dialer], "node", LISTEN) as alice,
            at(internet, "b", programs[receiver], "node", LISTEN) as bob,
        ):
            for peer in (alice, bob):  # both learn there how their router maps them
                await peer.tell(do="reserve", relay=middle.told["addr"])
            slot = await bob.hear("reserved")
            await alice.hear("reserved")
            for peer in (alice, bob):
                await peer.tell(do="await_punching")
                await peer.hear("punches")
            await alice.tell(do="dial", addr=slot["addr"], bytes=ECHOED_BYTES)
            first = await alice.hear("echoed")
            assert (first["bytes"], first["same"]) == (ECHOED_BYTES, True)
            for peer, other in ((alice, bob), (bob, alice)):
                await peer.tell(do="wait_direct", peer=other.told["peer"])
            assert IP["b"] in (await alice.hear("direct"))["addr"]
            assert IP["a"] in (await bob.hear("direct"))["addr"]
            for peer, other in ((alice, bob), (bob, alice)):
                await peer.tell(do="echo", peer=other.told["peer"], bytes=ECHOED_BYTES)
                echoed = await peer.hear("echoed")
                assert (echoed["bytes"], echoed["same"], echoed["direct"]) == (ECHOED_BYTES, True, True)


@pytest.mark.parametrize(("asker", "server"), [("go", "ours"), ("ours", "go")])
async def test_a_server_tells_a_public_address_from_one_behind_a_nat(
    internet: Lab, programs: dict[str, tuple[str, ...]], asker: str, server: str
) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, "relay-one", programs[server], "relay", LISTEN) as judge,
            at(internet, "relay-two", programs[asker], "node", LISTEN) as public,
            at(internet, "a", programs[asker], "node", LISTEN) as hidden,
        ):
            verdicts = []
            for peer, ip in ((public, IP["relay-two"]), (hidden, IP["a"])):
                await peer.tell(do="reach", server=judge.told["addr"], addr=f"/ip4/{ip}/tcp/{PORT}")
                verdicts.append((await peer.hear("reached"))["reachability"])
            assert verdicts == (["Public", "Private"] if asker == "go" else ["reachable", "unreachable"])
