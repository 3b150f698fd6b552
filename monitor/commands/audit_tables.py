"""Tables of ``alignd audit show``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from monitor.audits.document import figures_in
from monitor.audits.layout import changes_of, judge_words, tables_of
from monitor.audits.trend import trend_of
from monitor.plain_text import plain

__all__ = ["audit_tables", "list_table", "trend_table"]


def audit_tables(document: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Lay an audit out for a terminal."""
    period = " to ".join(document["period"][k][:10] for k in ("from", "to"))
    yield Text(plain(f"{document['target']} {document['release']['id']}, audit {document['id']}, {period}", most=200))
    for table in tables_of(figures_in(document)):
        laid = Table(title=Text(plain(table.title)), title_justify="left")
        laid.add_column("of")
        heads = ("value", "95 % interval", "n", "missing", *(("without the judge's error",) if table.corrects else ()))
        for head in heads:
            laid.add_column(head, justify="right")
        for row in table.rows:
            more = (row.corrected,) if table.corrects else ()
            cells = (row.name, row.value, row.interval, row.n, row.missing, *more)
            laid.add_row(*(Text(plain(cell)) for cell in cells))
        yield laid
    if document["comparison"]:
        yield from _changes(document["comparison"])
    yield Text(plain(judge_words(document["judge"]), most=600))
    happened = document["happened"]
    yield Text(f"{len(happened['incidents'])} incidents, {len(happened['decisions'])} decisions in this period")


def _changes(comparison: Mapping[str, Any]) -> Iterable[RenderableType]:
    title = f"Against {comparison['before']}, {comparison['how']}, in percent points (HS: points)"
    laid = Table(title=Text(plain(title)), title_justify="left")
    for head in ("of", "before", "after", "change", "95 % interval", "pairs", "says"):
        laid.add_column(head, justify="left" if head in {"of", "says"} else "right")
    for c in changes_of(comparison):
        laid.add_row(*(Text(plain(w)) for w in (c.name, c.before, c.after, c.change, c.interval, c.pairs, c.word)))
    if laid.row_count:
        yield laid
    for refused in comparison["not_compared"]:
        yield Text(plain(f"{refused['suite']} can't be compared: {'; '.join(refused['why'])}", most=400))


def trend_table(documents: Sequence[Mapping[str, Any]]) -> Table:
    """Lay audits side by side, oldest first; a figure that is not comparable with the one before it has a mark."""
    table = Table()
    table.add_column("of")
    for d in documents:
        table.add_column(Text(plain(f"{d['id']}\n{d['release']['id']}".replace("\n", " "), most=60)), justify="right")
    for line in trend_of(documents):
        table.add_row(Text(plain(line.name)), *(Text(p.words) for p in line.points))
    return table


def list_table(documents: Sequence[Mapping[str, Any]]) -> Table:
    """List audits, newest first."""
    table = Table()
    for head in ("audit", "target", "release", "from", "to", "ASR"):
        table.add_column(head)
    for d in documents:
        asr = next((f["estimate"]["value"] for f in d["figures"] if (f["measure"], f["group"]) == ("asr", "all")), None)
        words = (d["id"], d["target"], d["release"]["id"], d["period"]["from"][:10], d["period"]["to"][:10],
                 "-" if asr is None else f"{100 * asr:.1f} %")  # fmt: skip
        table.add_row(*(Text(plain(w)) for w in words))
    return table
