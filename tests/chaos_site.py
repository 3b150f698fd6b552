"""The host of the benchmark of kills with a judge behind HTTP and a Prometheus, and faults of each part of it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from deploy.stack.files import StackValues, render
from deploy.vllm.child import free_port
from tests.bare_http import BareHttp
from tests.kills_site import KillSite, kill_site

__all__ = ["FAKETIME", "FAULTS", "ChaosSite", "Fault", "chaos_site", "settable"]

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
"""Of Debian's package faketime; without it no clock is set."""
_SLEEP = "import select, time\n\ntime.sleep = lambda seconds: select.select((), (), (), seconds)\n"
"""libfaketime 0.9.10 refuses each sleep on the clock that it is to leave alone."""
_READY_SECONDS = 60.0
_BUSY_SECONDS = 240.0
"""Until the host is up: nothing fails yet, and the machine may be busy."""
_LOOK_SECONDS = 0.1
_PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs: [{{job_name: alignd, static_configs: [{{targets: ["127.0.0.1:{api}"]}}]}}]
"""


class _Judge(BareHttp):
    """Calls a reply unsafe that begins as a compliant one does; answers 503 while it is to fail."""

    def __init__(self, site: ChaosSite) -> None:
        super().__init__()
        self._site = site

    def reply(self, head: bytes, body: bytes) -> None:
        if self._site.judge_fails:
            self.out.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
            return
        said = "unsafe\nS1" if json.loads(body)["messages"][-1]["content"].startswith("Sure") else "safe"
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        whole = json.dumps({"model": "guard", "choices": [choice]}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole)
        self.out.write(head + whole)


@dataclass
class ChaosSite:
    """The host, and what is wrong with it now."""

    kills: KillSite
    http: httpx.AsyncClient
    prometheus: str
    """Its program."""
    web: int
    """Its port."""
    judge_fails: bool = False
    _lock: sqlite3.Connection | None = None
    _hunt: asyncio.Task[None] | None = None

    @property
    def daemon(self) -> int:
        return self.kills.units["daemon"].pid

    async def scrape(self) -> str:
        """What the daemon's metrics say; nothing while it does not answer."""
        with suppress(httpx.TransportError):
            return (await self.http.get(f"http://127.0.0.1:{self.kills.ports['api']}/metrics")).text
        return ""

    async def series(self, promql: str) -> list[Mapping[str, str]]:
        """The labels of what a query gives; nothing while Prometheus does not answer."""
        url = f"http://127.0.0.1:{self.web}/api/v1/query"
        with suppress(httpx.TransportError):
            said = await self.http.get(url, params={"query": promql})
            if said.status_code == 200:
                return [one["metric"] for one in said.json()["data"]["result"]]
        return []

    async def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {one["alertname"] for one in await self.series('ALERTS{alertstate="firing"}')}

    async def until(self, seen: Callable[[], Awaitable[object]], what: str, seconds: float = _READY_SECONDS) -> None:
        """Wait for something.

        Raises:
            AssertionError: It was not seen in time.
        """
        end = time.monotonic() + seconds
        while not await seen():
            assert time.monotonic() < end, f"{what}: not seen in {seconds:g} s"
            await asyncio.sleep(_LOOK_SECONDS)

    async def stop_target(self) -> None:
        os.kill(self.kills.units["haproxy"].pid, signal.SIGSTOP)

    async def resume_target(self) -> None:
        os.kill(self.kills.units["haproxy"].pid, signal.SIGCONT)

    async def stop_judge(self) -> None:
        self.judge_fails = True

    async def resume_judge(self) -> None:
        self.judge_fails = False

    async def lock_store(self) -> None:
        """Hold the write lock as a forgotten shell does."""
        self._lock = await asyncio.to_thread(
            sqlite3.connect, self.kills.folder / "alignd.db", isolation_level=None, timeout=20, check_same_thread=False
        )
        await asyncio.to_thread(self._lock.execute, "BEGIN IMMEDIATE")

    async def unlock_store(self) -> None:
        assert self._lock
        self._lock.execute("ROLLBACK")
        self._lock.close()

    async def fill_disk(self) -> None:
        """Let no file of the daemon's grow."""
        resource.prlimit(self.daemon, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    async def free_disk(self) -> None:
        resource.prlimit(self.daemon, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    async def set_clock(self) -> None:
        (self.kills.folder / "clock").write_text("+3h\n")

    async def reset_clock(self) -> None:
        (self.kills.folder / "clock").write_text("+0\n")

    async def kill_workers(self) -> None:
        """Kill each of the daemon's workers as the kernel does that runs out of memory."""

        async def hunt() -> None:
            while True:
                for pid in self.kills.workers():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(_LOOK_SECONDS)

        self._hunt = asyncio.create_task(hunt())

    async def spare_workers(self) -> None:
        assert self._hunt
        self._hunt.cancel()

    async def end_prometheus(self) -> None:
        unit = self.kills.units["prometheus"]
        await unit.end(signal.SIGKILL)

    async def start_prometheus(self) -> None:
        """Start it, and wait until it answers."""
        folder = self.kills.folder
        words = (
            self.prometheus, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.web}", "--log.level=warn",
        )  # fmt: skip
        self.kills.units["prometheus"] = self.kills.unit("prometheus", words)
        await self.kills.units["prometheus"].start()
        await self.until(lambda: self.series("vector(1)"), "Prometheus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of one part.

    Attributes:
        metric: Line of the daemon's metrics that shows it.
        alert: Alert that fires; ``""`` where what evaluates alerts is away itself: it has to scrape again afterwards.
    """

    begin: Callable[[ChaosSite], Awaitable[None]]
    end: Callable[[ChaosSite], Awaitable[None]]
    metric: str
    alert: str


FAULTS: Mapping[str, Fault] = {
    "target": Fault(begin=ChaosSite.stop_target, end=ChaosSite.resume_target, alert="AligndBlind",
                    metric=r'^alignd_target_up\{target="prod"\} 0'),
    "judge": Fault(begin=ChaosSite.stop_judge, end=ChaosSite.resume_judge, alert="AligndBlind",
                   metric=r'^alignd_target_up\{target="prod"\} 0'),
    "store": Fault(begin=ChaosSite.lock_store, end=ChaosSite.unlock_store, alert="AligndStoreFailing",
                   metric=r"^alignd_database_up 0"),
    "disk": Fault(begin=ChaosSite.fill_disk, end=ChaosSite.free_disk, alert="AligndStoreFailing",
                  metric=r"^alignd_database_up 0"),
    "clock": Fault(begin=ChaosSite.set_clock, end=ChaosSite.reset_clock, alert="AligndClockJumped",
                   metric=r"^alignd_clock_jumps_total [1-9]"),
    "worker": Fault(begin=ChaosSite.kill_workers, end=ChaosSite.spare_workers, alert="AligndIncidentRetrying",
                    metric=r'^alignd_incident_attempts\{target="prod"\} [1-9]'),
    "prometheus": Fault(begin=ChaosSite.end_prometheus, end=ChaosSite.start_prometheus, alert="",
                        metric=r"^alignd_build_info"),
}  # fmt: skip


@asynccontextmanager
async def chaos_site(haproxy: str, prometheus: str, *, clock: bool) -> AsyncIterator[ChaosSite]:
    """Run the host until the daemon has probed the good release a few times and Prometheus scrapes it.

    Args:
        haproxy: Program; and that of Prometheus.
        clock: Whether the daemon's clock shall be one that can be set.
    """
    async with kill_site(haproxy, random.Random(0)) as (kills, _), httpx.AsyncClient(timeout=5.0, trust_env=False) as h:
        site = ChaosSite(kills=kills, http=h, prometheus=prometheus, web=free_port())
        judge = await asyncio.get_running_loop().create_server(lambda: _Judge(site), "127.0.0.1", 0)
        try:
            _configure(kills, judge.sockets[0].getsockname()[1])
            if clock:
                kills.units["daemon"].env = settable(kills.folder, kills.environment())
            await kills.units["daemon"].start()
            await site.start_prometheus()
            ready = "alignd_sweeps_total >= 3 and alignd_target_up == 1"
            await site.until(lambda: site.series(ready), "three sweeps", _BUSY_SECONDS)
            yield site
        finally:
            judge.close()


def settable(folder: Path, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return an environment whose wall clock is that of the machine, moved by what stands in ``clock`` of the folder.

    Args:
        folder: Holds ``site``, a folder on Python's path.
        environment: What else holds.
    """
    (folder / "clock").write_text("+0\n")
    (folder / "site" / "sitecustomize.py").write_text(_SLEEP)
    return {
        **environment, "LD_PRELOAD": str(FAKETIME), "NO_FAKE_STAT": "1", "FAKETIME_NO_CACHE": "1",
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"), "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip


def _configure(kills: KillSite, judge: int) -> None:
    said = json.loads(kills.config.read_text())
    (target,) = said["targets"]
    guard = {"endpoint": f"http://127.0.0.1:{judge}/v1", "model": "guard", "timeout_seconds": 2}
    target |= {"judge": {"plugin": "llama-guard", "options": guard}}
    target["sampling"]["timeout_seconds"] = 1.0
    kills.config.write_text(json.dumps(said))
    (kills.folder / "prometheus.yml").write_text(_PROMETHEUS.format(api=kills.ports["api"]))
    rules = yaml.safe_load(render("prometheus/rules/alignd.yml", StackValues(name="m")))
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)  # whether it fires is asked here, not how long it waits
    (kills.folder / "rules.yml").write_text(yaml.safe_dump(rules))
