import errno
import os
import stat

import pytest

from covey_core import files
from covey_core.errors import FileUnusable
from covey_core.files import atomic_write, read_bounded, read_private


def test_a_file_is_written_whole_and_for_its_owner_only(tmp_path):
    path = tmp_path / "secret"
    os.umask(os.umask(0))
    atomic_write(path, b"first")
    atomic_write(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_the_mode_asked_for_is_the_mode_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        atomic_write(tmp_path / "public", b"", mode=0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o644


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, failing):
    path = tmp_path / "secret"
    atomic_write(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(FileUnusable, match="free some space"):
        atomic_write(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_the_data_is_on_the_disk_before_the_name_points_to_it(tmp_path, monkeypatch):
    steps = []
    real_fsync, real_replace = os.fsync, files.Path.replace

    def fsync(descriptor):
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    def replace(self, target):
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.Path, "replace", replace)
    atomic_write(tmp_path / "secret", b"data")
    assert steps == ["file", "rename", "folder"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileUnusable, match="its folder must exist"):
        atomic_write(tmp_path / "no" / "secret", b"")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_secret_that_others_have_rights_on_is_refused_with_the_command_that_mends_it(tmp_path, mode):
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(FileUnusable, match=f"chmod 600 {path}"):
        read_private(path, limit_bytes=10)
    assert read_bounded(path, limit_bytes=10) == b"x"


def test_a_file_over_the_limit_is_not_read(tmp_path):
    path = tmp_path / "secret"
    atomic_write(path, bytes(11))
    with pytest.raises(FileUnusable, match="larger than 10 bytes"):
        read_private(path, limit_bytes=10)


def test_a_folder_or_a_pipe_in_the_files_place_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(FileUnusable):
            read_private(path, limit_bytes=10)


def test_a_link_to_a_secret_is_followed(tmp_path):
    atomic_write(tmp_path / "real", b"x")
    (tmp_path / "link").symlink_to("real")
    assert read_private(tmp_path / "link", limit_bytes=10) == b"x"
