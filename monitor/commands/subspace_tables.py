"""How ``alignd subspace`` lays out what a sketch covers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from monitor.commands.suite_tables import printable

if TYPE_CHECKING:  # so that `--help` stays quick
    from remediation.living_subspace import CategoryCoverage, Measured, ModuleCoverage, Shares, SubspaceSummary

__all__ = ["averaged", "block_of", "latest", "newcomers", "subspace_tables", "subspace_words"]

_BLOCK = re.compile(r"\.(\d+)\.")
_NEAR = 0.9
"""A control with so much of the requests' share is called as good as the same."""


def subspace_tables(summary: SubspaceSummary) -> Iterator[Table]:
    """Lay out categories, kinds of matrices, updates and categories that were new."""
    yield _categories(summary)
    yield _beside_controls(summary)
    yield _kinds(summary)
    yield _updates(summary)
    if any(one.drift is not None for one in summary.updates):
        yield _moves(summary)
    if found := newcomers(summary):
        yield _new(found)


def subspace_words(summary: SubspaceSummary) -> Iterator[str]:
    """Say what the figures mean, and what they do not."""
    last = summary.updates[-1]
    whole, controls = last.overall.requests.both, last.overall.controls
    said = ", ".join(f"\u201c{name}\u201d {_percent(s.both)}" for name, s in controls.items())
    yield (
        f"Of the energy of refused harmful requests that it was not made from, the sketch (rank {summary.rank}) holds "
        f"{_percent(whole)}. Of the controls: {said}."
    )
    for name, meaning in (
        ("random tokens", "any text does that: the sketch says nothing about safety"),
        ("harmless, answered", "a harmless answer does that too: the sketch says little about safety"),
        ("harmless, refused", "so does refusing what is harmless: the sketch is of refusing, not of harm"),
    ):
        if name in controls and controls[name].both >= _NEAR * whole:
            yield f"Beware: {meaning}."
            break
    lost = max(max(m.lost_left, m.lost_right) for m in summary.modules)
    yield f"No direction of any matrix lost more than {_percent(lost)} of that matrix's sketched energy."
    if last.drift is not None:
        sides = {"U": last.drift.left, "V": last.drift.right}
        moved = [n for n, s in sides.items() if s.fresh < s.resampled]
        what = f"{' and '.join(moved)} moved further than" if moved else "neither side moved further than"
        yield f"Since the update before, {what} two draws from one model lie apart."


def latest(summary: SubspaceSummary) -> dict[str, CategoryCoverage]:
    """The newest measurement of each category, by name."""
    found: dict[str, CategoryCoverage] = {}
    for one in summary.updates:
        found |= one.categories
    return dict(sorted(found.items()))


def newcomers(summary: SubspaceSummary) -> list[tuple[str, str, CategoryCoverage]]:
    """Categories that came to a sketch that was there already: name, day, measurement."""
    known = set(summary.updates[0].categories)
    found = []
    for one in summary.updates[1:]:
        found += [(c, f"{one.at:%Y-%m-%d}", m) for c, m in one.categories.items() if c not in known and m.before]
        known |= set(one.categories)
    return found


def block_of(module: str) -> int | None:
    """Number of the block that a module belongs to, if its name has one."""
    found = _BLOCK.search(module)
    return int(found[1]) if found else None


def averaged(modules: Sequence[ModuleCoverage]) -> dict[str, float]:
    """Both-sided shares of some matrices together, of requests and of each control."""
    whole = sum(m.share for m in modules) or 1.0
    found = {"requests": sum(m.share * m.inside.requests.both for m in modules) / whole}
    for name in modules[0].inside.controls:
        found[name] = sum(m.share * m.inside.controls[name].both for m in modules) / whole
    return found


def _categories(summary: SubspaceSummary) -> Table:
    table = _table("Share of gradient energy inside the sketch, %", "category", "sketched", "U", "V", "U and V",
                   "others only")  # fmt: skip
    for name, found in latest(summary).items():
        out = found.left_out
        table.add_row(
            Text(printable(name)), str(summary.sketched.get(name, 0)), *_three(found.inside.requests),
            _figure(out.requests.both) if out else "-",
        )  # fmt: skip
    last = summary.updates[-1]
    table.add_section()
    table.add_row("last update", str(sum(c.sketched for c in last.categories.values())), *_three(last.overall.requests))
    table.caption = (
        "Of requests that were not sketched. Others only: U and V of a sketch of the last update's other categories "
        "alone, without what came before: what they would cover of this one if it were new."
    )
    return table


