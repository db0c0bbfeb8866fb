"""Prekey bundles and the private halves behind them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node import crypto
from covey_node.crypto.limits import DAY_SECONDS, MAX_ONE_TIME_KEYS
from covey_node.crypto.primitives import SIGN_ONE_TIME, SIGN_PREKEYS
from tests.node.crypto.people import NOW, Person, accept, begin, flipped
from tests.node.crypto.test_primitives import LOW_ORDER_X25519

BOB = Person("bob")
BUNDLE = BOB.bundle(one_time=True)
ENCODED = BUNDLE.encode()


def resigned(bundle: crypto.Bundle) -> bytes:
    return replace(bundle, signature=BOB.local.keys.sign(SIGN_PREKEYS, bundle.body())).encode()


def test_a_bundle_survives_its_encoding() -> None:
    assert crypto.Bundle.decode(ENCODED) == BUNDLE
    assert len(ENCODED) == 2 + 215 + 2_517 + 64 + 1 + 1_284
    assert len(BUNDLE.body()) == 2_517
    assert BUNDLE.account == BOB.account.public_key
    assert BUNDLE.device.x25519 == BOB.local.keys.x25519


@given(st.integers(min_value=0, max_value=len(ENCODED) - 1), st.integers(min_value=0, max_value=7))
def test_a_bundle_with_any_bit_changed_is_refused(at: int, bit: int) -> None:
    with pytest.raises(ProtocolViolation):
        crypto.Bundle.decode(flipped(ENCODED, at, bit))


@given(st.integers(min_value=0, max_value=len(ENCODED) - 1))
def test_a_bundle_cut_off_anywhere_is_refused(size: int) -> None:
    with pytest.raises(ProtocolViolation):
        crypto.Bundle.decode(ENCODED[:size])


def test_a_bundle_of_a_device_outside_its_list_is_refused() -> None:
    eve = Person("eve")
    stolen = replace(eve.prekeys.bundle(eve.local, now=NOW), devices=BOB.local.devices)
    with pytest.raises(ProtocolViolation):
        crypto.Bundle.decode(stolen.encode())
    unlisted = crypto.DeviceKeys.generate(eve.rng)
    draft = replace(BUNDLE, ed25519=unlisted.ed25519, one_time=None)
    signed = replace(draft, signature=unlisted.sign(SIGN_PREKEYS, draft.body()))
    with pytest.raises(ProtocolViolation, match="not in its account's list"):
        crypto.Bundle.decode(signed.encode())


def test_a_bundle_signed_for_one_account_does_not_serve_another_that_lists_the_same_device() -> None:
    eve = Person("eve")
    claimed = eve.local.devices.adding(eve.account, BOB.local.devices.devices[0], now=NOW)
    with pytest.raises(ProtocolViolation):
        crypto.Bundle.decode(replace(BUNDLE, devices=claimed).encode())


@pytest.mark.parametrize("point", LOW_ORDER_X25519)
def test_prekeys_of_low_order_are_refused_although_they_are_signed(point: str) -> None:
    key = bytes.fromhex(point)
    plain = replace(BUNDLE, one_time=None)
    with pytest.raises(crypto.KeyRefused):
        crypto.Bundle.decode(resigned(replace(plain, signed_prekey=key)))
    with pytest.raises(crypto.KeyRefused):
        crypto.Bundle.decode(resigned(replace(plain, seal_key=plain.seal_key[:-32] + key)))
    assert BUNDLE.one_time is not None
    pair = replace(BUNDLE.one_time, x25519=key)
    signature = BOB.local.keys.sign(SIGN_ONE_TIME, BOB.local.keys.ed25519 + pair.body())
    with pytest.raises(crypto.KeyRefused):
        plain.with_one_time(replace(pair, signature=signature))


@pytest.mark.parametrize("field", ["last_resort", "seal_key"])
def test_kem_keys_that_are_not_keys_are_refused_although_they_are_signed(field: str) -> None:
    good = getattr(BUNDLE, field)
    with pytest.raises(crypto.KeyRefused):
        crypto.Bundle.decode(resigned(replace(BUNDLE, **{field: b"\xff" * 30 + good[30:]})))


def test_one_time_pairs_are_bound_to_their_device() -> None:
    eve = Person("eve")
    _, (pair,) = eve.prekeys.add_one_time(eve.local, eve.rng, now=NOW, count=1)
    with pytest.raises(crypto.SignatureInvalid):
        BUNDLE.with_one_time(pair)


def test_a_bundle_serves_for_45_days_and_only_for_its_account() -> None:
    BUNDLE.verify(now=NOW, account=BOB.account.public_key)
    BUNDLE.verify(now=NOW + 45 * DAY_SECONDS - 1, account=BOB.account.public_key)
    for now in (NOW + 45 * DAY_SECONDS, NOW - 2 * DAY_SECONDS):
        with pytest.raises(crypto.PrekeysExpired):
            BUNDLE.verify(now=now, account=BOB.account.public_key)
    with pytest.raises(ProtocolViolation):
        BUNDLE.verify(now=NOW, account=Person("eve").account.public_key)
    # What a bundle grants itself beyond 45 days does not count.
    long = crypto.Bundle.decode(resigned(replace(BUNDLE, expires_at=NOW + 1000 * DAY_SECONDS)))
    with pytest.raises(crypto.PrekeysExpired):
        long.verify(now=NOW + 46 * DAY_SECONDS, account=BOB.account.public_key)


def test_prekeys_rotate_weekly_and_private_halves_go_45_days_after_the_last_publication() -> None:
    bob = Person("bob")
    assert bob.prekeys.rotate(bob.rng, now=NOW + 7 * DAY_SECONDS - 1) is bob.prekeys
    first = bob.prekeys.generations[0].id
    later = bob.prekeys.rotate(bob.rng, now=NOW + 7 * DAY_SECONDS)
    assert [each.id == first for each in later.generations] == [True, False]
    assert first in ids(later.rotate(bob.rng, now=NOW + (7 + 45) * DAY_SECONDS - 1))
    assert first not in ids(later.rotate(bob.rng, now=NOW + (7 + 45) * DAY_SECONDS))


def ids(prekeys: crypto.Prekeys) -> list[int]:
    return [each.id for each in prekeys.generations]


def test_a_device_that_was_off_for_long_comes_back_with_new_prekeys_only() -> None:
    bob = Person("bob")
    back = bob.prekeys.rotate(bob.rng, now=NOW + 200 * DAY_SECONDS)
    assert len(back.generations) == 1
    assert ids(back) != ids(bob.prekeys)


def test_a_bundle_does_not_outlive_its_private_half_even_when_rotation_is_overdue() -> None:
    bob = Person("bob")
    assert bob.bundle(now=NOW).expires_at == NOW + 45 * DAY_SECONDS
    assert bob.bundle(now=NOW + 7 * DAY_SECONDS).expires_at == NOW + 52 * DAY_SECONDS
    assert bob.bundle(now=NOW + 20 * DAY_SECONDS).expires_at == NOW + 52 * DAY_SECONDS


@pytest.mark.parametrize(("ahead", "life"), [(30, 75), (37, 82), (300, 82), (3, 52)])
def test_bundles_signed_ahead_keep_their_private_halves_longer(ahead: int, life: int) -> None:
    bob = Person("bob")
    prekeys = bob.prekeys.signed_ahead(until=NOW + ahead * DAY_SECONDS).rotate(bob.rng, now=NOW + 7 * DAY_SECONDS)
    first = ids(prekeys)[0]
    assert first in ids(prekeys.rotate(bob.rng, now=NOW + life * DAY_SECONDS - 1))
    assert first not in ids(prekeys.rotate(bob.rng, now=NOW + life * DAY_SECONDS))


def test_a_clock_that_ran_ahead_does_not_stop_rotation_or_deletion() -> None:
    bob = Person("bob")
    first = ids(bob.prekeys)[0]
    for early in (0.5, NOW - 3_000 * DAY_SECONDS):  # a board without a clock starts in 1970
        at_once = bob.prekeys.rotate(bob.rng, now=early)
        assert crypto.Prekeys.decode(at_once.encode()).encode() == at_once.encode()
    back = NOW - 3_000 * DAY_SECONDS
    prekeys = bob.prekeys.rotate(bob.rng, now=back)
    assert len(prekeys.generations) == 2
    assert first in ids(prekeys.rotate(bob.rng, now=back + 45 * DAY_SECONDS - 1))
    assert first not in ids(prekeys.rotate(bob.rng, now=back + 45 * DAY_SECONDS))


def test_prekeys_survive_their_encoding_and_damage_is_noticed() -> None:
    bob = Person("bob")
    bob.bundle(one_time=True)
    prekeys = bob.prekeys.rotate(bob.rng, now=NOW + 8 * DAY_SECONDS)
    again = crypto.Prekeys.decode(prekeys.encode())
    assert again.encode() == prekeys.encode()
    assert again.bundle(bob.local, now=NOW) == prekeys.bundle(bob.local, now=NOW)
    for data in (b"", prekeys.encode()[:-1], prekeys.encode() + b"x", b"\x01\x00\x00\x00\x00", b"\x01\xff\xff\x00\x00"):
        with pytest.raises(crypto.StateDamaged):
            crypto.Prekeys.decode(data)


def test_a_store_of_one_time_pairs_is_bounded_and_ages() -> None:
    bob = Person("bob")
    prekeys, public = bob.prekeys.add_one_time(bob.local, bob.rng, now=NOW, count=3)
    assert len({pair.id for pair in public}) == 3
    assert prekeys.rotate(bob.rng, now=NOW + 53 * DAY_SECONDS).one_time == ()
    crowded = replace(prekeys, one_time=prekeys.one_time * 200)
    assert len(crowded.add_one_time(bob.local, bob.rng, now=NOW, count=1)[0].one_time) == MAX_ONE_TIME_KEYS


def test_a_relays_share_of_pairs_is_kept_apart_and_no_direct_asker_pushes_it_out() -> None:
    alice, bob = Person("alice"), Person("bob")
    (pair,) = crypto.new_one_time_pairs(bob.rng, now=NOW, count=1, used=())
    kept = pair.encode()
    assert len(kept) == 108
    bundle = bob.bundle().with_one_time(crypto.OneTimePrekey.decode(pair.public(bob.local).encode()))
    _, envelope = crypto.initiate(alice.local, bundle, b"hello", alice.rng, now=NOW)
    for _ in range(MAX_ONE_TIME_KEYS // 100 + 1):
        bob.prekeys, _ = bob.prekeys.add_one_time(bob.local, bob.rng, now=NOW, count=100)
    first = crypto.unseal(bob.local, bob.prekeys, envelope)
    assert first.one_time_id == pair.id
    accepted = first.accept(bob.local, bob.prekeys.holding(crypto.OneTimePair.decode(kept)), now=NOW)
    assert accepted.plaintext == b"hello"
    assert accepted.prekeys.encode() == bob.prekeys.encode()
    with pytest.raises(crypto.StateDamaged):
        crypto.OneTimePair.decode(kept + b"x")
    assert kept[12:44].hex() not in repr(pair)


def test_no_two_pairs_of_a_device_have_one_id() -> None:
    draws = iter([bytes(4), b"\0\0\0\1", b"\0\0\0\2", b"\0\0\0\3", b"\0\0\0\2", b"\0\0\0\4"])

    def rng(size: int) -> bytes:
        return next(draws) if size == 4 else bytes(size)

    assert [pair.id for pair in crypto.new_one_time_pairs(rng, now=NOW, count=3, used={1})] == [2, 3, 4]


def test_a_set_up_with_prekeys_that_are_gone_is_undecryptable() -> None:
    alice, bob = Person("alice"), Person("bob")
    _, envelope = begin(alice, bob)
    week, gone = NOW + 7 * DAY_SECONDS, NOW + 52 * DAY_SECONDS
    bob.prekeys = bob.prekeys.rotate(bob.rng, now=week)
    assert accept(bob, envelope, now=week).plaintext == b"hello"
    assert accept(bob, envelope, now=week).remember_until == NOW + 82 * DAY_SECONDS
    with pytest.raises(crypto.Undecryptable, match="had its time"):
        accept(bob, envelope, now=gone)
    bob.prekeys = bob.prekeys.rotate(bob.rng, now=gone)
    with pytest.raises(crypto.Undecryptable):
        crypto.unseal(bob.local, bob.prekeys, envelope)
