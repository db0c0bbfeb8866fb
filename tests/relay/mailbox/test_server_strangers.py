"""Contact queues: what strangers must bring, what they get for it, and what they cannot find out."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_codec import encode_command
from covey_core.wire.mailbox_proof import decode_task, signature_fits, signed_command
from covey_relay import limits
from covey_relay.mailbox import policy
from tests.relay.mailbox.world import mailbox_relay
from tests.support.mailbox_client import BLOB, MailboxClient, key, mid, verify_key

DAY = 86_400
AUTH, WORK, EMPTY = (m.Refused(reason) for reason in (m.Reason.AUTH, m.Reason.WORK, m.Reason.EMPTY))
SECRET = bytes(range(32))
HASH = hashlib.sha256(SECRET).digest()


def put(ids: m.Ids, number: int, proof: m.Proof | None = None) -> m.Put:
    return m.Put(ids.send_id, mid(number), DAY, BLOB, proof)


# --- what a contact queue asks ----------------------------------------------------------------------------------------


async def test_an_open_queue_takes_from_everybody_and_a_password_from_who_knows_it(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        opened, password = await bob.new("open", m.AdmitOpen()), await bob.new("password", m.AdmitPassword(HASH))
        assert await alice.ask(put(opened, 1)) == m.Stored(1)
        for wrong in (None, m.SecretProof(bytes(32)), m.WorkProof(bytes(59), 1)):
            assert await alice.ask(put(password, 1, wrong)) == AUTH
        assert await alice.ask(put(password, 1, m.SecretProof(SECRET))) == m.Stored(1)
        assert await alice.ask(put(password, 2, m.SecretProof(SECRET))) == m.Stored(2)


async def test_a_token_is_good_for_one_message_and_one_key(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        other = hashlib.sha256(bytes(32)).digest()
        ids = await bob.new("bob", m.AdmitTokens((other, HASH)))
        assert await bob.ask(m.Stock(ids.recv_id, (b"one", b"two"), b"bundle"), key("bob")) == m.Done()
        proof = m.SecretProof(SECRET)
        assert await alice.ask(m.Take(ids.send_id, mid(9), proof)) == m.Key(b"bundle", b"one", 1)
        assert await alice.ask(m.Take(ids.send_id, mid(8), proof)) == m.Key(b"bundle", b"", 0)
        assert await alice.ask(put(ids, 1, proof)) == m.Stored(1)
        assert await alice.ask(put(ids, 2, proof)) == AUTH
        assert await alice.ask(put(ids, 1, proof)) == m.Stored(1)  # the same message may come again
        assert await alice.ask(put(ids, 1)) == m.Stored(1)  # and nothing is asked for then
        assert await alice.ask(put(ids, 2, m.SecretProof(bytes(32)))) == m.Stored(2)
        assert await bob.ask(m.Rot(ids.recv_id, m.AdmitTokens((hashlib.sha256(b"\1" * 32).digest(),))), key("bob"))
        assert await alice.ask(put(ids, 3, m.SecretProof(bytes(32)))) == AUTH


async def test_two_messages_with_one_token_at_once_are_one_message(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitTokens((HASH,)))
        frames = b"".join(alice.signed(put(ids, number, m.SecretProof(SECRET)), None) for number in (1, 2, 1))
        await alice.stream.write(frames)
        assert [await alice.answer(number) for number in (1, 2, 3)] == [m.Stored(1), AUTH, m.Stored(1)]


async def test_work_is_good_for_one_command_on_its_queue_and_message(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids, other = await bob.new("bob", m.AdmitWork(0)), await bob.new("other", m.AdmitWork(0))
        assert await alice.ask(put(ids, 1)) == WORK
        proof = await alice.work(ids.send_id, m.Purpose.PUT, mid(1))
        assert await alice.ask(put(other, 1, proof)) == WORK  # another queue
        assert await alice.ask(put(ids, 2, proof)) == WORK  # another message
        assert await alice.ask(m.Take(ids.send_id, mid(1), proof)) == WORK  # another purpose
        assert await alice.ask(put(ids, 1, m.WorkProof(proof.challenge, proof.answer ^ 1))) == WORK
        assert await alice.ask(put(ids, 1, proof)) == m.Stored(1)
        assert await alice.ask(put(ids, 1, proof)) == m.Stored(1)  # the message lies there: work is not looked at
        await bob.ask(m.Del(other.recv_id), key("other"))
        assert relay.sample("covey_mailbox_events_total", event="pow_rejected") == 5


async def test_a_message_that_comes_twice_at_once_is_stored_once_for_one_work(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitWork(0))
        proof = await alice.work(ids.send_id, m.Purpose.PUT, mid(1))
        first = alice.last_id + 1
        await alice.stream.write(alice.signed(put(ids, 1, proof), None) + alice.signed(put(ids, 1, proof), None))
        assert [await alice.answer(first), await alice.answer(first + 1)] == [m.Stored(1)] * 2


async def test_work_that_was_done_for_a_put_that_found_no_room_is_not_lost(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db", queue_messages=1) as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitWork(0))
        first = await alice.work(ids.send_id, m.Purpose.PUT, mid(1))
        second = await alice.work(ids.send_id, m.Purpose.PUT, mid(2))
        assert await alice.ask(put(ids, 1, first)) == m.Stored(1)
        assert await alice.ask(put(ids, 2, second)) == m.Refused(m.Reason.QUOTA)
        assert await bob.ask(m.Ack(ids.recv_id, (mid(1),)), key("bob")) == m.Done()
        assert await alice.ask(put(ids, 2, second)) == m.Stored(2)
        assert await bob.ask(m.Ack(ids.recv_id, (mid(2),)), key("bob")) == m.Done()
        stale = m.Put(ids.send_id, mid(3), DAY, BLOB, second)
        assert await alice.ask(stale) == WORK


async def test_work_is_old_after_ten_minutes_and_harder_as_the_queue_fills(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitWork(0))
        old = await alice.work(ids.send_id, m.Purpose.PUT, mid(1))
        relay.clock.now += limits.MAILBOX_WORK_SECONDS
        assert await alice.ask(put(ids, 1, old)) == WORK
        assert await bits_asked(alice, ids) == limits.MAILBOX_WORK_BITS
        await bob.ask(m.Rot(ids.recv_id, m.AdmitOpen()), key("bob"))
        for number in range(32):
            await alice.ask(put(ids, 100 + number))
        await bob.ask(m.Rot(ids.recv_id, m.AdmitWork(19)), key("bob"))
        assert await bits_asked(alice, ids) == 21


async def bits_asked(alice: MailboxClient, ids: m.Ids) -> int:
    answer = await alice.ask(m.Work(ids.send_id, m.Purpose.PUT))
    assert isinstance(answer, m.Challenge)
    return decode_task(answer.challenge).bits


async def test_a_challenge_of_another_relay_is_worth_nothing(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "a.db") as relay, mailbox_relay(public, tmp_path / "b.db") as other:
        bob, alice, there = await relay.client(), await relay.client(), await other.client()
        ids = await bob.new("bob", m.AdmitWork(0))
        foreign = await there.work(ids.send_id, m.Purpose.PUT, mid(1))
        assert await alice.ask(put(ids, 1, foreign)) == WORK


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_each_one_time_key_is_handed_out_once_and_the_bundle_always(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitOpen())
        take = m.Take(ids.send_id, mid(0))
        assert await alice.ask(take) == EMPTY
        assert await bob.ask(m.Stock(ids.recv_id, (b"one", b"two")), key("bob")) == m.Done()
        assert await alice.ask(take) == EMPTY  # a key without its bundle is of no use
        assert await bob.ask(m.Stock(ids.recv_id, (b"three",), b"bundle"), key("bob")) == m.Done()
        first = alice.last_id + 1
        await alice.stream.write(b"".join(alice.signed(take, None) for _ in range(4)))
        handed = [await alice.answer(first + number) for number in range(4)]
        assert handed == [
            m.Key(b"bundle", one, left) for one, left in ((b"one", 2), (b"two", 1), (b"three", 0), (b"", 0))
        ]
        assert await bob.ask(m.Stock(ids.recv_id, (), b"newer"), key("bob")) == m.Done()
        assert await alice.ask(take) == m.Key(b"newer", b"", 0)
        assert await alice.ask(m.Stock(ids.recv_id, (b"forged",), b"forged"), key("alice")) == AUTH


async def test_a_queue_takes_a_hundred_keys_and_refuses_a_delivery_as_a_whole(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob = await relay.client()
        ids = await bob.new("bob", m.AdmitOpen())
        keys = tuple(number.to_bytes(4, "big") for number in range(32))
        stock = m.Stock(ids.recv_id, keys, b"bundle")
        assert [await bob.ask(stock, key("bob")) for _ in range(4)] == [m.Done()] * 3 + [m.Refused(m.Reason.QUOTA)]
        assert await bob.ask(m.Stock(ids.recv_id, keys[:4]), key("bob")) == m.Done()


# --- what cannot be told apart ----------------------------------------------------------------------------------------


async def test_no_queue_a_missing_a_wrong_and_a_moved_signature_are_one_answer_after_one_check(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []

    def counting(*, key: bytes, signed: bytes, signature: bytes) -> bool:
        checked.append(len(signature))
        return signature_fits(key=key, signed=signed, signature=signature)

    monkeypatch.setattr(policy, "signature_fits", counting)
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitKey(verify_key("alice")))
        secret = await bob.new("secret", m.AdmitPassword(HASH))
        tokens = await bob.new("tokens", m.AdmitTokens((HASH,)))
        checked.clear()
        nobody = m.Ids(bytes(24), b"\1" * 24, 1, 1, 1)
        asked = 0
        for there in (ids, nobody):
            owned: list[m.Command] = [
                m.Get(there.recv_id, 0, 1),
                m.Sub(there.recv_id, 0),
                m.Ack(there.recv_id, (mid(1),)),
                m.Rot(there.recv_id, m.AdmitOpen()),
                m.Del(there.recv_id),
                m.Stock(there.recv_id, (b"k",)),
            ]
            written: list[m.Command] = [put(there, 1), m.Have(there.send_id, (mid(1),)), m.Take(there.send_id, mid(1))]
            for command in owned + written:
                for signer in (None, key("mallory")):
                    assert await alice.ask(command, signer) == AUTH
                    asked += 1
        for contact in (secret, tokens):
            assert await alice.ask(put(contact, 1, m.SecretProof(bytes(32)))) == AUTH
            assert await alice.ask(m.Have(contact.send_id, (mid(1),)), key("alice")) == AUTH
            asked += 2
        assert checked == [64] * asked  # one check each, also where there is nothing to check


async def test_a_challenge_is_issued_for_queues_that_nobody_made(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitKey(verify_key("alice")))
        nobody = m.Ids(bytes(24), bytes(24), 1, 1, 1)
        assert await bits_asked(alice, ids) == await bits_asked(alice, nobody) == limits.MAILBOX_WORK_BITS


async def test_a_signature_holds_for_one_relay_one_stream_one_place_and_one_command(
    public: Network, tmp_path: Path
) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitKey(verify_key("alice")))
        body = encode_command(put(ids, 1))

        async def answered(relay_id: PeerId, nonce: bytes, signed_id: int, signed_body: bytes) -> m.Answer:
            sent = alice.last_id + 1
            signed = signed_command(relay=relay_id, nonce=nonce, request_id=signed_id or sent, body=signed_body)
            return await alice.ask_with(body, key("alice").sign(signed).signature)

        here, nonce = relay.host.peer_id, alice.hello.nonce
        assert await answered(Identity.generate().peer_id, nonce, 0, body) == AUTH
        assert await answered(here, bob.hello.nonce, 0, body) == AUTH
        assert await answered(here, nonce, 1_000, body) == AUTH
        assert await answered(here, nonce, 0, encode_command(put(ids, 2))) == AUTH
        assert await answered(here, nonce, 0, body) == m.Stored(1)


async def test_what_lies_on_the_disk_names_no_peer_and_no_address(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "m.db") as relay:
        bob, alice = await relay.client(), await relay.client()
        ids = await bob.new("bob", m.AdmitKey(verify_key("alice")))
        await alice.ask(put(ids, 1), key("alice"))
        peers = [one.peer_id for one in (relay.host, *relay.dialers)]
    stored = all_bytes(tmp_path)
    assert ids.send_id in stored
    for peer in peers:
        assert peer.encode() not in stored
        assert peer_id_bytes(peer)[-32:] not in stored
    assert b"127.0.0.1" not in stored


def all_bytes(folder: Path) -> bytes:
    with closing(sqlite3.connect(folder / "m.db")) as raw:
        raw.execute("VACUUM")
    return b"".join(one.read_bytes() for one in sorted(folder.iterdir()))
