"""A node behind a real router, two relays outside: what it finds out about itself. Needs root and namespaces.

The relays are the product's, on a public network without a key: the addresses are global ones.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from covey_core.network import load_network, new_network, save_network
from tests.nat.conftest import require_lab
from tests.nat.lab.topology import LANS, RELAYS, ROOT, ROUTERS, Lab, lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

PORT = 4201
OUTSIDE = f"/ip4/{ROUTERS['a']}/tcp/{PORT}"
LISTEN = (f"/ip4/0.0.0.0/tcp/{PORT}", f"/ip4/0.0.0.0/udp/{PORT}/quic-v1")
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Path]]:
    """The lab with two relays that run, and the network file that names them."""
    require_lab()
    folder = tmp_path_factory.mktemp("lab")
    network = folder / "network.json"
    save_network(network, new_network("lab", private=False))
    with lab(folder, delay_milliseconds=1) as where, ExitStack() as stack:
        for name, address in RELAYS.items():
            stack.enter_context(relay(where, name, address, folder, network))
        yield where, network


@contextmanager
def relay(where: Lab, name: str, address: str, folder: Path, network: Path) -> Iterator[None]:
    settings = {
        "DATA_DIR": folder / name,
        "NETWORK_FILE": network,
        "OPERATOR": name,
        "LISTEN": "/ip4/0.0.0.0/tcp/4101,/ip4/0.0.0.0/udp/4101/quic-v1",
        "ANNOUNCE": f"/ip4/{address}/tcp/4101,/ip4/{address}/udp/4101/quic-v1",
    }
    env = environment() | {f"COVEY_RELAY_{key}": str(value) for key, value in settings.items()}
    words = where.words(name, sys.executable, "-m", "covey_relay", "run")
    with subprocess.Popen(
        words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("covey:net."), "the relay did not start"
            assert any(one.operator == name for one in load_network(network).relays)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("COVEY_")}


async def seen_by_a_node(place: tuple[Lab, Path], enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Start a node on host a and return what it says of its place as soon as that is `enough`."""
    where, network = place
    words = where.words("a", sys.executable, "-m", "tests.autonat.behind", network, *LISTEN)
    process = await trio.lowlevel.open_process(
        words, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    text, found = b"", {}
    try:
        with trio.fail_after(PATIENCE_SECONDS):
            async for part in process.stdout:
                text += part
                *lines, text = text.split(b"\n")
                for line in lines:
                    found = cast("dict[str, Any]", json.loads(line))
                    if enough(found):
                        return found
    except trio.TooSlowError:
        raise AssertionError(f"not within {PATIENCE_SECONDS} s: {found}") from None
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
    raise AssertionError(f"the node ended: {found}")


def forward(where: Lab) -> None:
    """Forward the port by hand, as on a router's web page."""
    inside = f"{LANS['a']}.10:{PORT}"
    where.run(
        "router-a",
        "nft",
        "add table ip byhand; add chain ip byhand pre { type nat hook prerouting priority dstnat - 1; }; "
        f"add rule ip byhand pre ip daddr {ROUTERS['a']} tcp dport {PORT} dnat to {inside}",
    )


async def test_behind_a_home_router_the_address_is_not_reachable_and_the_nat_is_easy(place):
    where, _ = place
    where.router("a", "nat", "cone")
    where.router("a", "block", "none")
    found = await seen_by_a_node(place, lambda now: now["nat"] != "unknown" and now["addrs"].get(OUTSIDE) is not None)
    assert found["nat"] == "easy"
    assert found["addrs"][OUTSIDE] is False


async def test_a_full_cone_lets_others_in(place):
    place[0].router("a", "nat", "full-cone")
    found = await seen_by_a_node(place, lambda now: now["addrs"].get(OUTSIDE) is not None)
    assert found["addrs"][OUTSIDE] is True


async def test_a_symmetric_nat_is_hard(place):
    place[0].router("a", "nat", "symmetric")
    found = await seen_by_a_node(place, lambda now: now["nat"] != "unknown")
    assert found["nat"] == "hard"


async def test_where_no_udp_passes_the_kind_says_so(place):
    where, _ = place
    where.router("a", "nat", "cone")
    where.router("a", "block", "udp")
    found = await seen_by_a_node(place, lambda now: now["nat"] == "udp_blocked")
    assert found["nat"] == "udp_blocked"
    where.router("a", "block", "none")


async def test_a_port_that_is_forwarded_by_hand_is_public(place):
    where, _ = place
    where.router("a", "nat", "symmetric")  # the hardest: only our own port at the address that others see is right
    forward(where)
    found = await seen_by_a_node(place, lambda now: bool(now["addrs"].get(OUTSIDE)))
    assert found["addrs"][OUTSIDE] is True
