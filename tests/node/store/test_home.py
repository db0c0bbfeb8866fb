"""A home is made whole or not at all, opens only with its own secret, and for one process at a time."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from covey_core.errors import FileDamaged, FileUnusable
from covey_node.crypto import at_rest
from covey_node.store import account
from covey_node.store.errors import HomeExists, HomeInUse, HomeMissing, SecretTooShort, WrongPassphrase
from covey_node.store.home import Passphrase, SecretFile, Unlock, create_home, exists, open_home
from covey_node.store.keyfile import make_secret_file
from covey_node.store.tx import Tx

OPEN_AND_TELL = """
import sys, trio
from pathlib import Path
from covey_core.errors import CoveyError
from covey_node.store.home import SecretFile, open_home
async def main():
    async with open_home(Path(sys.argv[1]), SecretFile(Path(sys.argv[2]))):
        print("opened")
try:
    trio.run(main)
except CoveyError as exc:
    print(type(exc).__name__, exc)
"""


@dataclass
class Place:
    home: Path
    secret: SecretFile

    def files(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.home.iterdir()}


@pytest.fixture(autouse=True)
def _cheap_argon2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real cost is crypto's to test: here a wrap of the least cost."""
    wrap = at_rest.wrap_with_passphrase

    def cheap(key: bytes, passphrase: str, rng: at_rest.Rng) -> bytes:
        return wrap(key, passphrase, rng, operations=1, memory_bytes=8192)

    monkeypatch.setattr(at_rest, "wrap_with_passphrase", cheap)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    secret = tmp_path / "secret"
    make_secret_file(secret)
    return Place(tmp_path / "home", SecretFile(secret))


def fill(tx: Tx) -> None:
    account.set_meta(tx, "filled", b"yes")


async def filled(home: Path, unlock: Unlock) -> bytes | None:
    async with open_home(home, unlock) as db:
        return await db.read(lambda tx: account.get_meta(tx, "filled"))


async def test_a_home_opens_with_its_secret_file(place: Place) -> None:
    create_home(place.home, place.secret, fill=fill)
    assert exists(place.home)
    assert await filled(place.home, place.secret) == b"yes"
    assert {file.name for file in place.home.iterdir()} == {"covey.db", "key.json", "lock"}
    assert place.home.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in place.home.iterdir())


async def test_a_home_opens_with_its_passphrase_and_with_no_other(place: Place) -> None:
    create_home(place.home, Passphrase("correct horse"), fill=fill)
    assert await filled(place.home, Passphrase("correct horse")) == b"yes"
    before = place.files()
    with pytest.raises(WrongPassphrase, match="the passphrase is wrong; nothing was changed") as raised:
        await filled(place.home, Passphrase("correct house"))
    assert "house" not in repr(raised.value)
    assert "correct" not in repr(Passphrase("correct horse"))
    with pytest.raises(WrongPassphrase, match="unlocked by a passphrase, not by a secret file"):
        await filled(place.home, place.secret)
    assert place.files() == before


async def test_another_secret_file_is_refused_and_changes_nothing(place: Place, tmp_path: Path) -> None:
    create_home(place.home, place.secret, fill=fill)
    before = place.files()
    other = SecretFile(tmp_path / "other")
    make_secret_file(other.path)
    with pytest.raises(WrongPassphrase, match="is not this node's secret; nothing was changed"):
        await filled(place.home, other)
    with pytest.raises(WrongPassphrase, match="unlocked by a secret file, not by a passphrase"):
        await filled(place.home, Passphrase("anything"))
    assert place.files() == before


async def test_a_line_break_at_the_end_of_a_secret_does_not_count_and_raw_bytes_are_fine(
    place: Place, tmp_path: Path
) -> None:
    create_home(place.home, place.secret, fill=fill)
    copy = tmp_path / "copy"
    copy.write_bytes(place.secret.path.read_bytes().strip() + b"\r\n")
    assert await filled(place.home, SecretFile(copy)) == b"yes"
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(range(200, 232)))
    create_home(tmp_path / "raw home", SecretFile(raw), fill=fill)
    assert await filled(tmp_path / "raw home", SecretFile(raw)) == b"yes"


def test_a_short_secret_is_refused_with_the_way_to_make_one(place: Place) -> None:
    place.secret.path.write_bytes(b"password\n")
    with pytest.raises(SecretTooShort, match=r"holds 8 bytes.*32 random ones.*openssl rand"):
        create_home(place.home, place.secret, fill=fill)
    assert not exists(place.home)


def test_a_missing_secret_is_named(place: Place) -> None:
    place.secret.path.unlink()
    with pytest.raises(FileUnusable, match="secret"):
        create_home(place.home, place.secret, fill=fill)


