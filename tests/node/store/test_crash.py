"""The process is killed at each commit point, and at any moment: nothing acknowledged is lost, nothing is half done."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from covey_node.protocol.status import Status
from covey_node.store import account, deliveries, messages
from covey_node.store.connection import CommitPoint, Connection
from covey_node.store.errors import HomeMissing
from covey_node.store.home import SecretFile, create_home, open_home
from covey_node.store.keyfile import make_secret_file
from covey_node.store.migrations import migrate

from .conftest import KEY

HEADER = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import trio
from covey_node.protocol.status import ContactState, Status
from covey_node.store import account, contacts, deliveries, messages, sessions
from covey_node.store.connection import CommitPoint, Connection
from covey_node.store.database import Database
from covey_node.store.home import SecretFile, create_home
from covey_node.store.migrations import STEPS, migrate, script

path, point, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
commits = 0

def hook(at):
    global commits
    commits += at is CommitPoint.BEFORE
    if at == point and commits == number:
        os.kill(os.getpid(), signal.SIGKILL)

def say(text):
    os.write(1, f"{text}\\n".encode())
"""

SEND = (
    HEADER
    + """
def begin(tx):
    contact = contacts.add(tx, contacts.ContactRow(b"b" * 32, "bob", ContactState.ACCEPTED, 1.0))
    return contact.id, sessions.add(tx, sessions.SessionRow(contact.id, b"d" * 32, b"h" * 32, True, False, b"0")).id

async def main():
    key = bytes(range(32))
    async with Database.open(path, key) as db:
        contact_id, session_id = await db.run(begin)
    async with Database.open(path, key, on_commit=hook) as db:
        def send(n):
            def function(tx):
                session = sessions.get(tx, session_id)
                state = int(session.state) + 1
                sessions.save(tx, replace(session, state=str(state).encode()))
                row = messages.add(tx, messages.MessageRow(contact_id, True, n.to_bytes(16, "big"), "text", b"", "t",
                                                           1.0, Status.QUEUED, 1.0))
                deliveries.enqueue(tx, contact_id=contact_id, device_key=b"d" * 32, now=1.0, message_row=row.id,
                                   packet=bytes(4096), packet_hash=n.to_bytes(32, "big"))
                account.set_meta(tx, "last", str(n).encode())
            return function
        async def sender(first):
            for n in range(first, first + 50):
                await db.run(send(n))
                say(n)
        say("ready")
        async with trio.open_nursery() as nursery:
            for task in range(4):
                nursery.start_soon(sender, task * 1000)

trio.run(main)
"""
)

MIGRATE = (
    HEADER
    + """
more = script("CREATE TABLE fresh (a INTEGER);\\nINSERT INTO fresh VALUES (1);\\nALTER TABLE account ADD b TEXT;\\n")
connection = Connection.open(path, bytes(range(32)), on_commit=hook)
migrate(connection, (STEPS[0], more))
"""
)

CREATE = (
    HEADER
    + """
renames = 0
rename = Path.rename

def counted(self, target):
    global renames
    renames += 1
    if point == "rename" and renames == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

def fill(tx):
    if point == "fill":
        os.kill(os.getpid(), signal.SIGKILL)
    account.set_meta(tx, "filled", b"yes")

Path.rename = counted
create_home(path / "home", SecretFile(path / "secret"), fill=fill)
"""
)


def start(program: str, path: Path, point: str, number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, str(path), point, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run_until_killed(program: str, path: Path, point: str, number: int) -> list[str]:
    process = start(program, path, point, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err.decode()
    return out.decode().split()


def check_nothing_is_lost_or_half(path: Path, told: list[str]) -> int:
    """Every acknowledged message is there, each with its packet and its step of the session. Return their number."""
    connection = Connection.open(path, KEY)
    migrate(connection)
    sent = {
        int.from_bytes(row[0], "big"): row[1]
        for row in connection.read(lambda tx: tx.all("SELECT message_id, id FROM messages"))
    }
    assert {int(line) for line in told if line.isdigit()} <= sent.keys()
    packets = connection.read(lambda tx: tx.all("SELECT packet_hash, message_row FROM deliveries"))
    assert {int.from_bytes(row[0], "big"): row[1] for row in packets} == sent
    [(state,)] = connection.read(lambda tx: tx.all("SELECT state FROM sessions"))
    assert int(state) == len(sent)
    # it goes on from there
    for (row_id,) in connection.read(lambda tx: tx.all("SELECT id FROM deliveries")):
        moved = connection.run(lambda tx, row_id=row_id: deliveries.finish(tx, row_id, Status.DELIVERED, now=3.0))  # type: ignore[misc]
        assert moved is not None
    assert connection.read(messages.unread) == 0
    connection.close()
    return len(sent)


@pytest.mark.parametrize("number", [1, 2, 9])
@pytest.mark.parametrize("point", list(CommitPoint))
def test_a_process_killed_at_a_commit_point_loses_nothing_acknowledged(
    path: Path, point: CommitPoint, number: int
) -> None:
    told = run_until_killed(SEND, path, point, number)
    kept = check_nothing_is_lost_or_half(path, told)
    acknowledged = sum(line.isdigit() for line in told)
    if point is CommitPoint.BEFORE:
        assert kept == acknowledged
    else:
        assert kept > acknowledged  # the last batch was on the disk already, and nobody had heard


def test_a_process_killed_at_any_moment_loses_nothing_acknowledged(path: Path) -> None:
    process = start(SEND, path, "never", 0)
    assert process.stdout is not None
    told = [process.stdout.readline().decode().strip() for _ in range(60)]
    process.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err.decode()
    told += out.decode().split()
    assert check_nothing_is_lost_or_half(path, told) >= 59


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("point", list(CommitPoint))
def test_a_migration_that_was_killed_is_done_whole_or_begun_again(path: Path, point: CommitPoint, number: int) -> None:
    run_until_killed(MIGRATE, path, point, number)
    connection = Connection.open(path, KEY)
    steps_done = number - (point is CommitPoint.BEFORE)
    assert connection.read(lambda tx: tx.number("PRAGMA user_version")) == steps_done
    assert connection.read(
        lambda tx: tx.number("SELECT count(*) FROM sqlite_master WHERE name IN ('account', 'fresh')")
    ) == (steps_done)
    connection.close()
    process = start(MIGRATE, path, "never", 0)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    connection = Connection.open(path, KEY)
    assert connection.read(lambda tx: tx.number("SELECT a FROM fresh")) == 1
    connection.close()


@pytest.mark.parametrize(("point", "number", "made"), [("fill", 0, False), ("rename", 1, False), ("rename", 2, True)])
async def test_a_home_whose_making_was_killed_is_there_or_can_be_made(
    tmp_path: Path, point: str, number: int, made: bool
) -> None:
    secret = SecretFile(tmp_path / "secret")
    make_secret_file(secret.path)
    # counted are the two renames of create_home; covey_core.files replaces its temporary file with Path.replace
    run_until_killed(CREATE, tmp_path, point, number)
    home = tmp_path / "home"
    if not made:
        with pytest.raises(HomeMissing):
            async with open_home(home, secret):
                pass
        create_home(home, secret, fill=lambda tx: account.set_meta(tx, "filled", b"yes"))
    async with open_home(home, secret) as db:
        assert await db.read(lambda tx: account.get_meta(tx, "filled")) == b"yes"
    assert not any(file.name.endswith(".new") for file in home.iterdir())
