"""The node's settings: names, defaults, and what cannot go together."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from covey_core.errors import SettingsInvalid
from covey_core.settings import load_settings
from covey_node.home import default_home
from covey_node.settings import NodeSettings
from tests.relay.test_connect import has_ip6

IPV4 = ("/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1")
IPV6 = ("/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1")


def test_a_node_runs_without_any_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = load_settings(NodeSettings)
    assert settings.home == tmp_path / "covey"
    assert settings.network_path == tmp_path / "covey" / "network.json"
    assert settings.token_path == tmp_path / "covey" / "api.token"
    assert settings.listen_addrs == (*IPV4, *(IPV6 if has_ip6() else ()))
    assert settings.api == "127.0.0.1:0"
    assert settings.ops_addr is None
    assert (settings.portmap, settings.mdns, settings.relay, settings.report_punches) == (True, True, "auto", False)
    assert (settings.mailboxes, settings.isolation) == (True, "relay")


def test_where_ipv6_is_switched_off_nobody_listens_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> NoReturn:
        raise OSError

    monkeypatch.setattr(socket, "socket", refused)
    assert load_settings(NodeSettings).listen_addrs == IPV4


def test_every_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "NETWORK_FILE": "/network/network.json",
        "LISTEN": "/ip4/0.0.0.0/tcp/4201, /ip6/::/tcp/4201",
        "ANNOUNCE": '["/ip4/198.51.100.7/tcp/4201"]',
        "API": "unix",
        "API_TOKEN_FILE": "/run/api.token",
        "SECRET_FILE": "/secret/database.key",
        "CREATE": "true",
        "NAME": "alice",
        "PORTMAP": "off",
        "MDNS": "off",
        "RELAY": "off",
        "REPORT_PUNCHES": "on",
        "MAILBOXES": "off",
        "ISOLATION": "queue",
        "LOG_LEVEL": "debug",
        "LOG_JSON": "true",
        "OPS_ADDR": "127.0.0.1:9103",
    }.items():
        monkeypatch.setenv(f"COVEY_NODE_{name}", value)
    settings = load_settings(NodeSettings)
    assert settings.listen_addrs == ("/ip4/0.0.0.0/tcp/4201", "/ip6/::/tcp/4201")
    assert settings.announce == ("/ip4/198.51.100.7/tcp/4201",)
    assert settings.network_path == Path("/network/network.json")
    assert settings.token_path == Path("/run/api.token")
    assert (settings.create, settings.name, settings.log_json) == (True, "alice", True)
    assert (settings.portmap, settings.mdns, settings.relay, settings.report_punches) == (False, False, "off", True)
    assert (settings.mailboxes, settings.isolation) == (False, "queue")


def test_a_node_that_only_dials_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVEY_NODE_LISTEN", "none")
    assert load_settings(NodeSettings).listen_addrs == ()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PASSPHRASE_FILE": "/a", "SECRET_FILE": "/b"}, "not both"),
        ({"CREATE": "true", "SECRET_FILE": "/b"}, "COVEY_NODE_NAME"),
        ({"CREATE": "true", "NAME": "alice"}, "COVEY_NODE_SECRET_FILE"),
        ({"NAME": "a\x1b[2J"}, "control characters"),
        ({"NAME": "ü" * 65}, "128 bytes"),
        ({"OPS_ADDR": "9103"}, "ADDRESS:PORT"),
        ({"OPS_ADDR": "127.0.0.1:99999"}, "ADDRESS:PORT"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"PASFRASE_FILE": "/a"}, "COVEY_NODE_PASSPHRASE_FILE"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"COVEY_NODE_{name}", value)
    with pytest.raises(SettingsInvalid, match=says):
        load_settings(NodeSettings)


@pytest.mark.parametrize(
    ("variables", "home"),
    [
        ({"COVEY_NODE_HOME": "/a", "COVEY_HOME": "/b", "XDG_DATA_HOME": "/c"}, "/a"),
        ({"COVEY_HOME": "/b", "XDG_DATA_HOME": "/c"}, "/b"),
        ({"XDG_DATA_HOME": "/c"}, "/c/covey"),
        ({"XDG_DATA_HOME": "relative"}, "/home/alice/.local/share/covey"),
        ({}, "/home/alice/.local/share/covey"),
    ],
)
def test_the_home_is_found_in_this_order(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], home: str) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_home() == Path(home)
