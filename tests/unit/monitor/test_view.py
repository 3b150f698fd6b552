"""What is being done now is said while it is done, and no longer."""

from __future__ import annotations

import pytest

from monitor.view import Activities
from tests.fake_site import Clock


def test_a_stage_counts_from_its_begin_on_and_is_forgotten_with_its_end() -> None:
    activities, clock = Activities(Clock()), Clock()
    with activities.under_way("t") as say:
        assert activities.of("t") is None
        say("stage r", 0.0)
        say("stage r", 0.5)
        found = activities.of("t")
        assert found
        assert (found.stage, found.share, found.since) == ("stage r", 0.5, clock())
        assert activities.of("u") is None
    assert activities.of("t") is None


def test_what_failed_is_over() -> None:
    activities = Activities(Clock())
    with pytest.raises(OSError, match="full"), activities.under_way("t") as say:
        say("stage r", 0.0)
        raise OSError("the disk is full")
    assert activities.of("t") is None
