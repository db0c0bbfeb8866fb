"""The relay's forward keys: told for a day, good for two, whatever the clock does."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from covey_core.identity import Identity
from covey_core.wire.mailbox_proof import forward_key_fits
from covey_relay import limits
from covey_relay.mailbox.forward_keys import ForwardKeys

IDENTITY = Identity(bytes(32))
DAY = 86_400


def keys() -> ForwardKeys:
    count = iter(range(1_000_000))
    return ForwardKeys(IDENTITY, random=lambda size: hashlib.sha256(str(next(count)).encode()).digest()[:size])


def test_a_key_is_told_for_a_day_and_good_for_another() -> None:
    made = keys()
    first = made.current(now=1_000_000)
    assert made.current(now=1_000_000 + DAY - 1) is first
    second = made.current(now=1_000_000 + DAY)
    assert second.public != first.public
    assert made.good(now=1_000_000 + 2 * DAY - 1) == (second, first)
    assert made.good(now=1_000_000 + 2 * DAY) == (second,)


def test_the_hello_carries_a_key_signed_by_the_relay() -> None:
    hello = keys().hello(bytes(32), now=1_000_000.7)
    assert hello.time == 1_000_000
    assert forward_key_fits(hello, identity_key=IDENTITY.public_key, now=1_000_000)
    assert not forward_key_fits(hello, identity_key=IDENTITY.public_key, now=1_000_000 + 2 * DAY)
    assert not forward_key_fits(hello, identity_key=Identity(bytes([1]) * 32).public_key, now=1_000_000)


def test_private_halves_do_not_stand_in_the_repr() -> None:
    key = keys().current(now=0)
    assert key.private.hex() not in repr(key)
    assert "private" not in repr(key)


@given(st.lists(st.integers(-3 * DAY, 3 * DAY), max_size=30))
def test_whatever_the_clock_does_what_is_told_is_good_now_and_keys_are_few(steps: list[int]) -> None:
    made, now = keys(), 10_000_000
    for step in steps:
        now = max(0, now + step)
        hello = made.hello(bytes(32), now=now)
        good = made.good(now=now)
        assert hello.forward_key in [one.public for one in good]
        assert now < hello.forward_until <= now + limits.MAILBOX_FORWARD_KEY_SECONDS + DAY + 1
        assert len(good) <= limits.MAILBOX_FORWARD_KEYS
