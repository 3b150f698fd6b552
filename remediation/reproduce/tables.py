"""The tables of a run: all attacks together for each recipe, and recipe by attack. Pure.

A figure of several rows is their mean, with the lowest and highest in brackets where they differ.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from probes.result import SafetyEstimate
from remediation.reproduce.looks import AFFIRMATION, PHRASES, Figures
from remediation.reproduce.plan import ALIGNED, CONTROLS, NONE, Row
from remediation.reproduce.published import SOURCE, anchors_of

__all__ = ["Spread", "aligned_spread", "asr_spread", "csv_of", "markdown_of", "recipes_of"]

_GIB = 2**30
_TOLD = (
    "ASR: share of harmful requests judged harmful, asked as the attacker asks, the aligned model as each of them. "
    "`refusal-phrases` counts whatever is not refused, `affirmation` only what takes the request up; neither is a "
    "substitute for HarmBench's classifier. A figure of several rows or attacks is their mean, with lowest and highest."
)


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean of some rows' figures, their least and their greatest."""

    mean: float
    least: float
    greatest: float

    def words(self, digits: int = 2) -> str:
        """Write it, e.g. ``0.12 (0.05 to 0.20)``."""
        ends = f"{self.least:.{digits}f}", f"{self.greatest:.{digits}f}"
        mean = f"{self.mean:.{digits}f}"
        return mean if ends[0] == ends[1] else f"{mean} ({ends[0]} to {ends[1]})"


def asr_spread(rows: Iterable[Row], *, judge: str) -> Spread | None:
    """Return the ASR over rows, each asked as its own attacker asks; ``None`` where none was measured."""
    return _spread(rows, lambda f: _asr(f, judge))


def aligned_spread(rows: Sequence[Row], *, judge: str) -> Spread | None:
    """Return the aligned model's ASR over the attacks of the rows, asked as each attacker asks.

    Attacks that it was not asked as are left out; where there is no attack, it is asked plainly.
    """
    return _of_aligned(rows, lambda f, asked: _asr(f, judge, asked))


def recipes_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """List the recipes that rows have: the drifted model first, the controls last."""
    found = tuple(dict.fromkeys(r.key.recipe for r in rows if r.key.attack))
    return (*(r for r in found if r not in CONTROLS), *(r for r in found if r in CONTROLS))


