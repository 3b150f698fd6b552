"""Prometheus takes the shipped rules; each alert fires where it should, and is silent where it should be.

A series is written as its name, a space, and a value that stays, or values in promtool's own words. Its clock begins at
0, so a timestamp of 0 is as old as the test is far.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from deploy.stack.files import StackValues, render
from deploy.stack.slo import Cadence

RULES = ("prometheus/rules/alignd.yml", "prometheus/rules/alignd-slo.yml")
CADENCES = (Cadence(targets=("a",), probes_per_hour=240.0, limit=0.05),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What an alert fires at, and what is so near to it that it must not.

    Attributes:
        minutes: When both are looked at.
        early: When it must not fire yet, though what it fires at is there; ``None`` where it does not wait.
    """

    fires: Sequence[str]
    silent: Sequence[str]
    minutes: int = 1
    early: int | None = None


UP = 'alignd_target_up{target="a"} 1'
LIMIT = 'alignd_asr_limit_ratio{target="a"} 0.05'
BREACH = 'alignd_asr_log_evidence_threshold{target="a", level="breach"} 13.8'
WARN = 'alignd_asr_log_evidence_threshold{target="a", level="warn"} 9.2'
SAFE = 'alignd_target_verdict{target="a", verdict="safe"} 1'
PROBES = 'alignd_survey_probes_total{target="a"} 0+4x4400'


def evidence(log: float) -> str:
    return f'alignd_asr_log_evidence{{target="a", release="r"}} {log}'


def state(name: str, seconds: int) -> list[str]:
    labels = f'{{target="a", state="{name}"}}'
    return [f"alignd_incident_state{labels} 1", f"alignd_incident_stage_seconds{labels} {seconds}"]


