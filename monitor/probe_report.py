"""What an on-demand sweep found, as words, exit code, table, page and files for other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, select_autoescape

from monitor import __version__
from monitor.on_demand import Found
from probes.behavior import SuiteKind
from probes.exports.harmbench import results_of
from probes.exports.jailbreakbench import artifact_of
from probes.exports.junit import junit_of
from probes.statistics.evalues import Decision

__all__ = [
    "BREACH", "EXPORTS", "MEASURES", "NEEDS_TEXTS", "NOT_ENOUGH", "UNAVAILABLE", "code_of", "page_of", "plain_of",
    "words_of", "write_exports",
]  # fmt: skip

BREACH, UNAVAILABLE, NOT_ENOUGH = 3, 4, 5

MEASURES = {SuiteKind.HARM: "ASR", SuiteKind.BENIGN: "over-refusal", SuiteKind.TASK: "accuracy"}

NEEDS_TEXTS = {"harmbench", "jailbreakbench"}
"""Exports that hold prompts and answers."""

EXPORTS: Mapping[str, tuple[str, Callable[[Found, Mapping[str, Any]], str]]] = {
    "harmbench": ("harmbench.json", lambda found, _: _json(results_of(found.sweep.results))),
    "jailbreakbench": (
        "jailbreakbench.json", lambda found, header: _json(artifact_of(found.sweep.results, model=header["model"])),
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
    if found.estimate.value is None:
        return NOT_ENOUGH
    return NOT_ENOUGH if found.decision is Decision.CONTINUE else 0


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
    if found.sweep.stopped in {"paused", "budget"}:
        return "not enough evidence" if code else "done", f"stopped: {found.sweep.stopped}"
    if code == NOT_ENOUGH:
        return "not enough evidence", "the sequential test has not decided; ask more with --n or --until-decided"
    return ("healthy", "") if found.kind is SuiteKind.HARM else ("measured", "")


def plain_of(found: Found, header: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything but the answers, in plain values."""
    word, reason = words_of(found)
    values = {k: v for k, v in asdict(_without_results(found)).items() if k != "sweep"}
    return {
        **values, "kind": found.kind.value, "decision": found.decision.value if found.decision else None,
        "release": found.sweep.release, "stopped": found.sweep.stopped, "n": len(found.sweep.results),
        "verdict": word, "reason": reason, "exit_code": code_of(found), "asked": dict(header),
    }  # fmt: skip


def page_of(found: Found, header: Mapping[str, Any]) -> str:
    """Lay out a self-contained page. It holds no prompts and no answers."""
    environment = Environment(
        autoescape=select_autoescape(default=True), undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.from_string(files("monitor").joinpath("probe_report.html.j2").read_text(encoding="utf-8"))
    word, reason = words_of(found)
    measure = MEASURES[found.kind]
    measures = {measure: found.estimate}
    if found.share_scoring_5:
        measures["share scoring 5"] = found.share_scoring_5
    return template.render(
        found=found, header=header, word=word, reason=reason, measure="value", measures=measures,
        tone={0: "healthy", BREACH: "breach"}.get(code_of(found), "unsure"),
        hs=found.hs if found.hs and found.hs.value is not None else None,
        asked={k.replace("_", " "): _short(v) for k, v in header.items() if k != "record"}, version=__version__,
    )  # fmt: skip


def write_exports(found: Found, header: Mapping[str, Any], folder: Path, names: tuple[str, ...]) -> tuple[Path, ...]:
    """Write the page and the exports of these names; each file is whole or not there."""
    written = []
    for name, text in [
        ("report.html", page_of(found, header)),
        *((EXPORTS[n][0], EXPORTS[n][1](found, header)) for n in names),
    ]:
        path, draft = folder / name, folder / f".{name}.partial"
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
        draft.chmod(0o600)
        draft.replace(path)
        written.append(path)
    return tuple(written)


def _without_results(found: Found) -> Found:
    return replace(found, sweep=replace(found.sweep, results=()))


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{v['name']} {v['weight']:g}" if isinstance(v, dict) else str(v) for v in value)
    return "none" if value is None else str(value)


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=True) + "\n"
