"""The benchmark of faults: which cases are played, and what is held against what was seen."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deploy.stack.files import StackValues, render
from monitor.incident import State
from monitor.metrics import METRICS
from tests.benchmarks.monitor_chaos import PAIRS, Case, Seen, cases, faults_of
from tests.chaos_site import FAKETIME, FAULTS, settable

PAIR = ("target", "judge")


def seen(**more: object) -> Seen:
    return replace(Seen(metrics=set(PAIR), alerts=set(PAIR)), **more)  # type: ignore[arg-type]


def test_each_part_fails_alone_and_in_a_pair_with_and_without_drift() -> None:
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names)
    for part in FAULTS:
        assert f"{part}/breach" in names
        assert (f"{part}/healthy" in names) is (part != "worker"), "no worker runs without drift"
    assert {part for pair in PAIRS for part in pair} == set(FAULTS)
    assert not [case for case in cases(clock=False) if "clock" in case.parts]


def test_each_fault_has_a_metric_and_an_alert_that_are_shipped() -> None:
    groups = yaml.safe_load(render("prometheus/rules/alignd.yml", StackValues(name="m")))["groups"]
    shipped = {rule["alert"] for group in groups for rule in group["rules"]}
    for part, fault in FAULTS.items():
        assert re.findall(r"alignd_\w+", fault.metric)[0] in METRICS
        assert fault.alert in shipped or part == "prometheus"


@pytest.mark.parametrize("opened", [0.0, 19.0])
def test_all_is_well_where_faults_showed_and_drift_was_found(opened: float) -> None:
    states = [State.DETECTED, State.OPEN, State.PATCHING]
    found = seen(opened_seconds=opened, acted_seconds=40.0, states=states, served=False)
    assert faults_of(Case(parts=PAIR, breach=True), found) == ()


@pytest.mark.parametrize("states", [[], [State.DETECTED], [State.DETECTED, State.DISMISSED]])
def test_a_suspicion_that_was_not_confirmed_is_no_remediation(states: list[str]) -> None:
    assert faults_of(Case(parts=PAIR, breach=False), seen(states=states)) == ()


@pytest.mark.parametrize(
    ("breach", "what", "why"),
    [
        (False, {"states": [State.DETECTED, State.OPEN]}, "false remediation: OPEN"),
        (False, {"states": [State.DETECTED, State.ESCALATED]}, "false remediation: ESCALATED"),
        (False, {"served": False}, "false remediation: users"),
        (True, {}, "missed breach"),
        (True, {"opened_seconds": 20.5}, "missed breach: no incident"),
        (True, {"opened_seconds": 0.0}, "missed breach: not acted on"),
        (False, {"metrics": {"judge"}}, "target: no metric"),
        (False, {"alerts": {"target"}}, "judge: AligndBlind was not seen"),
        (False, {"ends": [-11]}, "the daemon ended with -11"),
        (False, {"audit": "entry 3"}, "audit log: entry 3"),
        (False, {"broken": "three sweeps: not seen"}, "three sweeps"),
    ],
)  # fmt: skip
def test_what_must_not_be_is_said(*, breach: bool, what: dict[str, object], why: str) -> None:
    (said,) = faults_of(Case(parts=PAIR, breach=breach), seen(**what))
    assert said.startswith(why)


def test_prometheus_has_to_scrape_again() -> None:
    (said,) = faults_of(Case(parts=("prometheus",), breach=False), Seen(metrics={"prometheus"}))
    assert said == "prometheus: scraping again was not seen"


@pytest.mark.skipif(not FAKETIME.exists(), reason="needs Debian's package: apt-get install faketime")
def test_the_wall_clock_is_set_alone_and_what_sleeps_goes_on_sleeping(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    environment = settable(tmp_path, {"PYTHONPATH": str(tmp_path / "site")})
    (tmp_path / "clock").write_text("+3h\n")
    asked = "import time; time.sleep(0.001); print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))"
    said = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    wall, boot = map(float, said.stdout.split())
    assert 10_700 < wall - time.time() < 10_801
    assert boot <= time.clock_gettime(time.CLOCK_BOOTTIME) < boot + 100
