"""Prometheus takes the alert rules of docs/discussions/statistics.md, and they fire when the page says so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "discussions" / "statistics.md"
TEST = """
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'alignd_build_info{version="1"}', values: '1x60'}
      - {series: 'alignd_asr_log_evidence{target="a", release="bad"}', values: '2x9 14x50'}
      - {series: 'alignd_asr_log_evidence{target="b", release="good"}', values: '2x60'}
      - {series: 'alignd_asr_log_evidence_threshold{target="a", level="warn"}', values: '9.2x60'}
      - {series: 'alignd_asr_log_evidence_threshold{target="a", level="breach"}', values: '13.8x60'}
      - {series: 'alignd_asr_log_evidence_threshold{target="b", level="breach"}', values: '13.8x60'}
      - {series: 'alignd_asr_missing_probes{target="a", suite="s"}', values: '6x60'}
      - {series: 'alignd_asr_probes{target="a", suite="s"}', values: '94x60'}
      - {series: 'alignd_asr_missing_probes{target="b", suite="s"}', values: '5x60'}
      - {series: 'alignd_asr_probes{target="b", suite="s"}', values: '95x60'}
      - {series: 'alignd_action_needed{target="a"}', values: '0x60'}
      - {series: 'alignd_action_needed{target="b"}', values: '1x60'}
      - {series: 'alignd_target_up{target="a"}', values: '0x60'}
      - {series: 'alignd_target_up{target="b"}', values: '0x60'}
      - {series: 'alignd_target_paused{target="a"}', values: '0x60'}
      - {series: 'alignd_target_paused{target="b"}', values: '1x60'}
      - {series: 'alignd_deployment_mismatch{target="a", replica="h:1"}', values: '0x15 1x45'}
      - {series: 'alignd_deployment_mismatch{target="a", replica="h:2"}', values: '0x10 1x4 0x46'}
    promql_expr_test:
      - {expr: 'count(ALERTS{alertstate="firing"}) by (alertname, target)', eval_time: 9m, exp_samples: [
          {labels: '{alertname="AligndProbesMissing", target="a"}', value: 1},
          {labels: '{alertname="AligndActionNeeded", target="b"}', value: 1}]}
      - {expr: 'count(ALERTS{alertstate="firing"}) by (alertname, target, release)', eval_time: 10m, exp_samples: [
          {labels: '{alertname="AligndProbesMissing", target="a"}', value: 1},
          {labels: '{alertname="AligndActionNeeded", target="b"}', value: 1},
          {labels: '{alertname="AligndBreach", target="a", release="bad"}', value: 1},
          {labels: '{alertname="AligndWarning", target="a", release="bad"}', value: 1}]}
      - {expr: 'ALERTS{alertname="AligndBlind", alertstate="firing"}', eval_time: 20m, exp_samples: [
          {labels: '{__name__="ALERTS", alertname="AligndBlind", alertstate="firing", severity="page", target="a"}',
           value: 1}]}
      - {expr: 'count(ALERTS{alertname="AligndDeploymentMismatch", alertstate="firing"}) by (replica)', eval_time: 25m,
         exp_samples: []}
      - {expr: 'count(ALERTS{alertname="AligndDeploymentMismatch", alertstate="firing"}) by (replica)', eval_time: 26m,
         exp_samples: [{labels: '{replica="h:1"}', value: 1}]}
"""


def test_the_rules_fire_when_the_page_says_so(tmp_path: Path) -> None:
    (rules,) = re.findall(r"^```yaml\n(groups:.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "rules.yaml").write_text(rules, encoding="utf-8")
    (tmp_path / "test.yaml").write_text(TEST, encoding="utf-8")
    for words in (["check", "rules", "--lint-fatal", "rules.yaml"], ["test", "rules", "test.yaml"]):
        done = subprocess.run(["promtool", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
