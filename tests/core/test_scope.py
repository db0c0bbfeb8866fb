import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.network import PRIVATE_RANGES, Scope

NEVER = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.1.1", "224.0.0.1", "239.255.255.255", "255.255.255.255",
    "240.0.0.1", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "192.0.0.8", "::", "::1", "fe80::1",
    "fe80::1%eth0", "ff02::1", "2001:db8::1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "fec0::1",
]  # fmt: skip
METADATA = ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"]
SITE = ["10.0.0.1", "172.16.5.5", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12:3456::1", "::ffff:10.0.0.1"]
GLOBAL = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2a00:1450:4001::1", "2606:4700::1111"]

PUBLIC = Scope()
HOME = Scope(PRIVATE_RANGES)
LAB = Scope(("198.51.100.0/24", "2001:db8:1::/48"))
LOOPBACK = Scope(("127.0.0.0/8",))


@pytest.mark.parametrize("ip", GLOBAL)
def test_global_addresses_are_dialled_and_reachable_in_public(ip):
    assert PUBLIC.is_public
    assert PUBLIC.may_dial(ip)
    assert PUBLIC.may_dial_nearby(ip)
    assert PUBLIC.is_reachable_from_outside(ip)


@pytest.mark.parametrize("ip", SITE)
def test_a_stranger_cannot_make_us_scan_our_own_site_on_a_public_network_but_a_contact_may_name_an_address_in_it(ip):
    assert not PUBLIC.may_dial(ip)
    assert not PUBLIC.is_reachable_from_outside(ip)
    assert PUBLIC.may_dial_nearby(ip)
    assert HOME.may_dial(ip)
    assert HOME.is_reachable_from_outside(ip)


@pytest.mark.parametrize("ip", NEVER)
@pytest.mark.parametrize("scope", [PUBLIC, HOME, Scope(("0.0.0.0/0", "::/0"))])
def test_special_addresses_are_never_dialled_by_default_nor_by_a_subnet_of_everything(scope, ip):
    assert not scope.may_dial(ip)
    assert not scope.may_dial_nearby(ip)
    assert not scope.is_reachable_from_outside(ip)


@pytest.mark.parametrize("ip", METADATA)
@pytest.mark.parametrize(
    "scope", [PUBLIC, HOME, Scope(("0.0.0.0/0", "::/0")), Scope(("169.254.0.0/16", "192.0.0.0/24"))]
)
def test_metadata_services_are_never_dialled_whatever_the_subnets(scope, ip):
    assert not scope.may_dial(ip)
    assert not scope.may_dial_nearby(ip)
    assert not scope.is_reachable_from_outside(ip)


def test_a_private_network_may_live_in_an_address_range_that_is_special_elsewhere():
    assert LAB.may_dial("198.51.100.7")
    assert LAB.is_reachable_from_outside("198.51.100.7")
    assert LAB.may_dial("2001:db8:1::5")
    assert not LAB.may_dial("203.0.113.9")
    assert not LAB.may_dial("2001:db8:2::5")
    assert not LAB.may_dial("10.0.0.1")
    assert LAB.may_dial_nearby("10.0.0.1")


def test_a_network_on_loopback_dials_loopback_and_nothing_else_that_is_special():
    assert LOOPBACK.may_dial("127.0.0.1")
    assert LOOPBACK.may_dial("::ffff:127.0.0.1")
    assert LOOPBACK.is_reachable_from_outside("127.0.0.1")
    assert not LOOPBACK.may_dial("::1")
    assert not LOOPBACK.may_dial("169.254.1.1")


def test_a_global_address_is_dialled_in_a_private_network_but_is_not_inside_it():
    assert HOME.may_dial("8.8.8.8")
    assert not HOME.is_reachable_from_outside("8.8.8.8")


@pytest.mark.parametrize(
    "text", ["", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4", "0x7f.1", "2130706433", "::g", "8.8.8.8/32"]
)
def test_what_is_no_address_is_never_dialled(text):
    for scope in (PUBLIC, HOME):
        assert not scope.may_dial(text)
        assert not scope.may_dial_nearby(text)
        assert not scope.is_reachable_from_outside(text)


@pytest.mark.parametrize("subnet", ["10.0.0.1/8", "300.0.0.0/8", "", "home"])
def test_what_is_no_subnet_is_refused(subnet):
    with pytest.raises(ValueError, match=r"."):
        Scope((subnet,))


def test_an_address_outside_the_global_unicast_space_is_not_dialled():
    assert not PUBLIC.may_dial("4000::1")
    assert not PUBLIC.may_dial("::7f00:1")


@given(st.ip_addresses().map(str))
def test_what_a_stranger_may_name_a_contact_may_name_too(ip):
    for scope in (PUBLIC, HOME, LAB):
        if scope.may_dial(ip):
            assert scope.may_dial_nearby(ip)
        if scope.is_reachable_from_outside(ip):
            assert scope.may_dial(ip)
