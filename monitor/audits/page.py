"""An audit as a page that needs nothing beside itself: no script, no font, no picture of elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, select_autoescape
from markupsafe import Markup

from monitor.audits.figures import Figure
from monitor.audits.layout import cards_of, judge_words, short_digest, tables_of
from monitor.plain_text import plain

__all__ = ["page_of"]


def page_of(document: Mapping[str, Any]) -> str:
    """Lay out an audit. It holds no prompts and no answers."""
    environment = Environment(
        autoescape=select_autoescape(default=True), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(plain=plain, moment=_moment, drawn=Markup, digest=short_digest)
    template = environment.from_string(
        files("monitor.audits").joinpath("audit.html.j2").read_text(encoding="utf-8")
    )
    figures = tuple(Figure.from_json(f) for f in document["figures"])
    return template.render(
        audit=document, cards=cards_of(figures), tables=tables_of(figures), judge_words=judge_words(document["judge"]),
    )  # fmt: skip


def _moment(iso: str | None) -> str:
    """Write a time to the minute."""
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M} UTC" if iso else "-"
