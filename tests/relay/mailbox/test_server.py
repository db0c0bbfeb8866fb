"""Mailboxes over real connections on loopback, signed by real keys, in the SQLite store."""

from __future__ import annotations

from pathlib import Path

from covey_core.network import Network
from covey_core.wire import mailbox as m
from tests.relay.mailbox.world import mailbox_relay
from tests.support.mailbox_client import BLOB, key, mid, verify_key

DAY = 86_400
WRITER = m.AdmitKey(verify_key("alice"))


async def test_what_alice_deposits_bob_fetches_and_acknowledges(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        assert (ids.quota_messages, ids.quota_bytes, ids.max_ttl_seconds) == (1024, 8 << 20, 21 * DAY)
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)
        assert await alice.ask(m.Put(ids.send_id, mid(2), DAY, BLOB), key("alice")) == m.Stored(2)
        assert await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice")) == m.Stored(1)
        assert await alice.ask(m.Have(ids.send_id, (mid(2), mid(9))), key("alice")) == m.Held((mid(2),))
        got = await bob.ask(m.Get(ids.recv_id, 0, 1024), key("bob"))
        assert got == m.Messages((m.StoredMessage(1, mid(1), BLOB), m.StoredMessage(2, mid(2), BLOB)), more=False)
        assert await bob.ask(m.Ack(ids.recv_id, (mid(1),)), key("bob")) == m.Done()
        assert await bob.ask(m.Get(ids.recv_id, 0, 1024), key("bob")) == m.Messages(
            (m.StoredMessage(2, mid(2), BLOB),), more=False
        )
        assert await bob.ask(m.Del(ids.recv_id), key("bob")) == m.Done()
        assert await bob.ask(m.Get(ids.recv_id, 0, 1), key("bob")) == m.Refused(m.Reason.AUTH)
        assert await alice.ask(m.Put(ids.send_id, mid(3), DAY, BLOB), key("alice")) == m.Refused(m.Reason.AUTH)


async def test_who_subscribed_is_told_of_each_message_as_it_comes(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "mailboxes.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", WRITER)
        await alice.ask(m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice"))
        subscribed = await bob.send(m.Sub(ids.recv_id, 0), key("bob"))
        assert await bob.answer(subscribed) == m.Done()
        assert await bob.next_push() == m.Response(subscribed, m.Messages((m.StoredMessage(1, mid(1), BLOB),)))
        for number in (2, 3):
            await alice.ask(m.Put(ids.send_id, mid(number), DAY, BLOB), key("alice"))
            pushed = m.Messages((m.StoredMessage(number, mid(number), BLOB),))
            assert await bob.next_push() == m.Response(subscribed, pushed)
