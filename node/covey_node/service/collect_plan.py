"""Which queues there ought to be: sets for whom we talk with, queues where protocol/queue_choice.py wants them.

Owns: the steps from what is to what ought to be, each in one transaction. Spec: docs/spec/mailbox.md, "Choice of
relays". Functions take a `Tx`. Never touches: relays: what is written down here is done by collect_relay.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from covey_core.peers import PeerId, peer_id_bytes, peer_id_from_bytes
from covey_core.wire.mailbox_bounds import SECRET_BYTES
from covey_node import limits
from covey_node.net.mailbox import At
from covey_node.protocol.queue_choice import Behaviour, Held, Telling, choose
from covey_node.protocol.relay_choice import Candidate, networks_of, order_of
from covey_node.protocol.status import ContactState
from covey_node.service.collect_use import Use
from covey_node.service.effects import Effects
from covey_node.service.own import Own
from covey_node.store import queues
from covey_node.store.queues import Purpose, QueueState, SetRow
from covey_node.store.tx import Tx

WANTED = (ContactState.REQUESTING, ContactState.REQUESTED, ContactState.ACCEPTED)
"""In which states a contact has a set: an incoming request gets one when it is accepted."""

_USED = (QueueState.MAKING, QueueState.STANDING)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The relays as they are known now, and how they behave."""

    relays: Mapping[PeerId, At]
    behaviour: Mapping[PeerId, Behaviour]

    def candidates(self, own: PeerId) -> tuple[Candidate, ...]:
        """Return the relays to choose from. One whose operator nobody told is its own, and spare: anybody's."""
        return tuple(
            Candidate(
                one.relay,
                one.operator or one.relay,
                networks_of(one.addrs),
                order=order_of(own, one.relay),
                spare=not one.operator,
            )
            for one in self.relays.values()
        )

    def addrs(self, relay: PeerId) -> tuple[str, ...]:
        """Return up to four addresses of a relay that can be told to others."""
        known = self.relays.get(relay)
        fit = [addr for addr in (known.addrs if known else ()) if 0 < len(addr.encode()) <= limits.MAILBOX_ADDR_BYTES]
        return tuple(fit[: limits.MAILBOX_ADDRS_MAX])


def open_and_close(tx: Tx, own: Own) -> tuple[tuple[int, ...], set[PeerId]]:
    """Open sets for contacts that lack one, a page at a time, and close those of others.

    Returns the ids of those opened, and the relays at which queues are to be deleted.
    """
    states = ", ".join("?" * len(WANTED))
    unwanted = tx.all(
        f"SELECT id FROM queue_sets WHERE purpose = ? AND secret IS NOT NULL AND NOT EXISTS (SELECT 1 FROM contacts "  # noqa: S608 - only marks
        f"WHERE id = queue_sets.contact_id AND state IN ({states}))",
        (Purpose.CONTACT, *WANTED),
    )
    touched: set[PeerId] = set()
    for (set_id,) in unwanted:
        touched |= {peer_id_from_bytes(row.relay) for row in queues.of_set(tx, set_id)}
        queues.close_set(tx, set_id)
    lacking = tx.all(
        f"SELECT id FROM contacts WHERE state IN ({states}) AND NOT EXISTS (SELECT 1 FROM queue_sets "  # noqa: S608
        "WHERE contact_id = contacts.id AND secret IS NOT NULL) ORDER BY id LIMIT ?",
        (*WANTED, limits.MAILBOX_PLAN_SETS),
    )
    now = own.now()
    opened = tuple(
        queues.open_set(tx, Purpose.CONTACT, contact_id, secret=own.rng(SECRET_BYTES), now=now).id
        for (contact_id,) in lacking
    )
    return opened, touched


def all_open(tx: Tx) -> tuple[int, ...]:
    """Return all open sets."""
    return tuple(row.id for row in queues.open_sets(tx))


def unfinished(tx: Tx) -> tuple[int, ...]:
    """Return the open sets that are not as they ought to be: without queues, or with some on the way in or out."""
    rows = tx.all(
        "SELECT id FROM queue_sets WHERE secret IS NOT NULL AND (stale OR EXISTS (SELECT 1 FROM queues "
        "WHERE set_id = queue_sets.id AND state <> 'standing') OR NOT EXISTS (SELECT 1 FROM queues "
        "WHERE set_id = queue_sets.id)) ORDER BY id"
    )
    return tuple(int(row[0]) for row in rows)


