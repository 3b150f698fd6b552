"""Every alert says what to do and has its page, and every page its alert; what they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack.files import StackValues, render
from monitor.metrics import METRICS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
FILES = ("prometheus/rules/alignd.yml", "prometheus/rules/alignd-slo.yml")
VALUES = StackValues(name="m", runbooks="https://example.com/runbooks")


def rules() -> list[dict[str, Any]]:
    groups = [g for name in FILES for g in yaml.safe_load(render(name, VALUES))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {rule["alert"] for rule in ALERTS} == {page.stem for page in PAGES.glob("*.md")}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    said = rule["annotations"]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert said["runbook_url"] == f"https://example.com/runbooks/{rule['alert']}.md"
    assert 10 < len(said["summary"]) < 140
    assert len(said["description"]) > 40


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_has_its_three_parts_and_names_the_severity(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["What it means", "What to do", "When it ends"]
    severities = {rule["labels"]["severity"] for rule in ALERTS if rule["alert"] == page.stem}
    (said,) = re.findall(r"^Severity: (.*)\.$", text, re.MULTILINE)
    assert set(said.split(" or ")) == severities


def test_rules_name_metrics_that_are_exported() -> None:
    named = {name for rule in rules() for name in re.findall(r"(?<![:\w])alignd_\w+", rule["expr"])}
    assert len(named) > 20
    assert named <= METRICS.keys()


def test_evidence_is_alerted_on_at_once() -> None:
    """It has been gathered already: to wait is to add a delay to it."""
    at_once = [rule for rule in ALERTS if "alignd_asr_log_evidence" in rule["expr"]]
    assert at_once
    assert not [rule["alert"] for rule in at_once if "for" in rule]
