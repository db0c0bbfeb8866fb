"""What the node knows of itself, put together: metrics, the paths to peers, the doctor.

Owns: how these are wired to the parts; run.py starts it. Spec: docs/operators.md, docs/spec/api.md.
Never touches: the parts' work; each is only asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio
from prometheus_client import CollectorRegistry

from covey_core.host import Host
from covey_core.metrics import CoreMetrics
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.metrics import NodeMetrics, Portmap
from covey_node.net.chat import Receiver
from covey_node.net.dialer import Dialer
from covey_node.net.interfaces import expand
from covey_node.net.keeper import Keeper
from covey_node.net.relays import RelayClient
from covey_node.net.reports import PunchReports
from covey_node.protocol.nat_kind import NatKind, nat_pair
from covey_node.protocol.punch_log import PunchOutcome
from covey_node.service.doctor import Doctor
from covey_node.service.doctor_parts import DoctorParts, PortMapper, Punch, Punches, Reachability, no_punches
from covey_node.service.effects import Effects
from covey_node.service.lane_reach import Reach
from covey_node.service.ledger import Ledger
from covey_node.service.measuring import Measuring
from covey_node.service.node import relay_views
from covey_node.service.path_watch import PathWatch
from covey_node.service.presence import Presence
from covey_node.service.reach import ContactReach
from covey_node.service.records import Records


@dataclass(slots=True)
class Known:
    """The parts that a node may run without, as they come; None: switched off, or not there."""

    reachability: Reachability | None = None
    portmap: PortMapper | None = None
    punches: Punches = field(default=no_punches)


class Insight:
    """Looks at everything, changes nothing. `known` is filled in by run.py."""

    def __init__(
        self,
        ledger: Ledger,
        host: Host,
        *,
        dialer: Dialer,
        relays: RelayClient,
        keeper: Keeper,
        presence: Presence,
        metrics: CoreMetrics | None,
        now: Callable[[], float],
    ) -> None:
        self.metrics = NodeMetrics(CollectorRegistry() if metrics is None else metrics.registry)
        self.known = Known()
        self.paths = PathWatch(
            host,
            dialer,
            now=now,
            operator=lambda relay: relays.relays[relay].operator if relay in relays.relays else None,
            is_contact=presence.is_contact,
            metrics=self.metrics,
        )
        self._ledger = ledger
        self._host = host
        self._dialer = dialer
        self._relays = relays
        self._keeper = keeper
        self._now = now
        self._reports: PunchReports | None = None
        self._measuring = Measuring(self.metrics, ledger)
        keeper.follow(self.paths.look)
        presence.details = self.paths.details
        ledger.follow(self._followed)

    def _followed(self, effects: Effects) -> None:
        if effects.contacts:
            self.paths.acquainted()

    def receiver(self, receive: Receiver) -> Receiver:
        """Return `receive`, counted."""
        return self._measuring.receiver(receive, lambda peer: self._dialer.path(peer)[0].value)

    def reach(self, reach: Reach) -> Reach:
        """Return `reach`, counted."""
        return self._measuring.reach(reach, self.paths)

    def start_reports(self) -> PunchReports:
        """Tell relays from now on how punches ended: the user opted in. The caller runs what is returned."""
        self._reports = PunchReports(
            self._host, lambda: [relay.peer for relay in self._relays.held()], nat_pair=self._nat_pair
        )
        return self._reports

    def _nat_pair(self, their_nat: str | None) -> str:
        ours = NatKind.UNKNOWN if self.known.reachability is None else NatKind(self.known.reachability.nat)
        return nat_pair(ours, NatKind(their_nat or NatKind.UNKNOWN))

    def punch_finished(self, punch: PunchOutcome) -> None:
        """Count the end of a hole punch, and report it where the user opted in."""
        self.metrics.punch_finished(punch)
        if self._reports is not None:
            self._reports.punch_finished(punch)

    def doctor(self, reach: ContactReach, records: Records, *, announce: tuple[str, ...]) -> Doctor:
        """Return the doctor, who sees what is known when it is asked."""

        def punches(peer: PeerId) -> Sequence[Punch]:
            return self.known.punches(peer)

        return Doctor(
            DoctorParts(
                ledger=self._ledger,
                scope=self._host.network.scope,
                paths=self.paths,
                relays=lambda: relay_views(self._host, self._relays, now=self._now()),
                listen=lambda: expand(self._host.addrs),
                bootstraps=lambda: records.servers,
                tries=reach.connect,
                now=self._now,
                announce=announce,
                reachability=lambda: self.known.reachability,
                portmap=lambda: self.known.portmap,
                punches=punches,
                kept=self._keeper.paths,
            )
        )

    async def run(self) -> None:
        """Watch and count until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.paths.run)
            nursery.start_soon(self._measuring.run)
            nursery.start_soon(self._look_around)

    async def _look_around(self) -> None:
        """Set what is not counted but looked at, every 5 s."""
        while True:
            reachability, portmap = self.known.reachability, self.known.portmap
            mappings = () if portmap is None else portmap.mappings()
            kind = "" if reachability is None else reachability.nat
            self.metrics.nat(kind, mappings[0].via if mappings else Portmap.NONE)
            self.metrics.relay_addrs(len(self._relays.circuit_addrs()))
            await trio.sleep(limits.LOOK_AROUND_SECONDS)
