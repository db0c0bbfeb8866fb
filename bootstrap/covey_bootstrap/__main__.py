"""The command `covey-bootstrap`.

Owns: argument parsing and exit codes. Never touches: what a seed does (service).
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version

from covey_bootstrap.service import network_link, run_seed
from covey_bootstrap.settings import BootstrapSettings
from covey_core.lifecycle import EXIT_OK, run_component, run_guarded
from covey_core.logs import setup_logging
from covey_core.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 for what the user must mend, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="covey-bootstrap",
        description="The seed that introduces newcomers to a Covey network. Settings: COVEY_BOOTSTRAP_* variables.",
    )
    parser.add_argument("--version", action="version", version=f"covey-bootstrap {version('covey')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="run the seed until SIGTERM (the default)")
    commands.add_parser("link", help="print the link to join the network; it holds the network's key")
    command = parser.parse_args(arguments).command or "run"
    return run_guarded(_link if command == "link" else _run)


def _run() -> int:
    settings = load_settings(BootstrapSettings)
    setup_logging(level=settings.log_level, json=settings.log_json)
    return run_component(partial(run_seed, settings))


def _link() -> int:
    sys.stdout.write(network_link(load_settings(BootstrapSettings)) + "\n")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
