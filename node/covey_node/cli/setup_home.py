"""The one place where the command line reaches into the node without a running one: a new account, a network file.

Owns: turning their errors into exit codes. Never touches: how accounts are made (covey_node.service.setup).
Importing this brings the crypto and the database; only init and join do.
"""

from __future__ import annotations

from pathlib import Path

from covey_core.errors import CoveyError, LinkInvalid
from covey_core.link import decode_link
from covey_core.network import Network, load_network
from covey_node.cli.exits import CliError, ExitCode
from covey_node.home import NETWORK_FILE
from covey_node.protocol.invite import KIND as INVITE
from covey_node.protocol.invite import Invite
from covey_node.service.setup import create_account, write_network
from covey_node.store.home import Passphrase, SecretFile, exists


def check_new(home: Path) -> None:
    """Raise `CliError` when the home has an account already: it is never overwritten."""
    if exists(home):
        raise CliError(ExitCode.REFUSED, f"there is an account in {home} already; choose another folder with --home")


def network_of(link: str) -> Network:
    """Read a `covey:net.` link, or take the network out of an invite."""
    try:
        return Invite.from_link(link).network if decode_link(link)[0] == INVITE else Network.from_link(link)
    except LinkInvalid as exc:
        raise CliError(ExitCode.USAGE, str(exc), code="link_invalid") from exc


def create(home: Path, *, name: str, network: Network | None, passphrase: str | None, secret_file: Path | None) -> str:
    """Make the account and return its key (64 hex)."""
    if secret_file is not None:
        unlock: Passphrase | SecretFile = SecretFile(secret_file.absolute())
    elif passphrase is not None:
        unlock = Passphrase(passphrase)
    else:
        raise ValueError("a passphrase or a secret file")
    try:
        return create_account(home, name=name, network=network, unlock=unlock)
    except CoveyError as exc:
        raise CliError(ExitCode.ERROR, str(exc)) from exc


def join(home: Path, network: Network) -> str | None:
    """Write the network file; return the name of another network that it replaced."""
    if not exists(home):
        raise CliError(ExitCode.NOT_FOUND, f"there is no account in {home}; make one with: covey init --network LINK")
    path = home / NETWORK_FILE
    try:
        before = load_network(path) if path.exists() else None
        write_network(home, network)
    except CoveyError as exc:
        raise CliError(ExitCode.ERROR, str(exc)) from exc
    return before.name if before is not None and before.id != network.id else None
