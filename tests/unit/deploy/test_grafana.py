"""The dashboards are whole: ids, places, expressions, links and variables."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack.files import StackValues, render
from deploy.stack.grafana.boards import BOARDS
from monitor.metrics import METRICS

PAGES = Path(__file__).resolve().parents[3] / "docs" / "runbooks"
VALUES = StackValues(name="m", runbooks="https://example.com/runbooks")
UIDS = [board.uid for board in BOARDS]


def board(uid: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render(f"grafana/dashboards/{uid}.json", VALUES))
    return found


def queries(uid: str) -> list[str]:
    return [query["expr"] for panel in board(uid)["panels"] for query in panel.get("targets", ())]


@pytest.mark.parametrize("uid", UIDS)
def test_ids_are_unique_and_no_panel_lies_on_another(uid: str) -> None:
    panels = board(uid)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 8
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


@pytest.mark.parametrize("uid", UIDS)
def test_every_expression_is_one(uid: str, tmp_path: Path) -> None:
    rules = [{"record": f"r{n}", "expr": expr.replace("$target", "prod")} for n, expr in enumerate(queries(uid))]
    (tmp_path / "r.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "r.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    named = {name for expr in queries(uid) for name in re.findall(r"(?<![:\w])alignd_\w+", expr)}
    assert named <= METRICS.keys()


@pytest.mark.parametrize("uid", UIDS)
def test_links_lead_to_boards_and_pages_that_are_there(uid: str) -> None:
    found = board(uid)
    urls = [link["url"] for panel in found["panels"] for link in panel.get("links", ())]
    drawn = [panel["fieldConfig"]["defaults"] for panel in found["panels"] if panel["type"] != "row"]
    opened = [link["url"] for defaults in drawn for link in defaults["links"]]
    assert urls
    for url in urls:
        assert url.startswith("https://example.com/runbooks/")
        assert (PAGES / url.rsplit("/", 1)[1]).exists(), url
    boards = {url.split("?")[0].removeprefix("/d/") for url in (*opened, *(x["url"] for x in found["links"][:-1]))}
    assert boards <= set(UIDS)
    assert {x["url"] for x in found["links"]} == {f"/d/{other}" for other in UIDS if other != uid} | {VALUES.runbooks}


@pytest.mark.parametrize("uid", UIDS)
def test_a_board_asks_its_variables_and_no_other(uid: str) -> None:
    found = board(uid)
    names = {variable["name"] for variable in found["templating"]["list"]}
    used = set(re.findall(r"\$\{?(datasource|target)\b", json.dumps(found["panels"])))
    assert used == names
    for panel in found["panels"]:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
        assert panel["type"] == "row" or panel["targets"]


def test_provisioning_names_what_the_boards_ask() -> None:
    (source,) = yaml.safe_load(render("grafana/provisioning/datasources/alignd.yml", VALUES))["datasources"]
    (provider,) = yaml.safe_load(render("grafana/provisioning/dashboards/alignd.yml", VALUES))["providers"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
