"""Where the API listens: this machine only, and sockets that nobody else may open."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from covey_core.errors import SettingsInvalid
from covey_node.api.address import TcpAddress, UnixAddress, bind, parse_address, unbind
from tests.node.api.serving import serving

HOME = Path("/home/alice/covey")


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("127.0.0.1:0", TcpAddress("127.0.0.1", 0), "http://127.0.0.1:0"),
        ("127.0.0.2:65535", TcpAddress("127.0.0.2", 65535), "http://127.0.0.2:65535"),
        ("localhost:7000", TcpAddress("127.0.0.1", 7000), "http://127.0.0.1:7000"),
        ("[::1]:7000", TcpAddress("::1", 7000), "http://[::1]:7000"),
        ("unix:/run/covey.sock", UnixAddress(Path("/run/covey.sock")), "unix:/run/covey.sock"),
        ("unix", UnixAddress(HOME / "api.sock"), "unix:/home/alice/covey/api.sock"),
    ],
)
def test_loopback_addresses_and_unix_sockets_are_understood(
    text: str, address: TcpAddress | UnixAddress, shown: str
) -> None:
    assert parse_address(text, home=HOME) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0:7000", "[::]:7000", "192.168.1.5:7000", "example.org:7000", ":7000", "127.0.0.1", "127.0.0.1:"),
        *("127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "127.0.0.1:٣", "unix:relative.sock", "unix:", "7000", ""),
    ],
)
def test_what_others_could_reach_and_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="API address"):
        parse_address(text, home=HOME)


def test_port_zero_becomes_a_real_port() -> None:
    listener, bound = bind(TcpAddress("127.0.0.1", 0))
    with listener:
        assert isinstance(bound, TcpAddress)
        assert bound.port == listener.getsockname()[1] != 0


def test_a_taken_port_is_a_clear_error() -> None:
    listener, bound = bind(TcpAddress("127.0.0.1", 0))
    with listener, pytest.raises(SettingsInvalid, match="Address already in use"):
        bind(bound)


def test_a_unix_socket_is_for_its_owner_only_and_goes_away(tmp_path: Path) -> None:
    address = UnixAddress(tmp_path / "api.sock")
    listener, _ = bind(address)
    with listener:
        assert stat.S_IMODE(address.path.stat().st_mode) == 0o600
    unbind(address)
    assert not address.path.exists()
    unbind(address)


def test_a_dead_nodes_socket_is_replaced_and_a_living_ones_is_not(tmp_path: Path) -> None:
    address = UnixAddress(tmp_path / "api.sock")
    first, _ = bind(address)
    with first, pytest.raises(SettingsInvalid, match="another program listens"):
        bind(address)
    assert address.path.exists()
    second, _ = bind(address)
    second.close()


def test_a_file_in_the_sockets_place_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(SettingsInvalid, match="not a socket"):
        bind(UnixAddress(path))
    assert path.read_text() == "precious"


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="No such file"):
        bind(UnixAddress(tmp_path / "none" / "api.sock"))


@pytest.mark.parametrize("address", ["unix", "127.0.0.1:0", "[::1]:0"])
def test_the_api_answers_on_every_kind_of_address(tmp_path: Path, address: str) -> None:
    if address.startswith("[") and not _has_ip6():
        pytest.skip("this machine has no IPv6 loopback")
    with serving(tmp_path, address=address) as served:
        assert served.ask("GET", "/v1/status")[0] == 200
        assert served.ask("POST", "/v1/contacts/bob/messages", {"text": "hi"})[0] == 201


def _has_ip6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True
