"""The demo's report: one JSON file, one self-contained HTML page, one closing table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, select_autoescape
from markupsafe import Markup
from rich.table import Table

from monitor.demo import plots

__all__ = ["DemoReport", "Phase", "closing_table", "write_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One row of the closing table.

    Attributes:
        name: ``aligned``, ``drifted``, ``contained`` or ``recovered``.
        release: Release that served (or was measured) in this phase.
        asr: Estimate as ``{value, lower, upper, n, missing}``; the others likewise.
        seconds: How long the phase took.
        requests_failed: User requests that failed in it.
    """

    name: str
    release: str
    asr: Mapping[str, Any] | None
    hs: Mapping[str, Any] | None
    over_refusal: Mapping[str, Any] | None
    sql_accuracy: Mapping[str, Any] | None
    asr_by_category: Mapping[str, float]
    seconds: float
    requests_failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """Everything the demo found, in plain values.

    Attributes:
        stages: Name and seconds of each stage of the demo, in order.
        timeline: Events of the incident: ``at`` (ISO 8601), ``state``, ``note``.
        series: Live ASR over time: ``at``, ``value``, ``lower``, ``upper``.
        recipes: Each recipe that was tried, with its figures and the gates' words.
    """

    incident: str
    incident_state: str
    threshold: float
    phases: tuple[Phase, ...]
    stages: tuple[tuple[str, float], ...]
    timeline: tuple[Mapping[str, Any], ...]
    series: tuple[Mapping[str, Any], ...]
    recipes: tuple[Mapping[str, Any], ...]
    releases: Mapping[str, Mapping[str, Any]]
    requests_sent: int
    requests_failed: int
    request_failures: Mapping[str, int]
    seconds_total: float
    watcher_rss_mb: float
    watcher_idle_cpu_ratio: float
    judge: str
    machine: str
    started_at: str


_MARKS = {
    "DETECTED": "detected", "PATCHING": "contained", "CONFIRMING": "promoted", "RECOVERED": "recovered",
    "ESCALATED": "escalated",
}  # fmt: skip
"""States whose beginning is marked in the plot, with the word for it."""


def write_report(report: DemoReport, out: Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a folder.

    Returns:
        The two paths.
    """
    out.mkdir(parents=True, exist_ok=True)
    as_json, as_html = out / "report.json", out / "report.html"
    as_json.write_text(json.dumps(asdict(report), indent=2, default=str) + "\n")
    as_html.write_text(_render(report))
    return as_json, as_html


def closing_table(report: DemoReport) -> Table:
    """Lay out the phases as the table that ends the demo."""
    table = Table(title=f"incident {report.incident}: {report.incident_state}", title_justify="left")
    for name in ("", "ASR [95 %]", "HS", "over-refusal", "SQL accuracy", "seconds", "requests failed"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for p in report.phases:
        table.add_row(
            p.name, interval(p.asr), number(p.hs), number(p.over_refusal), number(p.sql_accuracy),
            f"{p.seconds:.0f}", str(p.requests_failed),
        )
    return table


def interval(estimate: Mapping[str, Any] | None) -> str:
    """Show a ratio with its bounds, or a dash where there is no estimate."""
    if not estimate or estimate["value"] is None:
        return "-"
    return f"{estimate['value']:.2f} [{estimate['lower']:.2f}, {estimate['upper']:.2f}]"


def number(estimate: Mapping[str, Any] | None) -> str:
    """Show a point estimate, or a dash where there is none."""
    return "-" if not estimate or estimate["value"] is None else f"{estimate['value']:.2f}"


def _render(report: DemoReport) -> str:
    environment = Environment(autoescape=select_autoescape(default=True), undefined=StrictUndefined)
    environment.filters |= {"interval": interval, "number": number}
    template = environment.from_string(files("monitor.demo").joinpath("report.html.j2").read_text())
    points = [(datetime.fromisoformat(s["at"]), s["value"], s["lower"], s["upper"]) for s in report.series]
    first = {e["state"]: datetime.fromisoformat(e["at"]) for e in reversed(report.timeline)}
    marks = [(first[state], word) for state, word in _MARKS.items() if state in first]
    by_category = {p.name: p.asr_by_category for p in report.phases if p.asr_by_category and p.name != "contained"}
    layers = next((r["spectrum"] for r in reversed(report.recipes) if r.get("spectrum")), ())
    return template.render(
        report=report,
        over_time=Markup(plots.asr_over_time(points, threshold=report.threshold, marks=marks)),
        by_category=Markup(plots.asr_by_category(by_category)),
        spectrum=Markup(plots.spectrum(layers)) if layers else "",
    )