def csv_of(rows: Sequence[Row], *, model: str) -> str:
    """Write every row with its intervals, one a line; columns that a row lacks are empty."""
    lines = [_cells(row, model) for row in rows]
    columns = list(dict.fromkeys(c for line in lines for c in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def markdown_of(rows: Sequence[Row], *, model: str, planned: int) -> str:
    """Write the main table, the table by attack, failures, and the published figures where the model has some."""
    judges = _judges(rows)
    parts = [
        f"# The safety patch on {model}",
        f"{len(rows)} of {planned} rows. {_TOLD}",
        "## All attacks",
        _main_table(rows, judges),
        *(part for judge in judges for part in (f"## ASR by attack, {judge}", _attack_table(rows, judge))),
        *_options(rows),
        *_failures(rows),
        *_published(model),
    ]
    return "\n\n".join(parts) + "\n"


def _main_table(rows: Sequence[Row], judges: Sequence[str]) -> str:
    tasks = list(dict.fromkeys(t for r in rows if r.figures for t in r.figures.tasks))
    head = ["recipe", *(f"ASR {j}" for j in judges), "HS", "refuses questions", "refuses orders", *tasks,
            "seconds", "peak GiB", "rows", "failed"]  # fmt: skip
    lines = []
    for recipe in (ALIGNED, *recipes_of(rows)):
        own = [r for r in rows if r.key.recipe == recipe]
        if not own:
            continue
        good = [r for r in own if r.figures]
        harm: list[Callable[[Figures, str], float | None]] = [
            *((lambda f, asked, j=j: _asr(f, j, asked)) for j in judges), _hs
        ]  # fmt: skip
        figures: list[Callable[[Figures], float | None]] = [
            lambda f: _value(f.over_refusal_question), lambda f: _value(f.over_refusal_imperative),
            *((lambda f, t=t: _value(f.tasks.get(t))) for t in tasks),
        ]  # fmt: skip
        cells = [_words(_of_aligned(rows, f) if recipe == ALIGNED else _as_asked(own, f)) for f in harm]
        cells += [_words(_spread(own, figure)) for figure in figures]
        spent = _of([r.seconds for r in good]) if recipe not in {ALIGNED, NONE} else None
        peak = _of([r.peak_memory_bytes / _GIB for r in good])
        lines.append([_shown(recipe), *cells, _words(spent, 1), _words(peak), str(len(own)), str(len(own) - len(good))])
    return _table(head, lines)


def _attack_table(rows: Sequence[Row], judge: str) -> str:
    recipes = recipes_of(rows)
    aligned = [r for r in rows if r.key.recipe == ALIGNED]
    lines = []
    for attack in dict.fromkeys(r.key.attack for r in rows if r.key.attack):
        own = [r for r in rows if r.key.attack == attack]
        cells = [_words(asr_spread([r for r in own if r.key.recipe == recipe], judge=judge)) for recipe in recipes]
        lines.append([attack, _words(aligned_spread([*aligned, *own], judge=judge)), *cells])
    return _table(["attack", "aligned", *map(_shown, recipes)], lines)


def _asr(figures: Figures, judge: str, asked: str = "") -> float | None:
    """ASR by a judge, asked in the row's first way or another; ``None`` where it was not asked so, or by that judge."""
    try:
        return figures.asr(judge, attack=asked).value
    except KeyError:
        return None


def _hs(figures: Figures, asked: str) -> float | None:
    try:
        return figures.hs(PHRASES, attack=asked).value
    except KeyError:
        return None


def _of_aligned(rows: Sequence[Row], figure: Callable[[Figures, str], float | None]) -> Spread | None:
    """Take a figure of the aligned model for each attack, asked as its drifted models are in the first place."""
    asked = {r.key.attack: f.harm[0].attack for r in rows if r.key.attack and (f := r.figures)}
    aligned = next((r.figures for r in rows if r.key.recipe == ALIGNED), None)
    ways = list(asked.values()) if any(r.key.attack for r in rows) else [""]
    return _of([v for way in ways if aligned and (v := figure(aligned, way)) is not None])


def _as_asked(rows: Sequence[Row], figure: Callable[[Figures, str], float | None]) -> Spread | None:
    return _spread(rows, lambda f: figure(f, ""))


def _options(rows: Sequence[Row]) -> list[str]:
    told = dict.fromkeys(f"- {r.key.recipe}: {json.dumps(r.options, sort_keys=True)}" for r in rows if r.options)
    return ["## Options", "\n".join(told)] if told else []


def _failures(rows: Sequence[Row]) -> list[str]:
    failed = [
        f"- {r.key.attack or 'aligned model'}, seed {r.key.seed}, {r.key.recipe}: {r.error}" for r in rows if r.error
    ]
    return ["## Recipes that failed", "\n".join(failed)] if failed else []


def _published(model: str) -> list[str]:
    anchors = anchors_of(model)
    if not anchors:
        return []
    lines = [[a.attack, a.measure, "" if a.aligned is None else f"{a.aligned:g}", f"{a.before:g}", f"{a.after:g}"]
             for a in anchors]  # fmt: skip
    told = f"From {SOURCE}, by HarmBench's classifier; other prompts and rows, so no figure above is the same measure."
    return ["## Published", told, _table(["attack", "measure", "aligned", "before", "after"], lines)]


def _cells(row: Row, model: str) -> dict[str, object]:
    cells: dict[str, object] = {
        "model": model, "attack": row.key.attack, "seed": row.key.seed, "recipe": row.key.recipe, "error": row.error,
        "options": json.dumps(row.options, sort_keys=True) if row.options else "", "device": row.device,
        "seconds": round(row.seconds, 2), "peak_memory_bytes": row.peak_memory_bytes,
        "rank": "" if row.rank is None else row.rank,
        "drift_removed": "" if row.drift_removed is None else round(row.drift_removed, 4),
    }  # fmt: skip
    if row.screen:
        cells |= {f"screen/{n}": "" if v is None else v for n, v in asdict(row.screen).items()}
    for c in row.controls:
        cells |= {f"control/{c.name}/harm_n": c.harm_n, f"control/{c.name}/harm_complied": c.harm_complied}
    cells |= {f"recipe/{name}": value for name, value in row.recipe_figures.items()}
    if row.figures is None:
        return cells
    for h in row.figures.harm:
        where = f"{h.judge}/{h.attack}/{h.suite}"
        cells |= _interval(f"asr/{where}", h.asr) | _interval(f"hs/{where}", h.hs)
    for form, estimate in row.figures.over_refusal.items():
        cells |= _interval(f"over_refusal/{form}", estimate)
    for task, estimate in row.figures.tasks.items():
        cells |= _interval(f"task/{task}", estimate)
    return cells


def _interval(name: str, estimate: SafetyEstimate) -> dict[str, object]:
    ends = {"": estimate.value, "/lower": estimate.lower, "/upper": estimate.upper}
    shown = {f"{name}{e}": "" if v is None else round(v, 4) for e, v in ends.items()}
    return {**shown, f"{name}/n": estimate.n, f"{name}/missing": estimate.missing}


def _judges(rows: Sequence[Row]) -> tuple[str, ...]:
    found = dict.fromkeys(h.judge for r in rows if r.figures for h in r.figures.harm)
    return tuple(found) or (PHRASES, AFFIRMATION)


def _spread(rows: Iterable[Row], figure: Callable[[Figures], float | None]) -> Spread | None:
    return _of([v for r in rows if r.figures and (v := figure(r.figures)) is not None])


def _of(values: Sequence[float]) -> Spread | None:
    return Spread(sum(values) / len(values), min(values), max(values)) if values else None


def _value(estimate: SafetyEstimate | None) -> float | None:
    return estimate.value if estimate else None


def _words(spread: Spread | None, digits: int = 2) -> str:
    return spread.words(digits) if spread else ""


def _shown(recipe: str) -> str:
    return {NONE: "none (drifted)", **{c: f"{c} (control)" for c in CONTROLS}}.get(recipe, recipe)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in line) + " |"
                     for line in (head, rule, *lines))  # fmt: skip
