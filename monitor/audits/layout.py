"""An audit as tables, rows and words, for a page and for a terminal. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.audits.figures import SCALES, Figure
from monitor.audits.plots import difference_svg, interval_svg
from probes.result import SafetyEstimate

__all__ = [
    "TITLES", "ChangeRow", "Row", "Table", "cards_of", "changes_of", "interval_words", "judge_words", "number",
    "short_digest", "tables_of",
]  # fmt: skip

TITLES = {
    "asr": "ASR", "hs": "HS", "share_5": "Share scoring 5", "over_refusal": "Over-refusal", "accuracy": "Utility",
}  # fmt: skip
"""What people call a measure."""
_ABOUT = {
    "asr": "share of harmful requests that were answered harmfully", "hs": "mean harmfulness score, 1 to 5",
    "share_5": "share of harmful requests with a score of exactly 5",
    "over_refusal": "share of harmless requests that were refused", "accuracy": "share of the task solved",
}  # fmt: skip
_GROUPS = {"all": "", "category": "by category", "attack": "by attack", "form": "by form"}
_CARDS = ("asr", "hs", "over_refusal", "accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    name: str
    value: str
    interval: str
    n: int
    missing: int
    corrected: str
    plot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Figures of one measure and suite in one grouping.

    Attributes:
        corrects: Whether a row holds a rate with the judge's error taken out.
    """

    title: str
    about: str
    ends: str
    rows: tuple[Row, ...]
    corrects: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One line of a comparison."""

    name: str
    before: str
    after: str
    change: str
    interval: str
    pairs: str
    word: str
    tone: str
    plot: str


def number(measure: str, value: float | None) -> str:
    """Write a value as people read it: a rate in percent, a score with two digits."""
    if value is None:
        return "no estimate"
    return f"{value:.2f}" if measure == "hs" else f"{100 * value:.1f} %"


def interval_words(measure: str, estimate: SafetyEstimate) -> str:
    """Write an interval; a dash where there is none."""
    if estimate.value is None:
        return "-"
    low, high = (number(measure, v).removesuffix(" %") for v in (estimate.lower, estimate.upper))
    return f"{low} to {high}" + ("" if measure == "hs" else " %")


def cards_of(figures: Sequence[Figure]) -> tuple[tuple[str, str, Row], ...]:
    """Return the figures to read first: title, what it is, and its row."""
    found = []
    for measure in _CARDS:
        whole = [f for f in figures if f.measure == measure and f.group == "all"]
        together = [f for f in whole if not f.suite] or whole
        for f in together:
            title = TITLES[measure] + (f" ({f.suite})" if len(together) > 1 else "")
            found.append((title, _ABOUT[measure], _row(f, title)))
    return tuple(found)


def tables_of(figures: Iterable[Figure]) -> tuple[Table, ...]:
    """Group the figures into tables, in their order; figures in all stand in one table."""
    groups: dict[tuple[str, str, str], list[Figure]] = {}
    for f in figures:
        key = ("", "", "all") if f.group == "all" else (f.measure, f.suite, f.group)
        groups.setdefault(key, []).append(f)
    told = [(key, members) for key, members in groups.items() if key[0] != "share_5" and _tells(key[2], members)]
    return tuple(_table(*key, members) for key, members in told)


def changes_of(comparison: Mapping[str, Any]) -> tuple[ChangeRow, ...]:
    """Return the lines of a comparison; those of HS have a reach of their own."""
    attacks = Counter((c["measure"], c["suite"]) for c in comparison["changes"] if c["group"] == "attack")
    changes = [c for c in comparison["changes"] if _worth_a_line(c, attacks)]
    reach = max((abs(c[k]) for c in changes if c["measure"] != "hs" for k in ("lower", "upper")), default=1.0)
    return tuple(_change_row(c, SCALES["hs"][1] - SCALES["hs"][0] if c["measure"] == "hs" else reach) for c in changes)


def _worth_a_line(change: Mapping[str, Any], attacks: Mapping[tuple[str, str], int]) -> bool:
    """Whether a change says more than the others do: one attack alone is all there is, and ASR tells of a 5's share."""
    if change["group"] == "attack":
        return attacks[change["measure"], change["suite"]] > 1
    return bool(change["measure"] != "share_5" or change["group"] == "all")


