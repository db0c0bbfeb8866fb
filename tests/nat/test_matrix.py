"""Every pair of NATs, with and without blocked transports: the message arrives, over the path that the pair allows."""

import pytest

from tests.nat.expected import CELLS, Cell
from tests.nat.homes import Homes
from tests.nat.watcher import Status, path_of, transport_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DELIVERED_SECONDS = 20  # dialling, circuit, first message; the product's own deadline for opening a lane
DIRECT_SECONDS = 40  # three attempts and one with swapped roles; nearly always the first one succeeds within a second


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_message_is_delivered_and_the_path_is_the_best_that_the_nats_allow(homes: Homes, cell: Cell) -> None:
    with homes.renewed(cell.kinds, cell.block) as (alice, bob):
        homes.send("alice", f"{cell}: from alice", seconds=DELIVERED_SECONDS)

        def expected(status: Status) -> bool:
            kind, address = path_of(status)
            if not cell.direct:
                return kind == "relayed"
            return kind in {"punched", "public"} and transport_of(address) in cell.transports

        for watcher in (alice, bob):
            watcher.wait(expected, f"the path of {cell}", seconds=DIRECT_SECONDS)
        view = homes.send("bob", f"{cell}: from bob", seconds=DELIVERED_SECONDS)
        assert (view["path"] == "relayed") == (not cell.direct)
        assert not cell.direct or view["path"] in {"punched", "public"}
    assert homes.texts("bob")[-1] == f"{cell}: from alice"
    assert homes.texts("alice")[-1] == f"{cell}: from bob"
