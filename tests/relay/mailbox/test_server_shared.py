"""Two relays over one PostgreSQL: what comes through one is pushed at the other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from covey_core.network import Network
from covey_core.wire import mailbox as m
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.stores import open_store
from tests.relay.mailbox.world import mailbox_relay
from tests.support.mailbox_client import BLOB, key, mid, verify_key
from tests.support.postgres import Server

DAY = 86_400


async def test_a_deposit_at_one_relay_is_pushed_at_the_other_and_fetched_at_both(
    public: Network, tmp_path: Path, postgres: Server
) -> None:
    shared = partial(open_store, path=tmp_path / "unused.db", bounds=MailboxLimits(), url=postgres.url)
    async with mailbox_relay(public, shared) as one, mailbox_relay(public, shared) as other:
        bob, alice = await one.client(), await other.client()
        ids = await bob.new("bob", m.AdmitKey(verify_key("alice")))
        assert await bob.ask(m.Sub(ids.recv_id, 0), key("bob")) == m.Done()
        for number in (1, 2, 3):
            put = m.Put(ids.send_id, mid(number), DAY, BLOB)
            assert await alice.ask(put, key("alice")) == m.Stored(number)
            assert (await bob.next_push()).answer == m.Messages((m.StoredMessage(number, mid(number), BLOB),))
        assert await alice.ask(m.Ack(ids.recv_id, (mid(1), mid(2), mid(3))), key("bob")) == m.Done()
        assert await bob.ask(m.Get(ids.recv_id, 0, 9), key("bob")) == m.Messages(())
        assert await alice.ask(m.Del(ids.recv_id), key("bob")) == m.Done()
        assert await bob.ask(m.Get(ids.recv_id, 0, 9), key("bob")) == m.Refused(m.Reason.AUTH)
