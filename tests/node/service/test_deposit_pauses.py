"""Which relays and mailboxes are left alone: shared by a relay's queues, bounded, ended early by signs of life."""

from __future__ import annotations

import pytest

from covey_node import limits
from covey_node.service.deposit_pauses import Pauses
from covey_node.store.deposits import Place

HOME, CLUB = b"h" * 34, b"c" * 34
DEVICE, OTHER = b"1" * 32, b"2" * 32


def place(relay: bytes = HOME, device: bytes = DEVICE, *, queue: bytes = b"q") -> Place:
    return Place(1, device, relay, queue * 24)


def test_queues_at_one_relay_share_its_pause_and_have_their_own() -> None:
    pauses = Pauses()
    relay, own = pauses.of(place())
    relay.failed("no answer", now=0.0, jitter=1.0)
    own.failed("full", now=0.0, jitter=1.0)
    same, others = pauses.of(place(device=OTHER))
    assert same is relay
    assert others is not own
    assert pauses.of(place())[1] is own
    assert not pauses.of(place(CLUB))[0].failures


def test_a_device_that_shows_itself_ends_the_pauses_of_its_own_queues() -> None:
    pauses = Pauses()
    (relay, own), (_, others) = pauses.of(place()), pauses.of(place(device=OTHER))
    for pause in (relay, own, others):
        pause.failed("no", now=100.0, jitter=1.0)
    assert pauses.seen((1, DEVICE))
    assert not pauses.seen((1, DEVICE))
    assert not pauses.seen((2, DEVICE))
    assert own.not_before == 0.0
    assert min(relay.not_before, others.not_before) > 100.0


def test_another_network_ends_the_pauses_of_relays_and_not_of_queues() -> None:
    pauses = Pauses()
    relay, own = pauses.of(place())
    relay.failed("no", now=100.0, jitter=1.0)
    relay.busy("no time", seconds=50.0, now=100.0, jitter=1.0)
    own.failed("full", now=100.0, jitter=1.0)
    pauses.network_changed()
    assert relay.not_before == relay.busy_until == 0.0
    assert own.not_before > 100.0


def test_contacts_that_name_ever_new_relays_are_forgotten_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEPOSIT_PAUSES_MAX", 3)
    pauses = Pauses()
    first, _ = pauses.of(place(b"0" * 34))
    for number in range(1, 4):
        pauses.of(place(bytes([number]) * 34))
    assert pauses.of(place(bytes([3]) * 34))[0] is pauses.of(place(bytes([3]) * 34))[0]
    assert pauses.of(place(b"0" * 34))[0] is not first
    queues = [pauses.of(place(queue=bytes([number])))[1] for number in range(limits.MAILBOX_REPLICAS_MAX + 1)]
    assert pauses.of(place(queue=bytes([limits.MAILBOX_REPLICAS_MAX])))[1] is queues[-1]
    assert pauses.of(place(queue=bytes([0])))[1] is not queues[0]
