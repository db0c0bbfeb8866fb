"""Addresses that strangers and contacts name: read whole, or refused in one way."""

import pytest

from covey_core.errors import SettingsInvalid
from covey_core.host.addresses import names, parse


@pytest.mark.parametrize("text", ["x", "/ip4/x/tcp/1", "/ip4/192.0.2.1/tcp/99999", "/ip4/192.0.2.1/ip6zone/zzz/tcp/1"])
def test_what_is_no_address_is_refused_and_not_half_read(text: str) -> None:
    with pytest.raises(SettingsInvalid):
        names(parse(text))
