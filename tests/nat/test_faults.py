"""What breaks while two people talk: nothing is lost or shown twice, and the conversation goes on by itself."""

from collections.abc import Iterator

import pytest

from tests.e2e.compose import docker
from tests.nat.expected import Cell
from tests.nat.homes import OPERATORS, Homes
from tests.nat.watcher import Status, Watcher, path_of, slots_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SILENT_SECONDS = 12  # DESIGN 3: a silently dead path is noticed within this time while sending
FAILOVER_SECONDS = SILENT_SECONDS + 8  # and then the next path is made, on a machine that also does other things
BACK_SECONDS = 100  # holes are punched again 30 s after a failure, then 60 s (docs/spec/paths.md)
CUT_SECONDS = 30

CONES = Cell("cone", "cone", "none")


@pytest.fixture(autouse=True)
def mended(homes: Homes) -> Iterator[None]:
    """Leave relays and cables as they were, whatever a test did."""
    yield
    for relay in ("relay", "relay-two"):
        docker("unpause", homes.containers[relay], check=False)
    homes.docker("start", "relay", "relay-two")
    for name in ("alice", "bob"):
        if not homes.is_plugged_in(name):
            homes.plug_in(name)
    homes.router("alice", "wan", homes.wan("alice"))


def settled(homes: Homes, people: tuple[Watcher, Watcher], *, direct: bool) -> None:
    """Let the two meet and come to the path that their NATs allow."""
    homes.send("alice", "before the fault", seconds=FAILOVER_SECONDS)
    for watcher in people:
        watcher.wait(lambda status: on_path(status, direct=direct), "the first path", seconds=BACK_SECONDS)


def on_path(status: Status, *, direct: bool) -> bool:
    kind, _ = path_of(status)
    return kind in {"punched", "public"} if direct else kind == "relayed"


def talk(homes: Homes, what: str, *, seconds: int) -> None:
    """Both write; everything that the other has not got yet must arrive within `seconds`, once.

    In order, too, as long as it comes by one way; what waits at relays meanwhile may overtake, and is overtaken.
    """
    wanted: dict[str, list[str]] = {"alice": [], "bob": []}
    for number in range(3):
        for name, other in (("alice", "bob"), ("bob", "alice")):
            wanted[other].append(f"{what}, {number}")
            homes.queue(name, wanted[other][-1])
    for name, other in (("alice", "bob"), ("bob", "alice")):
        wanted[other].append(f"{what}, the last")
        homes.send(name, wanted[other][-1], seconds=seconds)
    for name in ("alice", "bob"):
        assert sorted(text for text in homes.texts(name) if text.startswith(what)) == sorted(wanted[name])


def relay_in_use(homes: Homes, watcher: Watcher) -> tuple[str, str]:
    """Return the service of the relay that the path goes through, and the other one's."""
    status = watcher.seen[-1].status
    assert status is not None
    _, address = path_of(status)
    return ("relay", "relay-two") if f"{homes.project.prefix}.0.20/" in address else ("relay-two", "relay")


def test_a_router_that_restarts_costs_no_message(homes: Homes) -> None:
    cell = Cell(
        "carrier", "cone", "none"
    )  # a carrier's NAT takes another port the next time: the mapping is really lost
    with homes.renewed(cell.kinds) as people:
        settled(homes, people, direct=cell.direct)
        homes.router("alice", "restart")
        talk(homes, "after the restart", seconds=FAILOVER_SECONDS)
        for watcher in people:
            watcher.wait(lambda status: on_path(status, direct=cell.direct), "the path again", seconds=BACK_SECONDS)


def test_a_killed_relay_is_replaced_by_the_other(homes: Homes) -> None:
    with homes.renewed(("symmetric", "symmetric")) as people:
        settled(homes, people, direct=False)
        used, _ = relay_in_use(homes, people[0])
        homes.docker("kill", used)
        talk(homes, "without that relay", seconds=FAILOVER_SECONDS)
        homes.docker("start", used)
        for watcher in people:
            watcher.wait(lambda status: slots_of(status) == OPERATORS, "slots at both relays", seconds=BACK_SECONDS)


