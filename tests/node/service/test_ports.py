"""A port that the kernel chose is kept over restarts, unless somebody else has it now."""

import socket
from pathlib import Path

from tests.support.people import empty_network, running_node


async def test_a_node_comes_back_on_the_port_of_its_last_run(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice:
        first = (await alice.status()).listen
    async with running_node(tmp_path / "alice", network) as alice:
        assert (await alice.status()).listen == first


async def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice:
        first = (await alice.status()).listen
    port = int(first[0].split("/")[4])
    with socket.create_server(("127.0.0.1", port)):
        async with running_node(tmp_path / "alice", network) as alice:
            assert (await alice.status()).listen != first
