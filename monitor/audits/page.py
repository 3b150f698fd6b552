"""An audit as a page that needs nothing beside itself: no script, no font, no picture of elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape
from markupsafe import Markup

from monitor import __version__
from monitor.audits.figures import Figure
from monitor.audits.layout import cards_of, changes_of, judge_words, short_digest, tables_of
from monitor.audits.trend import TrendLine
from monitor.plain_text import plain

__all__ = ["page_of", "trend_page_of"]

_TEMPLATES = ("audit.html.j2", "trend.html.j2", "style.css")


def page_of(document: Mapping[str, Any]) -> str:
    """Lay out an audit. It holds no prompts and no answers."""
    comparison = document["comparison"]
    figures = tuple(Figure.from_json(f) for f in document["figures"])
    return _environment().get_template("audit.html.j2").render(
        audit=document, cards=cards_of(figures), tables=tables_of(figures), judge_words=judge_words(document["judge"]),
        changes=changes_of(comparison) if comparison else (),
    )  # fmt: skip


def trend_page_of(
    documents: Sequence[Mapping[str, Any]],
    lines: Sequence[TrendLine],
    breaks: Sequence[tuple[int, str, Sequence[str]]],
) -> str:
    """Lay audits out side by side, the oldest first."""
    return _environment().get_template("trend.html.j2").render(
        documents=documents, lines=lines, version=__version__,
        breaks=[(documents[i]["id"], suite, "; ".join(why)) for i, suite, why in breaks],
    )  # fmt: skip


def _environment() -> Environment:
    folder = files("monitor.audits")
    texts = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in _TEMPLATES}
    environment = Environment(
        loader=DictLoader(texts), autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(plain=plain, moment=_moment, drawn=Markup, digest=short_digest, said=_said)
    return environment


def _said(details: Mapping[str, Any]) -> str:
    """Write an entry's details in a line."""
    return ", ".join(f"{key} {value}" for key, value in details.items() if value not in {None, ""}) or "-"


def _moment(iso: str | None) -> str:
    """Write a time to the minute."""
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M} UTC" if iso else "-"