def test_a_relay_that_falls_silent_is_replaced_by_the_other(homes: Homes) -> None:
    with homes.renewed(("symmetric", "symmetric")) as people:
        settled(homes, people, direct=False)
        used, _ = relay_in_use(homes, people[0])
        homes.docker("pause", used)
        talk(homes, "past the silent relay", seconds=FAILOVER_SECONDS)
        homes.docker("unpause", used)
        for watcher in people:
            watcher.wait(lambda status: slots_of(status) == OPERATORS, "slots at both relays", seconds=BACK_SECONDS)


def test_a_direct_path_that_dies_silently_costs_twelve_seconds_at_most(homes: Homes) -> None:
    with homes.renewed(CONES.kinds) as people:
        settled(homes, people, direct=CONES.direct)
        homes.router("alice", "direct", "off")
        view = homes.send("alice", "past the silent path", seconds=FAILOVER_SECONDS)
        assert view["status_at"] - view["sent_at"] <= SILENT_SECONDS
        assert view["path"] in {"relayed", "mailbox"}  # a copy lies at the relays too: what comes first, counts
        talk(homes, "over the relay", seconds=FAILOVER_SECONDS)
        homes.router("alice", "direct", "on")
        for watcher in people:
            watcher.wait(lambda status: on_path(status, direct=CONES.direct), "the path again", seconds=BACK_SECONDS)


def test_a_network_that_is_cut_for_half_a_minute_comes_back(homes: Homes) -> None:
    with homes.renewed(CONES.kinds) as people:
        settled(homes, people, direct=CONES.direct)
        homes.unplug("alice")
        homes.queue("alice", "from the cut-off side")
        view = homes.try_to_send("bob", "to the cut-off side", seconds=CUT_SECONDS)
        assert view["status"] in {"queued", "sent", "stored"}
        homes.plug_in("alice")
        talk(homes, "after the cut", seconds=BACK_SECONDS)
        assert homes.texts("alice").count("to the cut-off side") == 1
        assert homes.texts("bob").count("from the cut-off side") == 1
        for watcher in people:
            watcher.wait(lambda status: on_path(status, direct=CONES.direct), "the path again", seconds=BACK_SECONDS)


def test_a_router_that_drops_everything_for_a_while_costs_no_message(homes: Homes) -> None:
    with homes.renewed(CONES.kinds) as people:
        settled(homes, people, direct=CONES.direct)
        homes.router("alice", "all", "off")
        homes.queue("alice", "into the silence")
        view = homes.try_to_send("bob", "out of the silence", seconds=SILENT_SECONDS)
        assert view["status"] in {"queued", "sent", "stored"}
        homes.router("alice", "all", "on")
        talk(homes, "after the silence", seconds=BACK_SECONDS)
        assert homes.texts("bob").count("into the silence") == 1
        assert homes.texts("alice").count("out of the silence") == 1


def test_another_address_from_the_provider_costs_no_message(homes: Homes) -> None:
    with homes.renewed(CONES.kinds) as people:
        settled(homes, people, direct=CONES.direct)
        homes.router("alice", "wan", f"{homes.project.prefix}.0.111")
        talk(homes, "from the new address", seconds=BACK_SECONDS)
        for watcher in people:
            watcher.wait(lambda status: on_path(status, direct=CONES.direct), "the path again", seconds=BACK_SECONDS)


def test_another_address_in_the_lan_costs_no_message(homes: Homes) -> None:
    with homes.renewed(CONES.kinds) as people:
        settled(homes, people, direct=CONES.direct)
        homes.unplug("alice")
        homes.plug_in("alice", host=77)
        talk(homes, "from the other LAN address", seconds=BACK_SECONDS)
        for watcher in people:
            watcher.wait(lambda status: on_path(status, direct=CONES.direct), "the path again", seconds=BACK_SECONDS)
