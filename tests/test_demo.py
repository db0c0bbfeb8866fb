"""`make demo` without a terminal: the whole story on loopback, with the commands that a person types."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(240)
def test_the_demo_tells_its_story_to_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/demo.py"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=220, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "delivered (lan)", "I can, and nobody else can.", "the keys are theirs",
        "bob: reached, lan over ", "ok  direct path   stands (lan)",
        "bob: not reached now", "! bob is not reached now; your side is in order.",
    ):  # fmt: skip
        assert words in done.stdout
    assert done.stdout.count("For when you are back.") == 2  # sent, and once in bob's history
