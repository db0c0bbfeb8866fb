"""The values a server holds: validation, order, expiry, bounds."""

import pytest

from covey_core.errors import ProtocolViolation
from covey_core.host import kad_limits as limits
from covey_core.host.kad_store import PutOutcome, RecordStore
from tests.host_dht.values import ExpiringValidator, NumberedValidator

KEY = b"/c/key"


@pytest.fixture
def store() -> RecordStore:
    return RecordStore({"c": NumberedValidator(), "e": ExpiringValidator()})


def test_a_higher_value_replaces_and_a_lower_one_is_stale(store: RecordStore) -> None:
    assert store.put(KEY, b"2:b", source="s", now=0) is PutOutcome.STORED
    assert store.put(KEY, b"1:a", source="s", now=1) is PutOutcome.STALE
    assert store.put(KEY, b"3:c", source="s", now=2) is PutOutcome.STORED
    assert store.get(KEY, now=3) == (b"3:c", 2)
    assert len(store) == 1


def test_another_value_of_the_same_rank_replaces_too(store: RecordStore) -> None:
    store.put(KEY, b"2:b", source="s", now=0)
    assert store.put(KEY, b"2:c", source="s", now=1) is PutOutcome.STORED


def test_the_same_value_again_stays_another_day(store: RecordStore) -> None:
    store.put(KEY, b"1:a", source="s", now=0)
    assert store.put(KEY, b"1:a", source="s", now=limits.RECORD_SECONDS - 1) is PutOutcome.REFRESHED
    assert store.get(KEY, now=limits.RECORD_SECONDS + 1) is not None


def test_a_refreshed_value_does_not_keep_older_ones(store: RecordStore) -> None:
    store.put(KEY, b"1:a", source="s", now=0)
    store.put(b"/c/other", b"1:a", source="s", now=1)
    store.put(KEY, b"1:a", source="s", now=100)
    store.expire(now=limits.RECORD_SECONDS + 2)
    assert len(store) == 1
    assert store.get(KEY, now=limits.RECORD_SECONDS + 2) is not None


def test_a_value_is_gone_after_24_hours(store: RecordStore) -> None:
    store.put(KEY, b"1:a", source="s", now=0)
    assert store.get(KEY, now=limits.RECORD_SECONDS - 1) is not None
    assert store.get(KEY, now=limits.RECORD_SECONDS) is None
    assert len(store) == 0


def test_a_value_that_is_no_longer_valid_is_neither_given_nor_in_the_way_of_a_lower_one(store: RecordStore) -> None:
    store.put(b"/e/key", b"9:100", source="s", now=0)
    store.put(b"/e/two", b"9:100", source="s", now=0)
    assert store.get(b"/e/key", now=100) is None
    assert store.put(b"/e/two", b"1:300", source="s", now=200) is PutOutcome.STORED


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", b"1:a"),
        (b"c/key", b"1:a"),
        (b"/c", b"1:a"),
        (b"/x/key", b"1:a"),
        (b"/\xff/key", b"1:a"),
        (b"/c/" + b"k" * 48, b"1:a"),
        (KEY, b"0:a"),
        (KEY, b""),
        (KEY, b"1:" + b"a" * limits.VALUE_BYTES),
    ],
)
def test_what_breaks_a_rule_is_invalid(store: RecordStore, key: bytes, value: bytes) -> None:
    assert store.put(key, value, source="s", now=0) is PutOutcome.INVALID
    with pytest.raises(ProtocolViolation):
        store.check(key, value, now=0)
    assert len(store) == 0


def test_a_key_of_50_bytes_is_the_longest(store: RecordStore) -> None:
    assert store.put(b"/c/" + b"k" * 47, b"1:a", source="s", now=0) is PutOutcome.STORED


def test_a_source_fills_its_share_and_no_more_and_gets_it_back(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOURCE_RECORDS", 2)
    for number in range(2):
        assert store.put(b"/c/%d" % number, b"1:a", source="s", now=0) is PutOutcome.STORED
    assert store.put(b"/c/x", b"1:a", source="s", now=0) is PutOutcome.FULL
    assert store.put(b"/c/1", b"2:a", source="s", now=0) is PutOutcome.STORED
    assert store.put(b"/c/x", b"1:a", source="other", now=0) is PutOutcome.STORED
    assert store.put(b"/c/x", b"2:a", source="s", now=0) is PutOutcome.FULL
    assert store.put(b"/c/z", b"1:a", source="s", now=limits.RECORD_SECONDS) is PutOutcome.STORED


def test_a_source_with_a_larger_share_fills_that(store: RecordStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOURCE_RECORDS", 1)
    for number in range(3):
        assert store.put(b"/c/%d" % number, b"1:a", source="relay", share=3, now=0) is PutOutcome.STORED
    assert store.put(b"/c/x", b"1:a", source="relay", share=3, now=0) is PutOutcome.FULL
    assert store.put(b"/c/0", b"2:a", source="owner", now=0) is PutOutcome.STORED
    assert store.put(b"/c/x", b"1:a", source="relay", share=3, now=0) is PutOutcome.STORED


def test_a_full_store_refuses_new_keys_and_serves_old_ones(store: RecordStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORDS", 1)
    store.put(KEY, b"1:a", source="s", now=0)
    assert store.put(b"/c/x", b"1:a", source="t", now=0) is PutOutcome.FULL
    assert store.put(KEY, b"2:a", source="s", now=0) is PutOutcome.STORED


def test_bytes_are_bounded_over_all_values(store: RecordStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORDS_BYTES", 10)
    assert store.put(b"/c/1", b"1:abcd", source="s", now=0) is PutOutcome.STORED
    assert store.put(b"/c/2", b"1:abcd", source="s", now=0) is PutOutcome.FULL
    assert store.put(b"/c/1", b"2:abcdefgh", source="s", now=0) is PutOutcome.STORED
    assert store.put(b"/c/1", b"3:abcdefghi", source="s", now=0) is PutOutcome.FULL
