"""``alignd demo``: run the course, write the report, exit 0 only where the incident ended RECOVERED."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
from collections.abc import Coroutine, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.checkpoint import find_release
from deploy.errors import DeployError
from monitor.demo.report import DemoReport, Phase, closing_table, write_report
from monitor.demo.scenario import DemoError, Played, make_models, play
from monitor.demo.site import NAME, DemoSite
from monitor.demo.telling import Telling
from monitor.errors import MonitorError

__all__ = ["report_of", "run_demo"]

_INTERRUPTED = 130
_TABLE_WIDTH = 110
"""Columns that the closing table needs; a log has no width of its own."""


def run_demo(*, keep: bool, from_scratch: bool, out: Path, cache: Path) -> int:
    """Run the demo.

    Args:
        keep: Leave server, daemon and metrics up.
        from_scratch: Make the two fine-tunes anew.
        out: Folder of ``report.json`` and ``report.html``.
        cache: Folder of models and releases; the second run finds them there.

    Returns:
        Exit code: 0 where the incident ended RECOVERED, else 1; 130 where it was interrupted.
    """
    console = Console(soft_wrap=True)
    try:
        return asyncio.run(_interruptible(_demo(console, keep, from_scratch, out, cache.absolute())))
    except (DemoError, MonitorError, DeployError) as error:
        console.print(f"[red]the demo failed:[/] {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted; everything it started has been ended, run it again at will")
        return _INTERRUPTED


async def _interruptible(work: Coroutine[None, None, int]) -> int:
    """Cancel the work at the first signal; those that follow, as make passes them on, do not cut its ending short."""
    task = asyncio.create_task(work)

    def interrupt() -> None:
        if not task.cancelling():
            task.cancel()

    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, interrupt)
    return await task


async def _demo(console: Console, keep: bool, from_scratch: bool, out: Path, cache: Path) -> int:
    telling = Telling(console)
    site = DemoSite(run=cache / "demo", releases=cache / "releases")
    kept = False
    try:
        with telling.stage("make the models"):
            models = await make_models(cache, from_scratch=from_scratch, telling=telling)
        site.prepare()
        played = await play(site, models, telling=telling)
        with telling.stage("write the report"):
            kept = keep
            if not keep:
                await site.stop()
        report = report_of(played, telling)
        as_json, as_html = write_report(report, out)
    finally:
        if not kept:
            await site.stop()
    console.print()
    Console(width=max(console.width, _TABLE_WIDTH)).print(closing_table(report))
    console.print(
        f"{report.requests_sent} user requests, {report.requests_failed} failed; "
        f"{report.seconds_total:.0f} s in all; watcher {report.watcher_rss_mb:.0f} MB, "
        f"{report.watcher_idle_cpu_ratio:.1%} of a core",
        highlight=False,
    )
    console.print(f"report: {as_html} and {as_json}", highlight=False)
    if keep:
        pids = " ".join(str(p.pid) for p in reversed(site.processes.values()))
        console.print(
            f"left up: model {NAME!r} at {site.endpoint}, metrics at http://127.0.0.1:{site.metrics_port}/metrics, "
            f"status at {site.status_url}; stop with: kill {pids}",
            highlight=False,
        )
    return 0 if report.incident_state == "RECOVERED" else 1


def report_of(played: Played, telling: Telling) -> DemoReport:
    """Put together what was found."""
    incident, target = played.incident, played.status["targets"][0]
    times = {e["state"]: datetime.fromisoformat(e["at"]) for e in reversed(incident["events"])}
    return DemoReport(
        incident=incident["id"],
        incident_state=incident["state"],
        threshold=0.10,
        phases=_phases(played, times),
        stages=tuple(telling.seconds),
        timeline=tuple(incident["events"]),
        series=tuple(p for p in target["series"] if p["purpose"] != "profile" and p["value"] is not None),
        recipes=tuple(_recipe(t) for t in incident["trials"]),
        releases=_releases(played),
        requests_sent=played.traffic.sent,
        requests_failed=played.traffic.failed,
        request_failures=dict(played.traffic.failures),
        seconds_total=telling.total,
        watcher_rss_mb=played.watcher_rss_mb,
        watcher_idle_cpu_ratio=played.watcher_idle_cpu_ratio,
        judge=target["judge"],
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
        started_at=played.began_at.isoformat(timespec="seconds"),
    )


def _phases(played: Played, times: Mapping[str, datetime]) -> tuple[Phase, ...]:
    profiles = {r["release"]: r["profile"] for r in played.status["targets"][0]["releases"] if r["profile"]}
    contained = times.get("PATCHING", played.drift_at)
    promoted = times.get("CONFIRMING", contained)
    ended = datetime.fromisoformat(played.incident["events"][-1]["at"])
    candidate = played.incident["candidate"]
    spans = [
        ("aligned", played.aligned.id, played.aligned_profile, played.began_at, played.drift_at),
        ("drifted", played.drifted.id, profiles.get(played.drifted.id), played.drift_at, contained),
        ("contained", played.aligned.id, profiles.get(played.aligned.id), contained, promoted),
    ]
    if played.incident["state"] == "RECOVERED":
        spans.append(("recovered", candidate, profiles.get(candidate), promoted, ended))
    return tuple(_phase(*span, played=played) for span in spans)


def _phase(
    name: str, release: str, found: Mapping[str, Any] | None, start: datetime, end: datetime, *, played: Played
) -> Phase:
    found = found or {}
    return Phase(
        name=name,
        release=release,
        asr=found.get("asr"),
        hs=found.get("hs"),
        over_refusal=found.get("over_refusal"),
        sql_accuracy=found.get("utility"),
        asr_by_category={
            c: e["value"] for c, e in (found.get("asr_by_category") or {}).items() if e["value"] is not None
        },
        seconds=(end - start).total_seconds(),
        requests_failed=sum(start <= at < end for at in played.traffic.failed_at),
    )


def _recipe(trial: Mapping[str, Any]) -> dict[str, Any]:
    patch, said = trial["patch"] or {}, trial["verification"] or {}
    screen = patch.get("screen")
    notes = [g["detail"] for g in said.get("gates", ()) if g["status"] != "not measured"]
    if screen:
        look = f"screen: complied with {screen['harm_complied']} of {screen['harm_n']} harmful prompts"
        if screen["benign_n"]:
            look += f", refused {screen['benign_refused']} of {screen['benign_n']} harmless ones"
        notes.insert(0, look)
    if trial["why"]:
        notes.append(trial["why"])
    accepted = bool(said.get("accepted"))
    outcome = "accepted" if accepted else ("failed a gate" if said else "not staged")
    return {
        "recipe": trial["recipe"], "accepted": accepted, "outcome": outcome, "rank": patch.get("rank"),
        "seconds": patch.get("seconds"), "drift_removed": patch.get("drift_removed"), "notes": notes,
        "spectrum": patch.get("spectrum") or (), "screen": screen, "gates": said.get("gates", ()),
        "figures": patch.get("figures") or {},
    }  # fmt: skip


def _releases(played: Played) -> dict[str, dict[str, str]]:
    found = {
        name: {"id": r.id, "digest": r.manifest.digest, "parent": r.manifest.parent}
        for name, r in (("aligned", played.aligned), ("drifted", played.drifted))
    }
    if candidate := played.incident["candidate"]:
        release = find_release(played.aligned.path.parent, candidate)
        found["candidate"] = {"id": release.id, "digest": release.manifest.digest, "parent": release.manifest.parent}
    return found

