"""When a server is taken to hang."""

from __future__ import annotations

import pytest

from probes.silence import WAITS_MAX, Silence


def after(*requests: tuple[float, float]) -> Silence:
    """Take in requests that ran out, by when they were sent and given up."""
    silence = Silence()
    for sent, ended in requests:
        silence.waited(ended, ended - sent)
    return silence


@pytest.mark.parametrize("together", [1, 8])
def test_it_takes_three_waits_one_after_the_other_however_many_run_out_together(together: int) -> None:
    found = after(*[(60.0 * i, 60.0 * (i + 1)) for i in range(2) for _ in range(together)])
    assert (found.waits, found.hangs) == (2, False)
    found.waited(180.0, 60.0)
    assert (found.waits, found.hangs) == (WAITS_MAX, True)


def test_waits_that_overlap_are_one() -> None:
    assert after((0, 60), (1, 61), (59, 119)).waits == 1
    assert after((0, 60), (30, 90), (60, 120), (90, 150)).waits == 2


def test_an_answer_breaks_it_and_what_was_on_its_way_then_does_not_count() -> None:
    found = after((0, 60), (60, 120))
    found.broken(150.0)
    found.waited(180.0, 60.0)
    assert found.waits == 0
    found.waited(240.0, 60.0)
    assert found.waits == 1
