"""A real Prometheus scrapes a real daemon in both formats; what it then stores is asked for in PromQL."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from probes.suites import BUILTIN, builtin
from tests.prometheus_host import JOBS, LIMIT_SECONDS, Site

ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| `(alignd_\w+)` \| [^|]* \| ([a-z, ]*) \|$", re.MULTILINE)
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTED = {name: frozenset(filter(None, labels.split(", "))) for name, labels in _ROW.findall(README)}

def test_both_scrapes_succeed(site: Site) -> None:
    site.until("up == 1", len(JOBS))
    assert {s["metric"]["job"] for s in site.query("up")} == set(JOBS)


@pytest.mark.parametrize(("job", "family"), [("openmetrics", "alignd_sweeps"), ("text", "alignd_sweeps_total")])
def test_each_format_was_read_as_such(site: Site, job: str, family: str) -> None:
    """A counter's family has no suffix in OpenMetrics."""
    described = site.get("targets/metadata", match_target=f'{{job="{job}"}}')
    assert {d["metric"]: d["type"] for d in described}[family] == "counter"


def test_the_table_was_found() -> None:
    assert len(DOCUMENTED) > 20


RARE = {
    "alignd_remediation_wanted_since_timestamp_seconds": "no rail holds the incident: it waits for a person",
    "alignd_audit_last_timestamp_seconds": "no audit was made",
    "alignd_audits_failed_total": "none is planned",
}


@pytest.mark.parametrize("name", sorted(DOCUMENTED.keys() - RARE.keys()))
def test_a_documented_metric_is_stored_with_its_labels(site: Site, name: str) -> None:
    found = [s["metric"] for s in site.query(name)]
    assert {m["job"] for m in found} == set(JOBS)
    for metric in found:
        assert metric.keys() - {"__name__", "job", "instance"} == DOCUMENTED[name]


def test_nothing_undocumented_is_exported(site: Site) -> None:
    assert {n for n in site.get("label/__name__/values") if n.startswith("alignd_")} == DOCUMENTED.keys() - RARE.keys()


@pytest.mark.parametrize(
    "promql",
    [
        'alignd_incident_state{state="OPEN"} == 1',
        "alignd_asr_lower_ratio < alignd_asr_ratio",
        "alignd_asr_ratio <= alignd_asr_upper_ratio",
        "alignd_asr_ratio == 1",
        'alignd_asr_log_evidence > on (job, target) alignd_asr_log_evidence_threshold{level="breach"}',
        "alignd_asr_missing_probes / (alignd_asr_probes + alignd_asr_missing_probes) <= 0.05",
        "time() - alignd_last_sweep_timestamp_seconds < 60",
        "rate(alignd_sweeps_total[1m]) > 0",
        'alignd_deployment_info{traffic="yes"} * on (job, target, release) group_left () (alignd_release_good == 0)',
        'alignd_release_asr_ratio{bound="value"} == 0.5',
        'sum by (job, target) (alignd_incidents{state=~"RECOVERED|DISMISSED|ESCALATED"}) == 0',
    ],
)
def test_figures_can_be_asked_for_together(site: Site, promql: str) -> None:
    site.until(promql, len(JOBS))


def test_no_label_holds_text_or_an_id(site: Site) -> None:
    series = site.get("series", **{"match[]": '{__name__=~"alignd_.+"}'})
    values = {value for labels in series for value in labels.values()}
    lines = [json.loads(line) for line in site.log.read_text().splitlines()]
    sweeps = {line["sweep"] for line in lines if "sweep" in line}
    incidents = {i["id"] for i in site.status["incidents"]}
    assert sweeps
    assert incidents
    prompts = {b.prompt for name in BUILTIN for b in builtin(name).behaviors}
    behaviors = {b.id for name in BUILTIN for b in builtin(name).behaviors}
    for known in (sweeps, incidents, prompts, behaviors):
        assert not [v for v in values if any(k in v for k in known)]
    assert max(map(len, values)) < 50


def test_promtool_finds_no_fault(site: Site, program: Callable[[str], str]) -> None:
    text = httpx.get(f"{site.api}/metrics").content
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=LIMIT_SECONDS, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
