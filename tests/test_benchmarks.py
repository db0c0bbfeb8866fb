"""The benchmarks run, and their results have the form that scripts read. No figure is judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.report import AtLeast, AtMost, Row

ROOT = Path(__file__).parent.parent


def test_a_quick_run_writes_well_formed_rows(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "crypto", "--quick", "--out", str(tmp_path)],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ping-pong" in done.stdout
    rows = json.loads((tmp_path / "crypto.json").read_text())
    assert len(rows) > 5
    for row in rows:
        assert list(row) == ["name", "value", "unit", "target", "met"]
        assert row["name"]
        assert row["value"] is None or row["value"] > 0
        assert (row["met"] is None) == (row["target"] is None or row["value"] is None)
        assert row["target"] is None or row["target"].startswith((">= ", "<= "))


def test_a_target_is_met_at_its_bound_and_missed_beyond() -> None:
    assert [Row("", value, "", AtLeast(5)).met for value in (4.9, 5.0, 5.1)] == [False, True, True]
    assert [Row("", value, "", AtMost(5)).met for value in (4.9, 5.0, 5.1)] == [True, True, False]


def test_what_could_not_be_measured_is_neither_met_nor_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.write("nothing", [Row("a thing", None, "s", AtMost(5))], tmp_path)
    assert "skipped" in capsys.readouterr().out
    assert json.loads((tmp_path / "nothing.json").read_text()) == [
        {"name": "a thing", "value": None, "unit": "s", "target": "<= 5", "met": None}
    ]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [report.percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert report.median([3.0, 1.0, 2.0]) == 2.0
