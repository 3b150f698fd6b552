"""A real daemon and a real Prometheus that scrapes it in both formats, with the shipped rules."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from deploy.stack.files import StackValues, render
from deploy.stack.slo import Cadence
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
from tests.e2e.test_daemon_process import daemon, wait_for, waits
from tests.unit.deploy.test_checkpoint import write_checkpoint

__all__ = ["JOBS", "LIMIT_SECONDS", "STACK", "Site", "watched_site"]

ROOT = Path(__file__).resolve().parents[1]
JOBS = ("openmetrics", "text")
LIMIT_SECONDS, SOON_SECONDS = 60.0, 40.0
STACK = StackValues(name="m", cadences=(Cadence(targets=("prod",), probes_per_hour=6000.0, limit=0.3),))
"""With so high a limit a hundred probes are enough for every level of the SLO."""

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
retention: {{sweep_hours: 24}}
notifications: [{{name: team, plugin: webhook, options: {{url: "http://127.0.0.1:9/", secrets: [long-enough-secret]}}}}]
"""

PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [rules/*.yml]
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

    def soon(self, promql: str) -> list[dict[str, Any]]:
        """Wait until a query gives any series; return what it gave last."""
        end = time.monotonic() + SOON_SECONDS
        while not (found := self.query(promql)) and time.monotonic() < end:
            time.sleep(0.2)
        return found

    def until(self, promql: str, n: int) -> None:
        """Wait until a query gives ``n`` series."""
        end = time.monotonic() + LIMIT_SECONDS
        while len(found := self.query(promql)) != n:
            assert time.monotonic() < end, f"{promql}: {n} series wanted, {found} after {LIMIT_SECONDS:g} s"
            time.sleep(0.1)


@contextmanager
def watched_site(prometheus: str, folder: Path) -> Iterator[Site]:
    """A daemon whose incident waits for a person and that knows one measured release, scraped twice."""
    port, api, web = free_port(), free_port(), free_port()
    good = write_checkpoint(folder / "good")
    (folder / "alignd.yaml").write_text(ALIGND.format(port=port, api=api, good=good))
    label_replies(folder / "gold.jsonl")
    remember(folder)
    server = [sys.executable, "-m", "tests.fake_server", str(port), "m", "served"]
    with ended(subprocess.Popen(server, cwd=ROOT)), ended(daemon(folder)), text_only(api) as relay:
        status = wait_for(f"http://127.0.0.1:{api}", waits)
        (folder / "prometheus.yml").write_text(PROMETHEUS.format(api=api, relay=relay))
        (folder / "rules").mkdir()
        for name in ("alignd.yml", "alignd-slo.yml"):
            (folder / "rules" / name).write_text(render(f"prometheus/rules/{name}", STACK))
        command = [
            prometheus, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{web}", "--log.level=warn", "--enable-feature=exemplar-storage",
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

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing: a scrape that was given up would stand in the output of whichever test runs then."""

    with Quiet(("127.0.0.1", 0), Relay) as relay:
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
