"""A node from its first task to its last: opened, wired, served, closed.

Owns: what is started in which order, and what runs beside what. Never touches: settings (callers pass them).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from covey_core.errors import CoveyError
from covey_core.health import Health, State
from covey_core.host import HostConfig, open_host
from covey_core.lifecycle import Lifecycle, TaskStatus
from covey_core.metrics import CoreMetrics
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_node import crypto, limits
from covey_node.api.server import serve_api
from covey_node.net.chat import ChatServer
from covey_node.net.contact import BundleServer
from covey_node.net.dialer import Dialer
from covey_node.net.interfaces import watch_interfaces
from covey_node.net.keeper import Keeper
from covey_node.net.lasting import lasting
from covey_node.net.mailbox import Isolation
from covey_node.net.relays import RelayClient
from covey_node.protocol.frames import BundleOutcome, BundleReply, BundleRequest
from covey_node.protocol.paths import PathKind
from covey_node.service.addressing import AddressBook
from covey_node.service.ahead import Ahead
from covey_node.service.calling import Calling
from covey_node.service.delivery import Delivery
from covey_node.service.effects import Effects
from covey_node.service.events import Events
from covey_node.service.helping import Helping
from covey_node.service.incoming import Incoming
from covey_node.service.insight import Insight
from covey_node.service.ledger import Ledger
from covey_node.service.mailbox_desk import MailboxDesk
from covey_node.service.mailboxes import make_mailboxes
from covey_node.service.mapping import make_port_mapper
from covey_node.service.nearby import Nearby
from covey_node.service.node import Node, Parts
from covey_node.service.outside import make_reachability, make_spares
from covey_node.service.own import Own, load_own
from covey_node.service.ports import remember, remembered
from covey_node.service.presence import Presence
from covey_node.service.punching import make_puncher
from covey_node.service.reach import ContactReach
from covey_node.service.records import Records
from covey_node.store import account, contact_stock, housekeeping, invites, received, replay
from covey_node.store.database import Database
from covey_node.store.tx import Tx
from covey_node.version import version


class NoAccount(CoveyError):
    """The database holds no account."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node is run with."""

    home: Path
    network: Network
    listen: tuple[str, ...]
    announce: tuple[str, ...]
    api_address: str
    token_file: Path
    portmap: bool = False
    mdns: bool = False
    report_punches: bool = False
    helps: bool = False
    mailboxes: bool = False
    isolation: Isolation = "relay"
    on_ready: Callable[[str], None] = lambda _address: None


