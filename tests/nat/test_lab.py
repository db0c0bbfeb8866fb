"""Three meetings of each pair of NAT kinds in the namespace lab, 20 ms a hop; `make bench ONLY=direct` makes 100."""

from collections.abc import Iterator

import pytest

from tests.nat.conftest import require_lab
from tests.nat.lab.runs import Meeting, meeting

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

RUNS = 3


@pytest.fixture(scope="module")
def pair() -> Iterator[Meeting]:
    """Alice and bob in the lab, who know each other."""
    require_lab()
    with meeting() as one:
        yield one


@pytest.mark.parametrize("kinds", [(1, 1), (3, 3), (1, 3)], ids=lambda kinds: f"{kinds[0]}/{kinds[1]}")
def test_home_routers_and_carriers_let_holes_be_punched(pair: Meeting, kinds: tuple[int, int]) -> None:
    pair.be(*kinds)
    found = [pair.run(wait_for_direct=True) for _ in range(RUNS)]
    # The message itself may have gone through the relay: it does not wait for the hole.
    assert all(run.direct_seconds is not None for run in found), found


@pytest.mark.parametrize("kinds", [(2, 1), (2, 2)], ids=lambda kinds: f"{kinds[0]}/{kinds[1]}")
def test_symmetric_nats_talk_through_a_relay(pair: Meeting, kinds: tuple[int, int]) -> None:
    pair.be(*kinds)
    found = [pair.run(wait_for_direct=False) for _ in range(RUNS)]
    assert all(run.path == "relayed" for run in found), found
