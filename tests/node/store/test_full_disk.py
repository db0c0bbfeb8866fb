"""A really full disk (a small tmpfs): transactions are refused, nothing is lost, and with room the node goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey_core.errors import CoveyError
from covey_node.store import account
from covey_node.store.database import Database
from covey_node.store.errors import StoreFull
from covey_node.store.home import SecretFile, create_home, exists
from covey_node.store.keyfile import make_secret_file

from .conftest import KEY


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB. Needs root and the right to mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "covey-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let us mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


async def test_a_full_disk_loses_nothing_and_the_node_goes_on(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(500_000))
    kept: dict[str, bytes] = {}
    async with Database.open(small_disk / "covey.db", KEY) as db:
        refused = 0
        for number in range(80):
            key, value = f"{number:03}", os.urandom(30_000)
            try:
                await db.run(lambda tx, key=key, value=value: account.set_meta(tx, key, value))  # type: ignore[misc]
            except StoreFull as full:
                assert "disk is full, nothing was changed" in str(full)  # noqa: PT017 - raised or not is counted
                refused += 1
            else:
                kept[key] = value
        assert refused > 0
        assert len(kept) > 10
        found = await db.read(lambda tx: dict(tx.all("SELECT key, value FROM meta ORDER BY key")))
        assert found == kept

        (small_disk / "ballast").unlink()
        await db.run(lambda tx: tx.execute("DELETE FROM meta WHERE key < '010'"))
        await db.run(lambda tx: account.set_meta(tx, "again", bytes(30_000)))
    async with Database.open(small_disk / "covey.db", KEY) as db:
        found = await db.read(lambda tx: dict(tx.all("SELECT key, value FROM meta")))
    assert found == {**{key: value for key, value in kept.items() if key >= "010"}, "again": bytes(30_000)}


async def test_a_database_is_opened_on_a_full_disk_or_the_reason_is_told(small_disk: Path) -> None:
    async with Database.open(small_disk / "covey.db", KEY) as db:
        await db.run(lambda tx: account.set_meta(tx, "a", b"1"))
    with pytest.raises(OSError, match="No space left"):
        fill(small_disk / "ballast")
    with pytest.raises(StoreFull, match="Free some space"):
        async with Database.open(small_disk / "covey.db", KEY) as db:
            await db.run(lambda tx: account.set_meta(tx, "b", b"1"))
    (small_disk / "ballast").unlink()
    async with Database.open(small_disk / "covey.db", KEY) as db:
        assert await db.read(lambda tx: account.get_meta(tx, "a")) == b"1"


def test_a_home_that_does_not_fit_the_disk_is_not_made(small_disk: Path, tmp_path: Path) -> None:
    secret = SecretFile(tmp_path / "secret")
    make_secret_file(secret.path)
    (small_disk / "ballast").write_bytes(bytes(2_040_000))
    with pytest.raises(CoveyError, match=r"[Ff]ree some space"):
        create_home(small_disk / "home", secret, fill=lambda tx: account.set_meta(tx, "a", b"1"))
    assert not exists(small_disk / "home")
    (small_disk / "ballast").unlink()
    create_home(small_disk / "home", secret, fill=lambda tx: account.set_meta(tx, "a", b"1"))
    assert exists(small_disk / "home")
