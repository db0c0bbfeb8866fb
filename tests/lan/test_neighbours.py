"""Two nodes on one network without relay, seed or internet: they find each other by multicast DNS and talk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from covey_core.network import Network, save_network
from tests.lan.processes import Script, running
from tests.support.namespaces import Namespaces
from tests.support.people import acquaint, empty_network, running_node

LISTEN = ("/ip4/0.0.0.0/tcp/4001",)


@pytest.fixture
def lan(spaces: Namespaces) -> Namespaces:
    """alice 192.168.77.2 and bob 192.168.77.3 on one switch, and nothing else."""
    for name in ("switch", "alice", "bob"):
        spaces.add(name)
    for number, name in enumerate(("alice", "bob"), 2):
        spaces.cable((name, "eth0"), ("switch", name))
        spaces.address(name, "eth0", f"192.168.77.{number}/24")
    spaces.bridge("switch", "lan", ("alice", "bob"))
    return spaces


async def become_contacts(folder: Path, network: Network) -> None:
    """They meet elsewhere: all that they know of each other are addresses that lead nowhere later."""
    async with running_node(folder / "alice", network) as alice, running_node(folder / "bob", network) as bob:
        await acquaint(alice, bob)
    save_network(folder / "network.json", network)


@asynccontextmanager
async def person(spaces: Namespaces, folder: Path, name: str) -> AsyncIterator[Script]:
    words = (str(folder / name), str(folder / "network.json"), *LISTEN)
    async with running(spaces, name, "person.py", *words) as script:
        await script.hear("started")
        yield script


async def test_contacts_on_one_network_find_each_other_and_talk(lan: Namespaces, tmp_path: Path) -> None:
    await become_contacts(tmp_path, empty_network())
    async with person(lan, tmp_path, "alice") as alice, person(lan, tmp_path, "bob") as bob:
        await alice.hear("path", alias="bob", path="lan")
        await alice.tell(send="bob", text="are you at home?")
        await alice.hear("message", text="are you at home?", status="delivered", path="lan")
        await bob.hear("message", text="are you at home?")


async def test_who_comes_back_at_another_address_is_found_there(lan: Namespaces, tmp_path: Path) -> None:
    await become_contacts(tmp_path, empty_network())
    async with person(lan, tmp_path, "alice") as alice:
        async with person(lan, tmp_path, "bob"):
            await alice.hear("path", alias="bob", path="lan")
        await alice.tell(send="bob", text="where have you gone?")
        lan.ip("bob", "addr", "flush", "dev", "eth0")
        lan.address("bob", "eth0", "192.168.77.200/24")
        async with person(lan, tmp_path, "bob"):
            await alice.hear("message", text="where have you gone?", status="delivered", path="lan")


async def test_a_node_whose_address_changes_while_it_runs_is_found_anew(lan: Namespaces, tmp_path: Path) -> None:
    await become_contacts(tmp_path, empty_network())
    async with person(lan, tmp_path, "alice") as alice, person(lan, tmp_path, "bob"):
        await alice.hear("path", alias="bob", path="lan")
        lan.ip("bob", "addr", "flush", "dev", "eth0")
        lan.address("bob", "eth0", "192.168.77.200/24")
        await alice.tell(send="bob", text="still there?")
        await alice.hear("message", text="still there?", status="delivered", path="lan")
