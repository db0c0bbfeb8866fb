"""Two relays over one database: what is deposited at one is fetched, and pushed, at the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from covey_core.network import Network
from covey_core.wire import mailbox as m
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.operations import MailboxStore
from covey_relay.mailbox.stores import open_store
from tests.relay.mailbox.world import mailbox_relay
from tests.support.mailbox_client import BLOB, key, mid, verify_key
from tests.support.postgres import Server

DAY = 86_400
WRITER = m.AdmitKey(verify_key("alice"))


def over(server: Server) -> Callable[[], MailboxStore]:
    return partial(open_store, path=Path("/nowhere"), bounds=MailboxLimits(), url=server.url)


async def test_a_queue_made_at_one_relay_stands_at_the_other_as_well(public: Network, postgres: Server) -> None:
    async with mailbox_relay(public, over(postgres)) as one, mailbox_relay(public, over(postgres)) as other:
        bob, alice, bob_elsewhere = await one.client(), await other.client(), await other.client()
        ids = await bob.new("bob", WRITER)
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)
        got = await bob_elsewhere.ask(m.Get(ids.recv_id, 0, 9), key("bob"))
        assert got == m.Messages((m.StoredMessage(1, mid(1), BLOB),))
        assert await bob.ask(m.Ack(ids.recv_id, (mid(1),)), key("bob")) == m.Done()
        assert await bob_elsewhere.ask(m.Get(ids.recv_id, 0, 9), key("bob")) == m.Messages(())


async def test_a_subscriber_at_one_relay_is_told_of_what_comes_through_the_other_also_after_the_server_was_away(
    public: Network, postgres: Server
) -> None:
    async with mailbox_relay(public, over(postgres)) as one, mailbox_relay(public, over(postgres)) as other:
        bob, alice = await one.client(), await other.client()
        ids = await bob.new("bob", WRITER)
        subscribed = await bob.send(m.Sub(ids.recv_id, 0), key("bob"))
        assert await bob.answer(subscribed) == m.Done()
        for number in (1, 2):
            assert await alice.ask(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice")) == m.Stored(number)
            pushed = m.Messages((m.StoredMessage(number, mid(number), BLOB),))
            assert await bob.next_push() == m.Response(subscribed, pushed)
        postgres.stop()
        refused = await alice.ask(m.Put(ids.send_id, mid(3), DAY, BLOB), key("alice"))
        assert isinstance(refused, m.Refused)
        assert refused.reason is m.Reason.BUSY
        postgres.start()
        assert await alice.ask(m.Put(ids.send_id, mid(3), DAY, BLOB), key("alice")) == m.Stored(3)
        pushed = m.Messages((m.StoredMessage(3, mid(3), BLOB),))
        assert await bob.next_push() == m.Response(subscribed, pushed)
