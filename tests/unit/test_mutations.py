"""Mutated inputs of all kinds end well; and what feeds them tells a hang, a crash and a wrong verdict from that."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.refusal import PHRASES, is_refusal
from tests.mutations import runner, suites
from tests.mutations.plain_answer import JUDGES
from tests.mutations.plain_reply import refuses


@pytest.mark.parametrize("kind", runner.KINDS)
def test_mutated_inputs_end_well(kind: str, tmp_path: Path) -> None:
    jobs = [job for job in runner.jobs_of(600, 7) if job.startswith(f"{kind}/")]
    assert len(jobs) >= 50
    assert {job: said for job in jobs if (said := runner.check(job, tmp_path))} == {}


def test_inputs_are_fed_to_workers() -> None:
    assert runner.count(40, 1, workers=2) == (40, 0)


def test_names_are_spread_over_the_kinds_and_mean_the_same_input_each_time() -> None:
    jobs = runner.jobs_of(100, 0)
    assert len(set(jobs)) == 100
    assert {job.split("/")[0] for job in jobs[:10]} == set(runner.KINDS)
    built = [[known.build(random.Random(job)) for known in JUDGES.values()] for job in (jobs[0], jobs[0], jobs[1])]
    assert built[0] == built[1] != built[2]


def _hang(rng: random.Random, folder: Path) -> str:
    time.sleep(600)
    return ""


def _die(rng: random.Random, folder: Path) -> str:
    os._exit(7)


def _fail(rng: random.Random, folder: Path) -> str:
    raise OverflowError("too large")


def _differ(rng: random.Random, folder: Path) -> str:
    return "safe where it is nothing"


def _work(does: runner.Check, *asked: object) -> None:
    runner.KINDS["suites"] = (does, 1)
    runner._work(*asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (_hang, "hung for 2 s"),
        (_die, r"ended its process \(7\)"),
        (_fail, "OverflowError: too large"),
        (_differ, "safe where it is nothing"),
    ],
)
def test_what_ends_badly_is_counted_and_named(
    does: Callable[..., str], said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "_work", partial(_work, does))
    assert runner.count(1, 3, workers=1, hangs_seconds=2 if does is _hang else 60) == (1, 1)
    assert re.search(f"bad input suites/3/0: .*{said}", capfd.readouterr().err, re.DOTALL)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=60) | st.text('prompt,id"\n\r{}[]:1 \ufeff\0', max_size=60).map(str.encode),
    ending=st.sampled_from([".csv", ".jsonl", ".json"]),
    harm=st.booleans(),
)
def test_any_file_is_read_as_a_plain_reader_reads_it(tmp_path: Path, data: bytes, ending: str, harm: bool) -> None:
    assert suites.difference(data, ending, tmp_path, harm=harm) == ""


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(PHRASES) | st.text(max_size=6), max_size=5), st.sampled_from(["", " ", ".", "_", "\u2019"])
)
def test_phrases_are_found_as_by_a_plain_search(parts: list[str], between: str) -> None:
    text = between.join(parts)
    assert is_refusal(text) is refuses(text)


@pytest.mark.parametrize("name", JUDGES)
def test_an_answer_that_is_built_is_read_as_it_is_meant(name: str) -> None:
    known = JUDGES[name]
    for seed in range(300):
        built = known.build(random.Random(seed))
        assert built.means == "" or known.read(built.text) == built.means
