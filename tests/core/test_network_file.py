import dataclasses
import json
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import FileDamaged, FileUnusable, ProtocolViolation
from covey_core.network import RelayEntry, load_network, save_network, update_network

from .networks import KEY, NETWORK, networks


@given(network=networks)
def test_a_network_goes_through_its_file_unchanged(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("network") / "network.json"
    save_network(path, network)
    assert load_network(path) == network
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_may_be_shared_by_two_servers_that_change_it_at_once(tmp_path):
    # Real processes: the lock is the system's.
    path = tmp_path / "network.json"
    save_network(path, dataclasses.replace(NETWORK, relays=()))
    script = """
import dataclasses, sys
from pathlib import Path
from covey_core.network import RelayEntry, update_network
def change(network):
    entry = RelayEntry(sys.argv[2], network.bootstraps)
    return dataclasses.replace(network, relays=(*network.relays, entry))
sys.stdin.readline()
update_network(Path(sys.argv[1]), change)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(path), f"op{n}"], stdin=subprocess.PIPE) for n in range(4)
    ]
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(30) for process in processes] == [0, 0, 0, 0]
    assert sorted(relay.operator for relay in load_network(path).relays) == ["op0", "op1", "op2", "op3"]


def test_an_update_of_a_missing_file_begins_with_none(tmp_path):
    path = tmp_path / "new" / "network.json"
    assert update_network(path, lambda present: NETWORK if present is None else present) == NETWORK
    assert load_network(path) == NETWORK


def test_an_update_that_changes_nothing_does_not_write(tmp_path):
    path = tmp_path / "network.json"
    save_network(path, NETWORK)
    before = path.stat().st_ino
    update_network(path, lambda present: present)
    assert path.stat().st_ino == before


def test_a_change_that_fails_leaves_the_file_and_frees_the_lock(tmp_path):
    path = tmp_path / "network.json"
    save_network(path, NETWORK)
    with pytest.raises(ProtocolViolation):
        update_network(path, lambda present: dataclasses.replace(present, relays=(RelayEntry("", ()),)))
    assert update_network(path, lambda present: dataclasses.replace(present, name="next")).name == "next"


WHOLE = {
    "format": "covey-network-1", "name": "home", "id": "00" * 16, "subnets": [], "key": None, "previous_key": None,
    "bootstraps": [], "relays": [],
}  # fmt: skip


def broken_files():
    yield b""
    yield b"\x00\xff"
    yield json.dumps(WHOLE).encode()[:-5]
    yield b"[]"
    yield b"7"
    for change in (
        {"format": "covey-network-9"}, {"name": ""}, {"name": 7}, {"id": "zz"}, {"id": "00"}, {"id": 7},
        {"key": "AAAA"}, {"key": 7}, {"key": "!"}, {"subnets": "10.0.0.0/8"}, {"subnets": ["x"]}, {"subnets": [7]},
        {"bootstraps": ["x"]},
        {"bootstraps": None}, {"relays": {}}, {"relays": 7}, {"relays": ["x"]}, {"relays": [{"operator": "Ann"}]},
        {"relays": [{"operator": 7, "addrs": []}]},
    ):  # fmt: skip
        if change != {"relays": {}}:  # an empty mapping reads as no relays, which it is
            yield json.dumps(WHOLE | change).encode()
    for missing in WHOLE:
        yield json.dumps({key: value for key, value in WHOLE.items() if key != missing}).encode()


@pytest.mark.parametrize("data", list(broken_files()))
def test_a_broken_file_is_refused_by_all_and_never_overwritten(tmp_path, data):
    path = tmp_path / "network.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(FileDamaged, match=r"network\.json.*copy"):
        load_network(path)
    with pytest.raises(FileDamaged):
        update_network(path, lambda _: NETWORK)
    assert path.read_bytes() == data


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_network_file_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("network") / "network.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(FileDamaged):
        load_network(path)


def test_a_file_with_a_key_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "network.json"
    save_network(path, NETWORK)
    path.chmod(0o644)
    with pytest.raises(FileUnusable, match="chmod 600"):
        load_network(path)


def test_a_file_without_a_key_is_no_secret(tmp_path):
    path = tmp_path / "network.json"
    save_network(path, dataclasses.replace(NETWORK, key=None))
    path.chmod(0o644)
    assert load_network(path).key is None


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileUnusable, match=r"network\.json: No such file"):
        load_network(tmp_path / "network.json")


def test_a_folder_that_cannot_be_made_is_an_error_for_the_user(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileUnusable):
        update_network(tmp_path / "file" / "network.json", lambda _: NETWORK)


def test_the_key_is_in_the_file_and_nowhere_in_its_name_or_its_lock(tmp_path):
    path = tmp_path / "network.json"
    update_network(path, lambda _: NETWORK)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".network.json.lock", "network.json"]
    assert (tmp_path / ".network.json.lock").read_bytes() == b""
    assert NETWORK.key == KEY
