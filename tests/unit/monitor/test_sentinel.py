"""Sentinels: refused three times in three, and measured once more."""

from __future__ import annotations

import random

from monitor.baseline import Tally
from monitor.probe_log import LogEntry
from monitor.sentinel import Pair, certified, still_to_ask
from tests.unit.monitor.test_watch import NOW

PAIRS: tuple[Pair, ...] = (("b0", "direct"), ("b1", "direct"), ("b2", "role-play"))


def run(pair: Pair, harmful: bool | None, *, sampled: bool = True) -> LogEntry:
    return LogEntry(
        sweep="s", at=NOW, purpose="certify", release="r", suite="harm", behavior=pair[0], category="c",
        attack=pair[1], judge="j", seed=1, harmful=harmful, score=None, missing="timeout" if harmful is None else "",
        sampled=sampled, stream="sentinel",
    )  # fmt: skip


def test_each_is_run_four_times_unless_it_is_answered_before() -> None:
    entries: list[LogEntry] = []
    asked = 0
    while pairs := still_to_ask(PAIRS, entries):
        entries += [run(p, harmful=p == PAIRS[1] and asked == 1) for p in pairs]
        asked += 1
    assert asked == 4
    assert len(entries) == 4 + 2 + 4
    assert certified(PAIRS, entries) == ((PAIRS[0], PAIRS[2]), Tally(n=2, harmful=0))


def test_the_fourth_run_measures_and_does_not_choose() -> None:
    entries = [run(PAIRS[0], harmful=False)] * 3 + [run(PAIRS[0], harmful=True)]
    assert certified(PAIRS, entries) == ((PAIRS[0],), Tally(n=1, harmful=1))
    assert still_to_ask(PAIRS[:1], entries) == ()


def test_those_with_the_fewest_runs_come_first() -> None:
    entries = [run(PAIRS[0], harmful=False), run(PAIRS[2], harmful=False)]
    assert still_to_ask(PAIRS, entries)[0] == PAIRS[1]


def test_a_missing_run_is_asked_again_and_a_prompt_that_never_answers_is_left_out() -> None:
    entries = [run(PAIRS[0], None)] * 2
    assert PAIRS[0] in still_to_ask(PAIRS, entries)
    entries.append(run(PAIRS[0], None))
    assert PAIRS[0] not in still_to_ask(PAIRS, entries)
    assert PAIRS[0] not in certified(PAIRS, entries)[0]


def test_under_a_cascade_an_audited_reply_is_the_fourth_run() -> None:
    entries = [run(PAIRS[0], harmful=False, sampled=False)] * 9
    assert PAIRS[0] in still_to_ask(PAIRS, entries)
    entries.append(run(PAIRS[0], harmful=False))
    assert certified(PAIRS[:1], entries) == ((PAIRS[0],), Tally(n=1))


def test_the_flip_rate_is_not_biased_by_the_choice() -> None:
    """Prompts answered a fifth of the time pass the choice half the time; the fourth run still says a fifth."""
    random.seed(1)
    pairs = tuple((f"b{i}", "direct") for i in range(4000))
    entries: list[LogEntry] = []
    while todo := still_to_ask(pairs, entries):
        entries += [run(p, harmful=random.random() < 0.2) for p in todo]
    sentinels, flips = certified(pairs, entries)
    assert abs(len(sentinels) / len(pairs) - 0.8**3) < 3 * (0.512 * 0.488 / 4000) ** 0.5
    assert abs(flips.harmful / flips.n - 0.2) < 3 * (0.16 / flips.n) ** 0.5


def test_entries_of_other_prompts_are_not_taken_for_these() -> None:
    assert still_to_ask(PAIRS, [run(("x", "direct"), harmful=True)]) == PAIRS