CASES: Mapping[str, Case] = {
    "AligndAway": Case(fires=[UP], silent=['alignd_build_info{version="1"} 1'], minutes=6, early=4),
    "AligndStoreFailing": Case(fires=["alignd_database_up 0"], silent=["alignd_database_up 1"], minutes=3, early=1),
    "AligndPausedLong": Case(
        fires=['alignd_target_paused{target="a"} 1'], silent=['alignd_target_paused{target="a"} 1x1400 0x600'],
        minutes=1441, early=1439,
    ),
    "AligndScheduleLate": Case(
        fires=['alignd_schedule_lag_seconds{work="tick"} 61'],
        silent=['alignd_schedule_lag_seconds{work="tick"} 59', 'alignd_schedule_lag_seconds{work="purge"} 900'],
        minutes=11, early=9,
    ),
    "AligndRunsMissed": Case(
        fires=['alignd_schedule_missed_total{work="tick"} 0+1x60'],
        silent=['alignd_schedule_missed_total{work="tick"} 0x50 1x10'], minutes=55,
    ),
    "AligndJobFailing": Case(
        fires=['alignd_schedule_failures_total{work="tick"} 0+1x60'],
        silent=['alignd_schedule_failures_total{work="tick"} 0x10 1x60'], minutes=20,
    ),
    "AligndClockJumped": Case(
        fires=["alignd_clock_jumps_total 0x10 1x60"], silent=["alignd_clock_jumps_total 7x70"], minutes=20,
    ),
    "AligndReloadRefused": Case(fires=["alignd_config_reload_success 0"], silent=["alignd_config_reload_success 1"]),
    "AligndAuditFailing": Case(
        fires=['alignd_audits_failed_total{target="a"} 0x10 1x60'],
        silent=['alignd_audits_failed_total{target="a"} 1x70'], minutes=20,
    ),
    "AligndBlind": Case(
        fires=['alignd_target_up{target="a"} 0', 'alignd_target_paused{target="a"} 0',
               'alignd_target_quarantined{target="a"} 1x2 0x24'],
        silent=['alignd_target_up{target="a"} 0', 'alignd_target_paused{target="a"} 1',
                'alignd_target_up{target="b"} 0', 'alignd_target_paused{target="b"} 0',
                'alignd_target_quarantined{target="b"} 1'], minutes=19, early=17,
    ),
    "AligndSweepsStale": Case(
        fires=['alignd_last_sweep_timestamp_seconds{target="a"} 0', 'alignd_sweep_interval_seconds{target="a"} 60',
               'alignd_target_paused{target="a"} 0'],
        silent=['alignd_last_sweep_timestamp_seconds{target="a"} 0', 'alignd_sweep_interval_seconds{target="a"} 3600',
                'alignd_target_paused{target="a"} 0', 'alignd_last_sweep_timestamp_seconds{target="b"} 0',
                'alignd_sweep_interval_seconds{target="b"} 60', 'alignd_target_paused{target="b"} 0',
                'alignd_target_quarantined{target="b"} 1'], minutes=21,
    ),
    "AligndProbesMissing": Case(
        fires=['alignd_asr_missing_probes{target="a"} 6', 'alignd_asr_probes{target="a"} 94'],
        silent=['alignd_asr_missing_probes{target="a"} 5', 'alignd_asr_probes{target="a"} 95'],
    ),
    "AligndTranscriptsFailing": Case(
        fires=['alignd_transcripts_failed_total{target="a"} 0x10 1x60'],
        silent=['alignd_transcripts_failed_total{target="a"} 1x70'], minutes=20,
    ),
    "AligndNobodyTold": Case(
        fires=['alignd_notifications_oldest_pending_seconds{channel="c"} 901'],
        silent=['alignd_notifications_oldest_pending_seconds{channel="c"} 899'], minutes=0,
    ),
    "AligndDeadLetter": Case(
        fires=['alignd_notifications_total{channel="c", outcome="dead"} 0x10 1x60'],
        silent=['alignd_notifications_total{channel="c", outcome="failed"} 0x10 1x60'], minutes=20,
    ),
    "AligndBreach": Case(fires=[evidence(13.8), BREACH], silent=[evidence(13.7), BREACH], minutes=0),
    "AligndWarning": Case(fires=[evidence(9.3), WARN, BREACH], silent=[evidence(13.9), WARN, BREACH], minutes=0),
    "AligndASROverLimit": Case(
        fires=['alignd_asr_lower_ratio{target="a", release="r"} 0.051', LIMIT],
        silent=['alignd_asr_lower_ratio{target="a", release="r"} 0.049', LIMIT],
    ),
    "AligndSafetyBudgetBurn": Case(
        fires=[PROBES, 'alignd_survey_harmful_probes_total{target="a"} 0+1x4400', LIMIT],
        silent=[PROBES, 'alignd_survey_harmful_probes_total{target="a"} 0+0.1x4400', LIMIT], minutes=1500,
    ),
    "AligndTripwireTripped": Case(
        fires=['alignd_tripwire_tripped{target="a"} 1'], silent=['alignd_tripwire_tripped{target="a"} 0'],
    ),
    "AligndIncidentOpen": Case(fires=state("PATCHING", 1), silent=state("RECOVERED", 1)),
    "AligndIncidentStuck": Case(fires=state("PROMOTING", 1801), silent=state("PATCHING", 1801)),
    "AligndIncidentRetrying": Case(
        fires=['alignd_incident_attempts{target="a"} 1 0x99'], silent=['alignd_incident_attempts{target="a"} 0'],
    ),
    "AligndEscalated": Case(fires=state("ESCALATED", 1), silent=[*state("ESCALATED", 1), SAFE]),
    "AligndActionNeeded": Case(
        fires=['alignd_action_needed{target="a"} 1'], silent=['alignd_action_needed{target="a"} 0'],
    ),
    "AligndApprovalWaiting": Case(
        fires=state("AWAITING_APPROVAL", 1), silent=state("PROMOTING", 1), minutes=6, early=4,
    ),
    "AligndQuarantined": Case(
        fires=['alignd_target_quarantined{target="a"} 1'], silent=['alignd_target_quarantined{target="a"} 0'],
    ),
    "AligndRemediationHeld": Case(
        fires=['alignd_remediation_wanted_since_timestamp_seconds{target="a"} 0'],
        silent=['alignd_remediation_wanted_since_timestamp_seconds{target="a"} 600'], minutes=1445,
    ),
    "AligndBreakerOpen": Case(
        fires=['alignd_breaker_open{target="a"} 1'], silent=['alignd_breaker_open{target="a"} 0'],
    ),
    "AligndJudgeFrozen": Case(
        fires=['alignd_judge_frozen{target="a", judge="j"} 1'], silent=['alignd_judge_frozen{target="a", judge="j"} 0'],
    ),
    "AligndJudgeUnchecked": Case(
        fires=['alignd_judge_checked_timestamp_seconds{target="a"} 0',
               'alignd_judge_check_interval_seconds{target="a"} 600'],
        silent=['alignd_judge_checked_timestamp_seconds{target="a"} 0',
                'alignd_judge_check_interval_seconds{target="a"} 3600'], minutes=60, early=45,
    ),
    "AligndDeploymentMismatch": Case(
        fires=['alignd_deployment_mismatch{target="a", replica="h:1"} 0x15 1x45'],
        silent=['alignd_deployment_mismatch{target="a", replica="h:1"} 0x10 1x4 0x46'], minutes=27, early=24,
    ),
    "AligndReleaseUnknown": Case(
        fires=['alignd_deployment_info{target="a", release="r", traffic="yes"} 1',
               'alignd_release_good{target="a", release="r"} 0'],
        silent=['alignd_deployment_info{target="a", release="r", traffic="yes"} 1',
                'alignd_release_good{target="a", release="r"} 1'], minutes=1441, early=1439,
    ),
    "AligndMendsRepeat": Case(
        fires=['alignd_deployment_mends_total{target="a"} 0+1x60'],
        silent=['alignd_deployment_mends_total{target="a"} 0x10 3x60'], minutes=20,
    ),
    "AligndRetentionFailing": Case(
        fires=["alignd_store_sweeps_failed_total 0+1x3000", "alignd_store_swept_timestamp_seconds 0"],
        silent=["alignd_store_sweeps_failed_total 0+1x3000", "alignd_store_swept_timestamp_seconds 100000"],
        minutes=2890, early=2870,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, values = tmp_path_factory.mktemp("rules"), StackValues(name="m", cadences=CADENCES)
    for name in RULES:
        (made / Path(name).name).write_text(render(name, values), encoding="utf-8")
    return made


def promtool(folder: Path, *words: str) -> None:
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts(folder: Path, names: Sequence[str] = RULES) -> set[str]:
    found = [yaml.safe_load((folder / Path(name).name).read_text()) for name in names]
    return {r["alert"] for rules in found for group in rules["groups"] for r in group["rules"] if "alert" in r}


def series(words: str, minutes: int) -> dict[str, str]:
    name, values = words.rsplit("} ", 1) if "}" in words else words.split(" ", 1)
    name += "}" if "}" in words else ""
    return {"series": name, "values": values if "x" in values else f"{values}x{minutes}"}


def group(case: Case, name: str, given: Sequence[str], minutes: int, *, fires: bool) -> dict[str, object]:
    expr = f'count(count by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}}))'
    wanted = [{"labels": "{}", "value": 1}] if fires else []
    return {
        "interval": "1m", "input_series": [series(words, case.minutes + 10) for words in given],
        "promql_expr_test": [{"expr": expr, "eval_time": f"{minutes}m", "exp_samples": wanted}],
    }  # fmt: skip


def test_the_rules_are_clean(folder: Path) -> None:
    promtool(folder, "check", "rules", "--lint-fatal", *(Path(name).name for name in RULES))


def test_every_alert_has_a_case(folder: Path) -> None:
    assert CASES.keys() == alerts(folder)


@pytest.mark.parametrize("name", RULES)
def test_each_fires_and_is_silent_as_it_should(folder: Path, name: str) -> None:
    file, tests = Path(name).name, []
    for alert in sorted(alerts(folder, [name])):
        case = CASES[alert]
        tests.append(group(case, alert, case.fires, case.minutes, fires=True))
        tests.append(group(case, alert, case.silent, case.minutes, fires=False))
        if case.early is not None:
            tests.append(group(case, alert, case.fires, case.early, fires=False))
    whole = {"rule_files": [file], "evaluation_interval": "1m", "tests": tests}
    (folder / f"test-{file}").write_text(yaml.safe_dump(whole), encoding="utf-8")
    promtool(folder, "test", "rules", f"test-{file}")
