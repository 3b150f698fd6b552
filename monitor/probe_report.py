"""What an on-demand sweep found, as words, exit code, table, page and files for other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, select_autoescape

from deploy.durable import clear_scratch, write_whole
from monitor import __version__
from monitor.on_demand import Found
from monitor.plain_text import plain
from probes.behavior import SuiteKind
from probes.exports.harmbench import results_of
from probes.exports.jailbreakbench import artifact_of
from probes.exports.junit import junit_of
from probes.statistics.evalues import Decision

__all__ = [
    "BREACH", "EXPORTS", "NEEDS_TEXTS", "NOT_ENOUGH", "UNAVAILABLE", "code_of", "measure_of", "note_of", "page_of",
    "plain_of", "words_of", "write_exports",
]  # fmt: skip

BREACH, UNAVAILABLE, NOT_ENOUGH = 3, 4, 5

_MEASURES = {SuiteKind.HARM: "ASR", SuiteKind.BENIGN: "over-refusal", SuiteKind.TASK: "accuracy"}
_EARLY = {"paused", "budget", "unavailable"}

NEEDS_TEXTS = {"harmbench", "jailbreakbench"}
"""Exports that hold prompts and answers."""

EXPORTS: Mapping[str, tuple[str, Callable[[Found, Mapping[str, Any]], str]]] = {
    "harmbench": ("harmbench.json", lambda found, _: _json(results_of(found.sweep.results))),
    "jailbreakbench": (
        "jailbreakbench.json", lambda found, header: _json(_artifact(found, header)),
    ),
    "junit": (
        "junit.xml",
        lambda found, header: junit_of(found.sweep.results, name=f"{header['target']} {header['suite']}"),
    ),
}  # fmt: skip


def code_of(found: Found) -> int:
    """Return the exit code: 0 healthy, 3 breach, 4 no usable answers, 5 not enough evidence."""
    if found.estimate.n == 0:
        return UNAVAILABLE if found.sweep.results else NOT_ENOUGH
    if found.decision is Decision.REJECT:
        return BREACH
    unsure = found.estimate.value is None or found.decision is Decision.CONTINUE or found.sweep.stopped in _EARLY
    return NOT_ENOUGH if unsure else 0


def words_of(found: Found) -> tuple[str, str]:
    """Say in a word what was found, and why where that needs saying."""
    reasons = ", ".join(f"{n} {why}" for why, n in found.missing.items())
    code = code_of(found)
    if code == UNAVAILABLE:
        return "no usable answers", reasons
    if code == BREACH:
        return "breach", "the sequential test rejects that the target is healthy"
    if found.estimate.value is None and found.sweep.results:
        return "not enough evidence", f"too many probes have no verdict ({reasons})"
    if found.sweep.stopped in _EARLY:
        return "not enough evidence", f"stopped: {found.sweep.stopped}"
    if code == NOT_ENOUGH:
        return "not enough evidence", "the sequential test has not decided; ask more with --n or --until-decided"
    return ("healthy", "") if found.kind is SuiteKind.HARM else ("measured", "")


def measure_of(found: Found) -> str:
    """Name what the suite measures: marks between 0 and 1 have a mean, and no accuracy."""
    marks = {r.judgement.quality for r in found.sweep.results if r.judgement and r.judgement.quality is not None}
    if found.kind is SuiteKind.TASK and marks - {0.0, 1.0}:
        return "mean mark (0 to 1)"
    return _MEASURES[found.kind]


def note_of(found: Found) -> str:
    """Say what holds for all intervals but that of the whole estimate; empty where nothing needs saying."""
    return "fixed-n interval; the sweep chose when to stop" if found.sweep.stopped == "decided" else ""


def plain_of(found: Found, header: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything but the answers, in plain values."""
    word, reason = words_of(found)
    bare = replace(
        found, sweep=replace(found.sweep, results=()), missing=dict(found.missing), flags=dict(found.flags)
    )  # asdict breaks counters
    values = {k: v for k, v in asdict(bare).items() if k != "sweep"}
    return {
        **values, "kind": found.kind.value, "measure": measure_of(found), "note": note_of(found),
        "decision": found.decision.value if found.decision else None, "release": found.sweep.release,
        "stopped": found.sweep.stopped, "n": len(found.sweep.results), "verdict": word, "reason": reason,
        "exit_code": code_of(found), "asked": dict(header),
    }  # fmt: skip


def page_of(found: Found, header: Mapping[str, Any]) -> str:
    """Lay out a self-contained page. It holds no prompts and no answers."""
    environment = Environment(
        autoescape=select_autoescape(default=True), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = plain
    template = environment.from_string(files("monitor").joinpath("probe_report.html.j2").read_text(encoding="utf-8"))
    word, reason = words_of(found)
    measures = {measure_of(found): found.estimate}
    others = {"share scoring 5": found.share_scoring_5} if found.share_scoring_5 else {}
    return template.render(
        found=found, header=header, word=word, reason=reason, measures=measures, others=others,
        note=note_of(found),
        tone={0: "healthy", BREACH: "breach"}.get(code_of(found), "unsure"),
        hs=found.hs if found.hs and found.hs.value is not None else None,
        asked={k.replace("_", " "): _short(v) for k, v in header.items() if k != "record"}, version=__version__,
    )  # fmt: skip


def write_exports(found: Found, header: Mapping[str, Any], folder: Path, names: tuple[str, ...]) -> tuple[Path, ...]:
    """Write the page and the exports of these names; each file is whole or not there, and its owner's alone.

    Raises:
        OSError: A file can't be written; the error names it, and no draft is left.
    """
    written = []
    for name, text in [
        ("report.html", page_of(found, header)),
        *((EXPORTS[n][0], EXPORTS[n][1](found, header)) for n in names),
    ]:
        path = folder / name
        try:
            clear_scratch(folder, of=name)
            write_whole(path, text.encode(errors="backslashreplace"), private=True)
        except OSError as error:
            error.filename = str(path)
            raise
        written.append(path)
    return tuple(written)



def _artifact(found: Found, header: Mapping[str, Any]) -> dict[str, Any]:
    return artifact_of(
        found.sweep.results, model=header["model"], order=found.order, date=header["started_at"][:10],
        method_parameters={k: header[k] for k in ("max_tokens", "temperature", "top_p")},
    )  # fmt: skip


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{v['name']} {v['weight']:g}" if isinstance(v, dict) else str(v) for v in value)
    return "none" if value is None else str(value)


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=True) + "\n"
