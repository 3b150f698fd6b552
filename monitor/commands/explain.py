"""``alignd explain``: why an incident fired, in words, with a plot of its evidence."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from monitor.errors import ConfigError, LogFault
from monitor.plain_text import plain

if TYPE_CHECKING:  # so that `alignd --help` stays quick
    from monitor.explaining import Explanation
    from monitor.incident import Incident
    from monitor.service import Service
    from monitor.tracing import Trace

__all__ = ["explain", "explained"]

_CONFIG = Path("alignd.yaml")
_WIDE = 64
_LINE = 600
_BARS = "▁▂▃▄▅▆▇█"
_DAY_SECONDS = 86400.0


def explain(
    incident: Annotated[str, typer.Argument(help="Incident id, see `alignd status`.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")] = _CONFIG,
    *,
    out: Annotated[Path | None, typer.Option(help="SVG file to draw the evidence into.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say why an incident fired: what, against what, how strong, since when, and what the tests after it found."""
    from monitor.bootstrap import build
    from monitor.settings import load_settings

    service = build(load_settings(config))
    try:
        found = explained(service, service.store.load(incident))
    finally:
        asyncio.run(service.aclose())
    if out:
        _draw(found, out)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    for title, lines in found.sections.items():
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(Text(f"  {plain(line, most=_LINE)}"))
        if title == "How it rose" and found.trace:
            console.print(Text(f"  {_sparkline(found.trace)}"))
        console.print()
    if out:
        console.print(Text(f"wrote {out}"))


def explained(service: Service, incident: Incident) -> Explanation:
    """Fold the log again up to an incident's alarm, and explain it; what the store lacks is said."""
    from monitor.explaining import explain as put_into_words

    site = service.sites.get(incident.target)
    evidence = incident.facts.get("evidence", {})
    trace, gaps = None, []
    if site is None:
        gaps.append(f"target {incident.target} is not in the settings: its rates and its schedule are not known")
    if "epoch" not in evidence or "position" not in evidence:
        gaps.append("the incident does not say at which record of the probe log it fired (an older version wrote it)")
    elif site:
        trace, gap = _traced(service, incident)
        gaps += [gap] if gap else []
    rate = site.schedule.batch * _DAY_SECONDS / site.schedule.interval_seconds if site else 0.0
    return put_into_words(
        incident, trace=trace, rates=site.rates if site else None, per_day=rate, gaps=gaps
    )


def _traced(service: Service, incident: Incident) -> tuple[Trace | None, str]:
    """Return the path of the evidence, or why there is none."""
    from monitor.tracing import trace
    from monitor.watch import SURVEY, new_watch

    evidence = incident.facts["evidence"]
    epoch = service.store.epoch_of(evidence["epoch"])
    if epoch is None:
        return None, f"epoch {evidence['epoch']} is not in this database"
    begun = new_watch(service.sites[incident.target].rates, epoch)
    fired = tuple(evidence.get("fired", (SURVEY,)))
    try:
        found = trace(begun, service.store.entries(epoch), position=evidence["position"], fired=fired)
    except LogFault as error:
        return None, f"the log can't be read: {error}"
    if not found.points:
        return None, f"epoch {epoch.id} has no record in this database"
    if found.alarm.position < evidence["position"]:
        return found, f"the log ends at record {found.alarm.position}, before record {evidence['position']} that fired"
    return found, ""


def _draw(found: Explanation, out: Path) -> None:
    from monitor.commands.evidence_svg import evidence_svg

    try:
        out.write_text(evidence_svg(found), encoding="utf-8")
    except ValueError as error:
        raise ConfigError(f"--out: {error}") from error
    except OSError as error:
        raise ConfigError(f"--out: {out} can't be written ({error.strerror}); give another file") from error


def _sparkline(trace: Trace) -> str:
    """Draw the log of the evidence in one line, from nothing to the threshold of a breach."""
    points, top = trace.window, math.log(trace.alarm.rates.gamma_breach)
    cells = min(_WIDE, len(points))
    shown = [points[(i + 1) * len(points) // cells - 1] for i in range(cells)]
    shares = [min(1.0, max(0.0, p.log_r / top)) for p in shown]
    line = "".join(_BARS[round(share * (len(_BARS) - 1))] for share in shares)
    return f"{line}  probes {points[0].position:,} to {points[-1].position:,}"
