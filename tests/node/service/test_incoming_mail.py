"""What comes from a contact's mailbox: opened whichever device it is by, and answered by a receipt."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from covey_node import crypto, limits
from covey_node.protocol.contents import (
    Body,
    ContactAccept,
    ContactRequest,
    Content,
    Receipt,
    ReceiptKind,
    Text,
    decode_content,
    encode_content,
)
from covey_node.protocol.frames import Outcome
from covey_node.protocol.status import ContactState, Status
from covey_node.service.composing import new_text
from covey_node.service.effects import Effects
from covey_node.service.incoming import Incoming
from covey_node.store import contacts, deliveries, messages, receipts
from covey_node.store.contacts import ContactRow
from covey_node.store.tx import Tx
from tests.node.service.lane_world import World
from tests.node.service.test_incoming import UNKNOWN_KIND, _Bob

T = TypeVar("T")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


class _Mail:
    """A contact whose packets come by mailbox."""

    def __init__(self, world: World, state: ContactState = ContactState.ACCEPTED) -> None:
        self.world = world
        self.bob = _Bob(world)
        self.row = self.read(lambda tx: contacts.add(tx, ContactRow(self.bob.account.public_key, "bob", state, 0.0)))
        self.incoming = Incoming(world.ledger, world.own, lambda _peer: "lan")

    def read(self, function: Callable[[Tx], T]) -> T:
        return self.world.database.connection.run(function)

    def packet(self, text: str, *, sent_at: float = 1.0) -> bytes:
        return self.bob.first_contact(encode_content(Content(os.urandom(16), sent_at, Text(text))))

    async def take(self, *packets: bytes) -> list[Outcome]:
        return await self.incoming.receive_from(self.row.id, packets)

    def owed(self) -> int:
        return int(self.read(lambda tx: tx.number("SELECT count(*) FROM receipts_due")))

    def texts(self) -> list[str | None]:
        return [
            row.text for row in self.read(lambda tx: messages.page(tx, self.row.id, limit=99)) if row.kind == "text"
        ]


async def test_a_packet_from_a_mailbox_is_shown_once_and_owed_a_receipt(world: World) -> None:
    mail = _Mail(world)
    packet = mail.packet("hello")
    assert await mail.take(packet, packet) == [Outcome.ACCEPTED, Outcome.DUPLICATE]
    assert await mail.take(packet) == [Outcome.DUPLICATE]
    assert mail.texts() == ["hello"]
    assert mail.owed() == 1
    [owed] = mail.read(lambda tx: receipts.owed(tx, limit=9))
    due = owed.due_at - world.own.now()
    assert limits.RECEIPT_SECONDS_MIN <= due <= limits.RECEIPT_SECONDS_MAX


async def test_what_relays_bring_in_another_order_is_shown_as_it_was_written(world: World) -> None:
    mail = _Mail(world)
    written = [mail.packet(text, sent_at=number) for number, text in enumerate(("one", "two", "three"), start=1)]
    garbage = os.urandom(4096)
    outcomes = await mail.take(written[2], garbage, written[0], written[0], written[1])
    assert mail.texts() == ["three", "two", "one"], "the newest first"
    taken, no, twice = Outcome.ACCEPTED, Outcome.UNDECRYPTABLE, Outcome.DUPLICATE
    assert outcomes == [taken, no, taken, twice, taken]


async def test_a_packet_that_came_by_a_stream_and_lies_in_a_mailbox_too_is_answered(world: World) -> None:
    mail = _Mail(world)
    packet = mail.packet("hello")
    assert await mail.incoming.receive(mail.bob.peer, [packet]) == [Outcome.ACCEPTED]
    assert mail.owed() == 0, "it was answered on the stream"
    assert await mail.take(packet) == [Outcome.DUPLICATE]
    assert mail.owed() == 1, "the answer on the stream may have been lost"
    assert mail.texts() == ["hello"]


async def test_a_packet_that_lay_in_a_mailbox_and_comes_by_a_stream_is_a_duplicate(world: World) -> None:
    mail = _Mail(world)
    packet = mail.packet("hello")
    await mail.take(packet)
    assert await mail.incoming.receive(mail.bob.peer, [packet]) == [Outcome.DUPLICATE]
    assert mail.texts() == ["hello"]


async def test_mail_says_nothing_about_where_its_sender_is(world: World) -> None:
    mail = _Mail(world)
    await mail.take(mail.packet("hello"))
    row = mail.read(lambda tx: contacts.get(tx, mail.row.id))
    assert row is not None
    assert row.last_seen is None
    [message] = mail.read(lambda tx: messages.page(tx, mail.row.id, limit=9))
    assert message.path == "mailbox"


async def test_a_receipt_is_not_answered_and_a_content_of_an_unknown_kind_is(world: World) -> None:
    mail = _Mail(world)
    receipt = encode_content(Content(os.urandom(16), 1.0, Receipt(ReceiptKind.DELIVERED, (b"m" * 16,))))
    assert await mail.take(mail.bob.first_contact(receipt)) == [Outcome.ACCEPTED]
    assert mail.owed() == 0
    assert await mail.take(mail.bob.first_contact(UNKNOWN_KIND)) == [Outcome.ACCEPTED]
    assert mail.owed() == 1, "else its sender would lay it down again for weeks"


async def test_somebody_elses_envelope_in_a_contacts_mailbox_is_not_opened(world: World) -> None:
    mail = _Mail(world)
    stranger = crypto.Account.generate(os.urandom)
    carol = mail.read(lambda tx: contacts.add(tx, ContactRow(stranger.public_key, "carol", ContactState.ACCEPTED, 0.0)))
    assert await mail.incoming.receive_from(carol.id, [mail.packet("hello")]) == [Outcome.UNDECRYPTABLE]
    assert mail.texts() == []
    assert mail.read(lambda tx: tx.number("SELECT count(*) FROM sessions")) == 0


async def test_garbage_in_a_mailbox_changes_nothing(world: World) -> None:
    mail = _Mail(world)
    rejects: list[str] = []
    mail.incoming = Incoming(world.ledger, world.own, lambda _peer: "lan", rejected=rejects.append)
    assert await mail.take(os.urandom(4096), b"", b"\x01" * 4096) == [Outcome.UNDECRYPTABLE] * 3
    assert len(rejects) == 3
    assert mail.owed() == 0


@pytest.mark.parametrize("state", [ContactState.BLOCKED, ContactState.REFUSED])
async def test_mail_of_one_who_is_no_contact_any_more_is_not_taken(world: World, state: ContactState) -> None:
    mail = _Mail(world, state)
    assert await mail.take(mail.packet("hello")) == [Outcome.NOT_A_CONTACT]
    assert mail.texts() == []
    assert mail.owed() == 0


async def test_an_answer_is_owed_again_when_the_packet_is_laid_down_again_much_later(world: World) -> None:
    mail = _Mail(world)
    packet = mail.packet("hello")
    await mail.take(packet)
    device = mail.read(lambda tx: receipts.owed(tx, limit=9))[0].device_key
    assert len(mail.read(lambda tx: receipts.take(tx, mail.row.id, device, limit=9))) == 1
    await mail.take(packet)
    assert mail.owed() == 0
    mail.read(
        lambda tx: tx.execute("UPDATE received SET answered_at = answered_at - ?", (limits.RECEIPT_AGAIN_SECONDS,))
    )
    await mail.take(packet)
    assert mail.owed() == 1


ASKS = ContactRequest(b"", "bob", "", (), None)
FEW = 5


def _content(body: Body) -> bytes:
    return encode_content(Content(os.urandom(16), 1.0, body))


def _outbox(tx: Tx) -> list[tuple[int, bytes]]:
    return [(row_id, packet) for row_id, packet in tx.all("SELECT id, packet FROM deliveries ORDER BY id")]


async def test_a_contact_that_asks_again_and_again_finds_one_acceptance_on_its_newest_session(world: World) -> None:
    mail = _Mail(world)
    for _ in range(FEW):
        session, envelope = mail.bob.begin(_content(ASKS))
        assert await mail.take(envelope) == [Outcome.ACCEPTED]
    [(_, packet)] = mail.read(_outbox)
    _, plaintext = session.decrypt(packet, now=world.own.now())
    assert isinstance(decode_content(plaintext).body, ContactAccept)


@pytest.mark.parametrize(
    ("state", "body"),
    [
        (ContactState.ACCEPTED, ASKS),
        (ContactState.REQUESTED, ASKS),
        (ContactState.REQUESTED, ContactAccept("bob", None)),
    ],
)
async def test_what_cannot_be_answered_for_want_of_room_is_taken_and_so_is_what_lies_behind_it(
    world: World, monkeypatch: pytest.MonkeyPatch, state: ContactState, body: Body
) -> None:
    monkeypatch.setattr(deliveries, "OUTBOX_PER_DEVICE", FEW)
    mail = _Mail(world, state)
    assert await mail.take(mail.packet("hello")) == [Outcome.ACCEPTED]
    for _ in range(FEW):
        await world.queue(mail.row.id, mail.bob.local.keys.ed25519)
    outcomes = await mail.take(mail.bob.first_contact(_content(body)), mail.packet("innocent", sent_at=2.0))
    assert outcomes == [Outcome.ACCEPTED] * 2
    assert "innocent" in mail.texts()
    assert len(mail.read(_outbox)) == FEW
    row = mail.read(lambda tx: contacts.get(tx, mail.row.id))
    assert row is not None
    assert row.state is ContactState.ACCEPTED


async def test_what_was_written_before_the_acceptance_and_finds_no_room_fails_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "OUTBOX_PER_DEVICE", FEW)
    mail = _Mail(world, ContactState.REQUESTED)
    for number in range(FEW + 1):
        mail.read(
            lambda tx, text=str(number): new_text(  # type: ignore[misc]
                tx, Effects(), world.own, mail.row, text, reply_to=None, disappear_seconds=0
            )
        )
    assert await mail.take(mail.bob.first_contact(_content(ASKS))) == [Outcome.ACCEPTED]
    rows = mail.read(lambda tx: messages.page(tx, mail.row.id, limit=99))
    failed = [row for row in rows if row.status is Status.FAILED]
    assert [row.text for row in failed] == [str(FEW), str(FEW - 1)], "the acceptance and four texts had room"
    assert all("wait for this device" in (row.reason or "") for row in failed)
