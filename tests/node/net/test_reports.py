"""A node's punch reports, to a real relay on loopback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry

from covey_core.host import HostConfig, open_host
from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.net.reports import PunchReports
from covey_relay.metrics import RelayMetrics
from covey_relay.net.reports import serve_reports
from tests.support.circuit_client import reserve, until
from tests.support.people import running_relay

PEERS = tuple(Identity.generate().peer_id for _ in range(3))


@dataclass
class Punched:
    peer: PeerId
    outcome: str = "success"
    transport: str | None = "quic"
    their_nat: str | None = "hard"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REPORT_DELAY_SECONDS_MIN", "REPORT_DELAY_SECONDS_MAX", "REPORT_PAUSE_SECONDS"):
        monkeypatch.setattr(limits, name, 0.01)


async def told(punches: list[Punched], *, slot: bool = True, wait: Callable[[CollectorRegistry], bool]) -> None:
    """Let a node report these to a relay; returns when `wait` holds of the relay's metrics."""
    registry = CollectorRegistry()
    with trio.fail_after(20):
        async with (
            running_relay() as (network, service, relay),
            serve_reports(relay, holds_slot=service.holds, metrics=RelayMetrics(registry)),
            open_host(HostConfig(Identity.generate(), network)) as host,
            trio.open_nursery() as nursery,
        ):
            await host.connect(relay.peer_id, relay.addrs)
            if slot:
                await reserve(host, relay)
            reports = PunchReports(
                host, lambda: [relay.peer_id], nat_pair=lambda theirs: f"easy_{theirs}", rng=Random(1)
            )
            nursery.start_soon(reports.run)
            for punch in punches:
                reports.punch_finished(punch)
            await until(lambda: wait(registry) and not len(reports._batch))
            nursery.cancel_scope.cancel()


def sample(registry: CollectorRegistry, outcome: str, transport: str, pair: str = "easy_hard") -> float:
    labels = {"outcome": outcome, "transport": transport, "nat_pair": pair}
    return registry.get_sample_value("covey_relay_reported_punches_total", labels) or 0.0


async def test_a_relay_that_keeps_our_slot_counts_what_became_of_punches() -> None:
    alice, bob, carol = map(Punched, PEERS)
    bob.outcome, bob.transport = "failed", None
    carol.transport = "tcp"
    await told(
        [alice, bob, carol, Punched(PEERS[0], "cancelled", None)],
        wait=lambda registry: (
            sample(registry, "success", "quic") == sample(registry, "failed", "other") == 1
            and sample(registry, "success", "tcp") == 1
        ),
    )


async def test_a_relay_that_refuses_does_not_stop_the_reports() -> None:
    await told([Punched(peer) for peer in PEERS], slot=False, wait=lambda _: True)


async def test_nothing_is_told_while_no_relay_keeps_a_slot(autojump_clock: trio.testing.MockClock) -> None:
    class Nowhere:
        """A host that must not be asked for a stream before a relay is there."""

        async def open_stream(self, _peer: PeerId, _protocol: str) -> None:
            raise AssertionError("nobody keeps a slot")

    reports = PunchReports(Nowhere(), list, rng=Random(1))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.run)
        for peer in PEERS:
            reports.punch_finished(Punched(peer))
        await trio.sleep(3 * limits.REPORT_RETRY_SECONDS)
        assert len(reports._batch) == 3
        nursery.cancel_scope.cancel()
