"""How ``alignd suites`` lays out what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # so that `alignd --help` stays quick
    from probes.suites.manifest import SuiteManifest

__all__ = [
    "category_table",
    "checked_facts",
    "facts_grid",
    "list_table",
    "manifest_facts",
    "printable",
    "split_line",
    "unavailable",
]

_LEFT_OUT = {
    "copyright": "rows on copyright, which another metric measures",
    "other_kind": "rows labelled {other}, which --kind {other} takes",
    "no_prompt": "jailbreaks that were not found",
    "repeated": "prompts that stood there before",
}


def list_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out which suites there are."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("name", "kind", "use", "rows", "version", "sha256", "licence"):
        table.add_column(column, justify="right" if column == "rows" else "left", no_wrap=True)
    for row in rows:
        rest = (str(row["rows"]), row["version"], row["sha256"][:12]) if row["available"] else ("-", "-", "-")
        table.add_row(row["name"], row["kind"], row["use"], *rest, row["licence"])
    return table


def unavailable(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Group the suites that can't be read by the reason."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if not row["available"]:
            found.setdefault(row["why"].removeprefix(f"{row['name']}: "), []).append(row["name"])
    return found


def facts_grid(facts: Mapping[str, str]) -> Table:
    """Lay out named facts, one a line; empty ones are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            grid.add_row(f"  {name}", Text(printable(value)))
    return grid


def manifest_facts(manifest: SuiteManifest, summary: Mapping[str, Any]) -> dict[str, str]:
    """Say what a manifest says, and what was left out of the source."""
    kind = manifest.kind.value
    return {
        "name": manifest.name,
        "about": manifest.about,
        "kind": kind,
        "use": "train: recipes may train on it, so no sweep should ask it" if manifest.use == "train" else "probe",
        "version": manifest.version,
        "format": summary["format"],
        "prompts": _prompts(manifest.rows, kind, summary["rows_read"]),
        "left out": _left_out(summary["left_out"], kind),
        "sha256": manifest.sha256,
        "licence": manifest.licence or "not stated in the file",
    }


def checked_facts(said: Mapping[str, Any]) -> dict[str, str]:
    """Say what a usable file holds, and what to beware of."""
    beware = [
        f"prompts that stand in {pool} too, which recipes train on: {len(ids)} ({_some(ids)})"
        for pool, ids in said["in_training_pools"].items()
        if ids
    ]
    if repeated := said["prompts_under_several_ids"]:
        beware.append(f"prompts under several ids, which may be sealed and not sealed at once: {repeated}")
    return {
        "format": said["format"],
        "prompts": _prompts(said["prompts"], said["kind"], said["rows_read"]),
        "left out": _left_out(said["left_out"], said["kind"]),
        "categories": ", ".join(f"{name} {sum(count.values())}" for name, count in sorted(said["categories"].items())),
        "sha256": said["sha256"],
        "beware": "; ".join(beware),
    }


def category_table(categories: Mapping[str, Mapping[str, int]]) -> Table:
    """Lay out how many prompts each category has, by form where the source tells forms apart."""
    forms = [f for f in ("imperative", "question", "unknown") if any(f in count for count in categories.values())]
    forms = [] if forms == ["unknown"] else forms
    table = Table("category", box=box.SIMPLE_HEAD)
    for column in ("rows", *forms):
        table.add_column(column, justify="right")
    for name, count in sorted(categories.items()):
        table.add_row(
            Text(printable(name)), str(sum(count.values())), *(str(count.get(form, 0) or "-") for form in forms)
        )
    return table


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor or break a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def split_line(counts: Mapping[str, int] | None) -> str:
    """Say how many prompts fall where, or how to learn it."""
    if counts is None:
        return "split: by the site's key, so -c alignd.yaml or ALIGND_KEY shows how many prompts fall where"
    return "split: " + ", ".join(f"{n} {partition}" for partition, n in counts.items())


def _prompts(prompts: int, kind: str, rows: int) -> str:
    return f"{prompts} {kind}" + ("" if rows == prompts else f", of {rows} rows")


def _left_out(left_out: Mapping[str, int], kind: str) -> str:
    other = "benign" if kind == "harm" else "harm"
    return "; ".join(f"{_LEFT_OUT[why].format(other=other)}: {n}" for why, n in left_out.items())


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
