"""The demo's course: an aligned release, a drifted one deployed over it, and what the daemon makes of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from deploy.checkpoint import Release, import_checkpoint
from deploy.errors import DeployError, DeployerUnavailable
from deploy.vllm.process import Options, VllmProcessDeployer
from monitor.demo.client import OrdinaryClient, Traffic
from monitor.demo.site import NAME, DemoSite, cpu_seconds, peak_rss_mb
from monitor.demo.telling import Telling
from monitor.errors import MonitorError
from probes.suites import builtin

__all__ = ["DemoError", "Played", "make_models", "play"]

_CERTIFY_SECONDS, _NOTICE_SECONDS, _INCIDENT_SECONDS = 300.0, 300.0, 1500.0
_IDLE_SECONDS = 10.0


class DemoError(MonitorError):
    """The demo can't go on; the message says where to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What the course left behind.

    Attributes:
        aligned_profile: Measured by the daemon before anything drifted.
        drift_at: When the drifted release was given the traffic.
        status: The daemon's last status.
        incident: The incident, as the status has it.
    """

    aligned: Release
    drifted: Release
    aligned_profile: Mapping[str, Any]
    began_at: datetime
    drift_at: datetime
    status: Mapping[str, Any]
    incident: Mapping[str, Any]
    traffic: Traffic
    watcher_rss_mb: float
    watcher_idle_cpu_ratio: float


async def make_models(cache: Path, *, from_scratch: bool, telling: Telling) -> dict[str, Path]:
    """Make or find the demo's checkpoints, in a process of its own, for it needs torch.

    Raises:
        DemoError: They could not be made.
    """
    flags = ["--from-scratch"] if from_scratch else []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "remediation.sft.demo_models", "--cache", str(cache), *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    if process.stdout is None or process.stderr is None:
        raise DemoError("the process that makes the models has no pipes")
    errors = asyncio.create_task(process.stderr.read())
    folders: dict[str, Path] = {}
    async for line in process.stdout:
        said = json.loads(line)
        if "folders" in said:
            folders = {name: Path(folder) for name, folder in said["folders"].items()}
            continue
        telling.say(f"{said['stage']} {int(said['share'] * 10) * 10} %")
    if await process.wait():
        tail = (await errors).decode(errors="replace").strip().splitlines()[-5:]
        raise DemoError("the models could not be made:\n" + "\n".join(tail))
    return folders


async def play(site: DemoSite, models: Mapping[str, Path], *, telling: Telling) -> Played:
    """Run the course on a prepared site.

    Raises:
        DemoError: A part did not come up or a stage took too long.
    """
    aligned = import_checkpoint(models["aligned"], site.releases, name="aligned", created_at=_now())
    drifted = import_checkpoint(
        models["drifted"], site.releases, name="customer-sql", parent=aligned.id, created_at=_now()
    )
    options = Options(admin_url=f"http://127.0.0.1:{site.admin_port}", token_file=site.token_file)
    deployer = VllmProcessDeployer(options)
    async with AsyncExitStack() as stack:
        with telling.stage("serve the aligned release"):
            await site.start_server()
            await _answers(site, deployer)
            await _deploy(site, deployer, aligned)
        client, stop = _client(site), asyncio.Event()
        user = asyncio.create_task(client.run(stop))
        stack.push_async_callback(_leave, user, stop)
        began_at = _now()
        with telling.stage("watch until it is certified, and measure it"):
            await site.start_daemon()
            telling.say("meanwhile the customer's fine-tune is staged; nobody knows yet that it drifted")
            staged = asyncio.create_task(_stage(site, deployer, drifted))
            stack.callback(staged.cancel)
            aligned_profile = await _get_to_know(site, aligned, telling)
        with telling.stage("deploy the customer's fine-tune"):
            await staged
            await _deploy(site, deployer, drifted)
            drift_at = _now()
        with telling.stage("notice, contain, repair, verify, promote"):
            status = await _follow(site, telling)
        daemon = site.processes["daemon"].pid
        used = cpu_seconds(daemon)
        await asyncio.sleep(_IDLE_SECONDS)
        idle = (cpu_seconds(daemon) - used) / _IDLE_SECONDS
        final = await _status(site) or status
    return Played(
        aligned=aligned, drifted=drifted, aligned_profile=aligned_profile, began_at=began_at, drift_at=drift_at,
        status=final, incident=final["incidents"][0], traffic=client.traffic,
        watcher_rss_mb=peak_rss_mb(daemon), watcher_idle_cpu_ratio=idle,
    )  # fmt: skip


def _client(site: DemoSite) -> OrdinaryClient:
    prompts = tuple(b.prompt for b in builtin("ordinary").behaviors)
    return OrdinaryClient(endpoint=site.endpoint, model=NAME, prompts=prompts, seed=1)


async def _leave(user: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await user


async def _answers(site: DemoSite, deployer: VllmProcessDeployer) -> None:
    for _ in range(300):
        try:
            await deployer.state()
        except DeployerUnavailable:
            _alive(site, "server")
            await asyncio.sleep(0.2)
        else:
            return
    raise DemoError(f"the server's supervisor does not answer; look at {site.run / 'server.log'}")


async def _stage(site: DemoSite, deployer: VllmProcessDeployer, release: Release) -> None:
    try:
        await deployer.stage(release)
    except DeployError as error:
        raise DemoError(f"{error}\n(logs are in {site.run})") from error


async def _deploy(site: DemoSite, deployer: VllmProcessDeployer, release: Release) -> None:
    await _stage(site, deployer, release)
    try:
        await deployer.promote(release)
    except DeployError as error:
        raise DemoError(f"{error}\n(logs are in {site.run})") from error


async def _get_to_know(site: DemoSite, release: Release, telling: Telling) -> Mapping[str, Any]:
    """Wait until the daemon has certified a release and measured it; return the profile."""
    found: Mapping[str, Any] = {}

    def look(target: Mapping[str, Any], _: Mapping[str, Any] | None) -> bool:
        nonlocal found
        _tell_activity(target, telling)
        found = next((r["profile"] for r in target["releases"] if r["release"] == release.id and r["profile"]), {})
        return bool(found)

    await _until(site, look, _CERTIFY_SECONDS, f"certified and measured {release.id}")
    return found


def _tell_activity(target: Mapping[str, Any], telling: Telling) -> None:
    if target["activity"]:
        telling.say(f"{'':<18}{target['activity']['stage']} {int(target['activity']['share'] * 4) * 25} %")


async def _follow(site: DemoSite, telling: Telling) -> Mapping[str, Any]:
    """Tell each transition of the incident until it has ended."""
    told = 0

    def look(target: Mapping[str, Any], incident: Mapping[str, Any] | None) -> bool:
        nonlocal told
        if incident is None:
            return False
        for event in incident["events"][told:]:
            telling.say(f"{event['state']:<18}{event['note']}")
        told = len(incident["events"])
        _tell_activity(target, telling)
        return bool(incident["closed"])

    await _until(site, lambda _, i: i is not None, _NOTICE_SECONDS, "noticed the drift")
    return await _until(site, look, _INCIDENT_SECONDS, "closed the incident")


async def _until(
    site: DemoSite,
    done: Callable[[Mapping[str, Any], Mapping[str, Any] | None], bool],
    seconds: float,
    what: str,
) -> Mapping[str, Any]:
    """Read the daemon's status until ``done`` says so of the target and its newest incident."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        status = await _status(site)
        if status and done(status["targets"][0], next(iter(status["incidents"]), None)):
            return status
        _alive(site, "daemon")
        await asyncio.sleep(0.5)
    raise DemoError(f"the daemon has not {what} in {seconds:.0f} s; look at {site.run / 'daemon.log'}")


async def _status(site: DemoSite) -> Mapping[str, Any] | None:
    try:
        async with httpx.AsyncClient(timeout=10.0) as http:
            status: Mapping[str, Any] = (await http.get(site.status_url)).json()
    except (httpx.HTTPError, ValueError):
        return None
    return status


def _alive(site: DemoSite, name: str) -> None:
    process = site.processes[name]
    if process.returncode is not None:
        log = site.run / f"{name}.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise DemoError(f"the {name} ended with {process.returncode}; its log {log} ends:\n{tail}")


def _now() -> datetime:
    return datetime.now(UTC)
