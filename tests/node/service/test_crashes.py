"""A node that dies at any commit point loses and repeats nothing (tests/support/crashes.py does the killing)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 900


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("role", ["invitee", "inviter"])
def test_a_node_killed_at_each_commit_point_loses_and_repeats_nothing(role: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.crashes", role, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["failures"], "\n".join(found["failures"])
    assert found["points"] >= 15, "the node died at too few commit points for this to mean anything"


@pytest.mark.timeout(SECONDS)
def test_who_writes_to_somebody_away_and_is_killed_at_each_commit_point_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.deposit_crashes", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["failures"], "\n".join(found["failures"])
    assert found["points"] >= 8, "the node died at too few commit points for this to mean anything"
