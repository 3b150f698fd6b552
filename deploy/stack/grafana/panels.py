"""Panels and how they are laid out: what every dashboard is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["GREEN", "ORANGE", "RED", "Board", "Panel", "Query", "Row", "to_json"]

GREEN, ORANGE, RED = "green", "orange", "red"
_COLUMNS = 24
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_BOARDS = (("alignd-fleet", "Fleet"), ("alignd-target", "Target"), ("alignd-incident", "Incident"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL expression of a panel.

    Attributes:
        instant: Its present value alone, as a table has it.
    """

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        kind: Grafana's name of it.
        unit: Grafana's name of it, e.g. ``percentunit``.
        steps: Colours from a value on; the first has none.
        names: Texts that stand for values.
        most: End of the scale.
        runbook: Alert whose page is linked to.
        opens: Dashboard that a value with the label ``target`` leads to.
        hidden: Columns that a table does not show.
    """

    title: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    about: str = ""
    unit: str = "short"
    width: int = 12
    height: int = 8
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),)
    names: Mapping[str, str] | None = None
    least: float | None = None
    most: float | None = None
    runbook: str = ""
    opens: str = ""
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard.

    Attributes:
        of_a_target: Whether it shows the target that is chosen at its top.
    """

    uid: str
    title: str
    rows: tuple[Row, ...]
    of_a_target: bool = False


def to_json(board: Board, runbooks: str) -> str:
    """Write a dashboard as Grafana reads it; the same board gives the same text.

    Args:
        runbooks: URL that the pages on alerts lie under.
    """
    links = [
        {"title": title, "type": "link", "url": f"/d/{uid}", "keepTime": True, "includeVars": True, "icon": "dashboard"}
        for uid, title in _BOARDS if uid != board.uid
    ]  # fmt: skip
    links.append({"title": "Runbooks", "type": "link", "url": runbooks, "targetBlank": True, "icon": "doc"})
    whole = {
        "uid": board.uid, "title": board.title, "tags": ["alignd"], "schemaVersion": 39, "version": 1,
        "editable": False, "refresh": "30s", "timezone": "utc", "time": {"from": "now-6h", "to": "now"},
        "graphTooltip": 1, "links": links, "templating": {"list": list(_variables(board))},
        "annotations": {"list": [_annotation(board)]}, "panels": list(_placed(board.rows, runbooks)),
    }  # fmt: skip
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"


def _variables(board: Board) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    if board.of_a_target:
        query = "label_values(alignd_target_up, target)"
        yield {"name": "target", "label": "Target", "type": "query", "datasource": _DATASOURCE, "query": query,
               "definition": query, "refresh": 2, "sort": 1}  # fmt: skip


def _annotation(board: Board) -> dict[str, Any]:
    chosen = ', target="$target"' if board.of_a_target else ""
    return {
        "name": "Alerts", "enable": True, "iconColor": RED, "datasource": _DATASOURCE, "titleFormat": "{{alertname}}",
        "expr": f'ALERTS{{alertname=~"Alignd.+", alertstate="firing"{chosen}}}', "textFormat": "{{target}}",
    }  # fmt: skip


def _placed(rows: Sequence[Row], runbooks: str) -> Iterator[dict[str, Any]]:
    """Set panels side by side from left to right, in lines as high as their highest."""
    number = y = 0
    for row in rows:
        number += 1
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1}}  # fmt: skip
        y, x, high = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                y, x, high = y + high, 0, 0
            number += 1
            yield {**_panel(panel, runbooks), "id": number,
                   "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height}}  # fmt: skip
            x, high = x + panel.width, max(high, panel.height)
        y += high


def _panel(panel: Panel, runbooks: str) -> dict[str, Any]:
    links = []
    if panel.runbook:
        links.append({"title": panel.runbook, "url": f"{runbooks}/{panel.runbook}.md", "targetBlank": True})
    return {
        "type": panel.kind, "title": panel.title, "description": panel.about, "datasource": _DATASOURCE,
        "links": links, "options": _options(panel), "transformations": _transformations(panel),
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": _DATASOURCE, "expr": q.expr, "legendFormat": q.legend,
             "instant": q.instant, "range": not q.instant, "exemplar": not q.instant,
             "format": "table" if panel.kind == "table" else "time_series"}
            for i, q in enumerate(panel.queries)
        ],
    }  # fmt: skip


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": [{"value": v, "color": c} for v, c in panel.steps]},
        "color": {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"},
        "mappings": [], "links": [],
    }  # fmt: skip
    if len(panel.steps) > 1 and panel.kind == "timeseries":
        found["custom"] = {"thresholdsStyle": {"mode": "line"}}
    if panel.names:
        found["mappings"] = [{"type": "value", "options": {k: {"text": v} for k, v in panel.names.items()}}]
    if panel.opens:
        label = "${__data.fields.target}" if panel.kind == "table" else "${__field.labels.target}"
        found["links"] = [{"title": "Open", "url": f"/d/{panel.opens}?var-target={label}&${{__url_time_range}}"}]
    return found | {key: end for key, end in (("min", panel.least), ("max", panel.most)) if end is not None}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "textMode": "auto"}
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {}


def _transformations(panel: Panel) -> list[dict[str, Any]]:
    if panel.kind != "table":
        return []
    hidden = {"Time": True, "__name__": True, "instance": True, "job": True} | dict.fromkeys(panel.hidden, True)
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": {"excludeByName": hidden}}]