def of_contacts(tx: Tx, contact_ids: Collection[int]) -> tuple[int, ...]:
    """Return the open sets of these contacts."""
    found = (queues.set_for(tx, Purpose.CONTACT, contact_id) for contact_id in contact_ids)
    return tuple(row.id for row in found if row is not None and row.secret is not None)


def improve(tx: Tx, own: Own, set_ids: Iterable[int], around: Surroundings) -> tuple[set[PeerId], dict[int, float]]:
    """Write down what brings these sets closer to what they ought to be.

    Returns the relays that have something to do, and for sets that lack a queue at a relay which loses what is made
    there, until when none is made.

    A queue that left and is over the bound, or at a relay that was not reached for as long as relays keep queues of
    which they hear nothing, is given up.
    """
    now, candidates = own.now(), around.candidates(own.identity.peer_id)
    touched: set[PeerId] = set()
    again: dict[int, float] = {}
    for set_id in set_ids:
        row_of_set = queues.get_set(tx, set_id)
        if row_of_set is None or row_of_set.secret is None:
            continue
        held = [
            Held(row.id, peer_id_from_bytes(row.relay), stands=row.state is QueueState.STANDING)
            for row in queues.of_set(tx, set_id, _USED)
        ]
        choice = choose(held, candidates, around.behaviour, now=now)
        if choice.again_at is not None:
            again[set_id] = choice.again_at
        for queue_id in choice.leave:
            queues.leave(tx, queue_id)
        for relay in choice.make:
            raw, addrs = peer_id_bytes(relay), around.addrs(relay)
            queues.plan(tx, set_id, relay=raw, addrs=addrs, recv_seed=own.rng(SECRET_BYTES), now=now)
        left = queues.of_set(tx, set_id, (QueueState.LEAVING,))
        for row in left[: -limits.MAILBOX_LEAVING_MAX]:
            queues.end(tx, row.id)
        by_id = {one.queue: one.relay for one in held}
        touched |= {*choice.make, *(by_id[queue_id] for queue_id in choice.leave)}
    return touched, again


def give_up(tx: Tx, relay: PeerId, behaviour: Behaviour, *, now: float) -> int:
    """Forget queues that are not in use at a relay which was not reached for longer than it keeps them."""
    unused = queues.at_relay(tx, peer_id_bytes(relay), (QueueState.LEAVING, QueueState.ENDING))
    over = [row for row in unused if now - (behaviour.reached_at or row.made_at) > limits.MAILBOX_GIVEN_UP_SECONDS]
    for row in over:
        queues.remove(tx, row.id)
    return len(over)


def tell(
    tx: Tx, effects: Effects, own: Own, set_ids: Iterable[int], uses: Mapping[Purpose, Use], telling: Telling
) -> dict[int, float]:
    """Publish and tell the sets that are due; return, for those that wait for a queue, until when."""
    due: dict[int, float] = {}
    for set_id in set_ids:
        row = queues.get_set(tx, set_id)
        use = None if row is None else uses.get(row.purpose)
        if row is None or use is None or row.secret is None:
            telling.ended(set_id)
            continue
        at = _publish(tx, row, telling, now=own.now())
        if at is not None:
            due[set_id] = at
        mailboxes = queues.current(tx, set_id)
        if mailboxes is not None:
            use.tell(tx, effects, queues.get_set(tx, set_id) or row, mailboxes)
    return due


def _publish(tx: Tx, row: SetRow, telling: Telling, *, now: float) -> float | None:
    """Publish a set when its moment has come; return the moment when it has not."""
    if not row.stale:
        return None
    used = queues.of_set(tx, row.id, _USED)
    stand = frozenset(one.id for one in used if one.state is QueueState.STANDING)
    if telling.known(row.id, stand) and not queues.of_set(tx, row.id, (QueueState.LEAVING,)):
        queues.unchanged(tx, row.id)
        return None
    at = telling.tell_at(row.id, stand=len(stand), making=len(used) - len(stand), now=now)
    if at is not None and at <= now:
        queues.publish(tx, row.id)
        telling.told(row.id, stand, now=now)
        return None
    return at


def gone_queues(tx: Tx, rows: Sequence[queues.QueueRow], uses: Mapping[Purpose, Use]) -> tuple[queues.QueueRow, ...]:
    """Return those of these queues, all of which left their sets, that nobody means to write to any more."""
    found = []
    for row in rows:
        of = queues.get_set(tx, row.set_id)
        use = None if of is None else uses.get(of.purpose)
        if of is None or use is None or row.left_number is None or use.confirmed(tx, of) >= row.left_number:
            found.append(row)
    return tuple(found)
