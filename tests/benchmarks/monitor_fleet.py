"""One daemon over hundreds of targets: ``python -m tests.benchmarks.monitor_fleet``.

The daemon is the program itself, its targets are names on one server that answers at once. Scrapes are timed by a
client beside it; the schedule is read off the server's own clock: when the requests of each target came. A second
daemon with one target gives the memory of an idle watcher. Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.vllm.child import free_port
from tests.e2e.test_daemon_process import daemon, rss_mb
from tests.null_server import NullServer, null_server

__all__ = ["batches", "lags", "measure"]

INTERVAL_SECONDS, BATCH = 60.0, 4
_START_SECONDS, _SCRAPE_EVERY_SECONDS = 300.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A running daemon."""

    pid: int
    api: str

    def scrape(self) -> tuple[float, str]:
        """Scrape once; return the milliseconds and the text."""
        began = time.perf_counter()
        said = httpx.get(f"{self.api}/metrics", timeout=60)
        took = 1000 * (time.perf_counter() - began)
        return took, said.raise_for_status().text


def batches(times: Sequence[float], interval: float) -> list[float]:
    """Return when each batch began: its first request after a pause of half an interval."""
    ordered = sorted(times)
    return [at for before, at in zip([-interval, *ordered], ordered, strict=False) if at - before > interval / 2]


def lags(arrivals: Mapping[str, Sequence[float]], interval: float) -> list[float]:
    """Return by how many seconds batches came later than the interval after the first one says, the worst by target."""
    found = []
    for times in arrivals.values():
        begun = batches(times, interval)
        late = [at - begun[0] - interval * n for n, at in enumerate(begun)]
        found.append(max(late) - min(late))
    return found


@contextmanager
def _daemon(folder: Path, server: NullServer, targets: int) -> Iterator[Daemon]:
    port = free_port()
    config = {
        "key": "long-enough-secret", "listen": {"port": port},
        "targets": [
            {"name": f"t{n}", "endpoint": server.endpoint, "model": f"m{n}",
             "deployer": {"plugin": "external", "options": {"release": f"m{n}", "endpoint": server.endpoint}},
             "schedule": {"interval_seconds": INTERVAL_SECONDS, "batch": BATCH}}
            for n in range(targets)
        ],
    }  # fmt: skip
    (folder / "alignd.yaml").write_text(yaml.safe_dump(config))
    process = daemon(folder)
    try:
        yield Daemon(pid=process.pid, api=f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(60)


def _await_sweeps(running: Daemon, targets: int, log: Path) -> float:
    """Wait until every target was swept once; return the seconds."""
    began = time.monotonic()
    while time.monotonic() - began < _START_SECONDS:
        try:
            text = running.scrape()[1]
        except httpx.TransportError:
            time.sleep(0.5)
            continue
        swept = [line for line in text.splitlines() if line.startswith("alignd_last_sweep_timestamp_seconds{")]
        if len(swept) == targets:
            return time.monotonic() - began
        time.sleep(1)
    raise TimeoutError(f"not every target was swept within {_START_SECONDS:g} s; its log: {log.read_text()[-2000:]}")


def measure(*, targets: int = 500, seconds: float = 300.0) -> dict[str, Any]:
    """Watch the daemon at work.

    Returns:
        ``scrape_milliseconds`` (median; the worst beside it), ``rss_mb_500_targets`` (most), ``idle_rss_mb``,
        ``schedule_lag_seconds_max``, and the size of a scrape.
    """
    with null_server() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _daemon(folder, server, 1) as running:
            _await_sweeps(running, 1, folder / "log")
            time.sleep(seconds / 10)
            idle = rss_mb(running.pid)
    with null_server() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _daemon(folder, server, targets) as running:
            first = _await_sweeps(running, targets, folder / "log")
            scrapes, sizes, rss, end = [], [], [], time.monotonic() + seconds
            while time.monotonic() < end:
                took, text = running.scrape()
                scrapes.append(took)
                sizes.append(len(text))
                rss.append(rss_mb(running.pid))
                time.sleep(_SCRAPE_EVERY_SECONDS)
            late = lags(server.arrivals(), INTERVAL_SECONDS)
    return {
        "targets": targets, "scrape_milliseconds": round(statistics.median(scrapes), 1),
        "scrape_milliseconds_max": round(max(scrapes), 1), "scrape_bytes": max(sizes),
        f"rss_mb_{targets}_targets": round(max(rss), 1), "idle_rss_mb": round(idle, 1),
        "schedule_lag_seconds_max": round(max(late), 2),
        "schedule_lag_seconds_median": round(statistics.median(late), 2),
        "seconds_to_first_sweeps": round(first, 1),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=300.0)
    given = parser.parse_args()
    found = measure(targets=given.targets, seconds=given.seconds)
    for name, value in found.items():
        print(f"{name:<32}{value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
