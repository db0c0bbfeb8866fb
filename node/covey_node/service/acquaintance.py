"""Becoming contacts and ceasing to be: invites, requests, answers, names, verification.

Owns: what the user decides about people. Spec: docs/spec/invite.md. What comes from the other side is applying.py.
Never touches: sockets.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256

from covey_core.errors import LinkInvalid
from covey_core.network import Network
from covey_node import crypto, limits
from covey_node.protocol.addresses import circuit
from covey_node.protocol.contents import ContactAccept, ContactRefuse, ContactRequest
from covey_node.protocol.invite import Invite, token_hash
from covey_node.protocol.status import ContactState, Status
from covey_node.service import views
from covey_node.service.applying import safe_alias
from covey_node.service.composing import (
    own_addrs,
    own_name,
    own_reachability,
    send_held_back,
    send_notice_content,
)
from covey_node.service.contact_queues import ContactQueues
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.naming import find_contact
from covey_node.service.own import Own
from covey_node.service.port import ContactView, InviteView, NotFound, Refused, VerifyView
from covey_node.service.record_making import take_back
from covey_node.store import (
    account,
    contact_places,
    contact_stock,
    contacts,
    deliveries,
    devices,
    invites,
    lanes,
    messages,
    peer_mailboxes,
    sessions,
)
from covey_node.store.contacts import ContactRow, is_alias
from covey_node.store.deliveries import OutboxFull
from covey_node.store.errors import AliasTaken
from covey_node.store.invites import InviteRow
from covey_node.store.tx import Tx


class Acquaintance:
    """The user's side of knowing people."""

    def __init__(
        self, ledger: Ledger, own: Own, network: Network, *, contact_queues: ContactQueues | None = None
    ) -> None:
        """`contact_queues`: named in invites; None where mailboxes are off."""
        self._ledger = ledger
        self._own = own
        self._network = network
        self._contact_queues = contact_queues

    async def invite(self, *, label: str, valid_seconds: float, one_use: bool) -> InviteView:
        """Make a link. A one-use link makes a contact without asking; an open one brings requests."""
        if not 0 < valid_seconds <= limits.INVITE_SECONDS_MAX:
            raise Refused(f"an invite is good for up to {limits.INVITE_SECONDS_MAX // 86400} days")
        token = self._own.rng(limits.INVITE_TOKEN_BYTES)
        where = None if self._contact_queues is None else await self._contact_queues.invite_set(one_use=one_use)

        def make(tx: Tx, effects: Effects) -> InviteView:
            now = self._own.now()
            if len(invites.open_ones(tx, now=now)) >= limits.INVITES_MAX:
                raise Refused(f"there are {limits.INVITES_MAX} open invites: revoke some")
            row = InviteRow(token_hash(token), label, one_use, now, now + valid_seconds)
            if one_use:
                invites.add(tx, row)
                effects.invites = True
            if one_use and where is not None:
                shown = {one.relay: crypto.admission_secret(token, one.relay) for one in where.replicas}
                contact_stock.admit(tx, row.token_hash, {at: sha256(one).digest() for at, one in shown.items()})
            link = Invite(
                network=self._network,
                account_key=self._own.account_key,
                addrs=self._invite_addrs(tx),
                token=token if one_use else b"",
                expires_at=now + valid_seconds,
                name=own_name(tx),
                mailboxes=where,
            ).to_link()
            return views.invite_view(tx, row, link=link)

        view = await self._ledger.change(make)
        if one_use and self._contact_queues is not None:
            await self._contact_queues.admitted()
        return view

    async def invites(self) -> tuple[InviteView, ...]:
        """Return the one-use invites that can still be used or were."""
        now = self._own.now()
        return await self._ledger.read(
            lambda tx: tuple(views.invite_view(tx, row) for row in invites.open_ones(tx, now=now))
        )

    async def revoke_invite(self, invite: str) -> None:
        """Make an invite unusable."""

        def revoke(tx: Tx, effects: Effects) -> None:
            effects.invites = True
            now = self._own.now()
            found = [row for row in invites.open_ones(tx, now=now) if row.token_hash.hex().startswith(invite.lower())]
            if len(found) != 1 or not invite:
                raise NotFound(f"no invite, or several, have the id {invite!r}: see `covey invite list`")
            invites.revoke(tx, found[0].token_hash, now=now)

        await self._ledger.change(revoke)

    async def add(self, link: str, *, alias: str | None, intro: str) -> ContactView:
        """Use a link: the request is queued at once and goes out when the other side can be reached."""
        try:
            found = Invite.from_link(link.strip())
        except LinkInvalid as exc:
            raise Refused(str(exc)) from exc
        return await self.use(found, alias=alias, intro=intro)

    async def use(self, found: Invite, *, alias: str | None, intro: str) -> ContactView:
        """Do the same with an invite that was read, or made of a public profile."""
        if found.network.id != self._network.id:
            raise Refused(
                f"the invite is for the network {found.network.name!r}, this node is in {self._network.name!r}"
            )
        if found.account_key == self._own.account_key:
            raise Refused("this is your own invite: give it to somebody else")
        if found.expires_at <= self._own.now():
            raise Refused("the invite has expired: ask for a new one")
        if len(intro.encode()) > limits.INTRO_BYTES:
            raise Refused(f"the introduction has more than {limits.INTRO_BYTES} bytes")
        return await self._ledger.change(lambda tx, effects: self._add(tx, effects, found, alias=alias, intro=intro))

    async def answer(self, contact: str, *, accept: bool, alias: str | None = None) -> ContactView:
        """Accept or refuse an incoming request."""

        def decide(tx: Tx, effects: Effects) -> ContactView:
            row = find_contact(tx, contact)
            if row.state is not ContactState.INCOMING:
                raise Refused(f"{row.alias} has no open request ({row.state})")
            now = self._own.now()
            if alias is not None:
                row = replace(row, alias=_checked(alias))
            if accept:
                row = replace(row, state=ContactState.ACCEPTED, accepted_at=now, reason=None)
                _save(tx, row)
                send_notice_content(tx, effects, self._own, row, ContactAccept(own_name(tx), own_reachability(tx)))
                send_held_back(tx, effects, self._own, row)
            else:
                send_notice_content(tx, effects, self._own, row, ContactRefuse())
                row = replace(row, state=ContactState.REFUSED, reason="you refused the request")
                _save(tx, row)
            effects.contact(row.id)
            return views.contact_view(tx, row)

        return await self._ledger.change(decide)

    async def rename(self, contact: str, alias: str) -> ContactView:
        """Give a contact another local name."""

        def rename(tx: Tx, effects: Effects) -> ContactView:
            row = replace(find_contact(tx, contact), alias=_checked(alias))
            _save(tx, row)
            effects.contact(row.id)
            return views.contact_view(tx, row)

        return await self._ledger.change(rename)

    async def block(self, contact: str) -> None:
        """Take nothing more from a contact and give nothing more to it; our record moves to new keys."""

        def block(tx: Tx, effects: Effects) -> None:
            row = find_contact(tx, contact)
            now = self._own.now()
            _save(tx, replace(row, state=ContactState.BLOCKED, reason="you blocked this contact"))
            for message in deliveries.drop_of_contact(tx, row.id, now=now, reason="you blocked this contact"):
                effects.message(message.id)
            for message in lanes.held_back(tx, row.id):
                if messages.move(tx, message.id, Status.FAILED, now=now, reason="you blocked this contact"):
                    effects.message(message.id)
            sessions.remove_of_contact(tx, row.id)
            peer_mailboxes.forget(tx, row.id)
            contact_places.forget(tx, row.id)
            take_back(tx)
            keys = crypto.RecordKeys.generate(self._own.rng)
            account.replace_record_keys(tx, record_seed=keys.seed, record_secret=keys.share.secret)
            for other in contacts.all_in(tx, {ContactState.ACCEPTED}):
                with suppress(OutboxFull):  # one who takes nothing must not keep the user from blocking another
                    send_notice_content(tx, effects, self._own, other, own_reachability(tx))
            effects.drop(row.id)
            effects.contact(row.id)
            effects.publish_record = True

        await self._ledger.change(block)

    async def verify(self, contact: str) -> VerifyView:
        """Return the safety number with a contact."""
        return await self._ledger.read(lambda tx: self._verify_view(tx, find_contact(tx, contact)))

    async def set_verified(self, contact: str, *, verified: bool) -> VerifyView:
        """Record that the user compared the number; open changes of devices count as looked at."""

        def mark(tx: Tx, effects: Effects) -> VerifyView:
            row = find_contact(tx, contact)
            now = self._own.now()
            changed = devices.accept_changes(tx, row.id, now=now) if verified else 0
            row = replace(row, verified_at=now if verified else None)
            _save(tx, row)
            if changed and row.state is ContactState.ACCEPTED:  # its new devices were told nothing until now
                send_notice_content(tx, effects, self._own, row, own_reachability(tx))
            effects.contact(row.id)
            return self._verify_view(tx, row)

        return await self._ledger.change(mark)

    def _add(self, tx: Tx, effects: Effects, found: Invite, *, alias: str | None, intro: str) -> ContactView:
        now = self._own.now()
        row = contacts.by_account(tx, found.account_key)
        if row is not None and row.state in {ContactState.ACCEPTED, ContactState.INCOMING}:
            raise Refused(
                f"{row.alias} is a contact already"
                if row.state is ContactState.ACCEPTED
                else f"{row.alias} has asked you: `covey requests accept {row.alias}`"
            )
        fresh = replace(
            row
            or ContactRow(
                account_key=found.account_key,
                alias=_checked(alias)
                if alias
                else contacts.free_alias(tx, safe_alias(found.name) or found.account_key.hex()[:8]),
                state=ContactState.REQUESTING,
                created_at=now,
            ),
            state=ContactState.REQUESTING,
            profile_name=found.name,
            invite_token=found.token or None,
            addrs=found.addrs,
            reason="the other side has not been reached yet",
        )
        if row is None:
            try:
                fresh = contacts.add(tx, fresh)
            except AliasTaken as exc:
                raise Refused(f"{exc}: choose another name with --as") from exc
        else:
            _save(tx, replace(fresh, alias=_checked(alias) if alias else row.alias))
            fresh = contacts.get(tx, row.id) or fresh
            for message in deliveries.drop_of_contact(tx, fresh.id, now=now, reason="replaced by a new request"):
                effects.message(message.id)
        contact_places.replace(tx, fresh.id, found.mailboxes)
        if found.mailboxes is not None:
            effects.requests[fresh.id] = None
        request = ContactRequest(found.token, own_name(tx), intro, own_addrs(tx))
        send_notice_content(tx, effects, self._own, fresh, request)
        effects.contact(fresh.id)
        return views.contact_view(tx, fresh)

    def _invite_addrs(self, tx: Tx) -> tuple[str, ...]:
        """Return our addresses of now; without any, the ways through every relay of the network."""
        known = own_addrs(tx)
        peer = self._own.identity.peer_id
        relayed = [circuit(addr, peer) for relay in self._network.relays for addr in relay.addrs]
        return tuple(dict.fromkeys((*known, *relayed)))[: limits.ADDRS_MAX]

    def _verify_view(self, tx: Tx, row: ContactRow) -> VerifyView:
        return VerifyView(
            alias=row.alias,
            safety_number=crypto.safety_number(self._own.account_key, row.account_key),
            qr=f"covey:verify.1.{self._own.account_key.hex()}.{row.account_key.hex()}",
            verified=row.verified_at is not None,
            devices=tuple(device.device_key.hex() for device in devices.of_contact(tx, row.id)),
        )


def _checked(alias: str) -> str:
    if not is_alias(alias):
        raise Refused("a contact's name has 1 to 64 printable characters and no space at its ends")
    return alias


def _save(tx: Tx, row: ContactRow) -> None:
    try:
        contacts.save(tx, row)
    except AliasTaken as exc:
        raise Refused(str(exc)) from exc
