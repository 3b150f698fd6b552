"""Tables of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from monitor.plain_text import plain
from monitor.view import View, counted

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.on_demand import Found
    from probes.result import SafetyEstimate

__all__ = ["probe_table", "status_tables"]

_NOTE = 400
_NO_NEWS = {"", View().why}


def _cell(text: object) -> Text:
    """Return a cell in which markup is a text like any other."""
    return Text(plain(text))


def _line(text: str) -> Text:
    """Return a line of its own, of which more is kept."""
    return Text(plain(text, most=_NOTE))


def probe_table(found: Found) -> Table:
    """Lay out what an on-demand sweep found: in all, by category, by attack where there are several."""
    from monitor.probe_report import measure_of, note_of

    sweep, note = found.sweep, note_of(found)
    title = " ".join(plain(word) for word in (sweep.target, sweep.release) if word)
    table = Table(
        title=Text(f"{title}, {plain(sweep.suite)}"), title_justify="left", caption=f"* {note}" if note else None,
        caption_justify="left",
    )  # fmt: skip
    for column in ("", measure_of(found), "95 % interval", "n", "missing"):
        table.add_column(column, justify="right" if column else "left")
    mark = "*" if note else ""
    for groups in (found.by_category, found.by_attack if len(found.by_attack) > 1 else {}):
        for name, estimate in groups.items():
            table.add_row(_cell(name), *_cells(estimate, mark))
        table.add_section()
    table.add_row("all", *_cells(found.estimate))
    if found.hs and found.share_scoring_5:
        table.add_row("share scoring 5", *_cells(found.share_scoring_5, mark))
        table.add_row("HS (1 to 5)", *_cells(found.hs, mark))
    return table


def _cells(estimate: SafetyEstimate, mark: str = "") -> Sequence[str]:
    if estimate.value is None:
        return "-", "-", str(estimate.n), str(estimate.missing)
    bounds = f"{estimate.lower:.3f} to {estimate.upper:.3f}{mark}"
    return f"{estimate.value:.3f}", bounds, str(estimate.n), str(estimate.missing)


def status_tables(found: Mapping[str, Any]) -> tuple[RenderableType, ...]:
    """Lay out the status: targets, their releases, then incidents; a terminal of 80 columns is enough."""
    targets = _table("targets", "target", "mode", "verdict", "ASR", "n", "next, UTC")
    releases = _table("releases", "target", "in service", "last known good")
    for t in found["targets"]:
        asr = t["asr"] or {"value": None, "n": 0}
        shown = "-" if asr["value"] is None else f"{asr['value']:.3f} [{asr['lower']:.3f}, {asr['upper']:.3f}]"
        cells = (t["name"], t["mode"], t["verdict"], shown, asr["n"], _clock(t["next_sweep_at"], found["at"]))
        targets.add_row(*map(_cell, cells))
        releases.add_row(*map(_cell, (t["name"], _in_service(t) or "-", _last_good(t) or "-")))
    whys = [_line(f"{t['name']}: {news}") for t in found["targets"] for news in _news(t)]
    whys += [_line(f"channel {c['channel']}: {news}") for c in found["notifications"] if (news := _unsent(c))]
    if not found["incidents"]:
        return targets, releases, *whys, "no incidents"
    incidents = _table("incidents", "incident", "state", "since, UTC", "last note")
    for i in found["incidents"]:
        last = i["events"][-1]
        since = last["at"][:16].replace("T", " ")
        incidents.add_row(*map(_cell, (i["id"], i["state"], since)), _line(last["note"]))
    opened = [i for i in found["incidents"] if not i["closed"] and i["headline"]]
    fired = [_line(f"{i['id']} fired on {i['headline']}; `alignd explain` says more") for i in opened]
    return targets, releases, *whys, incidents, *fired


def _table(title: str, *columns: str) -> Table:
    """Begin a table whose names may be copied from it: what is long runs over, and nothing is cut."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        long = column in {"target", "in service", "last known good", "last note"}
        table.add_column(column, no_wrap=not long, overflow="fold", justify="right" if column == "n" else "left")
    return table


def _in_service(target: Mapping[str, Any]) -> str:
    """Name the release that users get."""
    served: str = target["release"]
    return "nobody (503)" if target["quarantine"] else served


def _last_good(target: Mapping[str, Any]) -> str:
    """Name the last known good release: another one, or the one that serves."""
    served: str = target["release"]
    is_good = any(r["good"] and r["release"] == served for r in target["releases"])
    return target["last_known_good"] or (served if is_good else "")


def _clock(planned: str | None, now: str) -> str:
    """Write the time of day; nothing where nobody knows it, or where it is long past: no daemon runs."""
    return planned[11:19] if planned and planned >= now else "-"


def _rail(rail: Mapping[str, Any]) -> str:
    until = f" (until {rail['until'][:16]} UTC)" if rail["until"] else ""
    return f"{rail['name']}: {rail['why']}{until}"


def _unsent(channel: Mapping[str, Any]) -> str:
    """Say what people were not told, and why."""
    parts = [f"{channel[what]} {word}" for what, word in (("pending", "waiting"), ("dead", "dead")) if channel[what]]
    return f"{', '.join(parts)}; {channel['why'] or 'not tried yet'}" if parts else ""


def _news(target: Mapping[str, Any]) -> Sequence[str]:
    """Say what keeps a target from being watched as usual, and what speaks for a drift."""
    from monitor.explaining import amount

    wire, evidence = target["tripwire"], target["evidence"]
    said = [target[what] for what in ("why", "paused", "frozen", "check_failed")]
    if target["quarantine"]:
        said.append(f"quarantined, users get 503: {target['quarantine']['why']}; `alignd quarantine lift` ends that")
    newest = target["newest_sweep"]
    if newest and 0 < newest["missing"] < newest["probes"]:
        missing = f"{newest['missing']} of {newest['probes']} probes"
        said.append(f"{missing} of the newest sweep got no usable answer ({counted(newest['reasons'])})")
    if target["incident"]:
        said.append(f"incident {target['incident']} is open")
    if target["rails"]:
        said.append(f"held since {target['held_since'][:16]} by " + "; ".join(_rail(r) for r in target["rails"]))
    if target["breaker"]["open"]:
        said.append(f"breaker open after {target['breaker']['failures']} failed repairs; `alignd breaker reset` closes")
    if wire and (wire["tripped"] or wire["off"]):
        said.append(f"tripwire: {wire['why']}")
    if evidence and target["phase"] != "idle":
        found, breach = amount(evidence["log"]), amount(evidence["log_breach"])
        left = target["left_to_a_person"]
        opens = f"left to a person since incident {left} was escalated" if left else f"an incident opens at {breach}"
        said.append(f"{target['phase']}: the evidence of drift is {found}, {opens}")
    return [line for line in dict.fromkeys(said) if line not in _NO_NEWS]
