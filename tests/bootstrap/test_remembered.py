"""The servers a seed remembers, in memory and on disk."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_bootstrap import limits
from covey_bootstrap.remembered import RememberedPeer, RememberedPeers
from covey_bootstrap.store.peers_file import load_peers, save_peers
from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId, peer_id_of


def peer(number: int) -> PeerId:
    return peer_id_of(number.to_bytes(32, "big"))


def addrs(number: int) -> tuple[str, ...]:
    return (f"/ip4/10.0.0.1/tcp/{number + 1}/p2p/{peer(number)}",)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1e9)), max_size=40))
def test_the_table_comes_back_from_its_bytes_as_it_was(seen: list[tuple[int, float]]) -> None:
    table = RememberedPeers()
    for number, at in seen:
        table.saw(peer(number), addrs(number), now=at)
    assert RememberedPeers.decode(table.encode()).newest_first() == table.newest_first()


@given(st.binary(max_size=100) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_a_table_or_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        RememberedPeers.decode(data)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"addrs": [], "last_seen": 1},
        {"addrs": ["/ip4/10.0.0.1/tcp/1"], "last_seen": 1},
        {"addrs": [addrs(1)[0], addrs(2)[0]], "last_seen": 1},
        {"addrs": [addrs(1)[0]], "last_seen": "soon"},
    ],
)
def test_an_entry_that_is_none_makes_the_table_none(entry: object) -> None:
    with pytest.raises(ProtocolViolation):
        RememberedPeers.decode(json.dumps({"format": "covey-peers-1", "peers": [entry]}).encode())


def test_only_the_servers_met_last_stay() -> None:
    table = RememberedPeers()
    for number in range(limits.REMEMBERED_PEERS + 5):
        table.saw(peer(number), addrs(number), now=float(number))
    assert len(table) == limits.REMEMBERED_PEERS
    newest = table.newest_first()
    assert newest[0].peer == peer(limits.REMEMBERED_PEERS + 4)
    assert newest[-1].peer == peer(5)


def test_a_server_not_met_for_a_month_is_forgotten() -> None:
    table = RememberedPeers()
    table.saw(peer(1), addrs(1), now=0)
    table.saw(peer(2), addrs(2), now=1)
    assert not table.forget_old(now=limits.REMEMBERED_SECONDS)
    assert table.forget_old(now=limits.REMEMBERED_SECONDS + 1)
    assert [entry.peer for entry in table.newest_first()] == [peer(2)]


def test_what_is_worth_storing_is_a_new_server_a_new_address_and_an_hour() -> None:
    table = RememberedPeers()
    assert table.saw(peer(1), addrs(1), now=0)
    assert not table.saw(peer(1), addrs(1), now=limits.REFRESHED_SECONDS - 1)
    assert table.saw(peer(1), addrs(1), now=limits.REFRESHED_SECONDS)
    assert table.saw(peer(1), (*addrs(1), f"/ip4/10.0.0.2/tcp/1/p2p/{peer(1)}"), now=limits.REFRESHED_SECONDS)


def test_the_file_survives_and_a_missing_one_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    assert len(load_peers(path)) == 0
    table = RememberedPeers([RememberedPeer(peer(1), addrs(1), 5.0)])
    assert save_peers(path, table)
    assert load_peers(path).newest_first() == table.newest_first()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_put_aside_and_the_seed_starts_without_its_memory(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(b"{half")
    assert len(load_peers(path)) == 0
    assert (tmp_path / "peers.json.damaged").read_bytes() == b"{half"
    path.write_bytes(b" " * (limits.REMEMBERED_FILE_BYTES + 1))
    assert len(load_peers(path)) == 0


def test_a_file_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    assert not save_peers(tmp_path / "missing" / "peers.json", RememberedPeers())
