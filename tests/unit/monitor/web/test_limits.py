"""Token buckets."""

from __future__ import annotations

import pytest

from monitor.web.limits import Limits


class Steady:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_calls_at_once_and_then_at_their_pace() -> None:
    clock = Steady()
    limits = Limits(per_minute=3, clock=clock)
    assert [limits.take("a") for _ in range(3)] == [0.0] * 3
    assert limits.take("a") == limits.wait("a") == 20.0
    assert limits.take("b") == 0.0, "each caller has its own"
    clock.now = 19.0
    assert limits.take("a") == pytest.approx(1.0)
    clock.now = 20.0
    assert (limits.wait("a"), limits.take("a"), limits.take("a")) == (0.0, 0.0, 20.0)
    clock.now = 1e6
    assert [limits.take("a") > 0 for _ in range(4)] == [False, False, False, True], "never more than a minute's"


def test_a_refused_call_does_not_make_the_wait_longer() -> None:
    limits = Limits(per_minute=1, clock=Steady())
    limits.take("a")
    assert {limits.take("a") for _ in range(100)} == {60.0}


def test_many_callers_do_not_fill_the_memory() -> None:
    limits = Limits(per_minute=1, clock=Steady())
    for i in range(10_001):
        limits.take(str(i))
    assert limits.take("0") == 0.0, "its bucket went"
    assert limits.take("10000") > 0.0
