"""How values look on a terminal, and that no stranger's text can steer it."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_node.cli.messages import state_words
from covey_node.cli.output import Output
from covey_node.cli.text import ago, duration, groups, harmless, indented, seconds_of, table, width

STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


@given(st.text())
def test_no_text_keeps_a_character_that_steers_a_terminal(text: str) -> None:
    shown = harmless(text)
    assert not STEERING.search(shown)
    shown.encode("utf-8")


@given(st.text())
def test_later_lines_of_a_text_stand_below_its_first(text: str) -> None:
    shown = indented(text, 10)
    assert not STEERING.search(shown.replace("\n", ""))
    assert all(line.startswith(" " * 10) for line in shown.split("\n")[1:])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("naïve 日本語 👍🏽 👨‍👩‍👧", "naïve 日本語 👍🏽 👨‍👩‍👧"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rb", "a\\rb"),
        ("a\tb\nc", "a b c"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        ("\u2028line", "\\u2028line"),
        ("\ud800", "\\ud800"),
    ],
)
def test_harmful_characters_are_shown_and_others_stay(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)), max_size=5))
def test_columns_start_at_the_same_place_in_every_line(rows: list[tuple[str, str, str]]) -> None:
    lines = table(("A", "B", "C"), [(f"<{a}", f"<{b}", f"<{c}") for a, b, c in rows])
    assert len(lines) == len(rows) + 1
    starts = set()
    for (a, _, _), line in zip(rows, lines[1:], strict=True):
        first = harmless(f"<{a}")
        assert line.startswith(first)
        rest = line[len(first) :]
        starts.add(width(first) + len(rest) - len(rest.lstrip(" ")))
    assert len(starts) <= 1


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("👍", 2), ("", 0)])
def test_width_counts_columns(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("1h", 3600), ("7d", 604800), ("2w", 1209600), ("1.5 H", 5400), ("9", 9)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "-1h", "1y", "1h30m", "nan", "inf", "1e9", "٣h"])
def test_what_is_no_duration_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="write 30s, 10m, 1h, 7d or 2w"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (None, "never"),
        (1000, "now"),
        (996, "now"),
        (948, "52 s ago"),
        (700, "5 min ago"),
        (1000 - 9000, "2 h ago"),
        (1000 - 10 * 86400, "10 days ago"),
        (1042, "in 42 s"),
        (1000 + 86400, "in 24 h"),
    ],
)
def test_times_are_told_from_now(then: float | None, words: str) -> None:
    assert ago(then, 1000) == words


def test_a_duration_never_shows_a_unit_that_rounding_filled() -> None:
    assert [duration(seconds) for seconds in (59.4, 60, 3599, 7200)] == ["59 s", "1 min", "60 min", "2 h"]


def test_a_safety_number_is_twelve_groups_of_five_four_a_line() -> None:
    lines = groups("".join(str(digit % 10) for digit in range(60)))
    assert lines == ["01234 56789 01234 56789"] * 3


def test_every_category_of_unicode_is_either_shown_or_spelled_out() -> None:
    for code in range(0x3000):
        shown = harmless(chr(code))
        assert shown == chr(code) or shown.startswith("\\") or shown == " ", unicodedata.category(chr(code))


def test_a_queued_message_says_when_it_is_tried_again_or_that_it_is_being_tried() -> None:
    out = Output(as_json=False, colours=False)

    def words(due: float | None, reason: str | None = None) -> str:
        view = {"status": "queued", "path": None, "reason": reason, "next_attempt_at": due}
        return state_words(view, out, 1000.0)

    assert words(None) == "queued"
    assert words(1042.0, "bob is not online") == "queued: bob is not online, next attempt in 42 s"
    assert words(1000.2) == "queued, next attempt in 1 s"
    assert words(990.0) == "queued, being tried now"