def _beside_controls(summary: SubspaceSummary) -> Table:
    last = summary.updates[-1].overall
    table = _table("Beside the controls, %", "category", "U and V", *_heads(last.controls))
    for name, found in latest(summary).items():
        table.add_row(Text(printable(name)), _figure(found.inside.requests.both), *_controls(found.inside))
    table.add_section()
    table.add_row("last update", _figure(last.requests.both), *_controls(last))
    table.caption = "U and V. Controls are texts of equal length."
    return table


def _kinds(summary: SubspaceSummary) -> Table:
    controls = _heads(summary.modules[0].inside.controls)
    table = _table("By kind of matrix, %", "matrix", "of all\nenergy", "U and V", *controls)
    kinds: dict[str, list[ModuleCoverage]] = {}
    for module in summary.modules:
        kinds.setdefault(module.module.rpartition(".")[2], []).append(module)
    for kind, its in kinds.items():
        table.add_row(Text(printable(kind)), _figure(sum(m.share for m in its)), *map(_figure, averaged(its).values()))
    table.caption = "Controls: shares of each one's own energy in all matrices, weighted as the requests' energy."
    return table


def _updates(summary: SubspaceSummary) -> Table:
    table = _table("Updates", "at", "release", "categories", "energy, %")
    for one in summary.updates:
        energy = _figure(one.overall.requests.both)
        table.add_row(f"{one.at:%Y-%m-%d %H:%M}", one.release[:12], str(len(one.categories)), energy)
    return table


def _moves(summary: SubspaceSummary) -> Table:
    heads = ("moved to", "two draws", "mean\nangle", "sketch\nkept", "chance")
    table = _table("Over time: overlaps of U, V", "at", *heads)
    for one in summary.updates:
        if one.drift is not None:
            sides = (one.drift.left, one.drift.right)
            table.add_row(
                f"{one.at:%Y-%m-%d %H:%M}", ", ".join(f"{s.fresh:.2f}" for s in sides),
                ", ".join(f"{s.resampled:.2f}" for s in sides), ", ".join(f"{s.fresh_angle:.0f}\u00b0" for s in sides),
                ", ".join(f"{s.state:.2f}" for s in sides), ", ".join(f"{s.chance:.2f}" for s in sides),
            )  # fmt: skip
    table.caption = (
        "1 the same, 0 orthogonal. Moved to: the sketch before against this update's requests; two draws: what two "
        "sets of requests of one model have in common. Drift is an overlap below that."
    )
    return table


def _new(found: Sequence[tuple[str, str, CategoryCoverage]]) -> Table:
    heads = _heads(found[0][2].inside.controls)
    table = _table("Categories that were new, %", "category", "on", "before", "after", *heads)
    for name, day, one in found:
        if one.before is not None:
            table.add_row(Text(printable(name)), day, _figure(one.before.requests.both),
                          _figure(one.inside.requests.both), *_controls(one.before))  # fmt: skip
    table.caption = "U and V, before the category came in and after. Controls: inside the sketch as it was before."
    return table


def _table(title: str, first: str, *others: str) -> Table:
    """Lay out figures for 80 columns and pipes: only names fold, in the first column."""
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left", pad_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column(first, overflow="fold")
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _heads(controls: Iterable[str]) -> Iterator[str]:
    """Name controls in two lines each."""
    return (name.replace(" ", "\n", 1) for name in controls)


def _three(shares: Shares) -> tuple[str, str, str]:
    return _figure(shares.left), _figure(shares.right), _figure(shares.both)


def _controls(measured: Measured) -> tuple[str, ...]:
    return tuple(_figure(s.both) for s in measured.controls.values())


def _figure(share: float) -> str:
    """Write a share in per cent, as the table's title says."""
    return f"{100 * share:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
