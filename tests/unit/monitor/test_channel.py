"""What goes out by a channel, and when a failed one is tried again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.channel import Channel, delay_seconds
from monitor.notifier import Kind, Notification, Severity
from tests.unit.monitor.notifiers.samples import ESCALATED


class Nowhere:
    async def send(self, notification: Notification) -> None:
        return None

    async def aclose(self) -> None:
        return None


CHANNEL = Channel(
    name="c", plugin="none", notifier=Nowhere(), events=frozenset({Kind.ESCALATED}), targets=frozenset({"prod"}),
    severity=Severity.CRITICAL, digest_above=5, max_age_hours=24,
)  # fmt: skip


def test_a_channel_takes_its_events_of_its_targets_from_its_severity_up() -> None:
    assert CHANNEL.wants(ESCALATED)
    assert not CHANNEL.wants(replace(ESCALATED, target="other"))
    assert not CHANNEL.wants(replace(ESCALATED, kind=Kind.RECOVERED))
    assert not CHANNEL.wants(replace(ESCALATED, severity=Severity.WARNING))
    assert replace(CHANNEL, targets=frozenset()).wants(replace(ESCALATED, target="other"))


@pytest.mark.parametrize(("failures", "longest"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (10_000, 900)])
def test_the_wait_doubles_up_to_a_quarter_of_an_hour_and_half_of_it_is_drawn(failures: int, longest: float) -> None:
    assert delay_seconds(failures, draw=0.0) == longest / 2
    assert delay_seconds(failures, draw=0.5) == longest * 0.75


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True), st.floats(0, 1e12))
def test_patience_that_is_asked_for_is_kept_up_to_an_hour(failures: int, draw: float, asked: float) -> None:
    wait = delay_seconds(failures, draw=draw, asked=asked)
    assert min(asked, 3600) <= wait <= 3600
