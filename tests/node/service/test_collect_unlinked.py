"""What relays have stored, read from their files: nothing in it joins two queues of one account, or two copies of one
message. (docs/spec/mailbox.md, "Adversaries": two colluding relays, thief of a relay's disk)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from covey_core.limits import MAILBOX_BLOB_BYTES
from covey_core.peers import PeerId, peer_id_bytes, public_key_of
from covey_node.service.node import Node
from covey_node.store import account
from covey_node.store.tx import Tx
from tests.node.service.collect_world import World, read, until, world
from tests.support.people import acquaint, say

THREE = ("ann", "bea", "cat")
WINDOW = 16
"""Bytes that two places share only if one was made from the other: by chance, once in 2**128."""

Row = dict[str, Any]
Queue = tuple[str, int]
"""A relay's name and the number of a queue there."""


def tables(path: Path) -> dict[str, list[Row]]:
    """All that a relay's file holds, by table, as rows."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw:
        raw.row_factory = sqlite3.Row
        names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [dict(row) for row in raw.execute(f"SELECT * FROM {name}")] for name in names}


def by_queue(found: dict[str, list[Row]]) -> dict[int, list[Row]]:
    """The rows of each queue, whatever table they stand in."""
    rows: dict[int, list[Row]] = {int(row["number"]): [row] for row in found["queues"]}
    for name, others in found.items():
        for row in others:
            if name != "queues" and "queue" in row:
                rows[int(row["queue"])].append(row)
    return rows


def windows(row: Row) -> Iterator[bytes]:
    """Every run of 16 bytes in what a row holds."""
    for value in row.values():
        data = value.encode() if isinstance(value, str) else value
        if isinstance(data, bytes):
            yield from (data[start : start + WINDOW] for start in range(max(0, len(data) - WINDOW + 1)))


async def _everything_is_in_use(relays: World) -> tuple[list[bytes], int]:
    """Have bob know alice and carol, both write to him while he is away; return what names them, and how many wrote."""
    names: list[bytes] = []
    async with relays.node("alice") as alice, relays.node("carol") as carol:
        async with relays.node("bob") as bob:
            await acquaint(alice, bob)
            await _acquainted_as(carol, bob, "carol")
            await until(bob, lambda tx: _standing(tx) == 12)  # two contacts, invites, open: at three relays each
            await until(alice, lambda tx: tx.number("SELECT count(*) FROM peer_replicas") == 3)
            await until(carol, lambda tx: tx.number("SELECT count(*) FROM peer_replicas") == 3)
            names += [*await _names(alice), *await _names(bob), *await _names(carol)]
        for number in range(3):
            await say(alice, "bob", f"the same words {number}")
            await say(carol, "bob", f"the same words {number}")
        for node in (alice, carol):
            await until(node, lambda tx: tx.number("SELECT count(*) FROM deposits WHERE stored_at IS NOT NULL") >= 9)
    return names, 6


async def _acquainted_as(inviter: Node, bob: Node, alias: str) -> None:
    invite = await inviter.invite(label="bob", valid_seconds=3600, one_use=True)
    await bob.add(invite.link or "", alias=alias, intro="")
    await until(bob, lambda tx: tx.number("SELECT count(*) FROM contacts WHERE state = 'accepted'") == 2)


def _standing(tx: Tx) -> int:
    return tx.number("SELECT count(*) FROM queues WHERE state = 'standing'")


async def _names(node: Node) -> list[bytes]:
    """What names a person: account key, device key, and its PeerId in both forms."""
    row = await read(node, account.load)
    assert row is not None
    peer = PeerId((await node.status()).peer)
    return [row.account_key, public_key_of(peer), peer_id_bytes(peer), peer.encode()]


async def test_nothing_that_relays_store_joins_two_queues_or_two_copies_or_names_anybody(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays:
        names, written = await _everything_is_in_use(relays)
        await relays.stop(*THREE)
    stored = {name: tables(tmp_path / f"{name}.db") for name in THREE}
    owners: dict[bytes, Queue] = {}
    copies = 0
    for name, found in stored.items():
        copies += len(found["messages"])
        for number, rows in by_queue(found).items():
            for row in rows:
                for window in windows(row):
                    owner = owners.setdefault(window, (name, number))
                    assert owner == (name, number), f"{window.hex()} stands in two queues: {owner}, {(name, number)}"
    assert copies >= 3 * written, "there is nothing to compare"
    assert len(owners) > copies * MAILBOX_BLOB_BYTES[0]
    for name, found in stored.items():
        data = (tmp_path / f"{name}.db").read_bytes()
        assert not [one for one in names if one in data], f"{name} knows somebody"
        assert {len(row["blob"]) for row in found["messages"]} <= set(MAILBOX_BLOB_BYTES)
        assert {int(row["expires"]) % 3600 for row in found["messages"]} == {0}, "times are kept to the hour"


async def test_texts_of_any_length_are_told_by_their_bucket_only(tmp_path: Path) -> None:
    async with world(tmp_path, *THREE) as relays, relays.node("alice") as alice:
        async with relays.node("bob") as bob:
            await acquaint(alice, bob)
            await until(alice, lambda tx: tx.number("SELECT count(*) FROM peer_replicas") == 3)
        for text in ("", "x" * 1000, "x" * 5000, "x" * 20_000):
            await say(alice, "bob", text or "1")
        await until(alice, lambda tx: tx.number("SELECT count(*) FROM deposits WHERE stored_at IS NOT NULL") >= 12)
        await relays.stop(*THREE)
    for name in THREE:
        sizes = {len(row["blob"]) for row in tables(tmp_path / f"{name}.db")["messages"]}
        assert sizes == set(MAILBOX_BLOB_BYTES)
