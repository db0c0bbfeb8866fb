"""What lies at a relay until its day: a machine against a plain model, full disks, damaged files."""

from __future__ import annotations

import sqlite3
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from nacl.signing import SigningKey

from covey_core.errors import FileDamaged, SettingsInvalid
from covey_core.wire.ahead import AheadOutcome, begin_of, verify_ahead
from covey_relay.ahead.table import AheadFailed, AheadTable, Due, Kept
from covey_relay.limits import AheadLimits
from tests.relay.ahead.records import DAY_SECONDS, day_record

TODAY = 20_780
KEYS = [SigningKey(bytes([number]) * 32) for number in range(6)]
BOUNDS = AheadLimits(records=4, disk_bytes=900)


def leave(
    table: AheadTable, key: SigningKey, day: int, *, now: int, sequence: int = 1, inside: bytes = b"sealed",
    due: int | None = None, may_add: bool = True,
) -> Kept:  # fmt: skip
    value = day_record(key, day, sequence=sequence, inside=inside)
    day, record = verify_ahead(value)
    return table.leave(
        day, record, value, now=now, due=max(begin_of(day), now) if due is None else due, may_add=may_add
    )


@dataclass
class Lies:
    """What the model knows of one key."""

    day: int
    sequence: int
    due: int
    value: bytes | None


