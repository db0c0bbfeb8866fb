"""Device lists: signed, numbered, chained; nothing else is accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node import crypto
from covey_node.crypto.primitives import SIGN_DEVICE_LIST
from tests.node.crypto.people import NOW, Person, SeededRng, flipped
from tests.node.crypto.test_primitives import LOW_ORDER_X25519, SMALL_ORDER_ED25519

ALICE = Person("alice")
BOB = Person("bob")


def another_device(name: str) -> crypto.DeviceKeys:
    return crypto.DeviceKeys.generate(SeededRng(name))


def signed(draft: crypto.DeviceList) -> bytes:
    return draft.body() + ALICE.account.sign(SIGN_DEVICE_LIST, draft.body())


def test_a_list_survives_its_encoding() -> None:
    first = ALICE.local.devices
    second = first.adding(ALICE.account, another_device("phone").public(added_at=NOW), now=NOW + 1)
    third = second.revoking(ALICE.account, another_device("phone").ed25519, now=NOW + 2)
    for each, size in ((first, 143 + 72), (second, 143 + 144), (third, 143 + 72 + 40)):
        assert crypto.DeviceList.decode(each.encode()) == each
        assert len(each.encode()) == size
    assert [each.number for each in (first, second, third)] == [1, 2, 3]


def test_a_list_may_follow_only_the_one_it_names() -> None:
    first = ALICE.local.devices
    second = first.adding(ALICE.account, another_device("phone").public(added_at=NOW), now=NOW + 1)
    fork = first.adding(ALICE.account, another_device("evil").public(added_at=NOW), now=NOW + 1)
    third = second.revoking(ALICE.account, another_device("phone").ed25519, now=NOW + 2)
    assert second.after(first) is crypto.Succession.NEXT
    assert third.after(first) is crypto.Succession.LATER
    assert first.after(first) is crypto.Succession.SAME
    assert first.after(second) is crypto.Succession.OLDER
    assert fork.after(second) is crypto.Succession.FORKED
    assert third.after(fork) is crypto.Succession.FORKED
    assert BOB.local.devices.after(first) is crypto.Succession.FORKED


def test_a_revoked_device_does_not_come_back() -> None:
    phone = another_device("phone")
    second = ALICE.local.devices.adding(ALICE.account, phone.public(added_at=NOW), now=NOW)
    third = second.revoking(ALICE.account, phone.ed25519, now=NOW)
    with pytest.raises(ProtocolViolation):
        third.adding(ALICE.account, phone.public(added_at=NOW), now=NOW)
    forgotten = replace(third, number=5, revoked=())
    assert crypto.DeviceList.decode(signed(forgotten)).after(third) is crypto.Succession.FORKED


def test_a_clock_set_back_does_not_make_a_fork() -> None:
    first = ALICE.local.devices
    second = first.adding(ALICE.account, another_device("phone").public(added_at=NOW), now=NOW - 1_000_000)
    assert second.after(first) is crypto.Succession.NEXT


@given(st.integers(min_value=0, max_value=len(ALICE.local.devices.encode()) - 1), st.integers(min_value=0, max_value=7))
def test_a_list_with_any_bit_changed_is_refused(at: int, bit: int) -> None:
    with pytest.raises(ProtocolViolation):
        crypto.DeviceList.decode(flipped(ALICE.local.devices.encode(), at, bit))


def test_a_list_signed_by_another_account_is_refused() -> None:
    body = ALICE.local.devices.body()
    with pytest.raises(crypto.SignatureInvalid):
        crypto.DeviceList.decode(body + BOB.account.sign(SIGN_DEVICE_LIST, body))


@pytest.mark.parametrize(
    "change",
    [
        {"devices": ()},
        {"devices": ALICE.local.devices.devices * 2},
        {"number": 0},
        {"number": 2},
        {"previous": b"\x01" * 32},
        {"revoked": (crypto.Revocation(ALICE.local.keys.ed25519, NOW),)},
        {"devices": tuple(another_device(str(n)).public(added_at=NOW) for n in range(17))},
    ],
)
def test_a_list_against_the_rules_is_refused_although_it_is_signed(change: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation):
        crypto.DeviceList.decode(signed(replace(ALICE.local.devices, **change)))  # type: ignore[arg-type]


@pytest.mark.parametrize("point", LOW_ORDER_X25519)
def test_a_device_with_an_x25519_key_of_low_order_is_refused(point: str) -> None:
    device = replace(ALICE.local.devices.devices[0], x25519=bytes.fromhex(point))
    with pytest.raises(crypto.KeyRefused):
        crypto.DeviceList.decode(signed(replace(ALICE.local.devices, devices=(device,))))


@pytest.mark.parametrize("point", SMALL_ORDER_ED25519)
def test_a_device_or_account_with_an_ed25519_key_of_small_order_is_refused(point: str) -> None:
    device = replace(ALICE.local.devices.devices[0], ed25519=bytes.fromhex(point))
    with pytest.raises(crypto.KeyRefused):
        crypto.DeviceList.decode(signed(replace(ALICE.local.devices, devices=(device,))))
    with pytest.raises(crypto.KeyRefused):
        crypto.DeviceList.decode(signed(replace(ALICE.local.devices, account=bytes.fromhex(point))))


def test_a_device_that_its_list_does_not_name_is_no_local_device() -> None:
    with pytest.raises(ProtocolViolation):
        crypto.LocalDevice(another_device("phone"), ALICE.local.devices)


def test_device_keys_survive_their_encoding_and_damage_is_noticed() -> None:
    keys = ALICE.local.keys
    again = crypto.DeviceKeys.decode(keys.encode())
    assert (again.ed25519, again.x25519, again.x25519_secret) == (keys.ed25519, keys.x25519, keys.x25519_secret)
    for data in (b"", keys.encode()[:-1], keys.encode() + b"x", b"\x09" + keys.encode()[1:]):
        with pytest.raises(crypto.StateDamaged):
            crypto.DeviceKeys.decode(data)
    with pytest.raises(crypto.StateDamaged):
        crypto.Account.from_seed(b"short")
