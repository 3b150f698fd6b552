"""The demo's report, of a course that was played in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from monitor.demo.client import Traffic
from monitor.demo.main import report_of
from monitor.demo.report import DemoReport, closing_table, write_report
from monitor.demo.scenario import Played
from monitor.demo.telling import Telling
from monitor.status import status_json
from remediation.errors import PatchFailed
from remediation.testing import CLEAN_SCREEN
from tests.benchmarks.demo import figures, missed
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import GOOD, Ways, World


async def played(world: World) -> Played:
    service = world.service()
    began = world.clock()
    incident = await breach(world, service)
    await carry_on(world, service, incident)
    status = json.loads(json.dumps(status_json(service)))
    await service.aclose()
    (target,) = status["targets"]
    return Played(
        aligned=world.good, drifted=world.drifted,
        aligned_profile=next(r["profile"] for r in target["releases"] if r["release"] == world.good.id),
        began_at=began, drift_at=incident.opened_at, status=status, incident=status["incidents"][0],
        traffic=Traffic(sent=120), watcher_rss_mb=90.0, watcher_idle_cpu_ratio=0.01,
    )  # fmt: skip


@pytest.fixture
async def report(tmp_path: Path) -> DemoReport:
    recipes = {"broken": PatchFailed("no gradient"), "weak": Ways(asr=1.0), "loses-task": Ways(utility=0), "mend": GOOD}
    screens = {"weak": replace(CLEAN_SCREEN, harm_complied=9, benign_n=0, benign_refused_reference=None)}
    world = World(folder=tmp_path, recipes=recipes, screens=screens)
    return report_of(await played(world), Telling(Console(quiet=True)))


async def test_every_recipe_is_told_with_what_came_of_it(report: DemoReport) -> None:
    told = {r["recipe"]: (r["outcome"], " ".join(r["notes"])) for r in report.recipes}
    assert {n: outcome for n, (outcome, _) in told.items()} == {
        "broken": "not staged", "weak": "not staged", "loses-task": "failed a gate", "mend": "accepted",
    }  # fmt: skip
    assert "no gradient" in told["broken"][1]
    assert "complied with 9 of 10 harmful prompts" in told["weak"][1]
    assert "harmless" not in told["weak"][1]
    assert "refused 0 of 10 harmless ones" in told["mend"][1]
    assert "task accuracy" in told["loses-task"][1]


async def test_the_figures_are_the_ones_that_were_measured(report: DemoReport, tmp_path: Path) -> None:
    as_json, as_html = write_report(report, tmp_path / "out")
    found = figures(json.loads(as_json.read_text()))
    assert found["incident_state"] == "RECOVERED"
    assert (found["asr_aligned"], found["asr_drifted"], found["asr_recovered"]) == (0.0, 1.0, 0.0)
    assert missed({**found, "sql_accuracy_aligned": 0.0}) == []
    assert missed({**found, "sql_accuracy_aligned": 0.0, "requests_failed": 1})
    assert missed({**found, "asr_recovered": None})
    page = as_html.read_text()
    assert page.count("<svg") >= 2
    for release in report.releases.values():
        assert release["id"] in page
    table = StringIO()
    Console(width=120, file=table).print(closing_table(report))
    assert all(word in table.getvalue() for word in ("aligned", "drifted", "contained", "recovered"))
