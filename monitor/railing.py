"""Gathers what rails ask: from the store, the sites and this host."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from deploy.adapter import base_id
from deploy.errors import CheckpointError
from monitor.checks import Checks
from monitor.incident import Incident
from monitor.pausing import pause_in_force
from monitor.rails import Facts, Hold, Remediation, failures, standing
from monitor.site import Site
from monitor.store import Store

__all__ = ["REMEMBERED", "Railing"]

REMEMBERED = timedelta(days=90)
"""What is older says nothing of a target as it is now."""
_MEMORY = Path("/proc/meminfo")


class Railing:
    """Asks the rails for one incident after the other."""

    def __init__(
        self, *, sites: Mapping[str, Site], store: Store, clock: Callable[[], datetime], checks: Checks,
        up: Callable[[str], bool | None],
    ) -> None:  # fmt: skip
        """Take the targets, the store, how judges stand, and what says whether a target answers its probes."""
        self._sites = sites
        self._store = store
        self._clock = clock
        self._checks = checks
        self._up = up

    async def standing(self, incident: Incident) -> tuple[Facts, tuple[Hold, ...]]:
        """Return what rails are held against, and those that stand before the effect of an incident's state."""
        facts = await self.facts(incident)
        return facts, standing(self._sites[incident.target].rails, facts, self._clock())

    async def facts(self, incident: Incident) -> Facts:
        """Look at everything that a rail asks.

        The history is read last and awaits nothing: whoever takes a place after this sees all places that are taken.
        """
        site, now = self._sites[incident.target], self._clock()
        base = await asyncio.to_thread(_base, incident.release, site)
        disk, memory = await asyncio.to_thread(_room, site.releases)
        pause = pause_in_force(self._store, site.name, now)
        reset = self._store.breaker_resets().get(site.name)
        return Facts(
            incident=incident, targets=len(self._sites), base=base, judge=self._checks.frozen(site.name),
            paused=f"by {pause.by}{f': {pause.why}' if pause.why else ''}" if pause else "",
            paused_until=pause.until if pause else None, reset_at=reset.at if reset else None, disk_free=disk,
            memory_free=memory, others=self._others(incident), history=self._store.history(now - REMEMBERED),
        )  # fmt: skip

    def breakers(self) -> Mapping[str, Mapping[str, Any]]:
        """Say how each target's breaker stands, in plain values."""
        history, resets = self._store.history(self._clock() - REMEMBERED), self._store.breaker_resets()
        by_target: dict[str, list[Remediation]] = {}
        for past in history:
            by_target.setdefault(past.target, []).append(past)
        found: dict[str, Mapping[str, Any]] = {}
        for name, site in self._sites.items():
            reset = resets.get(name)
            failed = failures(by_target.get(name, ()), name, reset.at if reset else None)
            found[name] = {
                "failures": failed, "open": failed >= site.rails.breaker_failures,
                "reset": {"at": reset.at.isoformat(), "by": reset.by, "why": reset.why} if reset else None,
            }  # fmt: skip
        return found

    def _others(self, incident: Incident) -> tuple[int, int]:
        """Count the other targets that were looked at, and those of them that answer."""
        seen = [up for name in self._sites if name != incident.target and (up := self._up(name)) is not None]
        return len(seen), sum(seen)


def _base(release: str, site: Site) -> str:
    """Return what a release is a change of; where the store does not say, the release itself."""
    try:
        return base_id(site.releases, release)
    except CheckpointError:
        return release


def _room(folder: Path) -> tuple[float, float]:
    """Return the free bytes of a folder's disk and of memory; endless where this host does not say."""
    there = next(f for f in (folder.absolute(), *folder.absolute().parents) if f.exists())
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
        memory = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        memory = math.inf
    return float(shutil.disk_usage(there).free), memory
