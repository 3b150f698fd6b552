"""A real Prometheus scrapes a real daemon in both formats; what it then stores is asked for in PromQL."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.vllm.child import free_port
from monitor.baseline import Baseline, Tally
from monitor.bootstrap import build
from monitor.drawing import cells_in
from monitor.probe_log import LogEntry
from monitor.settings import load_settings
from probes.behavior import Partition
from probes.plan import Cell
from probes.profile import ReleaseProfile
from probes.result import SafetyEstimate
from probes.suites import BUILTIN, builtin
from tests.e2e.test_daemon_process import daemon, wait_for, waits
from tests.unit.deploy.test_checkpoint import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
JOBS = ("openmetrics", "text")
LIMIT_SECONDS = 60.0
_ROW = re.compile(r"^\| `(alignd_\w+)` \| [^|]* \| ([a-z, ]+) \|$", re.MULTILINE)
DOCUMENTED = {
    name: frozenset(labels.split(", ")) for name, labels in _ROW.findall((ROOT / "README.md").read_text("utf-8"))
}

ALIGND = """
key: long-enough-secret
targets:
- name: prod
  endpoint: http://127.0.0.1:{port}/v1
  model: m
  last_known_good: {good}
  deployer: {{plugin: external, options: {{release: served, endpoint: "http://127.0.0.1:{port}/v1"}}}}
  judge_check: {{labelled: gold.jsonl}}
  tripwire: {{prompts: 2, interval_seconds: 1}}
  schedule: {{interval_seconds: 0.5, batch: 8, burst_interval_seconds: 0.5, burst_batch: 16}}
listen: {{port: {api}}}
"""

PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- {{job_name: openmetrics, static_configs: [{{targets: ["127.0.0.1:{api}"]}}]}}
- {{job_name: text, static_configs: [{{targets: ["127.0.0.1:{relay}"]}}]}}
"""


@dataclass(frozen=True)
class Site:
    api: str
    prometheus: str
    status: dict[str, Any]
    log: Path

    def get(self, path: str, **params: str) -> Any:  # noqa: ANN401  (JSON)
        answer = httpx.get(f"{self.prometheus}/api/v1/{path}", params=params, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, promql: str) -> list[dict[str, Any]]:
        return list(self.get("query", query=promql)["result"])

    def until(self, promql: str, n: int) -> None:
        """Wait until a query gives ``n`` series."""
        end = time.monotonic() + LIMIT_SECONDS
        while len(found := self.query(promql)) != n:
            assert time.monotonic() < end, f"{promql}: {n} series wanted, {found} after {LIMIT_SECONDS:g} s"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Site]:
    """A daemon whose incident waits for a person and that knows one measured release, scraped twice."""
    prometheus, folder = program("prometheus"), tmp_path_factory.mktemp("site")
    port, api, web = free_port(), free_port(), free_port()
    good = write_checkpoint(folder / "good")
    (folder / "alignd.yaml").write_text(ALIGND.format(port=port, api=api, good=good))
    label_replies(folder / "gold.jsonl")
    remember(folder)
    server = [sys.executable, "-m", "tests.fake_server", str(port), "m", "served"]
    with ended(subprocess.Popen(server, cwd=ROOT)), ended(daemon(folder)), text_only(api) as relay:
        status = wait_for(f"http://127.0.0.1:{api}", waits)
        (folder / "prometheus.yml").write_text(PROMETHEUS.format(api=api, relay=relay))
        command = [
            prometheus, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{web}", "--log.level=warn",
        ]  # fmt: skip
        with (folder / "prometheus.log").open("wb") as log, ended(subprocess.Popen(command, stdout=log, stderr=log)):
            found = Site(f"http://127.0.0.1:{api}", f"http://127.0.0.1:{web}", status, folder / "log")
            ready(found, folder / "prometheus.log")
            found.until("alignd_action_needed == 1", len(JOBS))
            yield found


def label_replies(path: Path) -> None:
    """Write replies that people have labelled."""
    said = [("Sure, here is how.", 1), ("I can't help with that.", 0)] * 15
    rows = [{"objective": f"Ask {i}", "assistant_response": r, "human_score": s} for i, (r, s) in enumerate(said)]
    path.write_text("\n".join(json.dumps(row) for row in rows))


def remember(folder: Path) -> None:
    """Put what a verification and a good release would leave into the store, so that all figures are there."""
    some = SafetyEstimate(value=0.5, lower=0.4, upper=0.6, n=100, missing=0, confidence=0.95)
    profile = ReleaseProfile(
        release="served", asr=some, asr_by_category={}, hs=some, share_scoring_5=some, over_refusal=some, utility=some
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    service = build(load_settings(folder / "alignd.yaml"))
    store, measure = service.store, service.sites["prod"].measure
    store.put_profile("prod", "served", profile.to_json(), key="", at=at)
    store.mark("prod", "before", good=True, at=at)
    cells = cells_in(measure, Partition.ROTATING)
    strata = {f"{c.behavior.category}/{c.attack.name}": Tally(n=100) for c in cells}
    store.put_baseline("prod", Baseline(release="before", strata=strata), key=measure.key, at=at)
    epoch = store.epoch("prod", "before", f"{measure.key}/", at)
    store.append("prod", [answered(c, epoch.id, i, at) for i, c in enumerate(cells, 1)])
    asyncio.run(service.aclose())


def answered(cell: Cell, epoch: int, position: int, at: datetime) -> LogEntry:
    """A prompt that the good release declined."""
    return LogEntry(
        sweep="s", at=at, purpose="routine", release="before", suite="harm_probe", behavior=cell.behavior.id,
        category=cell.behavior.category, attack=cell.attack.name, judge="j", seed=1, harmful=False, score=1.0,
        missing="", epoch=epoch, position=position,
    )  # fmt: skip


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process whatever happens."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextmanager
def text_only(api: int) -> Iterator[int]:
    """Relay scrapes and ask for the text format: Prometheus itself prefers OpenMetrics."""

    class Relay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = httpx.get(f"http://127.0.0.1:{api}{self.path}", headers={"Accept": "text/plain;version=0.0.4"})
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield relay.server_port
        finally:
            relay.shutdown()
            thread.join(10)


def ready(site: Site, log: Path) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        try:
            if httpx.get(f"{site.prometheus}/-/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"Prometheus was not ready in {LIMIT_SECONDS:g} s: {log.read_text()[-500:]}")


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


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_metric_is_stored_with_its_labels(site: Site, name: str) -> None:
    found = [s["metric"] for s in site.query(name)]
    assert {m["job"] for m in found} == set(JOBS)
    for metric in found:
        assert metric.keys() - {"__name__", "job", "instance"} == DOCUMENTED[name]


def test_nothing_undocumented_is_exported(site: Site) -> None:
    assert {n for n in site.get("label/__name__/values") if n.startswith("alignd_")} == DOCUMENTED.keys()


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
