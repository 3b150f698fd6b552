"""A drifted adapter from its breach to its repair: ``python -m tests.benchmarks.adapter_incident``.

One real vLLM server with the plugin serves an aligned model to users who ask without a pause. Then a customer's adapter
that answers everything takes the public name; a real daemon notices, goes back to the base, repairs the adapter by
another one, proves it and promotes it. Prints the incident's course, and its figures as one JSON object last.

A part of the suites is asked: vLLM's LoRA on a CPU gives some sixty tokens a second on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.adapter import check_adapter, import_adapter
from deploy.checkpoint import Release, import_checkpoint
from deploy.vllm.child import free_port
from monitor.demo.site import DemoSite
from probes.suites import builtin
from remediation.checkpoints.adapter import load_adapter, write_adapter
from remediation.checkpoints.chat import load
from remediation.sft.demo_models import ADAPTERS, make_models
from tests.benchmarks.rollout_adapter import ASKED
from tests.plugin_host import KEY, PUBLIC, PluginHost, write_distribution
from tests.traffic import Traffic

__all__ = ["measure"]

_MODELS = Path(__file__).parents[2] / "build" / "benchmark" / "patch" / "models"
_RANK, _PATCH_RANK = 32, 16
"""Room for the customer's 8 and the patch's."""
_ASKED_OF = {"harm_probe": 110, "benign_edge": 60}
_CERTIFY_SECONDS, _INCIDENT_SECONDS = 600.0, 2400.0


async def measure(folder: Path) -> dict[str, object]:
    """Run one incident.

    Returns:
        ``state`` that it ended in; ``breach_to_contained_seconds``, ``breach_to_recovered_seconds``;
        ``failed_requests`` of users and ``answers``; ``base``, ``kind``, ``rank`` and ``asr`` of what serves last.
    """
    host = _host(folder)
    write_distribution(folder / "installed")
    site = DemoSite(run=folder / "run", releases=folder / "store")
    site.prepare()
    _configure(site, host)
    host.start(max_lora_rank=str(_RANK))
    try:
        await host.first_answer()
        async with host.users() as users, Traffic(users, ASKED, users=1, pause_seconds=0.2) as traffic:
            await host.deployer().promote(host.base)
            await site.start_daemon()
            await _until(site, lambda target, _: _certified(target, host.base), _CERTIFY_SECONDS)
            _say("certified; the customer's adapter takes the public name")
            await host.deployer().promote(host.a)
            incident = await _until(site, lambda _, incident: incident, _INCIDENT_SECONDS)
            await traffic.more(3)
        return await _figures(incident, host, traffic)
    finally:
        await site.stop()
        host.kill()


def _host(folder: Path) -> PluginHost:
    """Put the aligned model and the drift, as an adapter on it, into a store."""
    models = make_models(_MODELS, from_scratch=False, say=lambda *_: None)
    base = import_checkpoint(models["aligned"], folder / "store", name="aligned", created_at=datetime.now(UTC))
    write_adapter(
        load_adapter(ADAPTERS / "drifted.safetensors"), chat=load(base.path), base=base.id, output=folder / "tuned"
    )
    tuned = import_adapter(
        folder / "tuned", folder / "store", name="customer-sql", base=base.id, created_at=datetime.now(UTC),
        creator="import",
    )  # fmt: skip
    return PluginHost(folder=folder, base=base, a=tuned, b=tuned, changed=tuned, port=free_port())


def _configure(site: DemoSite, host: PluginHost) -> None:
    """Change the demo's configuration: adapters on one server, and the recipe that repairs first."""
    settings = yaml.safe_load(site.config.read_text(encoding="utf-8"))
    (target,) = settings["targets"]
    harm, benign = (_part(name, n, site.run) for name, n in _ASKED_OF.items())
    target |= {
        "suites": {"harm": harm, "benign": [benign], "task": "sql", "task_prompts": 30},
        "sampling": {"max_tokens": 24, "task_max_tokens": 40, "concurrency": 16, "timeout_seconds": 300},
        "endpoint": host.url, "model": PUBLIC, "api_key": KEY,
        "recipes": [
            {**r, "options": {**r["options"], "rank": _PATCH_RANK}}
            for r in target["recipes"] if r["plugin"] == "restore-tuned"
        ],
        "deployer": {"plugin": "vllm-adapter", "options": {
            "replicas": [host.url], "state_file": str(host.folder / "wanted.json"), "api_key": KEY,
            "token_file": str(host.folder / "state" / "admin-token"),
        }},
    }  # fmt: skip
    site.config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _part(suite: str, n: int, folder: Path) -> str:
    """Write every so many-th prompt of a suite into a file of its own."""
    behaviors = builtin(suite).behaviors
    rows = [{"id": b.id, "prompt": b.prompt, "category": b.category, "form": b.form}
            for b in behaviors[:: len(behaviors) // n][:n]]  # fmt: skip
    file = folder / f"{suite}-part.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(file)


def _certified(target: Mapping[str, Any], release: Release) -> bool:
    return any(r["release"] == release.id and r["profile"] and r["good"] for r in target["releases"])


async def _until(site: DemoSite, found: Any, seconds: float) -> Mapping[str, Any]:  # noqa: ANN401
    """Read the daemon's status until the target is as is asked for, or its incident is closed; tell each event."""
    told, end = 0, time.monotonic() + seconds
    async with httpx.AsyncClient(timeout=10.0) as http:
        while time.monotonic() < end:
            await asyncio.sleep(0.5)
            try:
                status = (await http.get(site.status_url)).json()
            except (httpx.HTTPError, ValueError):
                continue
            incident = next(iter(status["incidents"]), None)
            for event in incident["events"][told:] if incident else ():
                _say(f"{event['state']:<18}{event['note']}")
                told += 1
            if (incident is None or incident["closed"]) and (seen := found(status["targets"][0], incident)):
                return incident or {"seen": seen}
    raise SystemExit(f"adapter_incident: not within {seconds:.0f} s; logs are in {site.run}")


async def _figures(incident: Mapping[str, Any], host: PluginHost, traffic: Traffic) -> dict[str, object]:
    at = {e["state"].lower(): datetime.fromisoformat(e["at"]) for e in reversed(incident["events"])}
    opened = datetime.fromisoformat(incident["opened_at"])
    active = (await host.deployer().state()).active
    found = next((p for p in (host.folder / "store").glob("*@*") if p.name == active), host.base.path)
    said = check_adapter(found) if found != host.base.path else None
    profile = (incident["trials"][-1].get("profile") or {}) if incident["trials"] else {}
    return {
        "state": incident["state"],
        "breach_to_contained_seconds": _seconds(opened, at.get("patching")),
        "breach_to_recovered_seconds": _seconds(opened, at.get("recovered")),
        "failed_requests": traffic.failed(), "answers": len(traffic.answers), "active": active,
        "kind": "adapter" if said else "merged", "base": said.base if said else "", "rank": said.rank if said else 0,
        "asr": (profile.get("asr") or {}).get("value"), "asr_upper": (profile.get("asr") or {}).get("upper"),
    }  # fmt: skip


def _seconds(began: datetime, ended: datetime | None) -> float | None:
    return round((ended - began).total_seconds(), 1) if ended else None


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, default=None, help="folder to work in, and to leave")
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True)
        found = asyncio.run(measure(given.keep))
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(measure(Path(folder)))
    for name, value in found.items():
        print(f"{name:<30}{value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