def _change_row(change: Mapping[str, Any], reach: float) -> ChangeRow:
    measure, group = change["measure"], change["group"]
    where = change["suite"] or "all together"
    name = f"{TITLES[measure]}, {where if group == 'all' else change['name']}"
    value, *ends = (_signed(measure, change[k]) for k in ("value", "lower", "upper"))
    interval = " to ".join(ends)
    moved = "" if change["gained"] is None else f" (+{change['gained']} -{change['lost']})"
    return ChangeRow(
        name=name, before=number(measure, change["before"]), after=number(measure, change["after"]), change=value,
        interval=interval, pairs=f"{change['pairs']}{moved}" if change["pairs"] else "-", word=change["word"],
        tone=change["word"] if change["word"] in {"worse", "better"} else "dim",
        plot=difference_svg(
            change["value"], change["lower"], change["upper"], reach or 1.0, f"{name}: {value}, {interval}"
        ),
    )  # fmt: skip


def _signed(measure: str, value: float) -> str:
    return f"{value:+.2f}" if measure == "hs" else f"{100 * value:+.1f}"


def _tells(group: str, figures: Sequence[Figure]) -> bool:
    """Whether a table says more than the figures in all do: one attack alone is all there is."""
    return group != "attack" or len(figures) > 1


def _table(measure: str, suite: str, group: str, figures: Sequence[Figure]) -> Table:
    if group == "all":
        rows = tuple(_row(f, TITLES[f.measure] + (f", {f.suite}" if f.suite else ", all together")) for f in figures)
        title, about, ends = "All figures", "Each suite as a whole.", "0 to 100 %, HS 1 to 5"
    else:
        rows = tuple(_row(f, f.name) for f in figures)
        title = f"{TITLES[measure]} {_GROUPS[group]}"
        about = f"{suite or 'All harmless suites'}: {_ABOUT[measure]}."
        ends = "1 to 5" if measure == "hs" else "0 to 100 %"
    return Table(title=title, about=about, ends=ends, rows=rows, corrects=any(r.corrected for r in rows))


def _row(figure: Figure, name: str) -> Row:
    e, c = figure.estimate, figure.corrected
    value, interval = number(figure.measure, e.value), interval_words(figure.measure, e)
    corrected = ""
    if c is not None:
        corrected = "-" if c.value is None else f"{number('asr', c.value)} ({interval_words('asr', c)})"
    return Row(
        name=name, value=value, interval=interval, n=e.n, missing=e.missing, corrected=corrected,
        plot=interval_svg(e, SCALES[figure.measure], f"{name}: {value}, from {interval}"),
    )  # fmt: skip


def short_digest(digest: str | None) -> str:
    """Cut a digest to what tells it apart; words where there is none."""
    return digest[:16] if digest else "not in the release store"


def judge_words(judge: Mapping[str, Any]) -> str:
    """Say in a sentence what is known of the judge's error."""
    calibration = judge["calibration"]
    if not calibration:
        return "The judge was not calibrated against people: rates are the judge's own, with its error in them."
    se, sp = (calibration[k] for k in ("sensitivity", "specificity"))
    return (
        f"Calibrated on {calibration['data']} ({calibration['n']} replies labelled by people, "
        f"{calibration['calibrated_at'][:10]}): it finds {number('asr', se['value'])} of harmful replies "
        f"({_range(se)}) and passes {number('asr', sp['value'])} of safe ones ({_range(sp)})."
    )


def _range(rate: Mapping[str, Any]) -> str:
    return interval_words("asr", SafetyEstimate(**{k: rate[k] for k in SafetyEstimate.__slots__}))
