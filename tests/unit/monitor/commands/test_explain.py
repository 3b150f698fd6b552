"""``alignd explain``: real incidents of the world in memory, and the command as it is called."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from monitor import cli
from monitor.commands.evidence_svg import evidence_svg
from monitor.commands.explain import explained
from monitor.incident import Incident, with_facts
from monitor.service import Service
from monitor.status import incident_json, status_json
from monitor.stores.sql import SqlStore
from monitor.tables import status_tables
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import World
from tests.unit.monitor.command_line import Alignd, called_in
from tests.unit.monitor.test_explaining import evidence_of, incident_of
from tests.unit.monitor.test_explaining import explained as put_into_words
from tests.unit.monitor.test_tracing import log_of, traced
from tests.unit.monitor.test_watch import BASELINE, NOW

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    call = called_in(tmp_path, monkeypatch, capsys)
    assert call("init", "--checkpoint", "/x", "--model", "m")[0] == 0
    return call


@pytest.fixture
def kept(alignd: Alignd, tmp_path: Path) -> Incident:
    """An incident and the log of its epoch, as a daemon leaves them."""
    store = SqlStore(f"sqlite:///{tmp_path}/alignd.db")
    epoch = store.epoch("prod", "bad@1", "k", NOW, baseline=BASELINE)
    entries = log_of(tail=20)
    store.append("prod", [replace(e, epoch=epoch.id) for e in entries])
    incident = incident_of({"evidence": {**evidence_of(traced(entries, ("c5/direct",))), "epoch": epoch.id}})
    store.create(incident)
    store.close()
    return incident


async def broken(tmp_path: Path, change: dict[str, object]) -> str:
    """Explain a real incident of which a figure is another one."""
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    evidence = {**incident.facts["evidence"], **change}
    found = explained(service, with_facts(incident, {"evidence": {k: v for k, v in evidence.items() if v is not None}}))
    await service.aclose()
    assert found.sections["What fired"]
    return " ".join(found.sections.get("What is not known", ()))


async def test_an_incident_that_ran_its_course_is_explained_with_all_its_tests(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    done = await carry_on(world, service, await breach(world, service))
    found = explained(service, done)
    assert found.trace is not None
    assert found.trace.alarm.log_r == done.facts["evidence"]["log_evidence"], "the log gives the very same evidence"
    followed = " ".join(found.sections["What followed"])
    for words in ("Confirmation: ", "Containment: ", "Recovery of the suite: ", "recovered: "):
        assert words in followed
    assert "What is not known" not in found.sections
    assert "11,520 probes a day" in " ".join(found.sections["How strong the evidence is"])
    prompts = {b.prompt for b in service.sites["prod"].measure.harm.behaviors}
    said = json.dumps(found.to_json()) + evidence_svg(found)
    assert not any(f'{p}"' in said or f"{p}<" in said for p in prompts)
    await service.aclose()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"position": None}, "does not say at which record"), ({"epoch": 99}, "epoch 99 is not in this database"),
     ({"position": 900}, "the log ends at record")],
)  # fmt: skip
async def test_what_the_store_lacks_is_said(tmp_path: Path, change: dict[str, object], words: str) -> None:
    assert words in await broken(tmp_path, change)


async def test_a_target_that_is_no_longer_watched_is_explained_from_the_facts(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    alone = Service(sites={}, store=service.store, clock=world.clock)
    found = explained(alone, incident)
    assert "prod is not in the settings" in " ".join(found.sections["What is not known"])
    assert "threshold 1,000,000" in " ".join(found.sections["How strong the evidence is"])
    await service.aclose()


async def test_an_open_incident_has_its_headline_in_the_status(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    assert incident_json(incident, world.clock())["headline"].startswith("the suite as a whole: evidence ")
    lines = [str(part) for part in status_tables(status_json(service))]
    assert any(line.startswith(f"{incident.id} fired on the suite as a whole: evidence ") for line in lines)
    await service.aclose()


def test_the_command_prints_words_and_draws(kept: Incident, alignd: Alignd, tmp_path: Path) -> None:
    code, out, err = alignd("explain", kept.id, "--out", "why.svg")
    assert (code, err) == (0, "")
    assert "c5/direct: " in out
    assert re.search(r"[▁▂▃]+[▃▄▅▆▇█]+  probes \d+ to \d+", out), "the evidence in one line"
    root = ET.fromstring((tmp_path / "why.svg").read_text())
    assert len(root.findall(f"{SVG}polyline")) == 4, "suite, strata, stratum, all"
    words = {element.text for element in root.iter(f"{SVG}text")}
    assert {"breach at 1 million", "warn at 10,000", "c5/direct", "all evidence"} <= words


def test_json_is_plain(kept: Incident, alignd: Alignd) -> None:
    code, out, _ = alignd("explain", kept.id, "--json")
    assert code == 0
    assert json.loads(out)["fired"][0]["name"] == "c5/direct"


def test_a_gap_in_the_log_is_named_and_there_is_nothing_to_draw(
    kept: Incident, alignd: Alignd, tmp_path: Path
) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/alignd.db")
    epoch = store.latest_epoch("prod")
    assert epoch is not None
    store.append("prod", [replace(log_of()[0], epoch=epoch.id, position=500)])
    store.close()
    code, out, _ = alignd("explain", kept.id)
    assert code == 0
    assert "record 111 before it is gone" in out
    code, _, err = alignd("explain", kept.id, "--out", "why.svg")
    assert (code, "no path of its evidence" in err) == (cli.USAGE, True)


@pytest.mark.parametrize(
    ("words", "said"), [(("nope",), "nope"), (("i1", "--out", "none/here.svg"), "can't be written")]
)
def test_bad_arguments_are_refused(kept: Incident, alignd: Alignd, words: tuple[str, ...], said: str) -> None:
    code, _, err = alignd("explain", *words)
    assert code == cli.USAGE
    assert said in err


def test_names_are_escaped_and_made_plain() -> None:
    found = put_into_words(found=traced(log_of(category="c5"), ("c5/direct",)))
    odd = replace(found, incident=replace(found.incident, id="<b>&\x1b[31m"), headline="<i>\x00&")
    root = ET.fromstring(evidence_svg(odd))
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == "Why <b>&?[31m fired"


def test_every_number_in_the_plot_is_finite() -> None:
    drawn = evidence_svg(put_into_words())
    assert not re.search(r"\b(nan|inf)\b", drawn)
    for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", " ".join(re.findall(r'points="([^"]+)"', drawn))):
        assert 0 <= float(x) <= 900
        assert 0 <= float(y) <= 520
