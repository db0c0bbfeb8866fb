"""Commands that set a node up and run it: init, join, run.

Owns: asking for the passphrase, starting the node in this process's place. Spec: docs/users.md.
Never touches: keys, the database; setup_home calls those who do.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from covey_node.cli.client import Node
from covey_node.cli.contacts import link_of
from covey_node.cli.exits import CliError, ExitCode
from covey_node.cli.output import Run
from covey_node.cli.text import harmless
from covey_node.home import NETWORK_FILE

PASSPHRASE_CHARS = 8  # shorter ones are guessed in minutes, Argon2id or not
PASSPHRASE_FILE_BYTES = 4096


def init(run: Run) -> int:
    """`covey init`."""
    from covey_node.cli import setup_home  # noqa: PLC0415 - brings the crypto and the database

    options = run.options
    setup_home.check_new(run.home)
    name = options.name if options.name is not None else _user_name()
    network = None if options.network is None else setup_home.network_of(link_of(options.network))
    passphrase = None if options.secret_file else _new_passphrase(options.passphrase_file)
    account = setup_home.create(
        run.home, name=name, network=network, passphrase=passphrase, secret_file=options.secret_file
    )
    lines = [f"Account {account[:8]} of {harmless(name)} made in {run.home}."]
    start = "covey run" if options.secret_file is None else f"covey run --secret-file {options.secret_file}"
    lines.append(f"Next: {start}" if options.network is not None else f"Next: covey join LINK, then {start}")
    if passphrase is not None:
        lines.append("Keep the passphrase: without it nobody can open this account again.")
    run.out.show({"account": account, "name": name, "home": str(run.home)}, lines)
    return ExitCode.OK


def join(run: Run) -> int:
    """`covey join LINK`."""
    from covey_node.cli import setup_home  # noqa: PLC0415 - brings the crypto and the database

    network = setup_home.network_of(link_of(run.options.link))
    replaced = setup_home.join(run.home, network)
    running = _is_running(run.home)
    lines = [f"Joined the network {harmless(network.name)}."]
    if replaced:
        lines.append(f"It takes the place of {harmless(replaced)}.")
    lines.append("The node is running: restart it to use the network." if running else "Next: covey run.")
    body = {"network": network.name, "replaced": replaced, "restart_needed": running}
    run.out.show(body, lines)
    return ExitCode.OK


def run(run: Run) -> int:
    """`covey run`: this process becomes the node."""
    options = run.options
    if not run.home.exists() and "COVEY_NODE_CREATE" not in os.environ:
        raise CliError(ExitCode.ERROR, f"there is no account in {run.home}; make one with: covey init")
    environment = {**os.environ, "COVEY_NODE_HOME": str(run.home)}
    if options.passphrase_file is not None:
        environment["COVEY_NODE_PASSPHRASE_FILE"] = str(options.passphrase_file.absolute())
    if options.secret_file is not None:
        environment["COVEY_NODE_SECRET_FILE"] = str(options.secret_file.absolute())
    if (run.home / NETWORK_FILE).exists() or "COVEY_NODE_NETWORK_FILE" in environment:
        sys.stdout.flush()
        # -P: a module in the current folder must not be taken for one of ours
        os.execve(sys.executable, [sys.executable, "-P", "-m", "covey_node", "run"], environment)  # noqa: S606
    raise CliError(ExitCode.ERROR, "the node knows no network yet; join one with: covey join LINK")


def _new_passphrase(file: Path | None) -> str:
    """Return the passphrase, from the file or asked for twice; never from the command line, which others can see."""
    if file is not None:
        text = _read_passphrase(file)
    elif sys.stdin.isatty():
        text = getpass.getpass("New passphrase: ")
        if text != getpass.getpass("Once more: "):
            raise CliError(ExitCode.USAGE, "the two passphrases differ; nothing was made")
    else:
        raise CliError(
            ExitCode.USAGE, "no terminal to ask for a passphrase; give --passphrase-file FILE or --secret-file FILE"
        )
    if len(text) < PASSPHRASE_CHARS:
        raise CliError(ExitCode.USAGE, f"the passphrase has {len(text)} characters; use {PASSPHRASE_CHARS} or more")
    return text


def _read_passphrase(file: Path) -> str:
    """Return the file's text as the node reads it later: one line break at the end is not part of it."""
    from covey_core.errors import FileUnusable  # noqa: PLC0415 - init only
    from covey_core.files import read_private  # noqa: PLC0415

    try:
        text = read_private(file, limit_bytes=PASSPHRASE_FILE_BYTES).decode("utf-8")
    except FileUnusable as exc:
        raise CliError(ExitCode.USAGE, str(exc)) from exc
    except UnicodeDecodeError as exc:
        raise CliError(ExitCode.USAGE, f"the passphrase file {file} is no text in UTF-8") from exc
    return text.removesuffix("\n").removesuffix("\r")


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "me"


def _is_running(home: Path) -> bool:
    try:
        Node.at(home)
    except CliError:
        return False
    return True
