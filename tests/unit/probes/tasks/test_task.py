"""The port of tasks: the built-in one keeps it, and its check catches what breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from probes.behavior import BehaviorId, SuiteKind
from probes.errors import SuiteError
from probes.estimate import accuracy_estimate
from probes.result import ProbeResult
from probes.suites import builtin
from probes.task import CheckerJudge, Mark, Task
from probes.tasks import sql
from probes.testing import check_judge, check_task
from tests.unit.probes.tasks.replies import pair


def made(**changes: Any) -> Task:  # noqa: ANN401  (fields have several types)
    return replace(sql.make(sql.Options(prompts=5)), **changes)


def marks(mark: Callable[[str], float]) -> CheckerJudge:
    return CheckerJudge("c/1", lambda _, completion: Mark(mark(completion.text)))


async def test_generated_sql_keeps_the_port() -> None:
    await check_task(made, reference=sql.reference_query)


async def test_a_checker_is_a_judge() -> None:
    behaviors = made().suite.behaviors
    judge = marks(lambda text: float(len(text) > 3))
    await check_judge(judge, [pair(b, text) for b, text in zip(behaviors, ("", "a", "SELECT 1"), strict=False)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 0}, "has a token"),
        ({"top_logprobs": 21}, "up to 20"),
        ({"left_out": -1}, "are a count"),
        ({"judge": marks(lambda _: 0.0)}, "the reference has quality 0.0"),
        ({"judge": marks(lambda _: 1.0)}, "help with that.. has quality 1.0"),
        ({"judge": marks(lambda text: float("can't" not in text))}, "'' has quality 1.0"),
    ],
)
async def test_a_task_that_breaks_the_port_is_caught(changes: dict[str, object], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        await check_task(lambda: made(**changes), reference=sql.reference_query)


async def test_a_task_that_asks_otherwise_each_time_is_caught() -> None:
    seeds = itertools.count()
    with pytest.raises(AssertionError, match="asks otherwise"):
        await check_task(lambda: sql.make(sql.Options(seed=next(seeds))), reference=sql.reference_query)


async def test_behaviors_without_answer_or_of_one_id_are_caught() -> None:
    suite = made().suite
    for changes, message in (({"answer": ""}, "no answer to check"), ({"id": BehaviorId("b")}, "the same id")):
        broken = replace(suite, behaviors=tuple(replace(b, **changes) for b in suite.behaviors))  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match=message):
            await check_task(lambda broken=broken: made(suite=broken), reference=lambda _: "SELECT 1")  # type: ignore[misc]


def test_what_is_no_task_is_refused() -> None:
    for suite in (builtin("ordinary"), replace(made().suite, behaviors=())):
        with pytest.raises(SuiteError, match="a task needs a suite of kind task"):
            made(suite=suite)
    assert made().suite.kind is SuiteKind.TASK


@pytest.mark.parametrize(
    ("qualities", "value", "lower", "upper"),
    [
        ([1.0] * 9 + [0.0], 0.9, 0.5550, 0.9975),
        ([0.5] * 100, 0.5, 0.3642, 0.6358),
        ([1.0] * 20 + [None], 1.0, 0.8316, 1.0),
        ([1.0] * 10 + [None], None, None, None),
    ],
    ids=["checker", "marks", "one-unscored", "too-many-unscored"],
)
async def test_accuracy_has_the_interval_of_its_kind(
    qualities: list[float | None], value: float | None, lower: float | None, upper: float | None
) -> None:
    """Clopper-Pearson for right and wrong; Hoeffding's for marks (half a width of sqrt(ln 40 / 200) = 0.1358)."""
    probe, completion = pair(made().suite.behaviors[0], "SELECT 1")
    (judgement,) = await sql.SqlJudge().judge([(probe, completion)])
    results = [
        ProbeResult(probe=probe, completion=completion, judgement=replace(judgement, quality=q)) for q in qualities
    ]
    found = accuracy_estimate(results)
    assert (found.value, found.lower, found.upper) == (
        pytest.approx(value, abs=1e-4), pytest.approx(lower, abs=1e-4), pytest.approx(upper, abs=1e-4),
    )  # fmt: skip
