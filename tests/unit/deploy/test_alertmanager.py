"""Alertmanager takes its file, and each alert goes where it should."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack.files import StackValues, render

VALUES = StackValues(name="m", page_url="http://pager:1/hook", ticket_url="http://tickets:2/hook")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alertmanager") / "alertmanager.yml"
    path.write_text(render("alertmanager/alertmanager.yml", VALUES), encoding="utf-8")
    return path


def amtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *words], capture_output=True, text=True, check=False)


def alerts() -> list[dict[str, Any]]:
    names = ("prometheus/rules/alignd.yml", "prometheus/rules/alignd-slo.yml")
    groups = [group for name in names for group in yaml.safe_load(render(name, VALUES))["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_file_is_clean_and_has_the_receivers(file: Path) -> None:
    done = amtool("check-config", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    receivers = {r["name"]: r["webhook_configs"][0]["url"] for r in yaml.safe_load(file.read_text())["receivers"]}
    assert receivers == {"page": "http://pager:1/hook", "ticket": "http://tickets:2/hook"}


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=AligndBreach", "severity=page", "target=prod"], "page"),
        (["alertname=AligndWarning", "severity=ticket", "target=prod"], "ticket"),
        (["alertname=AligndSafetyBudgetBurn", "severity=page"], "page"),
        (["alertname=AligndSafetyBudgetBurn", "severity=ticket"], "ticket"),
        (["alertname=Other"], "ticket"),
    ],
)
def test_an_alert_goes_where_its_severity_says(file: Path, labels: list[str], receiver: str) -> None:
    done = amtool("config", "routes", "test", f"--config.file={file}", f"--verify.receivers={receiver}", *labels)
    assert done.returncode == 0, done.stdout + done.stderr


def test_inhibitions_name_alerts_that_there_are(file: Path) -> None:
    known = {rule["alert"] for rule in alerts()}
    for rule in yaml.safe_load(file.read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            if matcher.startswith("alertname"):
                named = set(matcher.split('"')[1].split("|")) - {"Alignd.+"}
                assert named <= known, matcher


def test_an_alert_that_inhibits_by_target_has_one(file: Path) -> None:
    """Where neither has the label, ``equal`` holds: one target's alert would silence all daemons' own."""
    of_the_daemon = {"AligndAway", "AligndStoreFailing", "AligndScheduleLate", "AligndRunsMissed", "AligndJobFailing",
                     "AligndClockJumped", "AligndRetentionFailing", "AligndReloadRefused",
                     "AligndNobodyTold", "AligndDeadLetter"}  # fmt: skip
    for rule in yaml.safe_load(file.read_text())["inhibit_rules"]:
        if "equal" in rule:
            assert not {name for name in of_the_daemon if name in str(rule)}