def test_a_home_is_never_made_over_another(place: Place) -> None:
    create_home(place.home, place.secret, fill=fill)
    before = place.files()
    with pytest.raises(HomeExists, match="already"):
        create_home(place.home, place.secret, fill=fill)
    (place.home / "key.json").rename(place.home / "elsewhere")
    with pytest.raises(HomeExists):
        create_home(place.home, place.secret, fill=fill)
    (place.home / "elsewhere").rename(place.home / "key.json")
    assert place.files() == before


async def test_where_no_node_was_set_up_the_error_says_how_to(place: Place) -> None:
    with pytest.raises(HomeMissing, match="covey init"):
        await filled(place.home, place.secret)
    place.home.mkdir()
    with pytest.raises(HomeMissing, match="covey init"):
        await filled(place.home, place.secret)


async def test_what_fails_while_a_home_is_made_leaves_nothing_that_counts(place: Place) -> None:
    def failing(tx: Tx) -> None:
        fill(tx)
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        create_home(place.home, place.secret, fill=failing)
    assert not exists(place.home)
    with pytest.raises(HomeMissing):
        await filled(place.home, place.secret)
    create_home(place.home, place.secret, fill=fill)
    assert await filled(place.home, place.secret) == b"yes"


async def test_a_home_whose_last_rename_was_interrupted_is_finished_when_it_is_opened(place: Place) -> None:
    create_home(place.home, place.secret, fill=fill)
    (place.home / "covey.db").rename(place.home / "covey.db.new")
    assert await filled(place.home, place.secret) == b"yes"


@pytest.mark.parametrize("missing", ["key.json", "covey.db"])
async def test_a_missing_file_is_named_and_nothing_is_made_in_its_place(place: Place, missing: str) -> None:
    create_home(place.home, place.secret, fill=fill)
    (place.home / missing).unlink()
    before = place.files()
    with pytest.raises(FileDamaged, match=f"{missing}: the file is missing"):
        await filled(place.home, place.secret)
    assert place.files() == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 10_000,
        b'{"version": 1, "wrapped": "?"}',
        b'{"version": 1, "wrapped": 7}',
        b'{"version": 1, "wrapped": "AAAA"}',
        b'{"version": 2, "wrapped": "AAAA"}',
        json.dumps({"version": 1, "wrapped": base64.b64encode(b"covey-key\x01\x09" + bytes(99)).decode()}).encode(),
    ],
)
async def test_a_damaged_key_file_is_named_and_left_alone(place: Place, content: bytes) -> None:
    create_home(place.home, place.secret, fill=fill)
    (place.home / "key.json").write_bytes(content)
    with pytest.raises(FileDamaged, match=r"key\.json"):
        await filled(place.home, place.secret)
    assert (place.home / "key.json").read_bytes() == content


@pytest.mark.parametrize("kept", [0, 1, 100, 4095, 4096, 8192, 0.5])
async def test_a_database_that_was_cut_off_is_damaged_and_never_begun_anew(place: Place, kept: float) -> None:
    create_home(place.home, place.secret, fill=fill)
    database = place.home / "covey.db"
    whole = database.read_bytes()
    cut = whole[: int(kept * len(whole)) if kept == 0.5 else int(kept)]
    database.write_bytes(cut)
    with pytest.raises(FileDamaged, match=r"covey\.db.*backup"):
        await filled(place.home, place.secret)
    assert database.read_bytes() == cut
    database.write_bytes(whole)
    assert await filled(place.home, place.secret) == b"yes"


async def test_a_key_file_of_a_newer_version_is_refused(place: Place) -> None:
    create_home(place.home, place.secret, fill=fill)
    value = json.loads((place.home / "key.json").read_bytes())
    (place.home / "key.json").write_text(json.dumps({**value, "version": 2}))
    with pytest.raises(FileDamaged, match=r"version 2 is not known.*newer program"):
        await filled(place.home, place.secret)


async def test_a_key_file_that_others_may_read_is_refused(place: Place) -> None:
    create_home(place.home, place.secret, fill=fill)
    (place.home / "key.json").chmod(0o644)
    with pytest.raises(FileUnusable, match="chmod 600"):
        await filled(place.home, place.secret)


async def test_the_key_of_another_home_does_not_open_the_database(place: Place, tmp_path: Path) -> None:
    create_home(place.home, place.secret, fill=fill)
    create_home(tmp_path / "other", place.secret, fill=fill)
    (place.home / "key.json").write_bytes((tmp_path / "other" / "key.json").read_bytes())
    with pytest.raises(FileDamaged, match="belong together"):
        await filled(place.home, place.secret)


async def test_a_second_process_is_kept_out_until_the_first_has_closed(place: Place) -> None:
    create_home(place.home, place.secret, fill=fill)

    def second() -> str:
        command = [sys.executable, "-c", OPEN_AND_TELL, str(place.home), str(place.secret.path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    async with open_home(place.home, place.secret):
        told = second()
        assert told.startswith("HomeInUse another process has")
        with pytest.raises(HomeInUse):
            create_home(place.home, place.secret, fill=fill)
    assert second() == "opened\n"
