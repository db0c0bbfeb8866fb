import errno
import json
import os
import stat
import threading

import pytest
from nacl.signing import VerifyKey

from covey_core.errors import FileDamaged, FileUnusable, ProtocolViolation
from covey_core.identity import Identity, load_identity, load_or_create_identity

# RFC 8032, 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
    "387b2eaeb4302aeeb00d291612bb0c00"
)


def test_the_rfcs_seed_gives_the_rfcs_key_and_signature():
    identity = Identity(SEED)
    assert identity.public_key == PUBLIC
    assert identity.sign(b"\x72").hex() == SIGNATURE


def test_the_seed_does_not_show_in_a_traceback_or_log():
    assert repr(Identity(SEED)) == "Identity()"


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_a_seed_of_another_length_is_refused(seed):
    with pytest.raises(ProtocolViolation):
        Identity(seed)


def test_an_identity_is_made_once_and_stays(tmp_path):
    path = tmp_path / "new" / "identity.json"
    first = load_or_create_identity(path)
    assert load_or_create_identity(path) == first
    assert load_identity(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["identity.json"]
    VerifyKey(first.public_key).verify(b"m", first.sign(b"m"))


def test_two_identities_are_different():
    assert Identity.generate() != Identity.generate()


def test_processes_that_start_at_once_get_the_same_identity(tmp_path):
    path = tmp_path / "identity.json"
    start = threading.Barrier(8)
    found = []

    def run():
        start.wait()
        found.append(load_or_create_identity(path).peer_id)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.json"]


def broken_files():
    whole = {"format": "covey-identity-1", "peer_id": Identity(bytes(32)).peer_id, "seed": "AAAA" * 10 + "AAA="}
    yield b""
    yield b"\xff\xfe garbage \x00"
    yield json.dumps(whole).encode()[:-20]
    yield b"[]"
    yield b"null"
    yield b"[" * 4000
    for change in (
        {"format": "covey-identity-2"}, {"seed": "AAAA"}, {"seed": 7}, {"seed": None}, {"seed": "!" * 44},
        {"peer_id": Identity(bytes([1]) * 32).peer_id}, {"peer_id": None},
    ):  # fmt: skip
        yield json.dumps(whole | change).encode()
    for missing in whole:
        yield json.dumps({key: value for key, value in whole.items() if key != missing}).encode()


@pytest.mark.parametrize("data", list(broken_files()))
def test_a_broken_file_is_refused_and_never_overwritten(tmp_path, data):
    path = tmp_path / "identity.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(FileDamaged, match=r"identity\.json.*copy"):
        load_or_create_identity(path)
    assert path.read_bytes() == data


def test_a_file_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path):
    path = tmp_path / "identity.json"
    load_or_create_identity(path)
    path.chmod(0o644)
    with pytest.raises(FileUnusable, match="chmod 600"):
        load_or_create_identity(path)


@pytest.mark.parametrize("links", [True, False])
def test_a_link_that_leads_nowhere_is_no_reason_to_make_a_new_identity(tmp_path, monkeypatch, links):
    def no_links(*_args):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "identity.json"
    path.symlink_to(tmp_path / "unmounted" / "identity.json")
    with pytest.raises(FileUnusable):
        load_or_create_identity(path)
    assert path.is_symlink()


def test_a_folder_that_cannot_be_made_is_an_error_for_the_user(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileUnusable):
        load_or_create_identity(tmp_path / "file" / "identity.json")


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links_will_do(tmp_path, monkeypatch, reason):
    def no_links(*_args):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "identity.json"
    assert load_or_create_identity(path) == load_or_create_identity(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.json"]


def test_an_identity_is_used_only_when_its_name_is_on_the_disk(tmp_path, monkeypatch):
    steps = []
    real_link, real_fsync = os.link, os.fsync

    def link(*args):
        steps.append("link")
        real_link(*args)

    def fsync(descriptor):
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "fsync", fsync)
    load_or_create_identity(tmp_path / "identity.json")
    assert steps.index("file") < steps.index("link")
    assert "folder" in steps[steps.index("link") :]


def test_a_crash_before_the_file_is_complete_leaves_none(tmp_path, monkeypatch):
    path = tmp_path / "identity.json"

    def crash(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", crash)
    with pytest.raises(KeyboardInterrupt):
        load_or_create_identity(path)
    monkeypatch.undo()
    assert not path.exists()
    load_or_create_identity(path)