async def run_node(
    database: Database, options: NodeOptions, lifecycle: Lifecycle, health: Health, metrics: CoreMetrics
) -> None:
    """Run with the local API until `lifecycle.stopping`; then close API, streams and host, in this order."""
    async with open_node(database, options, state=lambda: health.state.value, metrics=metrics) as node:
        api_down, api_closed = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            address = await nursery.start(_serve_api, node, options, api_down, api_closed)
            health.set_state(State.READY)
            options.on_ready(address)
            await lifecycle.stopping.wait()
            health.set_state(State.DRAINING)
            api_down.set()
            with trio.move_on_after(limits.DRAIN_SECONDS):
                await api_closed.wait()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_node(
    database: Database,
    options: NodeOptions,
    *,
    state: Callable[[], str] = lambda: State.READY.value,
    metrics: CoreMetrics | None = None,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[Node]:
    """Run a node without the local API for the length of the block. `NoAccount` when the database is empty."""
    own = await database.read(partial(load_own, now=now))
    if own is None:
        raise NoAccount(f"{options.home}: the database holds no account; start with an empty folder and `covey init`")
    config = HostConfig(own.identity, options.network, await remembered(database, options.listen), options.announce)
    ledger = Ledger(database, Events(first=int(now() * 1000)))
    async with open_host(config, metrics=metrics) as host, trio.open_nursery() as nursery:
        await remember(ledger, options.listen, host.addrs)
        addresses = AddressBook(ledger, host)
        relays = RelayClient(host, options.network.relays, addresses.changed)
        addresses.relays = relays
        dialer = Dialer(host, relays)
        records = Records(ledger, own, options.network)
        presence = Presence(ledger, own, host, dialer)
        keeper = Keeper(
            host,
            kind_of=dialer.kind_of,
            is_contact=presence.is_contact,
            limit_of=relays.limit_of,
            renew=dialer.another_circuit,
            doubt_relay=relays.doubt,
        )
        dialer.used = keeper.use
        keeper.follow(presence.path_changed)
        insight = Insight(
            ledger, host, dialer=dialer, relays=relays, keeper=keeper, presence=presence, metrics=metrics, now=now
        )
        reach = ContactReach(ledger, own, host, dialer, records, keeper)
        incoming = Incoming(
            ledger, own, lambda peer: dialer.path(peer)[0].value, rejected=insight.metrics.ratchet_rejected
        )
        ChatServer(host, insight.receiver(incoming.receive))
        BundleServer(host, partial(_hand_out_bundle, ledger, own))
        delivery = Delivery(ledger, own, host, insight.reach(reach))
        keeper.follow(delivery.path_changed)
        mailboxes = make_mailboxes(
            options.network,
            on=options.mailboxes,
            isolation=options.isolation,
            ledger=ledger,
            own=own,
            incoming=incoming,
            host=host,
            path_stands=lambda peer: dialer.path(peer)[0] is not PathKind.NONE,
            on_call=insight.metrics.mailbox_called,
            rejected=insight.metrics.ratchet_rejected,
        )
        await addresses.note()
        for name, task in (
            ("addresses", addresses.run),
            ("relays", relays.run),
            ("keeper", keeper.run),
            ("records", records.run),
            ("ahead", Ahead(ledger, own, options.network, covered=insight.metrics.records_ahead).run),
            ("presence", presence.run),
            ("delivery", delivery.run),
            ("insight", insight.run),
            ("calling", Calling(ledger, reach, relays, host).run),
            ("tidy", partial(_tidy, ledger, own)),
            *mailboxes.tasks(),
        ):
            nursery.start_soon(lasting, name, task)
        mapped: Callable[[], tuple[str, ...]] = tuple
        hear_of_change = [
            addresses.changed,
            relays.network_changed,
            keeper.network_changed,
            *mailboxes.hear_of_change(),
        ]
        if options.portmap and not options.announce:  # who names addresses to announce has seen to the router
            insight.known.portmap = portmap = await make_port_mapper(
                ledger, own, host, addresses.changed, hear_of_change
            )
            mapped = addresses.mapped = dialer.mapped = portmap.addrs
            nursery.start_soon(lasting, "portmap", portmap.run)
        insight.known.reachability = reachability = make_reachability(
            host, relays, addresses, insight.metrics, mapped=mapped
        )
        hear_of_change.append(reachability.network_changed)
        nursery.start_soon(lasting, "reachability", reachability.run)
        nursery.start_soon(lasting, "interfaces", partial(watch_interfaces, partial(_tell_all, hear_of_change)))
        if options.helps:
            nursery.start_soon(lasting, "helping", Helping(host, own.identity, reachability.public_addrs).run)
        nursery.start_soon(lasting, "spares", make_spares(host, ledger, relays, reachability).run)
        puncher = make_puncher(ledger, host, relays, mapped=mapped, on_outcome=insight.punch_finished)
        if options.report_punches:
            nursery.start_soon(lasting, "reports", insight.start_reports().run)
        puncher.nat, insight.known.punches = (lambda: reachability.nat.value), puncher.log.of
        keeper.punch = puncher.punch
        nursery.start_soon(lasting, "puncher", puncher.run)
        if options.mdns:
            nursery.start_soon(lasting, "nearby", Nearby(ledger, host, dialer, hear_of_change).run)
        yield Node(
            Parts(
                own=own,
                ledger=ledger,
                host=host,
                relays=relays,
                dialer=dialer,
                reach=reach,
                records=records,
                presence=presence,
                delivery=delivery,
                version=version(),
                started_at=now(),
                state=state,
                paths=insight.paths,
                doctor=insight.doctor(reach, records, announce=options.announce),
                desk=MailboxDesk(ledger, mailboxes.collecting),
                mailboxes=mailboxes,
            )
        )
        nursery.cancel_scope.cancel()


async def _serve_api(
    node: Node,
    options: NodeOptions,
    shutdown: trio.Event,
    closed: trio.Event,
    task_status: TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    await serve_api(
        node,
        address=options.api_address,
        token_file=options.token_file,
        home=options.home,
        shutdown=shutdown,
        task_status=task_status,
    )
    closed.set()


def _tell_all(hear_of_change: list[Callable[[], None]]) -> None:
    for tell in hear_of_change:
        tell()


async def _tidy(ledger: Ledger, own: Own) -> None:
    """Rotate prekeys and forget what is too old, once a day."""

    def tidy(tx: Tx, _effects: Effects) -> None:
        now = own.now()
        prekeys = crypto.Prekeys.decode(account.prekeys(tx))
        account.set_prekeys(tx, prekeys.rotate(own.rng, now=now).encode())
        received.prune(tx, now=now)
        replay.prune(tx, now=now)
        contact_stock.prune(tx, before=now - limits.CONTACT_PAIR_SECONDS)
        invites.prune(tx, before=now - limits.INVITE_SECONDS_MAX)
        housekeeping.shrink(tx)

    while True:
        await ledger.note(tidy)
        await trio.sleep(limits.TIDY_SECONDS)


async def _hand_out_bundle(ledger: Ledger, own: Own, _peer: PeerId, request: BundleRequest) -> BundleReply:
    """Give whoever asks for this account its bundle, with a one-time key made for the asker."""
    if request.account_key != own.account_key:
        return BundleReply(BundleOutcome.NO_SUCH_ACCOUNT)

    def make(tx: Tx, _effects: Effects) -> bytes:
        now = own.now()
        prekeys = crypto.Prekeys.decode(account.prekeys(tx)).rotate(own.rng, now=now)
        bundle = prekeys.bundle(own.local, now=now)
        prekeys, (one_time,) = prekeys.add_one_time(own.local, own.rng, now=now, count=1)
        prekeys = prekeys.signed_ahead(until=now)
        account.set_prekeys(tx, prekeys.encode())
        return bundle.with_one_time(one_time).encode()

    return BundleReply(BundleOutcome.HERE, await ledger.change(make))
