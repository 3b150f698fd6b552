"""The daemon as a process: it watches a server that it does not control, in mode observe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deploy.vllm.child import free_port
from probes.suites import builtin

ROOT = Path(__file__).resolve().parents[2]
RSS_MB_MAX = 150

CONFIG = """
key: long-enough-secret
targets:
- name: prod
  endpoint: http://127.0.0.1:{port}/v1
  model: m
  deployer: {{plugin: external, options: {{release: served, endpoint: "http://127.0.0.1:{port}/v1"}}}}
  schedule: {{interval_seconds: 0.5, batch: 8, burst_interval_seconds: 0.5, burst_batch: 16}}
listen: {{port: {api}}}
"""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    """A server that refuses nothing, and a configuration that watches it."""
    port, api = free_port(), free_port()
    (tmp_path / "alignd.yaml").write_text(CONFIG.format(port=port, api=api))
    server = subprocess.Popen([sys.executable, "-m", "tests.fake_server", str(port), "m", "x"], cwd=ROOT)
    yield f"http://127.0.0.1:{api}"
    server.terminate()
    server.wait(10)


def daemon(folder: Path, log: str = "log") -> subprocess.Popen[bytes]:
    with (folder / log).open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "monitor", "run", "--config", str(folder / "alignd.yaml")],
            cwd=ROOT, stderr=out, stdout=out, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def wait_for(api: str, said: Callable[[dict[str, object]], bool]) -> dict[str, object]:
    end = time.monotonic() + 60
    last: object = None
    while time.monotonic() < end:
        try:
            last = httpx.get(f"{api}/api/v1/status", timeout=5).json()
            if isinstance(last, dict) and said(last):
                return last
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not seen within a minute: {last}")


def waits(status: dict[str, object]) -> bool:
    incidents = status["incidents"]
    return isinstance(incidents, list) and any(i["action_needed"] for i in incidents)


def rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def test_it_observes_drains_and_resumes(api: str, tmp_path: Path) -> None:
    first = daemon(tmp_path)
    try:
        (incident,) = wait_for(api, waits)["incidents"]  # type: ignore[misc]
        assert incident["state"] == "OPEN"
        assert rss_mb(first.pid) <= RSS_MB_MAX
        assert httpx.get(f"{api}/healthz").status_code == 200
        scraped = httpx.get(f"{api}/metrics").text
        assert "alignd_action_needed" in scraped
        assert 'alignd_schedule_failures_total{work="reconcile"} 0\n' in scraped

        second = daemon(tmp_path, "second")
        assert second.wait(30) == 2
        assert "another daemon" in (tmp_path / "second").read_text()
    finally:
        first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0

    again = daemon(tmp_path)
    try:
        (resumed,) = wait_for(api, waits)["incidents"]  # type: ignore[misc]
        assert resumed["id"] == incident["id"]
        assert resumed["events"] == incident["events"], "nothing is done or noted twice"
    finally:
        again.kill()
    again.wait(20)

    log = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    actions = {line["action"] for line in lines}
    assert {f"http://{line['listen']}" for line in lines if line["action"] == "started"} == {api}
    assert {"started", "sweep", "incident_opened", "transition", "draining", "stopped"} <= actions
    assert not any(b.prompt in log for b in builtin("harm_probe").behaviors)
