"""What one transaction tells others."""

from covey_node.service.effects import Effects, Wake

DEVICE = bytes(32)


def test_a_device_that_was_seen_still_gets_what_was_queued_before() -> None:
    effects = Effects()
    effects.lane(1, DEVICE)
    effects.lane(1, DEVICE, Wake.SEEN)
    assert effects.wake == {(1, DEVICE): Wake.NEW | Wake.SEEN}


def test_a_device_that_was_only_seen_gets_nothing_new() -> None:
    effects = Effects()
    effects.lane(1, DEVICE, Wake.SEEN)
    assert effects.wake == {(1, DEVICE): Wake.SEEN}
