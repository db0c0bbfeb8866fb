"""The command `covey-relay`.

Owns: argument parsing and exit codes. Never touches: what a relay does (service).
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version

from covey_core.lifecycle import EXIT_OK, run_component, run_guarded
from covey_core.logs import setup_logging
from covey_core.settings import load_settings
from covey_relay.service.process import join_network, network_of, run_relay, show_link
from covey_relay.settings import RelaySettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 for what the user must mend, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="covey-relay",
        description="A relay of a Covey network: circuits for nodes behind NATs, mailboxes for those who are away. "
        "Settings: COVEY_RELAY_* variables.",
    )
    parser.add_argument("--version", action="version", version=f"covey-relay {version('covey')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="run the relay until SIGTERM (the default)")
    commands.add_parser("link", help="print the link to join the network; it holds the network's key")
    join = commands.add_parser("join", help="take the network from a link, for a relay on a machine of its own")
    join.add_argument("link", nargs="?", default="-", help="the covey: link; read from standard input when left out")
    found = parser.parse_args(arguments)
    if found.command == "link":
        return run_guarded(_link)
    if found.command == "join":
        return run_guarded(partial(_join, found.link))
    return run_guarded(_run)


def _run() -> int:
    settings = load_settings(RelaySettings)
    setup_logging(level=settings.log_level, json=settings.log_json)
    return run_component(partial(run_relay, settings))


def _link() -> int:
    show_link(network_of(load_settings(RelaySettings)))
    return EXIT_OK


def _join(link: str) -> int:
    network = join_network(load_settings(RelaySettings), sys.stdin.read().strip() if link == "-" else link)
    sys.stdout.write(f"joined {network.name}: {len(network.bootstraps)} seed addresses\n")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
