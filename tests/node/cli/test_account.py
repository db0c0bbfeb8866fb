"""init, join and run: without a running node, and without a secret on the command line."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from covey_core.network import Network, load_network, new_network
from covey_node.cli import account
from covey_node.cli.exits import CliError
from covey_node.cli.main import main
from covey_node.cli.parser import make_parser
from covey_node.protocol.invite import Invite
from covey_node.store.home import exists
from tests.node.api.serving import serving
from tests.node.cli.conftest import run_covey

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(f"{PASSPHRASE}\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def network() -> Network:
    return new_network("home", private=True)


def test_init_makes_an_account_and_join_adds_its_network(tmp_path: Path, passphrase: Path, network: Network) -> None:
    home = tmp_path / "home"
    ended = run_covey(home, "init", "--name", "Alice", "--passphrase-file", str(passphrase), "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    made = json.loads(ended.stdout)
    assert (made["name"], len(made["account"]), made["home"]) == ("Alice", 64, str(home))
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    ended = run_covey(home, "join", "-", "--json", stdin=network.to_link())
    assert json.loads(ended.stdout) == {"network": "home", "replaced": None, "restart_needed": False}
    assert load_network(home / "network.json").id == network.id
    other = new_network("club", private=False)
    ended = run_covey(home, "join", other.to_link())
    assert ended.stdout.splitlines()[:2] == ["Joined the network club.", "It takes the place of home."]


def test_init_takes_the_network_at_once_and_makes_a_missing_secret_file(tmp_path: Path, network: Network) -> None:
    home, secret = tmp_path / "home", tmp_path / "secret"
    ended = run_covey(home, "init", "--secret-file", str(secret), "--network", network.to_link())
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == f"Next: covey run --secret-file {secret}"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert load_network(home / "network.json").id == network.id


def test_an_invite_alone_is_enough_to_join_its_network(tmp_path: Path, network: Network) -> None:
    invite = Invite(network, bytes(32), (), bytes(16), expires_at=2e9, name="Alice").to_link()
    ended = run_covey(tmp_path / "home", "init", "--secret-file", str(tmp_path / "secret"), "--network", invite)
    assert ended.returncode == 0, ended.stderr
    assert load_network(tmp_path / "home" / "network.json") == network
    assert run_covey(tmp_path / "home", "join", invite).stdout.startswith("Joined the network home.")
    ended = run_covey(tmp_path / "home", "join", invite[:-9])
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_an_account_is_never_overwritten(tmp_path: Path, passphrase: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "key.json").write_text("an account's key")
    ended = run_covey(home, "init", "--passphrase-file", str(passphrase))
    assert (ended.returncode, ended.stdout) == (5, "")
    assert "there is an account" in ended.stderr
    assert (home / "key.json").read_text() == "an account's key"


def test_without_a_terminal_or_a_file_nothing_is_made(tmp_path: Path) -> None:
    ended = run_covey(tmp_path / "home", "init")
    assert ended.returncode == 2
    assert "--passphrase-file" in ended.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"short\n", 0o600, "use 8 or more"),
        (b"\xff\xfe no text at all", 0o600, "no text in UTF-8"),
        (b"x" * 5000, 0o600, ""),
        (PASSPHRASE.encode(), 0o644, ""),
        (None, 0o600, ""),
    ],
)
def test_a_bad_passphrase_file_is_refused(tmp_path: Path, content: bytes | None, mode: int, says: str) -> None:
    path = tmp_path / "passphrase"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    ended = run_covey(tmp_path / "home", "init", "--passphrase-file", str(path))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert says in ended.stderr
    assert not exists(tmp_path / "home")


def test_a_passphrase_is_asked_for_twice_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter([PASSPHRASE, PASSPHRASE, PASSPHRASE, "another one"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    assert account._new_passphrase(None) == PASSPHRASE
    with pytest.raises(CliError, match="differ"):
        account._new_passphrase(None)


def test_no_command_takes_a_passphrase_as_an_argument() -> None:
    """Arguments are shown to every user of the machine."""
    for words in (["init", "--passphrase", "x"], ["run", "--passphrase", "x"], ["init", "x"]):
        with pytest.raises(SystemExit):
            make_parser().parse_args([*words, "--"])


def test_joining_without_an_account_says_what_to_do(tmp_path: Path, network: Network) -> None:
    ended = run_covey(tmp_path / "none", "join", network.to_link())
    assert ended.returncode == 4
    assert "covey init" in ended.stderr


@pytest.mark.parametrize("link", ["", "covey:net.AAAA", "https://example.org", "covey:net." + "A" * 10000])
def test_a_damaged_link_is_refused(tmp_path: Path, link: str) -> None:
    ended = run_covey(tmp_path, "join", "--", link)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_joining_while_the_node_runs_says_to_restart_it(tmp_path: Path, network: Network) -> None:
    (tmp_path / "key.json").write_text("an account's key")
    with serving(tmp_path, address="unix"):
        ended = run_covey(tmp_path, "join", network.to_link())
    assert ended.returncode == 0
    assert "restart it" in ended.stdout


def test_run_becomes_the_node_of_this_home(tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    main_program: list[tuple[str, list[str], dict[str, str]]] = []

    def execve(path: str, words: list[str], environment: dict[str, str]) -> None:
        main_program.append((path, words, environment))
        raise CliError(account.ExitCode.OK, "became the node")

    monkeypatch.setattr(os, "execve", execve)
    home = tmp_path / "home"
    assert main(["--home", str(home), "run"]) == 1  # no account
    home.mkdir()
    assert main(["--home", str(home), "run"]) == 1  # no network
    assert main_program == []
    (home / "network.json").write_text("{}")
    main(["--home", str(home), "run", "--secret-file", "secret"])
    ((path, words, environment),) = main_program
    assert (path, words) == (sys.executable, [sys.executable, "-P", "-m", "covey_node", "run"])
    assert environment["COVEY_NODE_HOME"] == str(home)
    assert environment["COVEY_NODE_SECRET_FILE"] == str(Path("secret").absolute())
    assert "COVEY_NODE_PASSPHRASE_FILE" not in environment
