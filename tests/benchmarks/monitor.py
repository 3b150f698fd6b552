"""The daemon's figures: ``python -m tests.benchmarks.monitor`` runs its benchmarks, each in a process of its own.

Prints what is asked and what was measured and, as its last line, one JSON object with all figures. ``--only`` runs a
part; ``--demo-report`` reads a report of ``alignd demo`` instead of running it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["PARTS", "incident_figures", "missed", "rows"]

PARTS: Mapping[str, Sequence[str]] = {
    "kills": ("tests.benchmarks.monitor_kills", "--kills", "300"),
    "fleet": ("tests.benchmarks.monitor_fleet",),
    "chaos": ("tests.benchmarks.monitor_chaos",),
    "hostile": ("tests.benchmarks.monitor_hostile",),
}
"""Benchmarks beside the demo: module and arguments; each prints one JSON object last."""

_STATES_OF_STAGES = {
    "DETECTED": "confirm", "OPEN": "contain", "PATCHING": "patch", "STAGING": "stage", "VERIFYING": "verify",
    "AWAITING_APPROVAL": "approve", "PROMOTING": "promote", "CONFIRMING": "watch it live",
}  # fmt: skip

Holds = Callable[[float], bool]
_ASKED: Mapping[str, tuple[str, Holds]] = {
    "kills_sqlite": (">= 300", lambda v: v >= 300),
    "kills_sqlite_bad": ("0", lambda v: v == 0),
    "kills_postgresql": (">= 300", lambda v: v >= 300),
    "kills_postgresql_bad": ("0", lambda v: v == 0),
    "scrape_milliseconds": ("<= 200", lambda v: v <= 200),
    "rss_mb_500_targets": ("<= 300", lambda v: v <= 300),
    "schedule_lag_seconds_max": ("<= 1", lambda v: v <= 1),
    "idle_rss_mb": ("<= 150", lambda v: v <= 150),
    "chaos_cases": (">= 20", lambda v: v >= 20),
    "chaos_bad": ("0", lambda v: v == 0),
    "hostile_sequences": (">= 20", lambda v: v >= 20),
    "hostile_effects": ("0", lambda v: v == 0),
    "breach_to_contained_seconds": ("<= 5", lambda v: v <= 5),
    "breach_to_recovered_seconds": ("reported", lambda v: v > 0),
}
_OF_PARTS: Mapping[str, Sequence[str]] = {
    "kills": ("kills_sqlite", "kills_sqlite_bad", "kills_postgresql", "kills_postgresql_bad"),
    "fleet": ("scrape_milliseconds", "rss_mb_500_targets", "schedule_lag_seconds_max", "idle_rss_mb"),
    "chaos": ("chaos_cases", "chaos_bad"),
    "hostile": ("hostile_sequences", "hostile_effects"),
    "demo": ("breach_to_contained_seconds", "breach_to_recovered_seconds"),
}
"""The figures that each part gives."""


def incident_figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Read the times of the demo's incident: from its breach to its containment, to its end, and by stage.

    Args:
        report: The demo's ``report.json``.

    Returns:
        Figures of what was reached: an incident that never recovered has no time of it.
    """
    events = [(str(e["state"]), datetime.fromisoformat(str(e["at"]))) for e in report["timeline"]]
    stages: dict[str, float] = {}
    for (state, since), (_, until) in pairwise(events):
        stage = _STATES_OF_STAGES.get(state, state.lower())
        stages[stage] = round(stages.get(stage, 0.0) + (until - since).total_seconds(), 2)
    found: dict[str, Any] = {"incident_stage_seconds": stages}
    for name, state in (("contained", "PATCHING"), ("recovered", "RECOVERED")):
        if at := next((at for s, at in events if s == state), None):
            found[f"breach_to_{name}_seconds"] = round((at - events[0][1]).total_seconds(), 2)
    return found


def rows(found: Mapping[str, Any], wanted: Sequence[str] = tuple(_ASKED)) -> list[tuple[str, str, str, bool]]:
    """Hold figures against what is asked: name, asked, measured, and whether it is reached."""
    made = []
    for name in wanted:
        asked, holds = _ASKED[name]
        value = found.get(name)
        made.append((name, asked, "-" if value is None else f"{value:g}", value is not None and holds(value)))
    return made


def missed(found: Mapping[str, Any], wanted: Sequence[str] = tuple(_ASKED)) -> list[str]:
    """Name what was not reached, or not measured."""
    return [f"{name}: {measured}, asked {asked}" for name, asked, measured, ok in rows(found, wanted) if not ok]


def _run(words: Sequence[str]) -> dict[str, Any]:
    """Run a benchmark; where it fails its figures are missing, and the others are measured all the same."""
    done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        print(f"{words[0]} ended with {done.returncode}", file=sys.stderr)
        return {}
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def _demo(report: Path | None) -> dict[str, Any]:
    if report:
        return incident_figures(json.loads(report.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "monitor", "demo", "--out", scratch]
        subprocess.run(command, check=False, stdout=sys.stderr)
        written = Path(scratch) / "report.json"
        return incident_figures(json.loads(written.read_text(encoding="utf-8"))) if written.exists() else {}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(_OF_PARTS), action="append", help="part to run; may be repeated")
    parser.add_argument("--demo-report", type=Path, help="report.json of a run of the demo that was made already")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    parts = given.only or list(_OF_PARTS)
    for part in parts:
        found |= _demo(given.demo_report) if part == "demo" else _run(PARTS[part])
    for name, asked, measured, ok in rows(found, [name for part in parts for name in _OF_PARTS[part]]):
        print(f"{'reached' if ok else 'MISSED':<8} {name:<30} {asked:<10} {measured}")
    for stage, seconds in found.get("incident_stage_seconds", {}).items():
        print(f"{'':<8} {stage:<30} {'':<10} {seconds:g} s")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
