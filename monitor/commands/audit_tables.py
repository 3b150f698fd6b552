"""Tables of ``alignd audit show``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from monitor.audits.document import figures_in
from monitor.audits.layout import judge_words, tables_of
from monitor.plain_text import plain

__all__ = ["audit_tables", "list_table"]


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
    yield Text(plain(judge_words(document["judge"]), most=600))
    happened = document["happened"]
    yield Text(f"{len(happened['incidents'])} incidents, {len(happened['decisions'])} decisions in this period")


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
