"""The files by which clients find the API: rights, contents, and one node a home."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from covey_core.errors import FileDamaged, FileUnusable, SettingsInvalid
from covey_node.api.access import load_or_create_token
from tests.node.api.serving import serving


def test_the_token_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / "api.token"
    token = load_or_create_token(path)
    assert len(token) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_token(path) == token
    assert load_or_create_token(tmp_path / "other.token") != token


@pytest.mark.parametrize("text", ["", "short", "x" * 44, "x" * 42 + "!", "\x00" * 43, "\xff" * 43])
def test_a_damaged_token_file_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "api.token"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(FileDamaged, match="Delete it"):
        load_or_create_token(path)


def test_a_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    load_or_create_token(path)
    path.chmod(0o640)
    with pytest.raises(FileUnusable):
        load_or_create_token(path)


def test_api_json_says_where_the_api_is_and_goes_away_with_it(tmp_path: Path) -> None:
    path = tmp_path / "api.json"
    with serving(tmp_path) as served:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        body = json.loads(path.read_text())
        assert body.keys() == {"address", "token_file", "pid", "version"}
        assert (body["address"], body["token_file"], body["pid"]) == (served.address, "api.token", os.getpid())
    assert not path.exists()
    assert (tmp_path / "api.token").exists()


def test_paths_in_api_json_are_relative_to_the_home_so_that_it_may_be_mounted_elsewhere(tmp_path: Path) -> None:
    with serving(tmp_path, address="unix"):
        body = json.loads((tmp_path / "api.json").read_text())
        assert (body["address"], body["token_file"]) == ("unix:api.sock", "api.token")
    assert not (tmp_path / "api.sock").exists()


def test_a_second_node_on_one_home_is_refused_and_the_first_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covey_node.api.access.LOCK_TRIES", 2)
    with serving(tmp_path) as first:
        with pytest.raises(BaseExceptionGroup) as caught, serving(tmp_path):
            pass
        assert caught.group_contains(SettingsInvalid, match="another node runs")
        assert first.ask("GET", "/v1/status")[0] == 200
        assert json.loads((tmp_path / "api.json").read_text())["address"] == first.address


def test_several_nodes_run_on_one_machine(tmp_path: Path) -> None:
    with serving(tmp_path / "one") as one, serving(tmp_path / "two") as two:
        assert one.address != two.address
        assert one.ask("GET", "/v1/status", headers={"authorization": f"Bearer {two.bearer}"})[0] == 401
