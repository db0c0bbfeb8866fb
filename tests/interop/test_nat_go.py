"""go-libp2p and our host behind a NAT each, in a lab with real delay: DCUtR in both roles, AutoNAT v2 in both roles."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.interop.conftest import ForeignPeer, running_peer
from tests.nat.lab.topology import Lab, LabUnavailable, lab

pytestmark = pytest.mark.interop

PORT = 4001
LISTEN = f"/ip4/0.0.0.0/tcp/{PORT}"
RELAY, RELAY_IP = "relay-one", "45.10.0.20"
PUBLIC, PUBLIC_IP = "relay-two", "45.20.0.30"
WAN_IP = {"a": "45.30.0.101", "b": "45.40.0.102"}
ECHOED_BYTES = 20_000
PATIENCE_SECONDS = 90


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab with two home routers; skips where namespaces cannot be made."""
    try:
        with lab(tmp_path_factory.mktemp("lab")) as one:
            yield one
    except LabUnavailable as exc:
        pytest.skip(f"needs network namespaces: {exc}")


@pytest.fixture
def programs(go_peer: Path) -> dict[str, tuple[str, ...]]:
    """What runs each implementation's peer."""
    return {"go": (str(go_peer),), "ours": (sys.executable, "-m", "tests.interop.ours")}


@asynccontextmanager
async def at(internet: Lab, place: str, program: tuple[str, ...], role: str, listen: str) -> AsyncIterator[ForeignPeer]:
    """A peer that runs at a place of the lab and is ready."""
    async with running_peer(internet.words(place, *program, role, listen)) as peer:
        peer.told = await peer.hear("ready")
        yield peer


def address(peer: ForeignPeer, ip: str) -> str:
    """The address of a peer that listens on all interfaces of a public place."""
    return f"/ip4/{ip}/tcp/{PORT}/p2p/{peer.told['peer']}"


@pytest.mark.parametrize("relay", ["go", "ours"])
@pytest.mark.parametrize(("dialer", "receiver"), [("go", "ours"), ("ours", "go")])
async def test_a_relayed_connection_between_two_implementations_becomes_direct(
    internet: Lab, programs: dict[str, tuple[str, ...]], relay: str, dialer: str, receiver: str
) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            at(internet, RELAY, programs[relay], "relay", LISTEN) as middle,
            at(internet, "a", programs[dialer], "node", LISTEN) as alice,
            at(internet, "b", programs[receiver], "node", LISTEN) as bob,
        ):
            way = address(middle, RELAY_IP)
            for peer in (alice, bob):  # both learn there how their router maps them
                await peer.tell(do="reserve", relay=way)
            slot = await bob.hear("reserved")
            await alice.hear("reserved")
            await alice.tell(do="dial", addr=slot["addr"], bytes=ECHOED_BYTES)
            first = await alice.hear("echoed")
            assert (first["bytes"], first["same"]) == (ECHOED_BYTES, True)
            for peer, other in ((alice, bob), (bob, alice)):
                await peer.tell(do="wait_direct", peer=other.told["peer"])
            assert WAN_IP["b"] in (await alice.hear("direct"))["addr"]
            assert WAN_IP["a"] in (await bob.hear("direct"))["addr"]
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
            at(internet, RELAY, programs[server], "relay", LISTEN) as judge,
            at(internet, PUBLIC, programs[asker], "node", LISTEN) as public,
            at(internet, "a", programs[asker], "node", LISTEN) as hidden,
        ):
            verdicts = []
            for peer, ip in ((public, PUBLIC_IP), (hidden, WAN_IP["a"])):
                await peer.tell(do="reach", server=address(judge, RELAY_IP), addr=f"/ip4/{ip}/tcp/{PORT}")
                verdicts.append((await peer.hear("reached"))["reachability"])
            assert verdicts == (["Public", "Private"] if asker == "go" else ["reachable", "unreachable"])
