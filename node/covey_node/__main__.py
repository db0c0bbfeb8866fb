"""`covey-node`: the user's node as a process.

Owns: settings, unlocking the home, the exit code. Everything else is service/run.py.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from functools import partial

import trio
from prometheus_client import CollectorRegistry

from covey_core.descriptors import provide_descriptors
from covey_core.errors import SettingsInvalid
from covey_core.files import read_private
from covey_core.health import Health
from covey_core.host.limits import MAX_CONNECTIONS
from covey_core.lifecycle import Lifecycle, run_component
from covey_core.logs import get_logger, setup_logging
from covey_core.metrics import CoreMetrics
from covey_core.network import load_network
from covey_core.ops import serve_ops
from covey_core.settings import load_settings
from covey_node.limits import SECRET_FILE_BYTES
from covey_node.service.run import NodeOptions, run_node
from covey_node.service.setup import create_account
from covey_node.settings import NodeSettings
from covey_node.store.home import Passphrase, SecretFile, Unlock, exists, open_home
from covey_node.version import version

log = get_logger("node.process")


def main(argv: list[str] | None = None) -> int:
    """Run the node; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="covey-node", description="The user's node. Settings come from COVEY_NODE_* (docs/users.md)."
    )
    parser.add_argument("command", nargs="?", choices=["run"], default="run", help="run the node (the default)")
    parser.add_argument("--version", action="version", version=f"covey-node {version()}")
    parser.parse_args(argv)
    return run_component(_run)


async def _run(lifecycle: Lifecycle) -> None:
    settings = load_settings(NodeSettings)
    setup_logging(level=settings.log_level, json=_wants_json(settings))
    provide_descriptors(MAX_CONNECTIONS)
    unlock = _unlock(settings)
    if not exists(settings.home):
        await _create(settings, unlock)
    if not settings.network_path.exists():
        raise SettingsInvalid(f"{settings.network_path} is missing: join a network with `covey join LINK`")
    network = load_network(settings.network_path)
    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="node", version=version())
    health = Health(metrics=metrics)
    options = NodeOptions(
        home=settings.home,
        network=network,
        listen=settings.listen_addrs,
        announce=settings.announce,
        api_address=settings.api,
        token_file=settings.token_path,
        portmap=settings.portmap,
        mdns=settings.mdns,
        report_punches=settings.report_punches,
        helps=settings.relay == "auto",
        mailboxes=settings.mailboxes,
        isolation=settings.isolation,
        on_ready=lambda address: log.info("node.started", api=address.partition(":")[0]),
    )
    async with trio.open_nursery() as nursery:
        if settings.ops_addr is not None:
            host, _, port = settings.ops_addr.rpartition(":")
            serve = partial(serve_ops, host=host.strip("[]"), port=int(port), registry=registry, health=health)
            await nursery.start(serve)
        async with open_home(settings.home, unlock) as database:
            await run_node(database, options, lifecycle, health, metrics)
        nursery.cancel_scope.cancel()


async def _create(settings: NodeSettings, unlock: Unlock) -> None:
    if not settings.create or settings.name is None:
        raise SettingsInvalid(f"there is no account in {settings.home}: make one with `covey init`")
    make = partial(create_account, settings.home, name=settings.name, network=None, unlock=unlock)
    await trio.to_thread.run_sync(make)
    log.info("node.account.created")


def _unlock(settings: NodeSettings) -> Unlock:
    if settings.secret_file is not None:
        return SecretFile(settings.secret_file)
    if settings.passphrase_file is not None:
        data = read_private(settings.passphrase_file, limit_bytes=SECRET_FILE_BYTES)
        return Passphrase(data.decode().rstrip("\r\n"))
    if sys.stdin.isatty():
        return Passphrase(getpass.getpass("Passphrase of this Covey account: "))
    raise SettingsInvalid(
        "the account is locked: set COVEY_NODE_PASSPHRASE_FILE or COVEY_NODE_SECRET_FILE, or start from a terminal"
    )


def _wants_json(settings: NodeSettings) -> bool:
    return not sys.stderr.isatty() if settings.log_json is None else settings.log_json


if __name__ == "__main__":
    sys.exit(main())