class TableMachine(RuleBasedStateMachine):
    """Any order of leaving, withdrawing, publishing, expiring and restarting, with time going on."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ahead.db"
        self.now = begin_of(TODAY) + 1000
        self.table = AheadTable(self.path, BOUNDS)
        self.model: dict[bytes, Lies] = {}

    def teardown(self) -> None:
        self.table.close()
        self.folder.cleanup()

    @property
    def today(self) -> int:
        return self.now // DAY_SECONDS

    @rule(
        key=st.sampled_from(KEYS), ahead=st.integers(-1, 33), sequence=st.integers(1, 4),
        size=st.integers(1, 250), may_add=st.booleans(), wait=st.integers(0, 5000),
    )  # fmt: skip
    def leave(self, key: SigningKey, ahead: int, sequence: int, size: int, may_add: bool, wait: int) -> None:
        day, name = self.today + ahead, bytes(key.verify_key)
        value = day_record(key, day, sequence=sequence, inside=b"x" * size)
        due = max(self.now, begin_of(day)) + wait
        answer = self.table.leave(*verify_ahead(value), value, now=self.now, due=due, may_add=may_add)
        known = self.model.get(name)
        room = BOUNDS.disk_bytes - sum(len(one.value or b"") for one in self.model.values())
        if not 0 <= ahead <= 31:
            expected = Kept(AheadOutcome.TIME)
        elif known is None and not may_add:
            expected = Kept(AheadOutcome.BUSY)
        elif known is None and (len(self.model) >= BOUNDS.records or len(value) > room):
            expected = Kept(AheadOutcome.FULL)
        elif known is None:
            expected = Kept(AheadOutcome.DONE, added=True)
        elif known.value == value:
            expected = Kept(AheadOutcome.DONE)
            due = known.due
        elif sequence <= known.sequence:
            expected = Kept(AheadOutcome.NEWER)
        elif len(value) - len(known.value or b"") > max(room, 0):
            expected = Kept(AheadOutcome.FULL)
        else:
            expected = Kept(AheadOutcome.DONE)
        assert answer == expected
        if expected.outcome is AheadOutcome.DONE:
            self.model[name] = Lies(day, sequence, due, value)

    @rule(key=st.sampled_from(KEYS), sequence=st.integers(1, 4))
    def withdraw(self, key: SigningKey, sequence: int) -> None:
        name = bytes(key.verify_key)
        answer, known = self.table.withdraw(name, sequence), self.model.get(name)
        if known is not None and known.sequence > sequence:
            assert answer is AheadOutcome.NEWER
            return
        assert answer is AheadOutcome.DONE
        if known is not None:
            known.sequence, known.value = sequence, None

    @rule(count=st.integers(1, 3), again=st.integers(1, 50_000))
    def publish(self, count: int, again: int) -> None:
        found = self.table.due(now=self.now, count=count)
        wanted = {
            name: one
            for name, one in self.model.items()
            if one.value is not None and one.day == self.today and one.due <= self.now
        }
        assert len(found) == min(count, len(wanted))
        assert all(wanted[one.day_key].value == one.value for one in found)
        assert {one.day_key for one in found} <= set(wanted)
        latest = max((wanted[one.day_key].due for one in found), default=0)
        assert all(one.due >= latest for name, one in wanted.items() if name not in {due.day_key for due in found})
        self.table.put_off((one, self.now + again) for one in found)
        for one in found:
            wanted[one.day_key].due = self.now + again

    @rule(count=st.integers(1, 5))
    def expire(self, count: int) -> None:
        over = [name for name, one in self.model.items() if one.day < self.today]
        before = len(self.model)
        gone = self.table.expire(now=self.now, count=count)
        assert gone == min(count, len(over))
        if gone < len(over):  # which ones went is the table's choice: let it finish
            gone += self.table.expire(now=self.now, count=before)
        assert gone == len(over)
        for name in over:
            del self.model[name]

    @rule(seconds=st.sampled_from((60, 5000, 40_000, 86_400, 20 * 86_400)))
    def time_goes_on(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        self.table.close()
        self.table = AheadTable(self.path, BOUNDS)

    @invariant()
    def the_room_is_counted(self) -> None:
        size = sum(len(one.value or b"") for one in self.model.values())
        assert self.table.usage == (len(self.model), size)
        assert size <= BOUNDS.disk_bytes


TestTable = TableMachine.TestCase
TestTable.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ahead.db"


def test_what_was_answered_is_there_after_a_process_that_never_closed(path: Path) -> None:
    table, now = AheadTable(path, AheadLimits()), begin_of(TODAY)
    assert leave(table, KEYS[0], TODAY, now=now) == Kept(AheadOutcome.DONE, added=True)
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())  # as a killed process leaves it: the log is not moved into the file
    copy.with_name("copy.db-wal").write_bytes(path.with_name("ahead.db-wal").read_bytes())
    found = AheadTable(copy, AheadLimits()).due(now=now, count=9)
    assert [one.value for one in found] == [day_record(KEYS[0], TODAY)]


def test_a_record_that_was_replaced_while_it_was_published_keeps_its_own_time(path: Path) -> None:
    table, now = AheadTable(path, AheadLimits()), begin_of(TODAY)
    leave(table, KEYS[0], TODAY, now=now)
    (old,) = table.due(now=now, count=1)
    leave(table, KEYS[0], TODAY, now=now, sequence=2)
    table.put_off([(old, now + 20_000)])
    assert [one.sequence for one in table.due(now=now, count=9)] == [2]


def test_the_file_is_private_and_names_nobody_but_keys(path: Path) -> None:
    table = AheadTable(path, AheadLimits())
    leave(table, KEYS[0], TODAY, now=begin_of(TODAY))
    table.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    columns = [row[1] for row in sqlite3.connect(path).execute("PRAGMA table_info(records)")]
    assert columns == ["day_key", "day", "sequence", "due", "value"]


def test_records_lie_in_no_order_that_tells_when_they_came(path: Path) -> None:
    table = AheadTable(path, AheadLimits())
    keys = [SigningKey(number.to_bytes(32, "big")) for number in range(20)]
    for key in keys:
        leave(table, key, TODAY, now=begin_of(TODAY))
    table.close()
    with pytest.raises(sqlite3.OperationalError, match="rowid"):
        sqlite3.connect(path).execute("SELECT rowid FROM records")
    found = [row[0] for row in sqlite3.connect(path).execute("SELECT day_key FROM records")]
    assert found == sorted(bytes(key.verify_key) for key in keys)


def test_what_was_withdrawn_is_gone_from_the_disk(path: Path) -> None:
    table = AheadTable(path, AheadLimits())
    leave(table, KEYS[0], TODAY, now=begin_of(TODAY), inside=b"where bob is" * 30)
    table.withdraw(bytes(KEYS[0].verify_key), 1)
    table.close()
    assert b"where bob is" not in path.read_bytes()


def test_space_is_given_back_when_days_are_over(path: Path) -> None:
    table, now = AheadTable(path, AheadLimits()), begin_of(TODAY)
    for number in range(100):
        leave(table, SigningKey(number.to_bytes(32, "big")), TODAY, now=now, inside=bytes(20_000))
    while table.expire(now=now + DAY_SECONDS, count=30):
        pass
    table.close()
    assert path.stat().st_size < 200_000


def test_a_damaged_file_says_what_to_do(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(FileDamaged, match="move the file away"):
        AheadTable(path, AheadLimits())


def test_a_file_of_a_newer_relay_is_left_alone(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 7")
    raw.close()
    with pytest.raises(SettingsInvalid, match="newer"):
        AheadTable(path, AheadLimits())


def test_a_disk_that_is_full_refuses_and_counts_nothing(path: Path) -> None:
    table, now = AheadTable(path, AheadLimits()), begin_of(TODAY)
    leave(table, KEYS[0], TODAY, now=now)
    before = table.usage
    table._raw.execute("PRAGMA max_page_count = 1").fetchall()  # SQLite takes the present size for the least
    with pytest.raises(AheadFailed, match="nothing was changed"):
        leave(table, KEYS[1], TODAY, now=now, inside=bytes(24_000))
    assert table.usage == before
    assert table.due(now=now, count=9) == [Due(bytes(KEYS[0].verify_key), 1, day_record(KEYS[0], TODAY))]
    assert table.withdraw(bytes(KEYS[0].verify_key), 1) is AheadOutcome.DONE
