"""Every PromQL expression of the rules and dashboards is run by a real Prometheus that scrapes a real daemon.

Each has to be understood and to return data. What needs a rare state is listed with it, and returns nothing here; its
selectors still must find series, and ``test_alert_rules`` shows that it fires. What is listed and does return data is
a fault of the list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
import yaml

from deploy.stack.files import render
from tests.prometheus_host import STACK, Site

BOARDS = ("fleet", "target", "incident")
_SELECTOR = re.compile(r"\b(?:alignd_\w+|target:\w+:\w+|ALERTS)(?:\{[^}]*\})?")

HELD = "no rail holds the incident: it waits for a person's approval"
UNPLANNED = "no audit is planned"
RARE_SELECTORS: Mapping[str, str] = {
    "alignd_audits_failed_total": UNPLANNED,
    "alignd_remediation_wanted_since_timestamp_seconds": HELD,
    'alignd_incident_stage_seconds{state=~"PROMOTING|ROLLING_BACK"}': "nothing is repaired in mode observe",
}
RARE_BOARDS: Mapping[str, str] = {}
QUIET = "all is well with it here"
RARE_ALERTS: Mapping[str, str] = {
    "AligndAway": "the daemon is there",
    "AligndStoreFailing": "its database answers",
    "AligndPausedLong": "nobody paused the target",
    "AligndScheduleLate": QUIET,
    "AligndRunsMissed": QUIET,
    "AligndJobFailing": QUIET,
    "AligndClockJumped": "nobody set the clock",
    "AligndReloadRefused": "the configuration was taken",
    "AligndNobodyTold": "letters have waited for a minute",
    "AligndDeadLetter": QUIET,
    "AligndAuditFailing": UNPLANNED,
    "AligndBlind": "the target is seen",
    "AligndSweepsStale": "it is swept twice a second",
    "AligndProbesMissing": "every probe has a verdict",
    "AligndTranscriptsFailing": QUIET,
    "AligndWarning": "the breach stands in its place",
    "AligndTripwireTripped": "first tokens are as they were",
    "AligndIncidentStuck": "the incident is a minute old",
    "AligndIncidentRetrying": "no step has failed",
    "AligndEscalated": "the incident is open",
    "AligndApprovalWaiting": "in mode observe there is no candidate to approve",
    "AligndQuarantined": "the server is not alignd's to keep users from",
    "AligndRemediationHeld": HELD,
    "AligndBreakerOpen": "no repair has failed",
    "AligndJudgeFrozen": "the judge is as it was calibrated",
    "AligndJudgeUnchecked": "it was checked a moment ago",
    "AligndDeploymentMismatch": "no deployer of alignd's controls this server",
    "AligndMendsRepeat": QUIET,
    "AligndRetentionFailing": QUIET,
}


def rules() -> list[dict[str, str]]:
    names = ("prometheus/rules/alignd.yml", "prometheus/rules/alignd-slo.yml")
    groups = [group for name in names for group in yaml.safe_load(render(name, STACK))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def of_boards() -> list[str]:
    found: dict[str, None] = {}
    for board in BOARDS:
        panels = json.loads(render(f"grafana/dashboards/alignd-{board}.json", STACK))["panels"]
        found |= dict.fromkeys(q["expr"].replace("$target", "prod") for p in panels for q in p.get("targets", ()))
    return list(found)


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = [rule for rule in rules() if "record" in rule]
SELECTORS = sorted({s for rule in rules() for s in _SELECTOR.findall(rule["expr"])})


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_selector_of_a_rule_finds_series(site: Site, selector: str) -> None:
    found = site.soon(selector) if selector not in RARE_SELECTORS else site.query(selector)
    assert bool(found) is (selector not in RARE_SELECTORS)


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_a_recording_rule_has_data(site: Site, rule: dict[str, str]) -> None:
    assert site.soon(rule["expr"])
    assert site.soon(rule["record"]), "Prometheus evaluates the shipped file"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}")
def test_an_alert_is_understood_and_fires_at_what_is_there(site: Site, rule: dict[str, str]) -> None:
    if rule["alert"] in RARE_ALERTS:
        assert site.query(rule["expr"]) == [], RARE_ALERTS[rule["alert"]]
    else:
        assert site.soon(rule["expr"])
        assert "for" in rule or site.soon(f'ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}}')


@pytest.mark.parametrize("expr", of_boards())
def test_an_expression_of_a_dashboard_has_data(site: Site, expr: str) -> None:
    if expr in RARE_BOARDS:
        assert site.query(expr) == [], RARE_BOARDS[expr]
    else:
        assert site.soon(expr)


def test_the_lists_of_what_is_rare_name_what_there_is() -> None:
    assert RARE_ALERTS.keys() <= {rule["alert"] for rule in ALERTS}
    assert RARE_SELECTORS.keys() <= set(SELECTORS)
    assert RARE_BOARDS.keys() <= set(of_boards())


def test_a_sweep_counter_has_the_sweep_as_its_exemplar(site: Site) -> None:
    found = site.get("query_exemplars", query="alignd_sweeps_total", start="0", end="4102444800")
    named = {e["labels"]["sweep"] for series in found for e in series["exemplars"]}
    logged = {line["sweep"] for line in map(json.loads, site.log.read_text().splitlines()) if "sweep" in line}
    assert named
    assert named <= logged
