"""The path of the evidence to an alarm."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from monitor.baseline import SENTINEL
from monitor.errors import LogFault
from monitor.fold import fold
from monitor.probe_log import LogEntry
from monitor.tracing import Trace, trace
from monitor.watch import SURVEY, Phase
from tests.unit.monitor.test_watch import BASELINE, CATEGORIES, entry, watch_of

QUIET = 60


def log_of(stream: str = "survey", category: str = "c5", *, after: int = 30, tail: int = 0) -> list[LogEntry]:
    """Quiet probes of all categories, then harmful ones of one, then quiet ones again."""
    outcomes = [(CATEGORIES[i % 8], "survey", False) for i in range(QUIET)]
    outcomes += [(category, stream, i != 1) for i in range(after)]
    outcomes += [(CATEGORIES[i % 8], "survey", False) for i in range(tail)]
    return [entry(h, i, c, s) for i, (c, s, h) in enumerate(outcomes, 1)]


def position_of(entries: list[LogEntry]) -> int:
    watch = watch_of(BASELINE)
    for one in entries:
        watch = fold(watch, [one])
        if watch.phase is Phase.BREACH:
            return one.position
    raise AssertionError("it does not fire")


def traced(entries: list[LogEntry], fired: tuple[str, ...]) -> Trace:
    return trace(watch_of(BASELINE), entries, position=position_of(entries), fired=fired)


def test_the_rise_begins_after_the_last_quiet_probe_and_ends_with_the_alarm() -> None:
    entries = log_of(tail=40)
    found = traced(entries, ("c5/direct",))
    assert found.alarm.phase is Phase.BREACH
    assert found.rise[0].position == QUIET + 1
    assert found.rise[-1].position == found.alarm.position
    assert found.quiet.strata.log_r_of("c5/direct") <= 0
    assert all(p.log_part > 0 for p in found.rise)
    assert len(found.points) == len(entries), "what came after the alarm is part of the path"
    assert {p.position for p in found.window} >= {p.position for p in found.rise}
    assert found.window[0].position < found.rise[0].position
    assert found.window[-1].position > found.rise[-1].position


def test_the_path_is_that_of_the_watch() -> None:
    entries = log_of()
    found = traced(entries, ("c5/direct",))
    watch = fold(watch_of(BASELINE), entries[: found.alarm.position])
    last = found.rise[-1]
    assert (found.alarm, last.log_r, last.log_survey) == (watch, watch.log_r, watch.survey.log_r)
    assert (last.log_strata, last.log_part) == (watch.strata.log_r, watch.strata.log_r_of("c5/direct"))


def test_what_fired_is_counted_in_the_epoch_and_since_the_rise() -> None:
    found = traced(log_of(), ("c5/direct",))
    (part,) = found.parts
    quiet = sum(CATEGORIES[i % 8] == "c5" for i in range(QUIET))
    rose = found.alarm.position - QUIET
    assert (part.n, part.harmful) == (quiet + rose, rose - 1), "the second one was safe"
    assert (part.n_rise, part.harmful_rise) == (len(found.rise), sum(bool(p.harmful) for p in found.rise))
    assert part.null == found.alarm.nulls["c5/direct"]
    assert part.sure


@pytest.mark.parametrize(("name", "null"), [(SURVEY, 0.1), ("unknown/direct", None)])
def test_a_part_that_did_not_fire_by_itself_is_not_sure(name: str, null: float | None) -> None:
    (part,) = traced(log_of(SENTINEL), (name,)).parts
    assert (part.null, part.sure) == (null, False)
    assert (part.n_rise, part.harmful_rise) == (0, 0), "it did not rise"


def test_an_early_burst_that_went_by_is_no_part_of_the_rise() -> None:
    early = [entry(True, 1, "c5"), entry(True, 2, "c5"), *(entry(False, i, "c5") for i in range(3, 40))]
    entries = early + [replace(e, position=39 + e.position) for e in log_of()]
    assert traced(entries, ("c5/direct",)).rise[0].position == 39 + QUIET + 1


def test_the_suite_as_a_whole_rises_by_its_own_evidence() -> None:
    entries = [entry(i > QUIET, i, CATEGORIES[i % 8]) for i in range(1, QUIET + 40)]
    found = traced(entries, (SURVEY,))
    assert found.rise[0].position == QUIET + 1
    assert all(p.log_part == -math.inf for p in found.points), "no stratum was named"


def test_sentinels_are_a_part_of_their_own() -> None:
    (part,) = traced(log_of(SENTINEL), (SENTINEL,)).parts
    assert (part.n_rise, part.harmful_rise) == (part.n, part.n - 1), "the second one was safe"
    assert part.sure


def test_a_log_that_ends_early_gives_what_it_has() -> None:
    found = trace(watch_of(BASELINE), log_of()[:20], position=90, fired=(SURVEY,))
    assert found.alarm.position == 20
    assert not found.rise


def test_a_log_with_a_gap_is_no_path() -> None:
    entries = log_of()
    with pytest.raises(LogFault, match="record 10 before it is gone"):
        trace(watch_of(BASELINE), [*entries[:9], *entries[10:]], position=70, fired=(SURVEY,))


def test_missing_probes_stand_in_the_path_with_their_reason() -> None:
    entries = [replace(e, harmful=None, missing="timeout") if e.position == 62 else e for e in log_of()]
    found = traced(entries, ("c5/direct",))
    assert found.points[61].missing == "timeout"
    assert found.points[61].log_r == found.points[60].log_r
